#include "policy/entry.h"

#include <stdlib.h>
#include <string.h>

enum {
	SHORT_USED_S = 2 * 3600,    /* in use, for a policy of less than a day: at least */
	DOUBTED_USED_S = WHEN_DAY_S /* in use, for what stands for a failure or an ended hold */
};

static time_t
time_min(time_t a, time_t b)
{
	return a < b ? a : b;
}

static time_t
time_max(time_t a, time_t b)
{
	return a > b ? a : b;
}

bool
entry_come(time_t at, time_t max_s, time_t now)
{
	return at <= now || at > now + max_s;
}

/* The same time, unless it is too far ahead: then now. */
static time_t
believed(time_t at, time_t max_s, time_t now)
{
	return at > now + max_s ? now : at;
}

bool
entry_stale(const struct entry *e, time_t now)
{
	return entry_come(e->recheck, ENTRY_AHEAD_MAX_S, now);
}

bool
entry_ahead(const struct entry *e, time_t now)
{
	time_t seen = time_max(e->confirmed, e->fetched);

	if (e->state == ENTRY_UNDECIDED ||
	    (e->state == ENTRY_POLICY && e->policy->mode == MODE_ENFORCE))
		return false;
	return seen > now + ENTRY_AHEAD_MAX_S ||
	       (e->state == ENTRY_NONE && e->expires > now + ENTRY_AHEAD_MAX_S);
}

/* DNS said that there is no policy; not a stand-in for a failed fetch or an ended hold. */
static bool
none_confirmed(const struct entry *e)
{
	return e->state == ENTRY_NONE && e->confirmed != 0 && e->failure.type == STS_OK;
}

bool
entry_live(const struct entry *e, time_t now)
{
	return e->state == ENTRY_POLICY && now < e->expires && !entry_ahead(e, now);
}

enum verdict
entry_verdict(const struct entry *e, time_t now)
{
	if (e == NULL || e->state == ENTRY_UNDECIDED || now >= e->expires || entry_ahead(e, now))
		return VERDICT_UNDECIDED;
	if (e->state == ENTRY_NONE || e->policy->mode == MODE_NONE)
		return VERDICT_NONE;
	return e->policy->mode == MODE_ENFORCE ? VERDICT_ENFORCE : VERDICT_TESTING;
}

/* Until when we may say "none" to the MTA without having looked again. */
static time_t
none_until(const struct entry *e)
{
	if (e->state == ENTRY_POLICY) /* a body that came whole confirms as well as DNS does */
		return time_min(e->expires, time_max(e->confirmed, e->fetched) + NONE_GOOD_S);
	return none_confirmed(e) ? e->confirmed + NONE_GOOD_S : e->expires;
}

struct requirement
entry_requirement(const struct entry *e, time_t now)
{
	struct requirement r = {.kind = REQUIRE_UNKNOWN};

	if (e == NULL || e->state == ENTRY_UNDECIDED || (now != 0 && entry_ahead(e, now)))
		return r;
	if (e->state == ENTRY_POLICY && e->policy->mode == MODE_ENFORCE)
		r = (struct requirement){
		    REQUIRE_ENFORCE, e->expires, e->policy->n_mx, e->policy->mx};
	else
		r = (struct requirement){.kind = REQUIRE_NONE, .until = none_until(e)};
	return now < r.until ? r : (struct requirement){.kind = REQUIRE_UNKNOWN};
}

bool
requirement_equal(const struct requirement *a, const struct requirement *b)
{
	if (a->kind != b->kind || a->until != b->until || a->n_mx != b->n_mx)
		return false;
	for (size_t i = 0; i < a->n_mx; i++)
		if (strcmp(a->mx[i], b->mx[i]) != 0)
			return false;
	return true;
}

/* For how long after the last want the schedule cares for the entry. */
static time_t
care_s(const struct entry *e)
{
	time_t life;

	if (e->state != ENTRY_POLICY)
		return none_confirmed(e) ? NONE_GOOD_S : DOUBTED_USED_S;
	life = e->expires - e->fetched; /* long, when a map gave it and it was never fetched */
	return life >= WHEN_DAY_S ? ENTRY_UNUSED_S : time_max(life, SHORT_USED_S);
}

static bool
in_use(const struct entry *e, time_t now)
{
	return e->used == 0 || now - e->used < care_s(e);
}

/* From then on nothing in the entry counts, not even as a confirmation. */
static time_t
entry_end(const struct entry *e, time_t now)
{
	if (entry_ahead(e, now))
		return now;
	return none_confirmed(e) ? time_max(e->expires, e->confirmed + NONE_GOOD_S) : e->expires;
}

time_t
entry_due(const struct entry *e, time_t now)
{
	time_t end = entry_end(e, now), refetch = believed(e->refetch, ENTRY_REFETCH_S, now);
	time_t recheck = believed(e->recheck, ENTRY_AHEAD_MAX_S, now);
	time_t retry = believed(e->failure.retry, ENTRY_AHEAD_MAX_S, now);

	if (!in_use(e, now))
		return end;
	if (e->state == ENTRY_POLICY)
		return time_min(time_max(refetch, retry), end);
	if (none_confirmed(e)) /* daily; recheck alone is for wants */
		return time_min(time_max(recheck, e->confirmed + NONE_CONFIRM_S), end);
	return time_min(recheck, end);
}

bool
entry_forgettable(const struct entry *e, time_t now)
{
	return now >= entry_end(e, now) && !in_use(e, now);
}

bool
entry_copy(struct entry *to, const struct entry *from)
{
	struct policy *policy = NULL;

	if (from->policy != NULL && (policy = policy_copy(from->policy)) == NULL)
		return false;
	*to = *from;
	to->policy = policy;
	return true;
}

void
entry_clear(struct entry *e)
{
	policy_free(e->policy);
	memset(e, 0, sizeof(*e));
}

const char *
verdict_name(enum verdict v)
{
	static const char *const names[] = {[VERDICT_UNDECIDED] = "undecided",
	    [VERDICT_NONE] = "none",
	    [VERDICT_TESTING] = "testing",
	    [VERDICT_ENFORCE] = "enforce"};

	return names[v];
}

const char *
sts_type_name(enum sts_type t)
{
	static const char *const names[] = {[STS_OK] = "",
	    [STS_POLICY_FETCH_ERROR] = "sts-policy-fetch-error",
	    [STS_POLICY_INVALID] = "sts-policy-invalid",
	    [STS_WEBPKI_INVALID] = "sts-webpki-invalid"};

	return names[t];
}
