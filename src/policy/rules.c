#include "policy/rules.h"

#include <stdlib.h>
#include <string.h>

struct item {
	char *pattern;
	enum rule rule;
};

struct rules {
	size_t n, room;
	struct item *item; /* sorted by pattern */
};

struct rules *
rules_new(void)
{
	return calloc(1, sizeof(struct rules));
}

void
rules_free(struct rules **rules)
{
	if (*rules == NULL)
		return;
	for (size_t i = 0; i < (*rules)->n; i++)
		free((*rules)->item[i].pattern);
	free((*rules)->item);
	free(*rules);
	*rules = NULL;
}

/* Where the pattern stands, or would. */
static size_t
place(const struct rules *r, const char *pattern, bool *there)
{
	size_t low = 0, high = r == NULL ? 0 : r->n;

	*there = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(r->item[middle].pattern, pattern);

		if (order == 0) {
			*there = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* A suffix may be a single label, where a domain may not. */
static bool
normalize(const char *pattern, char out[HOST_MAX + 2], struct errmsg *em)
{
	bool below = pattern[0] == '.';

	if (strcmp(pattern, "*") == 0) {
		strcpy(out, pattern);
		return true;
	}
	out[0] = '.';
	if (below ? host_normalize(pattern + 1, strlen(pattern + 1), out + 1, em) != DOMAIN_OK
		  : domain_normalize(pattern, strlen(pattern), out, em) != DOMAIN_OK)
		return false;
	if (strlen(out) <= RULE_PATTERN_MAX)
		return true;
	errmsg_set(em, "longer than %d bytes", RULE_PATTERN_MAX);
	return false;
}

static bool
grow(struct rules *r)
{
	size_t room = r->room == 0 ? 16 : r->room * 2;
	struct item *item = r->n < r->room ? r->item : realloc(r->item, room * sizeof(*item));

	if (item == NULL)
		return false;
	r->room = r->n < r->room ? r->room : room;
	r->item = item;
	return true;
}

bool
rules_put(struct rules *r, const char *key, enum rule rule, struct errmsg *em)
{
	bool there;
	size_t at = place(r, key, &there);
	char *copy;

	if (there) {
		errmsg_set(em, "there is a rule for it already; keep one of the two");
		return false;
	}
	if (!grow(r) || (copy = strdup(key)) == NULL) {
		errmsg_set(em, "out of memory");
		return false;
	}
	memmove(r->item + at + 1, r->item + at, (r->n - at) * sizeof(*r->item));
	r->item[at] = (struct item){copy, rule};
	r->n++;
	return true;
}

bool
rules_add(struct rules *r, const char *pattern, enum rule rule, struct errmsg *em)
{
	char normal[HOST_MAX + 2];

	return normalize(pattern, normal, em) && rules_put(r, normal, rule, em);
}

bool
rules_get(const struct rules *r, const char *pattern, enum rule *rule)
{
	bool there;
	size_t at = place(r, pattern, &there);

	if (there)
		*rule = r->item[at].rule;
	return there;
}

enum rule
rules_find(const struct rules *r, const char *domain, const char **pattern)
{
	bool there;
	size_t at = place(r, domain, &there);

	for (const char *dot = strchr(domain, '.'); !there && dot != NULL;
	     dot = strchr(dot + 1, '.'))
		at = place(r, dot, &there);
	if (!there)
		at = place(r, "*", &there);
	if (pattern != NULL)
		*pattern = there ? r->item[at].pattern : NULL;
	return there ? r->item[at].rule : RULE_OPTIONAL;
}

size_t
rules_count(const struct rules *r)
{
	return r == NULL ? 0 : r->n;
}

const char *
rules_pattern(const struct rules *r, size_t i, enum rule *rule)
{
	if (rule != NULL)
		*rule = r->item[i].rule;
	return r->item[i].pattern;
}

bool
rule_requires(enum rule rule)
{
	return rule == RULE_HOLD || rule == RULE_REFUSE;
}

const char *
rule_name(enum rule rule)
{
	static const char *const names[] = {[RULE_OPTIONAL] = "optional",
	    [RULE_HOLD] = "hold",
	    [RULE_REFUSE] = "refuse",
	    [RULE_DISABLE] = "disable"};

	return names[rule];
}

bool
rule_is_exact(const char *pattern)
{
	return pattern[0] != '.' && pattern[0] != '*';
}
