#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/decide.h"

enum { NOW = 1700000000, HOUR_S = 3600, DAY_S = 86400, YEAR_S = 365 * DAY_S, HOLD_S = 1800 };

static char old_test[] = "old.test", new_test[] = "new.test", wild_test[] = "*.new.test";
static char *old_mx[] = {old_test}, *new_mx[] = {new_test, wild_test};

/* ---- what is cached: every kind of entry, by name ---- */

static struct policy cached_policies[] = {
    [MODE_NONE] = {MODE_NONE, 30 * DAY_S, 0, NULL},
    [MODE_TESTING] = {MODE_TESTING, 30 * DAY_S, 1, old_mx},
    [MODE_ENFORCE] = {MODE_ENFORCE, 30 * DAY_S, 1, old_mx},
};

#define FAILURE(id_, retry_, count_) \
	{ \
		.type = STS_POLICY_FETCH_ERROR, .at = NOW - 300, .retry = (retry_), \
		.count = (count_), .id = (id_), .reason = "refused" \
	}

enum kind {
	NOTHING,
	HELD,           /* for a minute */
	HELD_LONG,      /* the hold has just ended */
	HELD_HOURS_AGO, /* the daemon was down since */
	HELD_DAYS_AGO,
	NONE,              /* DNS said so half an hour ago */
	NONE_DOUBTED,      /* said so yesterday */
	NONE_STALE,        /* eight days ago */
	NONE_FAILED,       /* id "a" could not be had; backing off */
	NONE_FAILED_RETRY, /* the same; its retry is due */
	NONE_FAILED_OVER,
	NONE_HOLD_ENDED,
	NONE_HOLD_ENDED_OVER,
	NONE_HOLD_ENDED_HOURS_AGO,
	NONE_HOLD_ENDED_DAYS_AGO,
	NONE_AHEAD,        /* the clock was a year ahead; so in the next */
	NONE_FAILED_AHEAD, /* id "a" could not be had */
	POLICY,            /* fresh, id "a" */
	POLICY_RECHECK,
	POLICY_REFETCH,
	POLICY_BACKS_OFF,     /* id "a" again was not to be had; refetch is due */
	POLICY_BACKS_OFF_NEW, /* the new id "b" was not to be had */
	POLICY_RETRY,         /* the back-off of "b" is over */
	POLICY_AHEAD,         /* looked at by that clock, id "a" was not to be had */
	POLICY_IMPORTED,      /* from a map */
	POLICY_EXPIRED,
	POLICY_EXPIRED_BACKS_OFF, /* id "a" was not to be had just before */
	KINDS
};

static const char *const kind_names[KINDS] = {"nothing", "held", "held long", "held hours ago",
    "held days ago", "none", "none doubted", "none stale", "none failed", "none failed retry",
    "none failed over", "none hold ended", "none hold ended over", "none hold ended hours ago",
    "none hold ended days ago", "none ahead", "none failed ahead", "policy", "policy recheck",
    "policy refetch", "policy backs off", "policy backs off new", "policy retry", "policy ahead",
    "policy imported", "policy expired", "policy expired backs off"};

