/*
 * policy/decide.h: the decision table of RFC 8461: what we knew, what we see, what we know next.
 * Pure: the clock is an argument.
 */
#ifndef POLICY_DECIDE_H
#define POLICY_DECIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "policy/entry.h"

/* Seconds. Those that a site may set are in struct decide_limits. */
enum {
	/* a policy rules for max(max_age, this) */
	DECIDE_POLICY_MIN_S = 300,

	/* bounds of the TTL of "no record", and of the TTL of a record */
	DECIDE_NEGATIVE_MIN_S = 300,
	DECIDE_NEGATIVE_MAX_S = 3600,
	DECIDE_RECHECK_MIN_S = 60,
	DECIDE_RECHECK_MAX_S = 3600,

	/* after a failed fetch (section 3.3: not before 5 minutes), doubled each time */
	DECIDE_RETRY_MIN_S = 300,
	DECIDE_RETRY_MAX_S = 3600,

	/* a none that stands for trouble outlives its next look by this: no mail waits for it */
	DECIDE_RETRY_MARGIN_S = 120,

	/* DNS trouble: looked at again after this, later and later */
	DECIDE_UNDECIDED_RETRY_S = 15,
	DECIDE_UNDECIDED_RETRY_MAX_S = 120,

	/* the none that follows an ended hold */
	DECIDE_HOLD_ENDED_S = 600,

	/* nobody looked for so long after a look was due (this program or its network was down):
	 * the trouble is a new one, and holds mail anew */
	DECIDE_HOLD_BREAK_S = 600
};

struct decide_limits {
	time_t hold_max_s; /* from the first want to the end of the hold; default 30 min */
	uint32_t spread;   /* a hash of the domain, to spread refetches over the day */
};

/* What discovery saw. Borrowed by decide(), which copies what it keeps. */
struct evidence {
	enum txt_result txt;
	char id[TXT_ID_MAX + 1];             /* TXT_RECORD */
	uint32_t ttl_s;                      /* of the record, or of the negative answer */
	char txt_reason[FAILURE_REASON_MAX]; /* for people, when txt is not TXT_RECORD */
	enum fetch_result fetch;
	const struct policy *policy; /* FETCH_POLICY */
	enum sts_type type;          /* FETCH_FAILED */
	char reason[FAILURE_REASON_MAX];
};

enum decision {
	DECIDE_KEEP,  /* nothing worth writing; cached goes on to count */
	DECIDE_FETCH, /* fetch the body, then ask again with FETCH_POLICY or FETCH_FAILED */
	DECIDE_SAVE   /* store next; push entry_requirement(next) where it differs */
};

/*
 * The table.
 *   cached  NULL: nothing known. An entry whose time is over counts as nothing, but for its failure
 *           (back-off per id), `used`, the confirmation of a none (kept through DNS trouble for
 *           NONE_GOOD_S) and the hold that it was (trouble that goes on is held once)
 *   next    set on SAVE, and on KEEP (all zero when out of memory); the caller clears it
 *   why     the row of the table that applied, for the log (static string); next keeps it by name
 * FETCH is asked for when nothing is live and TXT has a record, when a policy is live and TXT has a
 * new id, and when a live policy's refetch is due, whatever TXT says; never within a back-off.
 */
MUST_USE enum decision decide(const struct entry *cached, const struct evidence *ev, time_t now,
    const struct decide_limits *limits, struct entry *next, const char **why);

#endif
