/* policy/domain.h: the part of a recipient address that a policy is about. RFC 8461 section 3. */
#ifndef POLICY_DOMAIN_H
#define POLICY_DOMAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "util/errmsg.h"

/*
 * "_mta-sts." and "mta-sts." before a policy domain must still be a name of at most 253 characters
 * (RFC 1035 section 2.3.4), so a longer domain cannot publish a policy.
 */
enum { DOMAIN_MAX = 253 - 9, HOST_MAX = 253 };

enum domain_result {
	DOMAIN_OK,
	DOMAIN_NO_POLICY, /* see below */
	DOMAIN_INVALID    /* not a domain name at all */
};

/*
 * DOMAIN_NO_POLICY is a fine destination that cannot have a policy: an address literal or bare
 * address, a single label, an over-long name, or a name that the DNS allows but that no host has
 * ("_" or an outer hyphen in a label: no certificate authority certifies a policy host there).
 */

/*
 * Puts a domain into the one form that the cache and the maps use: A-labels (IDNA 2008 and UTS 46,
 * through libidn2), lower case, no final dot. ASCII names do not depend on libidn2's tables.
 *   text, len  bytes from outside, not terminated; NUL, control bytes and blanks are INVALID
 *   out        set on DOMAIN_OK only
 *   em         set otherwise: why
 */
MUST_USE enum domain_result domain_normalize(
    const char *text, size_t len, char out[DOMAIN_MAX + 1], struct errmsg *em);

/*
 * The same for the name of an MX host, or of an MX pattern without its "*.": up to HOST_MAX, single
 * labels and numbers allowed.
 */
MUST_USE enum domain_result host_normalize(
    const char *text, size_t len, char out[HOST_MAX + 1], struct errmsg *em);

/* As DNS compares names: ASCII case and one final dot do not count. */
bool domain_equal(const char *a, const char *b);

#endif