static const struct entry kinds[KINDS] = {
    [HELD] = {.wanted = NOW - 60, .expires = NOW - 60 + HOLD_S, .recheck = NOW},
    [HELD_LONG] = {.wanted = NOW - HOLD_S, .expires = NOW, .recheck = NOW},
    [HELD_HOURS_AGO] = {.wanted = NOW - 2 * HOUR_S,
	.expires = NOW - 2 * HOUR_S + HOLD_S,
	.recheck = NOW - DECIDE_HOLD_BREAK_S - 1},
    [HELD_DAYS_AGO] = {.wanted = NOW - 3 * DAY_S, .expires = NOW - 3 * DAY_S + HOLD_S},
    [NONE] = {.state = ENTRY_NONE,
	.confirmed = NOW - 1800,
	.expires = NOW + 1800,
	.recheck = NOW + 900},
    [NONE_DOUBTED] = {.state = ENTRY_NONE, .confirmed = NOW - DAY_S, .expires = NOW - 80000},
    [NONE_STALE] = {.state = ENTRY_NONE, .confirmed = NOW - 8 * DAY_S, .expires = NOW - 690000},
    [NONE_FAILED] = {.state = ENTRY_NONE,
	.expires = NOW + 180,
	.recheck = NOW + 60,
	.failure = FAILURE("a", NOW + 60, 2)},
    [NONE_FAILED_RETRY] = {.state = ENTRY_NONE,
	.expires = NOW + 120,
	.recheck = NOW,
	.failure = FAILURE("a", NOW, 2)},
    [NONE_FAILED_OVER] = {.state = ENTRY_NONE,
	.expires = NOW - 100,
	.recheck = NOW - 220,
	.failure = FAILURE("a", NOW - 220, 2)},
    [NONE_HOLD_ENDED] = {.state = ENTRY_NONE,
	.wanted = NOW - 2100,
	.expires = NOW + 300,
	.recheck = NOW + 180},
    [NONE_HOLD_ENDED_OVER] = {.state = ENTRY_NONE,
	.wanted = NOW - 3000,
	.expires = NOW - 480,
	.recheck = NOW - DECIDE_HOLD_BREAK_S},
    [NONE_HOLD_ENDED_HOURS_AGO] = {.state = ENTRY_NONE,
	.wanted = NOW - 2 * HOUR_S,
	.expires = NOW - HOUR_S,
	.recheck = NOW - HOUR_S - 120},
    [NONE_HOLD_ENDED_DAYS_AGO] = {.state = ENTRY_NONE,
	.wanted = NOW - 3 * DAY_S,
	.expires = NOW - 2 * DAY_S,
	.recheck = NOW - 2 * DAY_S},
    [NONE_AHEAD] = {.state = ENTRY_NONE,
	.confirmed = NOW + YEAR_S,
	.expires = NOW + YEAR_S + HOUR_S,
	.recheck = NOW + YEAR_S + 1800},
    [NONE_FAILED_AHEAD] = {.state = ENTRY_NONE,
	.expires = NOW + YEAR_S + 420,
	.recheck = NOW + YEAR_S + 300,
	.failure = FAILURE("a", NOW + YEAR_S + 300, 1)},
#define LIVE \
	.state = ENTRY_POLICY, .id = "a", .fetched = NOW - DAY_S, .expires = NOW + 29 * DAY_S, \
	.confirmed = NOW - HOUR_S
    [POLICY] = {LIVE, .recheck = NOW + 300, .refetch = NOW + 300},
    [POLICY_RECHECK] = {LIVE, .recheck = NOW, .refetch = NOW + 300},
    [POLICY_REFETCH] = {LIVE, .recheck = NOW, .refetch = NOW},
    [POLICY_BACKS_OFF] = {LIVE, .recheck = NOW, .refetch = NOW - 600,
	.failure = FAILURE("a", NOW + 60, 1)},
    [POLICY_BACKS_OFF_NEW] = {LIVE, .recheck = NOW, .refetch = NOW + 300,
	.failure = FAILURE("b", NOW + 60, 9)},
    [POLICY_RETRY] = {LIVE, .recheck = NOW, .refetch = NOW + 300, .failure = FAILURE("b", NOW, 1)},
    [POLICY_AHEAD] = {LIVE, .recheck = NOW + YEAR_S, .refetch = NOW + YEAR_S,
	.failure = FAILURE("a", NOW + YEAR_S, 1)},
    [POLICY_IMPORTED] = {.state = ENTRY_POLICY, .expires = NOW + 29 * DAY_S},
    [POLICY_EXPIRED] = {.state = ENTRY_POLICY,
	.id = "a",
	.fetched = NOW - 30 * DAY_S,
	.expires = NOW,
	.confirmed = NOW - HOUR_S},
    [POLICY_EXPIRED_BACKS_OFF] = {.state = ENTRY_POLICY,
	.id = "a",
	.fetched = NOW - 30 * DAY_S,
	.expires = NOW,
	.failure = FAILURE("a", NOW + 60, 1)},
};

/* A cached entry of a kind; NULL for NOTHING. The caller does not clear it. */
static const struct entry *
cached_of(enum kind kind, enum mode mode, time_t used)
{
	static struct entry e;

	e = kinds[kind];
	e.used = used;
	if (e.state == ENTRY_POLICY)
		e.policy = &cached_policies[mode];
	return kind == NOTHING ? NULL : &e;
}

static bool
is_live(const struct entry *e)
{
	return e != NULL && e->state == ENTRY_POLICY && e->expires > NOW;
}

/* ---- what is seen ---- */

enum seen { SAME_ID, NEW_ID, ABSENT, INVALID, TEMPFAIL, SEEN };

static const char *const seen_names[SEEN] = {"same id", "new id", "absent", "invalid", "tempfail"};

static struct policy fetched_policies[] = {
    [MODE_NONE] = {MODE_NONE, 7 * DAY_S, 0, NULL},
    [MODE_TESTING] = {MODE_TESTING, 7 * DAY_S, 2, new_mx},
    [MODE_ENFORCE] = {MODE_ENFORCE, 7 * DAY_S, 2, new_mx},
};

static struct evidence
evidence_of(enum seen seen, uint32_t ttl_s, enum fetch_result fetch, enum mode mode)
{
	struct evidence ev = {.txt = seen == ABSENT     ? TXT_ABSENT
				     : seen == INVALID  ? TXT_INVALID
				     : seen == TEMPFAIL ? TXT_TEMPFAIL
							: TXT_RECORD,
	    .ttl_s = ttl_s,
	    .fetch = fetch,
	    .txt_reason = "why"};

	if (ev.txt == TXT_RECORD)
		snprintf(ev.id, sizeof(ev.id), "%s", seen == SAME_ID ? "a" : "b");
	if (fetch == FETCH_POLICY)
		ev.policy = &fetched_policies[mode];
	if (fetch == FETCH_FAILED) {
		ev.type = STS_WEBPKI_INVALID;
		snprintf(ev.reason, sizeof(ev.reason), "certificate has expired");
	}
	return ev;
}

