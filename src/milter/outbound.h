/*
 * milter/outbound.h: which recipients leave this host by SMTP, and whose policy measures them: that of
 * their own domain, or of the smart host or mailertable entry in its place (RFC 8461 section 3.4). Read
 * from what Sendmail's own routing rules decided for the recipient, as FEATURE(`mtasts') reads it.
 */
#ifndef MILTER_OUTBOUND_H
#define MILTER_OUTBOUND_H

#include "policy/domain.h"

enum outbound_result {
	OUTBOUND_YES,
	OUTBOUND_NO, /* local, literal, this host: no policy; or several hosts: checked at delivery only */
	OUTBOUND_UNKNOWN /* the MTA did not tell; its own check at delivery decides */
};

/* What the MTA tells of one recipient; NULL: not told. All borrowed, all bytes from outside. */
struct outbound_rcpt {
	const char *mailer; /* {rcpt_mailer} */
	const char *host;   /* {rcpt_host}: the next hop */
	const char *addr;   /* {rcpt_addr}: the recipient as rewritten */
};

/*
 * The next hop's domain, when it is one host and an SMTP mailer was chosen.
 *   domain  set on OUTBOUND_YES only: the policy domain, normalised
 *   why     set otherwise: one line for the log
 */
MUST_USE enum outbound_result outbound_domain(
    const struct outbound_rcpt *rcpt, char domain[DOMAIN_MAX + 1], struct errmsg *why);

#endif
