#include "policy/decide.h"

#include <stdio.h>
#include <string.h>

static time_t
clamp(time_t value, time_t low, time_t high)
{
	return value < low ? low : value > high ? high : value;
}

/*
 * RFC 8461 section 3.3: a failed fetch is not repeated at once; a new id starts afresh. Without a
 * record there is no id to be new.
 */
static bool
backing_off(const struct entry *e, const struct evidence *ev, time_t now)
{
	return e->failure.type != STS_OK && !entry_come(e->failure.retry, ENTRY_AHEAD_MAX_S, now) &&
	       (ev->txt != TXT_RECORD || strcmp(e->failure.id, ev->id) == 0);
}

static bool
refetch_due(const struct entry *e, time_t now)
{
	return entry_come(e->refetch, ENTRY_REFETCH_S, now);
}

static bool
must_fetch(const struct entry *e, const struct evidence *ev, time_t now)
{
	bool record = ev->txt == TXT_RECORD;

	if (ev->fetch != FETCH_NOT_TRIED || backing_off(e, ev, now))
		return false;
	if (!entry_live(e, now))
		return record;
	return refetch_due(e, now) || (record && strcmp(e->id, ev->id) != 0);
}

/* Daily (section 10.2), spread over the last quarter of the day, and long before expiry. */
static time_t
refetch_at(time_t now, time_t life_s, const struct decide_limits *limits)
{
	time_t spread_s = ENTRY_REFETCH_S / 4;
	time_t after_s = ENTRY_REFETCH_S - spread_s + (time_t)limits->spread % spread_s;

	return now + clamp(after_s, DECIDE_RECHECK_MIN_S, life_s / 2);
}

static time_t
recheck_at(const struct evidence *ev, time_t now)
{
	return now + clamp((time_t)ev->ttl_s, DECIDE_RECHECK_MIN_S, DECIDE_RECHECK_MAX_S);
}

static void
forget_failure(struct entry *e)
{
	memset(&e->failure, 0, sizeof(e->failure));
}

/* Whatever the entry was, it is a none now; the failure stays for its back-off. */
static void
become_none(struct entry *e)
{
	policy_free(e->policy);
	e->policy = NULL;
	e->state = ENTRY_NONE;
	e->id[0] = '\0';
	e->fetched = e->refetch = e->confirmed = e->wanted = 0;
}

static void
note_failure(struct entry *e, const struct evidence *ev, time_t now)
{
	struct failure *f = &e->failure;
	const char *id = ev->txt == TXT_RECORD ? ev->id : f->type != STS_OK ? f->id : e->id;
	time_t wait_s = DECIDE_RETRY_MIN_S;

	if (f->type == STS_OK || strcmp(f->id, id) != 0)
		f->count = 0;
	for (uint32_t i = 0; i < f->count && wait_s < DECIDE_RETRY_MAX_S; i++)
		wait_s *= 2;
	if (f->count < UINT32_MAX)
		f->count++;
	f->type = ev->type;
	f->at = now;
	f->retry = now + clamp(wait_s, DECIDE_RETRY_MIN_S, DECIDE_RETRY_MAX_S);
	memmove(f->id, id, strlen(id) + 1);
	snprintf(f->reason, sizeof(f->reason), "%s", ev->reason);
}

/* ---- the right side of the table: what comes next ---- */

static bool
take_policy(
    struct entry *e, const struct evidence *ev, time_t now, const struct decide_limits *limits)
{
	struct policy *policy = policy_copy(ev->policy);
	time_t life_s;

	if (policy == NULL)
		return false;
	policy_free(e->policy);
	e->state = ENTRY_POLICY;
	e->policy = policy;
	life_s = clamp(policy->max_age_s, DECIDE_POLICY_MIN_S, POLICY_MAX_AGE_MAX);
	if (ev->txt == TXT_RECORD) {
		memcpy(e->id, ev->id, sizeof(e->id));
		e->confirmed = now;
	}
	e->fetched = now;
	e->expires = now + life_s;
	e->recheck = recheck_at(ev, now);
	e->refetch = refetch_at(now, life_s, limits);
	e->wanted = 0;
	forget_failure(e);
	return true;
}

static void
keep_policy(struct entry *e, const struct evidence *ev, time_t now)
{
	if (ev->txt == TXT_RECORD && strcmp(e->id, ev->id) == 0)
		e->confirmed = now;
	e->recheck = recheck_at(ev, now);
}

/* Section 3.3: deliver as though there were no policy. */
static void
none_for_failure(struct entry *e)
{
	become_none(e);
	e->recheck = e->failure.retry;
	e->expires = e->failure.retry + DECIDE_RETRY_MARGIN_S;
}

static void
none_for_absence(struct entry *e, const struct evidence *ev, time_t now)
{
	time_t ttl_s = clamp((time_t)ev->ttl_s, DECIDE_NEGATIVE_MIN_S, DECIDE_NEGATIVE_MAX_S);

	become_none(e);
	forget_failure(e);
	e->confirmed = now;
	e->expires = now + ttl_s;
	e->recheck =
	    now + ttl_s / 4 * 3; /* a domain in steady use is looked at before it is doubted */
}

