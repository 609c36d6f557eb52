#include "policy/selftest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const selftest_policies[SELFTEST_POLICIES] = {"good." SELFTEST_ZONE,
    "selfsigned." SELFTEST_ZONE, "wrongname." SELFTEST_ZONE, "notlisted." SELFTEST_ZONE,
    "notls." SELFTEST_ZONE, "alias." SELFTEST_ZONE};

bool
selftest_reserved(const char *domain)
{
	size_t len = strlen(domain), zone_len = strlen(SELFTEST_ZONE);

	return len >= zone_len && strcmp(domain + len - zone_len, SELFTEST_ZONE) == 0 &&
	       (len == zone_len || domain[len - zone_len - 1] == '.');
}

/* Last used long ago: the schedule forgets it at its end, and does not refresh it before. */
struct entry
selftest_entry(const char *domain, time_t now)
{
	char mx[HOST_MAX + 1];
	const char *patterns[] = {mx};
	struct entry e = {.state = ENTRY_POLICY,
	    .id = "selftest",
	    .fetched = now,
	    .confirmed = now,
	    .expires = now + SELFTEST_LIFE_S,
	    .recheck = now + SELFTEST_LIFE_S,
	    .refetch = now + SELFTEST_LIFE_S,
	    .used = 1};

	snprintf(mx, sizeof(mx), "mx.%s", domain);
	e.policy = policy_new(MODE_ENFORCE, SELFTEST_LIFE_S, 1, patterns);
	if (e.policy == NULL)
		abort();
	return e;
}
