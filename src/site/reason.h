/*
 * site/reason.h: the reason of our quarantine, which the MTA keeps with the message. It tells ours
 * from all others, and what the message waits for:
 *
 *   mtasts: policy of a.example, b.example not known yet
 */
#ifndef SITE_REASON_H
#define SITE_REASON_H

#include "policy/domain.h"
#include "util/cursor.h"

/* What each of ours begins with, and no other does. */
#define REASON_PREFIX "mtasts: policy of "

enum {
	REASON_DOMAINS_MAX = 20, /* named in one; the check at delivery knows the others */
	REASON_MAX = 320         /* bytes with the NUL: the longest domain fits */
};

/* Names the first of n normalised domains, n >= 1, and of the others those that fit. */
void reason_print(const char *const *domains, size_t n, char out[REASON_MAX]);

/*
 * Reads the domains of one of ours. 0: it is none, or was written by somebody else.
 *   text  bytes from outside
 */
size_t reason_parse(struct cursor text, char domains[REASON_DOMAINS_MAX][DOMAIN_MAX + 1]);

#endif