/* When the trouble began: one hold for it all, as long as it is looked at without a break. */
static time_t
hold_began(const struct entry *e, time_t now)
{
	bool counts = e->state != ENTRY_POLICY && e->wanted != 0 && e->wanted <= now &&
		      now <= e->recheck + DECIDE_HOLD_BREAK_S;

	return counts ? e->wanted : now;
}

static void
hold(struct entry *e, time_t began, time_t now, const struct decide_limits *limits)
{
	become_none(e);
	e->wanted = began;
	if (now < began + limits->hold_max_s) {
		e->state = ENTRY_UNDECIDED;
		e->expires = began + limits->hold_max_s;
		e->recheck = now + clamp((now - began) / 8, DECIDE_UNDECIDED_RETRY_S,
				       DECIDE_UNDECIDED_RETRY_MAX_S);
	} else {
		e->expires = now + DECIDE_HOLD_ENDED_S;
		e->recheck = e->expires - DECIDE_RETRY_MARGIN_S;
	}
}

/* DNS trouble is never "no policy" by itself: what DNS said before is kept, then mail is held. */
static enum row
bear_trouble(struct entry *e, time_t now, const struct decide_limits *limits)
{
	bool none = e->state == ENTRY_NONE && !entry_ahead(e, now);

	if (none && now < e->confirmed + NONE_GOOD_S) {
		time_t until = clamp(now + DECIDE_NEGATIVE_MIN_S, 0, e->confirmed + NONE_GOOD_S);

		if (e->expires < until)
			e->expires = until;
		e->recheck = now + DECIDE_NEGATIVE_MIN_S;
		return ROW_TROUBLE_NONE_KEPT;
	}
	if (none && e->wanted == 0 && now < e->expires) {
		e->recheck = now + DECIDE_RECHECK_MIN_S;
		return ROW_TROUBLE_FAILED_KEPT;
	}
	hold(e, hold_began(e, now), now, limits);
	return e->state == ENTRY_UNDECIDED ? ROW_TROUBLE_HELD : ROW_TROUBLE_HOLD_ENDED;
}

/* The row's name, for the log. */
static const char *
note_look(struct entry *e, const struct evidence *ev, enum row row, time_t now)
{
	struct look *l = &e->look;

	memset(l, 0, sizeof(*l));
	l->row = row;
	l->at = now;
	l->txt = ev->txt;
	l->fetch = ev->fetch;
	if (ev->txt == TXT_RECORD)
		memcpy(l->id, ev->id, sizeof(l->id));
	else
		snprintf(l->reason, sizeof(l->reason), "%s", ev->txt_reason);
	if (e->first == 0)
		e->first = now;
	return row_name(row);
}

enum decision
decide(const struct entry *cached, const struct evidence *ev, time_t now,
    const struct decide_limits *limits, struct entry *next, const char **why)
{
	static const struct entry nothing = {.state = ENTRY_UNDECIDED};
	const struct entry *e = cached == NULL ? &nothing : cached;
	const bool live = entry_live(e, now), record = ev->txt == TXT_RECORD;

	*why = "out of memory";
	memset(next, 0, sizeof(*next));
	if (must_fetch(e, ev, now)) {
		*why = !live ? "record found" : refetch_due(e, now) ? "refetch is due" : "new id";
		return DECIDE_FETCH;
	}
	if (!entry_copy(next, e))
		return DECIDE_KEEP;

	/* A body counts when a record announces it or it renews a live policy (section 3.1). */
	if ((live || record) && ev->fetch == FETCH_POLICY) {
		if (!take_policy(next, ev, now, limits))
			return DECIDE_KEEP;
		*why = note_look(next, ev, live ? ROW_POLICY_REPLACED : ROW_POLICY_FETCHED, now);
		return DECIDE_SAVE;
	}
	if ((live || record) && ev->fetch == FETCH_FAILED)
		note_failure(next, ev, now);

	if (live) { /* section 5.1: nothing but a newer policy or its expiry ends it */
		keep_policy(next, ev, now);
		*why = note_look(next, ev,
		    ev->fetch == FETCH_FAILED    ? ROW_KEPT_FETCH_FAILED
		    : ev->txt == TXT_TEMPFAIL    ? ROW_KEPT_DNS_TROUBLE
		    : !record                    ? ROW_KEPT_NO_RECORD
		    : strcmp(e->id, ev->id) != 0 ? ROW_KEPT_BACKS_OFF
						 : ROW_KEPT_SAME_ID,
		    now);
		return ev->fetch == FETCH_NOT_TRIED && !entry_stale(e, now) ? DECIDE_KEEP
									    : DECIDE_SAVE;
	}
	if (record) {
		none_for_failure(next);
		*why = note_look(next, ev,
		    ev->fetch == FETCH_FAILED ? ROW_NONE_FETCH_FAILED : ROW_NONE_BACKS_OFF, now);
	} else if (ev->txt == TXT_TEMPFAIL) {
		*why = note_look(next, ev, bear_trouble(next, now, limits), now);
	} else {
		none_for_absence(next, ev, now);
		*why = note_look(next, ev,
		    ev->txt == TXT_ABSENT ? ROW_NONE_NO_RECORD : ROW_NONE_INVALID_RECORD, now);
	}
	return DECIDE_SAVE;
}
