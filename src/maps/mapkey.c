#include "maps/mapkey.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "policy/domain.h"
#include "policy/choice.h"
#include "util/ascii.h"

enum { SECONDS_DIGITS_MAX = 12 }; /* more than any time that the rules can compare */

static bool
is_name(const char *p, size_t len)
{
	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if (!ascii_digit(c) && !(c >= 'a' && c <= 'z') && c != '-' && c != '_' && c != '.')
			return false;
	}
	return true;
}

static bool
is_policy_domain(const char *name)
{
	char domain[DOMAIN_MAX + 1];

	return domain_normalize(name, strlen(name), domain, NULL) == DOMAIN_OK &&
	       strcmp(domain, name) == 0;
}

static bool
is_state(struct cursor key)
{
	static const char *const names[] = {MAPKEY_READY, MAPKEY_ALIVE, MAPKEY_MTIME};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (cursor_len(&key) == strlen(names[i]) &&
		    memcmp(key.p, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static bool
is_rule(struct cursor key)
{
	if (choice_is_key(key))
		return memchr(key.p, '\0', cursor_len(&key)) == NULL;
	return cursor_take(&key, MAPKEY_RULE) &&
	       (cursor_len(&key) == 0 || is_name((const char *)key.p, cursor_len(&key)));
}

bool
mapkey_is_rule(const char *key)
{
	return is_rule(cursor_of(key, strlen(key)));
}

enum mapkey_kind
mapkey_parse(struct cursor key, struct mapkey *out)
{
	const char *p = (const char *)key.p, *colon;
	size_t len = cursor_len(&key), domain_len, pattern_len;

	memset(out, 0, sizeof(*out));
	if (len == 0 || len > MAPKEY_MAX)
		return MAPKEY_STRANGE;
	if (*p == ':' && is_rule(key)) {
		memcpy(out->domain, p, len);
		return MAPKEY_SITE;
	}
	if (*p == ':')
		return is_state(key) ? MAPKEY_STATE : MAPKEY_STRANGE;
	colon = memchr(p, ':', len);
	domain_len = colon == NULL ? len : (size_t)(colon - p);
	if (!is_name(p, domain_len))
		return MAPKEY_STRANGE;
	memcpy(out->domain, p, domain_len);
	if (colon == NULL)
		return is_policy_domain(out->domain) ? MAPKEY_DOMAIN : MAPKEY_STRANGE;
	pattern_len = len - domain_len - 1;
	if (!is_name(colon + 1, pattern_len))
		return MAPKEY_STRANGE;
	if (colon[1] == '.') /* Sendmail's way to write "*." */
		out->pattern[0] = '*';
	memcpy(out->pattern + (colon[1] == '.'), colon + 1, pattern_len);
	return MAPKEY_PATTERN;
}

void
mapkey_rule(const char *pattern, char out[MAPKEY_MAX + 1])
{
	assert(strlen(pattern) <= RULE_PATTERN_MAX);
	snprintf(
	    out, MAPKEY_MAX + 1, "%s%s", MAPKEY_RULE, strcmp(pattern, "*") == 0 ? "" : pattern);
}

const char *
mapkey_rule_pattern(const char *key)
{
	size_t prefix = strlen(MAPKEY_RULE);

	if (strncmp(key, MAPKEY_RULE, prefix) != 0)
		return NULL;
	return key[prefix] == '\0' ? "*" : key + prefix;
}

bool
mapkey_pattern(const char *domain, const char *pattern, char out[MAPKEY_MAX + 1])
{
	const char *tail = pattern[0] == '*' ? pattern + 1 : pattern;
	int n = snprintf(out, MAPKEY_MAX + 1, "%s:%s", domain, tail);

	return n > 0 && n <= MAPKEY_MAX;
}

void
mapvalue_print(const struct requirement *r, char out[MAPVALUE_MAX])
{
	static const char *const words[] = {[REQUIRE_NONE] = "none",
	    [REQUIRE_ENFORCE] = "enforce",
	    [REQUIRE_SITE_OPTIONAL] = "optional",
	    [REQUIRE_SITE_HOLD] = "hold",
	    [REQUIRE_SITE_REFUSE] = "refuse",
	    [REQUIRE_SITE_DISABLE] = "disable"};

	assert(r->kind != REQUIRE_UNKNOWN);
	if (r->kind == REQUIRE_NONE || r->kind == REQUIRE_ENFORCE)
		snprintf(out, MAPVALUE_MAX, "%s %lld", words[r->kind], (long long)r->until);
	else
		strcpy(out, words[r->kind]);
}

struct requirement
mapvalue_parse(struct cursor value)
{
	static const struct requirement unknown = {.kind = REQUIRE_UNKNOWN};
	struct requirement r = unknown;

	if (cursor_take(&value, "enforce "))
		r.kind = REQUIRE_ENFORCE;
	else if (cursor_take(&value, "none "))
		r.kind = REQUIRE_NONE;
	else
		return unknown;
	if (cursor_len(&value) == 0 || cursor_len(&value) > SECONDS_DIGITS_MAX)
		return unknown;
	for (; value.p < value.end; value.p++) {
		if (!ascii_digit(*value.p))
			return unknown;
		r.until = r.until * 10 + (*value.p - '0');
	}
	return r;
}
