#include "daemon/describe.h"

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

/* One sentence: why the verdict is what it is. */
static json_t *
describe_why(const struct entry *e, bool disabled, bool live)
{
	char at[WHEN_RFC3339_MAX];

	if (disabled)
		return json_string("the configuration of this site says policy = disable");
	if (e == NULL)
		return json_string(
		    "never asked for: the first message or 'mtastsctl refresh' finds out");
	if (e->state == ENTRY_UNDECIDED)
		return json_sprintf(
		    "DNS does not say whether there is a policy; it is asked until %s at most, then mail goes without",
		    when_print(e->expires, at));
	if (!live)
		return json_sprintf("what was known ended at %s; the next message finds out",
		    when_print(e->expires, at));
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
	return json_string("the policy that the domain publishes");
}

json_t *
describe_entry(const char *domain, const struct entry *e, bool disabled, bool pushed, time_t now)
{
	json_t *o = json_object();
	enum verdict verdict = disabled ? VERDICT_NONE : entry_verdict(e, now);
	bool live = !disabled && verdict != VERDICT_UNDECIDED;
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
	json_object_set_new(o, "override", disabled ? json_string("disable") : json_null());
	json_object_set_new(o, "why", describe_why(e, disabled, live));
	return o;
}
