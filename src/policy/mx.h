/* policy/mx.h: MX patterns of a policy against MX hosts of the DNS. RFC 8461 section 4.1. */
#ifndef POLICY_MX_H
#define POLICY_MX_H

#include <stdbool.h>
#include <stddef.h>

#include "policy/domain.h"
#include "util/errmsg.h"

enum { MX_PATTERN_MAX = HOST_MAX + 2 }; /* "*." and a name; without the NUL */

/*
 * True when host matches pattern: "*." stands for exactly one left-most label; ASCII case and one
 * final dot do not count.
 */
MUST_USE bool mx_match(const char *pattern, const char *host);

/*
 * Puts a pattern into lower case A-labels; false with a reason when it is none ("*", "a.*.b", "*.",
 * empty, ...).
 */
MUST_USE bool mx_pattern_normalize(
    const char *text, size_t len, char out[MX_PATTERN_MAX + 1], struct errmsg *em);

#endif