static const struct decide_limits limits = {.hold_max_s = HOLD_S, .spread = 12345};

/* ---- the table, row by row ---- */

enum outcome {
	O_FETCH,
	O_KEPT,        /* the policy as it was */
	O_NEW,         /* the fetched policy */
	O_NONE,        /* confirmed by DNS */
	O_NONE_KEPT,   /* as DNS confirmed it earlier */
	O_NONE_FAILED, /* stands for a failed fetch */
	O_NONE_ENDED,  /* stands for an ended hold */
	O_HELD
};

static const char *const outcome_names[] = {
    "fetch", "kept", "new", "none", "none kept", "none failed", "none ended", "held"};

static enum outcome
outcome_of(enum decision d, const struct entry *next)
{
	if (d == DECIDE_FETCH)
		return O_FETCH;
	if (next->state == ENTRY_POLICY)
		return next->fetched == NOW ? O_NEW : O_KEPT;
	if (next->state == ENTRY_UNDECIDED)
		return O_HELD;
	if (next->confirmed != 0)
		return next->confirmed == NOW ? O_NONE : O_NONE_KEPT;
	if (next->wanted != 0)
		return O_NONE_ENDED;
	assert_int_not_equal(next->failure.type, STS_OK);
	return O_NONE_FAILED;
}

static void
each_row_of_the_table_has_its_outcome(void **state UNUSED)
{
	/* by TXT: same id, new id, absent, invalid, tempfail; the body has not been fetched */
	static const enum outcome t[KINDS][SEEN] = {
	    [NOTHING] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [HELD] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [HELD_LONG] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_NONE_ENDED},
	    [HELD_HOURS_AGO] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [HELD_DAYS_AGO] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [NONE] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_NONE_KEPT},
	    [NONE_DOUBTED] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_NONE_KEPT},
	    [NONE_STALE] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [NONE_FAILED] = {O_NONE_FAILED, O_FETCH, O_NONE, O_NONE, O_NONE_FAILED},
	    [NONE_FAILED_RETRY] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_NONE_FAILED},
	    [NONE_FAILED_OVER] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [NONE_HOLD_ENDED] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_NONE_ENDED},
	    [NONE_HOLD_ENDED_OVER] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_NONE_ENDED},
	    [NONE_HOLD_ENDED_HOURS_AGO] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [NONE_HOLD_ENDED_DAYS_AGO] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [NONE_AHEAD] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [NONE_FAILED_AHEAD] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [POLICY] = {O_KEPT, O_FETCH, O_KEPT, O_KEPT, O_KEPT},
	    [POLICY_RECHECK] = {O_KEPT, O_FETCH, O_KEPT, O_KEPT, O_KEPT},
	    [POLICY_REFETCH] = {O_FETCH, O_FETCH, O_FETCH, O_FETCH, O_FETCH},
	    [POLICY_BACKS_OFF] = {O_KEPT, O_FETCH, O_KEPT, O_KEPT, O_KEPT},
	    [POLICY_BACKS_OFF_NEW] = {O_KEPT, O_KEPT, O_KEPT, O_KEPT, O_KEPT},
	    [POLICY_RETRY] = {O_KEPT, O_FETCH, O_KEPT, O_KEPT, O_KEPT},
	    [POLICY_AHEAD] = {O_FETCH, O_FETCH, O_FETCH, O_FETCH, O_FETCH},
	    [POLICY_IMPORTED] = {O_FETCH, O_FETCH, O_FETCH, O_FETCH, O_FETCH},
	    [POLICY_EXPIRED] = {O_FETCH, O_FETCH, O_NONE, O_NONE, O_HELD},
	    [POLICY_EXPIRED_BACKS_OFF] = {O_NONE_FAILED, O_FETCH, O_NONE, O_NONE, O_HELD},
	};

	for (enum kind k = 0; k < KINDS; k++)
		for (enum seen s = 0; s < SEEN; s++) {
			const struct entry *cached = cached_of(k, MODE_ENFORCE, NOW);
			struct evidence ev = evidence_of(s, 600, FETCH_NOT_TRIED, MODE_NONE);
			struct entry next;
			const char *why;
			enum decision d = decide(cached, &ev, NOW, &limits, &next, &why);
			enum outcome got = outcome_of(d, &next);

			if (got != t[k][s])
				fail_msg("%s, %s: %s (%s), not %s", kind_names[k], seen_names[s],
				    outcome_names[got], why, outcome_names[t[k][s]]);
			entry_clear(&next);
		}
}

