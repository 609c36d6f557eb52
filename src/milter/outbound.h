/*
 * milter/outbound.h: which recipients leave this host by their own domain's MX, and so are measured
 * by that domain's policy. Read from what Sendmail's own routing rules decided for the recipient.
 */
#ifndef MILTER_OUTBOUND_H
#define MILTER_OUTBOUND_H

#include "policy/domain.h"

enum outbound_result {
	OUTBOUND_YES,
	OUTBOUND_NO,     /* local, smart host, mailertable, literal: no policy to ask for */
	OUTBOUND_UNKNOWN /* the MTA did not tell; its own check at delivery decides */
};

/* What the MTA tells of one recipient; NULL: not told. All borrowed, all bytes from outside. */
struct outbound_rcpt {
	const char *mailer;   /* {rcpt_mailer} */
	const char *host;     /* {rcpt_host}: the next hop */
	const char *addr;     /* {rcpt_addr}: the recipient as rewritten */
	const char *envelope; /* the argument of RCPT, used for the reason only */
};

/*
 * Tells whether a recipient's next hop is its own domain. That is so when an SMTP mailer was
 * chosen with the host "domain.": the final dot marks a name that the routing rules took from the
 * address, where a smart host or mailertable entry stands without one or in brackets; and the name
 * is the domain of {rcpt_addr}.
 *   domain  set on OUTBOUND_YES only: the policy domain, normalised
 *   why     set otherwise: one line for the log
 */
MUST_USE enum outbound_result outbound_domain(
    const struct outbound_rcpt *rcpt, char domain[DOMAIN_MAX + 1], struct errmsg *why);

#endif
