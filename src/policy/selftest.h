/*
 * policy/selftest.h: the domains that `mtastsctl selftest` sends mail to. They are under .invalid,
 * which nobody can own (RFC 6761 section 6.4), so no mail but that of a selftest is for them.
 */
#ifndef POLICY_SELFTEST_H
#define POLICY_SELFTEST_H

#include <stdbool.h>

#include "policy/entry.h"

#define SELFTEST_ZONE "mtasts-selftest.invalid"

enum { SELFTEST_LIFE_S = 300 }; /* a policy that nobody takes back ends by itself */

/* The domains that have a policy while a selftest runs: enforce, of the one MX host "mx.DOMAIN". */
enum { SELFTEST_POLICIES = 6 };
extern const char *const selftest_policies[SELFTEST_POLICIES];

/* The zone or a domain in it: never discovered; without an entry it has no policy. */
bool selftest_reserved(const char *domain);

/* The entry of one of selftest_policies; free with entry_clear(). */
struct entry selftest_entry(const char *domain, time_t now);

#endif