static void
a_fetched_body_counts_when_announced_or_when_it_renews_a_live_policy(void **state UNUSED)
{
	for (enum kind k = 0; k < KINDS; k++)
		for (enum seen s = 0; s < SEEN; s++)
			for (enum mode m = MODE_NONE; m <= MODE_ENFORCE; m++) {
				const struct entry *cached = cached_of(k, MODE_ENFORCE, NOW);
				struct evidence ev = evidence_of(s, 600, FETCH_POLICY, m);
				bool counts = s <= NEW_ID || is_live(cached);
				struct entry next;
				const char *why;

				assert_int_equal(
				    decide(cached, &ev, NOW, &limits, &next, &why), DECIDE_SAVE);
				if ((outcome_of(DECIDE_SAVE, &next) == O_NEW) != counts)
					fail_msg("%s, %s: %s", kind_names[k], seen_names[s], why);
				if (counts) {
					assert_int_equal(next.policy->mode, m);
					assert_int_equal(next.policy->n_mx, ev.policy->n_mx);
					assert_int_equal(next.expires, NOW + 7 * DAY_S);
					assert_string_equal(
					    next.id, s <= NEW_ID ? ev.id : cached->id);
					assert_int_equal(next.failure.type, STS_OK);
					assert_int_equal(next.failure.retry, 0);
					assert_int_equal(
					    next.confirmed, s <= NEW_ID ? NOW : cached->confirmed);
					assert_int_equal(next.recheck, NOW + 600);
					assert_int_equal(next.wanted, 0);
				}
				entry_clear(&next);
			}
}

static void
a_failed_fetch_keeps_a_live_policy_and_else_means_none(void **state UNUSED)
{
	for (enum kind k = 0; k < KINDS; k++)
		for (enum seen s = 0; s < SEEN; s++) {
			const struct entry *cached = cached_of(k, MODE_ENFORCE, NOW);
			struct evidence ev = evidence_of(s, 600, FETCH_FAILED, MODE_NONE);
			struct entry next;
			const char *why;
			enum outcome got =
			    outcome_of(decide(cached, &ev, NOW, &limits, &next, &why), &next);

			if (is_live(cached) ? got != O_KEPT : s <= NEW_ID && got != O_NONE_FAILED)
				fail_msg("%s, %s: %s (%s)", kind_names[k], seen_names[s],
				    outcome_names[got], why);
			if (is_live(cached) || s <= NEW_ID) {
				assert_int_equal(next.failure.type, STS_WEBPKI_INVALID);
				assert_string_equal(next.failure.reason, "certificate has expired");
				/* without a record, the back-off that was there goes on */
				assert_string_equal(next.failure.id,
				    s <= NEW_ID                      ? ev.id
				    : cached->failure.type != STS_OK ? cached->failure.id
								     : cached->id);
			}
			entry_clear(&next);
		}
}

static void
failures_back_off_per_id(void **state UNUSED)
{
	static const time_t want_s[] = {300, 600, 1200, 2400, 3600, 3600, 3600};
	struct evidence ev = evidence_of(SAME_ID, 600, FETCH_FAILED, MODE_NONE);
	struct entry e = {0}, next;
	const char *why;
	time_t now = NOW;

	for (uint32_t i = 0; i < sizeof(want_s) / sizeof(want_s[0]); i++) {
		assert_int_equal(decide(&e, &ev, now, &limits, &next, &why), DECIDE_SAVE);
		assert_int_equal(next.failure.count, i + 1);
		assert_int_equal(next.failure.retry, now + want_s[i]);
		assert_int_equal(next.expires, next.failure.retry + DECIDE_RETRY_MARGIN_S);
		assert_int_equal(entry_due(&next, now), next.failure.retry);
		entry_clear(&e);
		e = next;
		now = e.failure.retry;
	}
	ev = evidence_of(NEW_ID, 600, FETCH_FAILED, MODE_NONE);
	assert_int_equal(decide(&e, &ev, now, &limits, &next, &why), DECIDE_SAVE);
	assert_int_equal(next.failure.count, 1);
	assert_int_equal(next.failure.retry, now + 300);
	e.failure.count = UINT32_MAX;
	ev = evidence_of(SAME_ID, 600, FETCH_FAILED, MODE_NONE);
	entry_clear(&next);
	assert_int_equal(decide(&e, &ev, now, &limits, &next, &why), DECIDE_SAVE);
	assert_int_equal(next.failure.count, UINT32_MAX);
	assert_int_equal(next.failure.retry, now + 3600);
	entry_clear(&next);
	entry_clear(&e);
}

static void
ttls_are_bounded(void **state UNUSED)
{
	static const struct {
		uint32_t ttl_s;
		time_t none_s, recheck_s;
	} t[] = {{0, 300, 60}, {61, 300, 61}, {301, 301, 301}, {3600, 3600, 3600},
	    {3601, 3600, 3600}, {UINT32_MAX, 3600, 3600}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct evidence ev = evidence_of(ABSENT, t[i].ttl_s, FETCH_NOT_TRIED, MODE_NONE);
		struct entry next;
		const char *why;

		assert_int_equal(decide(NULL, &ev, NOW, &limits, &next, &why), DECIDE_SAVE);
		assert_int_equal(next.expires, NOW + t[i].none_s);
		assert_int_equal(next.recheck, NOW + t[i].none_s / 4 * 3);
		ev = evidence_of(SAME_ID, t[i].ttl_s, FETCH_NOT_TRIED, MODE_NONE);
		assert_int_equal(decide(cached_of(POLICY_RECHECK, MODE_TESTING, NOW), &ev, NOW,
				     &limits, &next, &why),
		    DECIDE_SAVE);
		assert_int_equal(next.recheck, NOW + t[i].recheck_s);
		assert_int_equal(next.confirmed, NOW);
		entry_clear(&next);
	}
}

