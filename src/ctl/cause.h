/*
 * ctl/cause.h: why a recipient waits in Sendmail's queue, from the reason that Sendmail noted and
 * from what we know of its domain: does it wait for us, or for something else? Pure.
 */
#ifndef CTL_CAUSE_H
#define CTL_CAUSE_H

#include <stdbool.h>

#include <jansson.h>

#include "policy/domain.h"

enum cause {
	CAUSE_UNTRIED,    /* no reason noted */
	CAUSE_UNKNOWN,    /* the policy was not known, or not pushed */
	CAUSE_CHECK,      /* a connection failed the check of the policy */
	CAUSE_MAP,        /* the policy map could not be used */
	CAUSE_OURS,       /* another text of our rules */
	CAUSE_QUARANTINE, /* held by mtasts-milter */
	CAUSE_ISOLATED,   /* quarantined by somebody else */
	CAUSE_SYSTEM,     /* a system error, whose true reason only the log has */
	CAUSE_OTHER       /* not ours */
};

/* The reason of an M line of a queue file. */
enum cause cause_of(const char *reason);

/* The reason of a q line: the message is in quarantine. */
enum cause cause_of_quarantine(const char *reason);

const char *cause_name(enum cause cause); /* "untried", ... */

/*
 * The policy domain that a reason of CAUSE_UNKNOWN or CAUSE_CHECK names: that of the next hop, which
 * need not be the recipient's. False: it names none.
 */
bool cause_domain(const char *reason, char out[DOMAIN_MAX + 1]);

/* Ours; false too when it cannot be told from the reason alone. */
bool cause_is_ours(enum cause cause);

struct cause_facts {
	const char *reason;   /* as Sendmail noted it */
	const json_t *entry;  /* of mtasts-control(5); NULL: the recipient has no policy domain */
	bool daemon;          /* it answered */
	const char *gives_up; /* when Sendmail sends the message back, RFC 3339 */
};

/* The plain answer, one or two sentences: why it waits and until when. New reference. */
json_t *cause_answer(enum cause cause, const struct cause_facts *facts);

/* What the administrator can do about it; NULL: nothing of ours. New reference. */
json_t *cause_advice(enum cause cause, const struct cause_facts *facts);

#endif
