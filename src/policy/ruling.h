/*
 * policy/ruling.h: what the site's rules make of what we know: of an entry for mail and for the maps, in
 * the place of entry_verdict() and entry_requirement(); and what the maps say of the rules themselves. No I/O.
 */
#ifndef POLICY_RULING_H
#define POLICY_RULING_H

#include "policy/entry.h"
#include "policy/rules.h"

/* Where a policy is required, a none that DNS has not confirmed is undecided. e NULL: never asked for. */
enum verdict ruling_verdict(enum rule rule, const struct entry *e, time_t now);

/* Where a policy is required, no policy is UNKNOWN to the maps: the MTA asks each time. Borrows from e. */
struct requirement ruling_requirement(enum rule rule, const struct entry *e, time_t now);

/* That of a pattern, and of "*" whenever there is any rule. UNKNOWN: not in the set. */
struct requirement ruling_pattern(const struct rules *rules, const char *pattern);

#endif
