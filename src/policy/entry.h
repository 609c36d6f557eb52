/*
 * policy/entry.h: all that we know of one policy domain, and what follows from it for a message.
 * The store keeps entries, decide() makes the next entry from evidence, the maps get what
 * entry_requirement() says.
 */
#ifndef POLICY_ENTRY_H
#define POLICY_ENTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "policy/domain.h"
#include "policy/policy.h"
#include "policy/row.h"
#include "policy/txt.h"
#include "util/when.h"

enum entry_state {
	ENTRY_UNDECIDED, /* wanted, and DNS did not say yet: mail is held */
	ENTRY_NONE,      /* no usable policy */
	ENTRY_POLICY     /* a policy, of whatever mode */
};

/* RFC 8460 section 4.3 names; STS_OK: no failure. */
enum sts_type { STS_OK, STS_POLICY_FETCH_ERROR, STS_POLICY_INVALID, STS_WEBPKI_INVALID };

enum { FAILURE_REASON_MAX = 256 }; /* bytes with the NUL */

/* The last failure to get the policy that the TXT record announces. */
struct failure {
	enum sts_type type;
	time_t at;
	time_t retry;            /* for this id, not before */
	uint32_t count;          /* failures in a row for this id */
	char id[TXT_ID_MAX + 1]; /* the announced id that could not be had */
	char reason[FAILURE_REASON_MAX];
};

enum fetch_result { FETCH_NOT_TRIED, FETCH_POLICY, FETCH_FAILED };

/* The look that made the entry what it is: what came, and what decide() made of it. */
struct look {
	enum row row;
	time_t at; /* 0: not noted; then nothing else is */
	enum txt_result txt;
	char id[TXT_ID_MAX + 1];         /* TXT_RECORD: the record's */
	char reason[FAILURE_REASON_MAX]; /* otherwise: why, for people */
	enum fetch_result fetch;
};

/* Times are seconds since the epoch; 0 is "never". Free with entry_clear(). */
struct entry {
	enum entry_state state;
	struct policy *policy;   /* owned; ENTRY_POLICY only, else NULL */
	char id[TXT_ID_MAX + 1]; /* of policy; empty when imported from a map */
	time_t fetched;          /* the body last came whole and valid */
	time_t expires;   /* POLICY: its end. NONE: not doubted before. UNDECIDED: end of hold */
	time_t confirmed; /* DNS last answered in accord with this state; 0: never did */
	time_t recheck;   /* TXT is looked at again from then on, when somebody asks */
	time_t refetch;   /* the body is fetched again from then on, whatever TXT says */
	time_t wanted;    /* the first want: of an UNDECIDED, or of the ended hold behind a NONE */
	time_t used;      /* the last want, kept to the hour so that it is seldom written */
	time_t first;     /* the first want of all, or the import from a map; 0: not noted */
	struct look look;
	struct failure failure;
};

enum verdict { VERDICT_UNDECIDED, VERDICT_NONE, VERDICT_TESTING, VERDICT_ENFORCE };

enum requirement_kind {
	REQUIRE_UNKNOWN,
	REQUIRE_NONE,
	REQUIRE_ENFORCE,
	/* of a pattern of the site's rules (policy/rules.h), not of a domain */
	REQUIRE_SITE_OPTIONAL,
	REQUIRE_SITE_HOLD,
	REQUIRE_SITE_REFUSE,
	REQUIRE_SITE_DISABLE
};

/* What a map tells the MTA about a domain, or a pattern. */
struct requirement {
	enum requirement_kind kind; /* REQUIRE_UNKNOWN: no entry in the map */
	time_t until;               /* the map entry counts until then */
	size_t n_mx;
	char *const *mx; /* borrowed from the entry; REQUIRE_ENFORCE only */
};

/* Seconds. */
enum {
	NONE_GOOD_S = 7 * WHEN_DAY_S, /* "none" in a map, after the last confirmation */
	NONE_CONFIRM_S = WHEN_DAY_S,  /* a none in use is confirmed daily, so that it stays good */
	ENTRY_REFETCH_S = WHEN_DAY_S, /* daily, RFC 8461 section 10.2 */
	ENTRY_AHEAD_MAX_S = 3720,     /* no recheck, retry or end of a none is set further ahead */
	ENTRY_UNUSED_S = 180 * WHEN_DAY_S /* not refreshed any more when nobody asked for so long */
};

/*
 * A time that lies further ahead than it can have been set was set before the clock was set back:
 * it counts as come, and what requires nothing and was seen by that clock counts as expired. Else a
 * host that starts with a wrong clock would be without policies for as long as it was ahead. The
 * expiry of an enforce policy stands: only a newer policy ends it sooner.
 */
bool entry_come(time_t at, time_t max_s, time_t now);
bool entry_ahead(const struct entry *e, time_t now);
bool entry_stale(const struct entry *e, time_t now); /* whoever asks makes us look at TXT again */

bool entry_live(const struct entry *e, time_t now);            /* a policy that has not expired */
enum verdict entry_verdict(const struct entry *e, time_t now); /* NULL or expired: UNDECIDED */

/*
 * ENFORCE until the policy expires. NONE for a domain whose DNS says that there is no policy, until
 * NONE_GOOD_S after its last confirmation; for a policy of mode none or testing, the same, but not
 * beyond its expiry; for a none that stands for a failed fetch or an ended hold, until it expires.
 * UNKNOWN otherwise: undecided, NULL, or its time is over. With a clock of 0 no time is over or
 * ahead: what a map may still hold of an entry.
 */
struct requirement entry_requirement(const struct entry *e, time_t now);
bool requirement_equal(const struct requirement *a, const struct requirement *b);

/*
 * When the schedule should look at the entry next, without being asked. In use, that is the refetch
 * of a policy (or its retry after a failure), the daily confirmation of a none, the retry of a
 * doubtful none or of an undecided; in any case its end. In use means wanted within ENTRY_UNUSED_S
 * (a policy; one of less than a day: within its life, at least 2 h), NONE_GOOD_S (a confirmed none)
 * or a day. An entry that is at its end and not in use can be forgotten.
 */
time_t entry_due(const struct entry *e, time_t now);
bool entry_forgettable(const struct entry *e, time_t now);

MUST_USE bool entry_copy(struct entry *to, const struct entry *from); /* false: out of memory */
void entry_clear(struct entry *e); /* frees what it owns; leaves it all zero */

const char *verdict_name(enum verdict v);   /* "undecided", "none", "testing", "enforce" */
const char *sts_type_name(enum sts_type t); /* "sts-policy-fetch-error", ...; STS_OK: "" */

#endif