static void
lifetimes_are_bounded_and_refetches_spread_before_the_end(void **state UNUSED)
{
	static const struct {
		uint32_t max_age_s, spread;
		time_t life_s, refetch_s;
	} t[] = {
	    {0, 0, 300, 150},
	    {299, 7, 300, 150},
	    {301, 7, 301, 150},
	    {3600, 7, 3600, 1800},
	    {86400, 7, 86400, 43200},
	    {604800, 0, 604800, 64800},
	    {604800, 21599, 604800, 86399},
	    {604800, 21600, 604800, 64800},
	    {604800, UINT32_MAX, 604800, 64800 + UINT32_MAX % 21600},
	    {31557600, 100, 31557600, 64900},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct policy p = {MODE_ENFORCE, t[i].max_age_s, 2, new_mx};
		struct evidence ev = evidence_of(SAME_ID, 600, FETCH_POLICY, MODE_NONE);
		struct decide_limits l = {HOLD_S, t[i].spread};
		struct entry next;
		const char *why;

		ev.policy = &p;
		assert_int_equal(decide(NULL, &ev, NOW, &l, &next, &why), DECIDE_SAVE);
		if (next.expires != NOW + t[i].life_s || next.refetch != NOW + t[i].refetch_s)
			fail_msg("row %zu: rules %ld s, refetch after %ld s", i,
			    (long)(next.expires - NOW), (long)(next.refetch - NOW));
		assert_int_equal(next.policy->max_age_s, t[i].max_age_s);
		entry_clear(&next);
	}
}

static void
a_look_before_the_recheck_is_due_writes_nothing(void **state UNUSED)
{
	struct evidence ev = evidence_of(SAME_ID, 600, FETCH_NOT_TRIED, MODE_NONE);
	struct entry next;
	const char *why;

	assert_int_equal(
	    decide(cached_of(POLICY, MODE_ENFORCE, NOW), &ev, NOW, &limits, &next, &why),
	    DECIDE_KEEP);
	assert_int_equal(next.expires, kinds[POLICY].expires);
	entry_clear(&next);
	assert_int_equal(
	    decide(cached_of(POLICY_RECHECK, MODE_ENFORCE, NOW), &ev, NOW, &limits, &next, &why),
	    DECIDE_SAVE);
	entry_clear(&next);
}

/* ---- the sweep: what holds whatever comes together ---- */

struct combination {
	enum kind kind;
	enum mode cached_mode;
	enum seen seen;
	uint32_t ttl_s;
	enum fetch_result fetch;
	enum mode fetched_mode;
	time_t used;
	struct decide_limits limits;
};

static void
complain(const struct combination *c, const char *what, const char *why)
{
	fail_msg("%s (mode %s), %s, ttl %u, fetch %d (mode %s), used %ld s ago, hold %ld: %s (%s)",
	    kind_names[c->kind], mode_name(c->cached_mode), seen_names[c->seen], (unsigned)c->ttl_s,
	    c->fetch, mode_name(c->fetched_mode), (long)(NOW - c->used), (long)c->limits.hold_max_s,
	    what, why);
}

