#include "site/describe.h"

#include <stdio.h>

#include "util/when.h"

json_t *
describe_time(time_t t)
{
	char text[WHEN_RFC3339_MAX];

	return t == 0 ? json_null() : json_string(when_print(t, text));
}

static json_t *
describe_failure(const struct failure *f)
{
	json_t *o;

	if (f->type == STS_OK)
		return json_null();
	o = json_object();
	json_object_set_new(o, "type", json_string(sts_type_name(f->type)));
	json_object_set_new(o, "reason", json_string(f->reason));
	json_object_set_new(o, "at", describe_time(f->at));
	json_object_set_new(o, "id", json_string(f->id));
	json_object_set_new(o, "retry", describe_time(f->retry));
	return o;
}

/* The policy in force: null, null and [] when there is none. */
static void
set_policy(json_t *o, const struct entry *e, bool live)
{
	const struct policy *p = live ? e->policy : NULL;
	json_t *mx = json_array();

	json_object_set_new(
	    o, "id", p == NULL || e->id[0] == '\0' ? json_null() : json_string(e->id));
	json_object_set_new(o, "mode", p == NULL ? json_null() : json_string(mode_name(p->mode)));
	json_object_set_new(o, "max_age", p == NULL ? json_null() : json_integer(p->max_age_s));
	for (size_t i = 0; p != NULL && i < p->n_mx; i++)
		json_array_append_new(mx, json_string(p->mx[i]));
	json_object_set_new(o, "mx", mx);
}

/* The site's rule: null three times when there is none. */
static void
set_rule(json_t *o, enum rule rule, const char *pattern)
{
	const char *policy = rule_requires(rule) ? "require" : rule_name(rule);

	json_object_set_new(o, "override", pattern == NULL ? json_null() : json_string(policy));
	json_object_set_new(
	    o, "unmet", rule_requires(rule) ? json_string(rule_name(rule)) : json_null());
	json_object_set_new(o, "pattern", pattern == NULL ? json_null() : json_string(pattern));
}

/* One sentence: why the verdict is what it is. */
static json_t *
describe_why(const struct entry *e, enum rule rule, bool live)
{
	char at[WHEN_RFC3339_MAX];

	if (rule == RULE_DISABLE)
		return json_string("the configuration of this site says policy = disable");
	if (e == NULL)
		return json_string(
		    "never asked for: the first message or 'mtastsctl refresh' finds out");
	if (e->state == ENTRY_UNDECIDED)
		return json_sprintf(
		    "DNS does not say whether there is a policy; it is asked until %s at most, then mail goes without",
		    when_print(e->expires, at));
	if (rule_requires(rule) && e->state == ENTRY_NONE && !live && e->confirmed == 0)
		return json_string(
		    "DNS did not say whether there is a policy, and this site requires one: mail waits");
	if (!live)
		return json_sprintf("what was known ended at %s; the next message finds out",
		    when_print(e->expires, at));
	if (rule_requires(rule) && (e->state == ENTRY_NONE || e->policy->mode == MODE_NONE))
		return json_sprintf("%s, and this site requires a policy: mail %s",
		    e->state == ENTRY_POLICY    ? "the policy is of mode none"
		    : e->failure.type != STS_OK ? "a policy is announced but cannot be had"
						: "DNS says that there is no policy",
		    rule == RULE_HOLD ? "waits" : "is refused");
	if (e->state == ENTRY_NONE && e->failure.type != STS_OK)
		return json_string(
		    "a policy is announced but cannot be had: mail goes as though there were none (RFC 8461 section 3.3)");
	if (e->state == ENTRY_NONE && e->confirmed == 0)
		return json_string(
		    "DNS did not say within the longest hold: mail goes unchecked for a while");
	if (e->state == ENTRY_NONE)
		return json_string("DNS says that there is no policy");
	if (e->id[0] == '\0')
		return json_string(
		    "a policy taken over from the map, in force until it expires; its record is looked at again");
	if (e->failure.type != STS_OK)
		return json_string(
		    "the cached policy is in force; the last attempt to fetch it again failed");
	if (e->policy->mode == MODE_TESTING && rule_requires(rule))
		return json_string(
		    "the policy that the domain publishes, of mode testing: this site requires one, and takes it for enforce");
	return json_string("the policy that the domain publishes");
}

/* How the entry came to be what it is. */
static json_t *
describe_look(const struct look *l)
{
	static const char *const txt[] = {[TXT_RECORD] = "record",
	    [TXT_ABSENT] = "absent",
	    [TXT_INVALID] = "invalid",
	    [TXT_TEMPFAIL] = "tempfail"};
	static const char *const fetch[] = {
	    [FETCH_NOT_TRIED] = "not tried", [FETCH_POLICY] = "policy", [FETCH_FAILED] = "failed"};

	if (l->at == 0)
		return json_null();
	return json_pack("{s:o,s:s,s:s,s:s?,s:s,s:s?,s:s?,s:s}", "at", describe_time(l->at), "row",
	    row_name(l->row), "text", row_text(l->row), "section", row_section(l->row), "txt",
	    txt[l->txt], "id", *l->id == '\0' ? NULL : l->id, "reason",
	    *l->reason == '\0' ? NULL : l->reason, "fetch", fetch[l->fetch]);
}

static json_t *
describe_map(struct requirement r)
{
	if (r.kind != REQUIRE_NONE && r.kind != REQUIRE_ENFORCE)
		return json_null();
	return json_pack("{s:s,s:o}", "says", r.kind == REQUIRE_ENFORCE ? "enforce" : "none",
	    "until", describe_time(r.until));
}

json_t *
describe_entry(
    const char *domain, const struct entry *e, const struct rules *rules, bool pushed, time_t now)
{
	json_t *o = json_object();
	const char *pattern;
	enum rule rule = rules_find(rules, domain, &pattern);
	enum verdict verdict = ruling_verdict(rule, e, now);
	bool live = rule != RULE_DISABLE && verdict != VERDICT_UNDECIDED;
	static const struct entry unknown = {0};
	const struct entry *k = e == NULL ? &unknown : e;

	json_object_set_new(o, "domain", json_string(domain));
	json_object_set_new(o, "verdict", json_string(verdict_name(verdict)));
	set_policy(o, k, live);
	json_object_set_new(o, "fetched", describe_time(k->fetched));
	json_object_set_new(o, "expires", describe_time(k->expires));
	json_object_set_new(o, "pushed", json_boolean(pushed && verdict != VERDICT_UNDECIDED));
	json_object_set_new(o, "failure", describe_failure(&k->failure));
	json_object_set_new(o, "confirmed", describe_time(k->confirmed));
	json_object_set_new(o, "recheck", describe_time(k->recheck));
	json_object_set_new(o, "refetch", describe_time(k->refetch));
	json_object_set_new(o, "wanted", describe_time(k->wanted));
	json_object_set_new(o, "used", describe_time(k->used));
	json_object_set_new(o, "first", describe_time(k->first));
	json_object_set_new(o, "look", describe_look(&k->look));
	json_object_set_new(o, "map", describe_map(ruling_requirement(rule, e, now)));
	set_rule(o, rule, pattern);
	json_object_set_new(o, "why", describe_why(e, rule, live));
	return o;
}
