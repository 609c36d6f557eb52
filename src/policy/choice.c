#include "policy/choice.h"

#include <stdio.h>
#include <string.h>

#include "util/ascii.h"

static const char *const prefixes[] = {
    [CHOICE_USER] = ":user:", [CHOICE_SENDER] = ":from:", [CHOICE_LISTENER] = ":port:"};

/* In lower case, as Sendmail's maps fold keys; '+' as its macro {auth_authen} has it. */
static bool
normalize(enum choice who, const char *text, char out[DOMAIN_MAX + 1], struct errmsg *em)
{
	size_t n = 0;

	if (who == CHOICE_SENDER)
		return domain_normalize(text, strlen(text), out, em) == DOMAIN_OK;
	for (; *text != '\0' && n + 3 <= CHOICE_TEXT_MAX; text++) {
		unsigned char b = (unsigned char)*text;

		if (!ascii_alnum(b) && strchr("._@-+", b) == NULL)
			break;
		out[n++] = (char)ascii_lower(b);
		if (b == '+') {
			out[n++] = '2';
			out[n++] = 'b';
		}
	}
	out[n] = '\0';
	if (n > 0 && *text == '\0')
		return true;
	errmsg_set(em, "want letters, digits and ._@-+, and no more than %d", CHOICE_TEXT_MAX);
	return false;
}

static bool
add_key(struct rules *chosen, const char *key, enum rule rule, struct errmsg *em)
{
	if (strlen(key) > DOMAIN_MAX) {
		errmsg_set(em, "too long together with the domains of this set: %s", key);
		return false;
	}
	if (rules_count(chosen) >= CHOICE_KEYS_MAX) {
		errmsg_set(
		    em, "more than %d rules, counted for each who chooses a set", CHOICE_KEYS_MAX);
		return false;
	}
	return rules_put(chosen, key, rule, em);
}

bool
choice_add(struct rules *chosen, enum choice who, const char *text, const struct rules *set,
    struct errmsg *em)
{
	char name[DOMAIN_MAX + 1], key[2 * HOST_MAX + 16];
	enum rule rule = RULE_OPTIONAL;
	bool added;

	if (!normalize(who, text, name, em))
		return false;
	snprintf(key, sizeof(key), "%s%s:", prefixes[who], name);
	if (rules_get(chosen, key, &rule)) {
		errmsg_set(em, "chooses a set already; a message is under one set only");
		return false;
	}
	(void)rules_get(set, "*", &rule);
	added = add_key(chosen, key, rule, em);
	for (size_t i = 0; i < rules_count(set) && added; i++) {
		const char *pattern = rules_pattern(set, i, &rule);

		snprintf(key, sizeof(key), "%s%s:%s", prefixes[who], name, pattern);
		if (strcmp(pattern, "*") != 0)
			added = add_key(chosen, key, rule, em);
	}
	return added && (rules_get(chosen, CHOICE_ANY, &rule) ||
			    rules_put(chosen, CHOICE_ANY, RULE_OPTIONAL, em));
}

/* The key for all the rest in the set that name chooses; false: it chooses none. */
static bool
find_set(const struct rules *chosen, enum choice who, const char *name, char key[DOMAIN_MAX + 1])
{
	enum rule rule;
	size_t n = strlen(prefixes[who]);

	if (name == NULL || name[0] == '\0' || n + strlen(name) + 1 > DOMAIN_MAX)
		return false;
	strcpy(key, prefixes[who]);
	for (; *name != '\0'; name++)
		key[n++] = (char)ascii_lower((unsigned char)*name);
	strcpy(key + n, ":");
	return rules_get(chosen, key, &rule);
}

/* As rules_find(), behind the key of a set. */
static enum rule
find_in_set(const struct rules *chosen, const char *set, const char *domain)
{
	char key[2 * DOMAIN_MAX + 1];
	enum rule rule = RULE_OPTIONAL;

	for (const char *rest = domain; rest != NULL; rest = strchr(rest + 1, '.')) {
		snprintf(key, sizeof(key), "%s%s", set, rest);
		if (rules_get(chosen, key, &rule))
			return rule;
	}
	(void)rules_get(chosen, set, &rule);
	return rule;
}

enum rule
choice_find(const struct rules *chosen, const struct rules *others, const char *user,
    const char *sender, const char *listener, const char *domain)
{
	const char *at = sender == NULL ? NULL : strrchr(sender, '@');
	char set[DOMAIN_MAX + 1];

	if (find_set(chosen, CHOICE_USER, user, set) ||
	    find_set(chosen, CHOICE_SENDER, at == NULL ? NULL : at + 1, set) ||
	    find_set(chosen, CHOICE_LISTENER, listener, set))
		return find_in_set(chosen, set, domain);
	return rules_find(others, domain, NULL);
}

bool
choice_is_key(struct cursor key)
{
	if (cursor_take(&key, CHOICE_ANY))
		return cursor_len(&key) == 0;
	for (size_t i = 0; i < CHOICES; i++)
		if (cursor_take(&key, prefixes[i]))
			return true;
	return false;
}