#define INVARIANT(holds) \
	do { \
		if (!(holds)) \
			complain(c, "not: " #holds, why); \
	} while (0)

static void
check_live(const struct combination *c, const struct entry *cached, const struct entry *next,
    const char *why)
{
	struct requirement before = entry_requirement(cached, NOW),
			   after = entry_requirement(next, NOW);

	INVARIANT(next->state == ENTRY_POLICY);
	if (c->fetch == FETCH_POLICY)
		return;
	INVARIANT(next->expires == cached->expires);
	INVARIANT(next->fetched == cached->fetched);
	INVARIANT(next->confirmed ==
		  (c->seen == SAME_ID && strcmp(cached->id, "a") == 0 ? NOW : cached->confirmed));
	INVARIANT(next->policy->mode == cached->policy->mode);
	INVARIANT(strcmp(next->id, cached->id) == 0);
	INVARIANT(entry_verdict(next, NOW) == entry_verdict(cached, NOW));
	if (cached->policy->mode == MODE_ENFORCE)
		INVARIANT(requirement_equal(&before, &after));
}

static void
check_not_live(const struct combination *c, const struct entry *cached, const struct entry *next,
    const char *why)
{
	bool was_none = cached != NULL && cached->state == ENTRY_NONE;

	if (next->state == ENTRY_POLICY)
		INVARIANT(c->fetch == FETCH_POLICY && c->seen <= NEW_ID);
	if (next->state == ENTRY_UNDECIDED) {
		INVARIANT(c->seen == TEMPFAIL);
		INVARIANT(next->wanted > 0 && next->wanted <= NOW);
		INVARIANT(next->expires == next->wanted + c->limits.hold_max_s);
		if (c->kind == HELD)
			INVARIANT(next->wanted == cached->wanted);
		INVARIANT(c->kind != NONE && c->kind != NONE_DOUBTED);
	} else if (c->seen == TEMPFAIL) { /* trouble confirms nothing and makes no none by itself */
		INVARIANT(next->state == ENTRY_NONE);
		INVARIANT(
		    next->confirmed == 0 || (was_none && next->confirmed == cached->confirmed));
		INVARIANT(was_none || NOW >= next->wanted + c->limits.hold_max_s);
	}
	if (next->state != ENTRY_POLICY)
		INVARIANT(next->policy == NULL && next->id[0] == '\0');
	if (next->state == ENTRY_NONE && c->seen <= NEW_ID)
		INVARIANT(next->failure.type != STS_OK && next->failure.retry > NOW);
	if (c->seen == ABSENT || c->seen == INVALID)
		INVARIANT(next->failure.type == STS_OK);
}

static void
check_next(const struct combination *c, const struct entry *cached, const struct entry *next,
    const char *why)
{
	INVARIANT(next->used == (cached == NULL ? 0 : cached->used));
	INVARIANT(next->expires > NOW);
	INVARIANT(next->expires <= NOW + POLICY_MAX_AGE_MAX);
	INVARIANT(entry_due(next, NOW) >= NOW + 15 || entry_due(next, NOW) == next->expires);
	INVARIANT(entry_due(next, NOW) > NOW);
	INVARIANT(!entry_forgettable(next, NOW));
	INVARIANT(!entry_ahead(next, NOW) && next->recheck <= NOW + ENTRY_AHEAD_MAX_S);
	if (next->state == ENTRY_POLICY && c->fetch == FETCH_POLICY) {
		INVARIANT(next->refetch >= NOW + 60 && next->refetch < next->expires);
		INVARIANT(next->policy->mode == c->fetched_mode);
	}
	if (c->fetch == FETCH_FAILED && (c->seen <= NEW_ID || is_live(cached))) {
		INVARIANT(next->failure.type != STS_OK && next->failure.at == NOW);
		INVARIANT(next->failure.retry >= NOW + DECIDE_RETRY_MIN_S);
		INVARIANT(next->failure.retry <= NOW + DECIDE_RETRY_MAX_S);
		INVARIANT(next->failure.count >= 1);
	}
}

static void
check_combination(const struct combination *c)
{
	const struct entry *cached = cached_of(c->kind, c->cached_mode, c->used);
	struct evidence ev = evidence_of(c->seen, c->ttl_s, c->fetch, c->fetched_mode);
	struct entry next;
	const char *why = NULL;
	enum decision d = decide(cached, &ev, NOW, &c->limits, &next, &why);

	INVARIANT(why != NULL && why[0] != '\0');
	if (d == DECIDE_FETCH) {
		INVARIANT(c->fetch == FETCH_NOT_TRIED);
		INVARIANT(c->seen <= NEW_ID || is_live(cached));
		INVARIANT(cached == NULL || cached->failure.retry <= NOW ||
			  cached->failure.retry >= NOW + YEAR_S ||
			  (c->seen <= NEW_ID && strcmp(cached->failure.id, ev.id) != 0));
		return;
	}
	INVARIANT(d == DECIDE_SAVE || is_live(cached));
	INVARIANT(strcmp(row_name(next.look.row), why) == 0 && next.look.at == NOW);
	INVARIANT(next.look.txt == ev.txt && next.look.fetch == ev.fetch && next.first != 0);
	INVARIANT((next.look.id[0] != '\0') == (ev.txt == TXT_RECORD));
	check_next(c, cached, &next, why);
	if (is_live(cached))
		check_live(c, cached, &next, why);
	else
		check_not_live(c, cached, &next, why);
	entry_clear(&next);
}

static void
check_limits(struct combination c)
{
	static const time_t used[] = {0, NOW, NOW - 200 * DAY_S}, holds[] = {0, 60, HOLD_S, DAY_S};
	static const uint32_t spreads[] = {0, 12345, UINT32_MAX}, ttls[] = {0, 600, UINT32_MAX};

	for (size_t i = 0; i < 3 * 4 * 3 * 3; i++) {
		c.used = used[i % 3];
		c.limits.hold_max_s = holds[i / 3 % 4];
		c.limits.spread = spreads[i / 12 % 3];
		c.ttl_s = ttls[i / 36];
		check_combination(&c);
	}
}

static void
whatever_comes_together_the_invariants_hold(void **state UNUSED)
{
	struct combination c = {0};

	for (c.kind = 0; c.kind < KINDS; c.kind++)
		for (c.seen = 0; c.seen < SEEN; c.seen++)
			for (c.fetch = FETCH_NOT_TRIED; c.fetch <= FETCH_FAILED; c.fetch++)
				for (unsigned i = 0; i < 9; i++) {
					c.cached_mode = i % 3;
					c.fetched_mode = i / 3;
					check_limits(c);
				}
}

/* ---- stories over time ---- */

/* A world in which decide() lives: it acts when something is due or wanted. */
struct world {
	struct entry e;
	bool known;
	time_t now;
	size_t lookups, fetches;
};

static void
world_look(struct world *w, enum seen seen, enum fetch_result answer, enum mode mode)
{
	struct evidence ev = evidence_of(seen, 600, FETCH_NOT_TRIED, MODE_NONE);
	struct entry next;
	const char *why;
	enum decision d = decide(w->known ? &w->e : NULL, &ev, w->now, &limits, &next, &why);

	w->lookups++;
	if (d == DECIDE_FETCH) {
		ev = evidence_of(seen, 600, answer, mode);
		w->fetches++;
		d = decide(w->known ? &w->e : NULL, &ev, w->now, &limits, &next, &why);
		assert_int_not_equal(d, DECIDE_FETCH);
	}
	entry_clear(&w->e);
	w->e = next;
	w->e.used = w->now;
	w->known = true;
}

static void
trouble_that_does_not_end_holds_mail_once(void **state UNUSED)
{
	struct world w = {.now = NOW};
	time_t held_s = 0, was;

	while (w.now < NOW + 2 * DAY_S) {
		world_look(&w, TEMPFAIL, FETCH_NOT_TRIED, MODE_NONE);
		was = w.now;
		w.now = entry_due(&w.e, was);
		if (entry_verdict(&w.e, was) == VERDICT_UNDECIDED)
			held_s += w.now - was;
		else
			assert_int_equal(entry_verdict(&w.e, w.now), VERDICT_NONE);
	}
	assert_int_equal(held_s, HOLD_S);
	assert_in_range(w.lookups, 20, 500);
	entry_clear(&w.e);
}

static void
trouble_is_looked_at_again_later_and_later(void **state UNUSED)
{
	static const struct {
		time_t held_s, after_s;
	} t[] = {{0, 15}, {120, 15}, {240, 30}, {800, 100}, {960, 120}, {1799, 120}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct entry cached = {.wanted = NOW - t[i].held_s, .recheck = NOW}, next;
		struct evidence ev = evidence_of(TEMPFAIL, 0, FETCH_NOT_TRIED, MODE_NONE);
		const char *why;

		assert_int_equal(decide(&cached, &ev, NOW, &limits, &next, &why), DECIDE_SAVE);
		assert_int_equal(next.state, ENTRY_UNDECIDED);
		assert_int_equal(next.recheck, NOW + t[i].after_s);
	}
}

static void
an_enforce_policy_survives_all_trouble_until_its_expiry(void **state UNUSED)
{
	struct world w = {.now = NOW};
	time_t expires;

	world_look(&w, SAME_ID, FETCH_POLICY, MODE_ENFORCE);
	expires = w.e.expires;
	for (unsigned i = 0; w.now < expires; i++) {
		assert_int_equal(entry_verdict(&w.e, w.now), VERDICT_ENFORCE);
		assert_int_equal(entry_requirement(&w.e, w.now).until, expires);
		world_look(&w, (enum seen)(1 + i % 4), FETCH_FAILED, MODE_NONE);
		w.now = entry_due(&w.e, w.now);
	}
	assert_int_equal(w.now, expires);
	assert_in_range(w.fetches, 6 * 20, 6 * 24 + 10); /* hourly at most, once backed off */
	entry_clear(&w.e);
}

static void
a_policy_whose_record_was_stripped_goes_on_while_its_body_is_served(void **state UNUSED)
{
	struct world w = {.now = NOW};

	world_look(&w, SAME_ID, FETCH_POLICY, MODE_ENFORCE);
	for (unsigned day = 0; day < 30; day++) { /* max_age is 7 days */
		w.now = entry_due(&w.e, w.now);
		world_look(&w, day % 2 == 0 ? ABSENT : TEMPFAIL, FETCH_POLICY, MODE_ENFORCE);
		assert_int_equal(entry_verdict(&w.e, w.now), VERDICT_ENFORCE);
	}
	assert_int_equal(w.fetches, 31);
	assert_in_range(w.now, NOW + 22 * DAY_S, NOW + 31 * DAY_S);
	entry_clear(&w.e);
}

static void
mail_never_waits_for_the_retry_of_a_policy_that_cannot_be_had(void **state UNUSED)
{
	struct world w = {.now = NOW};

	for (unsigned i = 0; i < 50; i++) {
		world_look(&w, SAME_ID, FETCH_FAILED, MODE_NONE);
		assert_int_equal(w.fetches, i + 1);
		w.now = entry_due(&w.e, w.now);
		assert_int_equal(entry_verdict(&w.e, w.now + 100), VERDICT_NONE);
		assert_int_equal(entry_requirement(&w.e, w.now + 100).kind, REQUIRE_NONE);
	}
	world_look(&w, SAME_ID, FETCH_POLICY, MODE_ENFORCE);
	assert_int_equal(entry_verdict(&w.e, w.now), VERDICT_ENFORCE);
	entry_clear(&w.e);
}

static void
a_domain_without_a_policy_stays_good_in_the_map_through_days_of_trouble(void **state UNUSED)
{
	struct world w = {.now = NOW};

	world_look(&w, ABSENT, FETCH_NOT_TRIED, MODE_NONE);
	w.now = entry_due(&w.e, w.now);
	assert_int_equal(w.now, NOW + DAY_S);
	for (; w.now < NOW + 7 * DAY_S; w.now = entry_due(&w.e, w.now)) {
		assert_int_equal(entry_requirement(&w.e, w.now).until, NOW + 7 * DAY_S);
		world_look(&w, TEMPFAIL, FETCH_NOT_TRIED, MODE_NONE);
		assert_int_equal(entry_verdict(&w.e, w.now), VERDICT_NONE);
	}
	assert_in_range(w.lookups, 6, 6 * 24 * 12 + 1); /* every five minutes at most */
	world_look(&w, TEMPFAIL, FETCH_NOT_TRIED, MODE_NONE);
	assert_int_equal(
	    entry_verdict(&w.e, w.now), VERDICT_UNDECIDED); /* a new doubt, a new hold */
	assert_int_equal(w.e.expires, w.now + HOLD_S);
	world_look(&w, NEW_ID, FETCH_POLICY, MODE_ENFORCE);
	assert_int_equal(entry_verdict(&w.e, w.now), VERDICT_ENFORCE);
	entry_clear(&w.e);
}

static void
a_clock_that_was_a_year_ahead_costs_no_policy(void **state UNUSED)
{
	struct world w = {.now = NOW + YEAR_S};

	world_look(&w, SAME_ID, FETCH_FAILED, MODE_NONE); /* "certificate has expired" */
	w.now = NOW;
	assert_int_equal(entry_verdict(&w.e, w.now), VERDICT_UNDECIDED);
	world_look(&w, SAME_ID, FETCH_POLICY, MODE_ENFORCE);
	assert_int_equal(entry_verdict(&w.e, w.now), VERDICT_ENFORCE);
	assert_in_range(entry_due(&w.e, w.now), NOW + HOUR_S, NOW + DAY_S);
	entry_clear(&w.e);
}

static void
a_testing_policy_of_a_clock_that_was_ahead_is_not_kept(void **state UNUSED)
{
	struct world w = {.now = NOW + YEAR_S};

	world_look(&w, SAME_ID, FETCH_POLICY, MODE_TESTING);
	w.now = NOW;
	world_look(&w, SAME_ID, FETCH_FAILED, MODE_NONE);
	assert_int_equal(w.e.state, ENTRY_NONE);
	assert_in_range(w.e.expires, NOW, NOW + HOUR_S);
	entry_clear(&w.e);
}

static void
a_live_policy_whose_recheck_is_a_year_away_is_written_again(void **state UNUSED)
{
	struct evidence ev = evidence_of(SAME_ID, 600, FETCH_NOT_TRIED, MODE_NONE);
	struct entry cached = *cached_of(POLICY, MODE_ENFORCE, NOW), next;
	const char *why;

	cached.recheck = NOW + YEAR_S;
	assert_int_equal(decide(&cached, &ev, NOW, &limits, &next, &why), DECIDE_SAVE);
	assert_int_equal(next.recheck, NOW + 600);
	entry_clear(&next);
}

static void
a_clock_that_was_set_back_does_not_prolong_a_hold(void **state UNUSED)
{
	struct entry cached = {.wanted = NOW + DAY_S, .expires = NOW + DAY_S + HOLD_S}, next;
	struct evidence ev = evidence_of(TEMPFAIL, 0, FETCH_NOT_TRIED, MODE_NONE);
	const char *why;

	assert_int_equal(decide(&cached, &ev, NOW, &limits, &next, &why), DECIDE_SAVE);
	assert_int_equal(next.expires, NOW + HOLD_S);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_row_of_the_table_has_its_outcome),
	    cmocka_unit_test(a_fetched_body_counts_when_announced_or_when_it_renews_a_live_policy),
	    cmocka_unit_test(a_failed_fetch_keeps_a_live_policy_and_else_means_none),
	    cmocka_unit_test(failures_back_off_per_id),
	    cmocka_unit_test(ttls_are_bounded),
	    cmocka_unit_test(lifetimes_are_bounded_and_refetches_spread_before_the_end),
	    cmocka_unit_test(a_look_before_the_recheck_is_due_writes_nothing),
	    cmocka_unit_test(whatever_comes_together_the_invariants_hold),
	    cmocka_unit_test(trouble_that_does_not_end_holds_mail_once),
	    cmocka_unit_test(trouble_is_looked_at_again_later_and_later),
	    cmocka_unit_test(an_enforce_policy_survives_all_trouble_until_its_expiry),
	    cmocka_unit_test(a_policy_whose_record_was_stripped_goes_on_while_its_body_is_served),
	    cmocka_unit_test(mail_never_waits_for_the_retry_of_a_policy_that_cannot_be_had),
	    cmocka_unit_test(
		a_domain_without_a_policy_stays_good_in_the_map_through_days_of_trouble),
	    cmocka_unit_test(a_clock_that_was_a_year_ahead_costs_no_policy),
	    cmocka_unit_test(a_testing_policy_of_a_clock_that_was_ahead_is_not_kept),
	    cmocka_unit_test(a_live_policy_whose_recheck_is_a_year_away_is_written_again),
	    cmocka_unit_test(a_clock_that_was_set_back_does_not_prolong_a_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
