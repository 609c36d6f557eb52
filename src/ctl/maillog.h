/*
 * ctl/maillog.h: whom Sendmail delivered to, from its log: the domains of
 *     ... sm-mta[7]: 4AB...: to=<a@x.example>,<b@y.example>, ..., mailer=esmtp, ..., relay=...
 * Pure: a line in, domains out.
 */
#ifndef CTL_MAILLOG_H
#define CTL_MAILLOG_H

#include "policy/domain.h"
#include "util/cursor.h"

enum { MAILLOG_LINE_MAX = 8192 }; /* bytes; Sendmail's are shorter */

/*
 * Takes a line apart that tells of a delivery by SMTP. On true *rcpts is its list, for
 * maillog_next().
 */
bool maillog_parse(struct cursor line, struct cursor *rcpts);

/* The next recipient's policy domain; false: no more. Recipients without one are passed over. */
bool maillog_next(struct cursor *rcpts, char out[DOMAIN_MAX + 1]);

#endif
