#include "policy/ruling.h"

#include <string.h>

/* DNS did not say within the longest hold, and mail goes without a policy for a while. */
static bool
is_doubtful(const struct entry *e)
{
	return e->state == ENTRY_NONE && e->confirmed == 0 && e->failure.type == STS_OK;
}

enum verdict
ruling_verdict(enum rule rule, const struct entry *e, time_t now)
{
	enum verdict v = rule == RULE_DISABLE ? VERDICT_NONE : entry_verdict(e, now);

	if (!rule_requires(rule))
		return v;
	if (v == VERDICT_TESTING)
		return VERDICT_ENFORCE;
	return v == VERDICT_NONE && is_doubtful(e) ? VERDICT_UNDECIDED : v;
}

struct requirement
ruling_requirement(enum rule rule, const struct entry *e, time_t now)
{
	static const struct requirement unknown = {.kind = REQUIRE_UNKNOWN};
	struct requirement r = entry_requirement(e, now);

	if (rule == RULE_OPTIONAL || (rule_requires(rule) && r.kind == REQUIRE_ENFORCE))
		return r;
	if (rule_requires(rule) && e != NULL && e->state == ENTRY_POLICY &&
	    e->policy->mode == MODE_TESTING && (now == 0 || entry_live(e, now)))
		return (struct requirement){
		    REQUIRE_ENFORCE, e->expires, e->policy->n_mx, e->policy->mx};
	return unknown;
}

struct requirement
ruling_pattern(const struct rules *rules, const char *pattern)
{
	static const enum requirement_kind kinds[] = {[RULE_OPTIONAL] = REQUIRE_SITE_OPTIONAL,
	    [RULE_HOLD] = REQUIRE_SITE_HOLD,
	    [RULE_REFUSE] = REQUIRE_SITE_REFUSE,
	    [RULE_DISABLE] = REQUIRE_SITE_DISABLE};
	struct requirement r = {.kind = REQUIRE_UNKNOWN};
	enum rule rule = RULE_OPTIONAL;

	if (rules_get(rules, pattern, &rule) ||
	    (strcmp(pattern, "*") == 0 && rules_count(rules) > 0))
		r.kind = kinds[rule];
	return r;
}
