#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "policy/selftest.h"

static void
only_the_zone_and_what_is_below_it_is_reserved(void **state UNUSED)
{
	static const struct {
		const char *domain;
		bool want;
	} t[] = {{"mtasts-selftest.invalid", true}, {"a.mtasts-selftest.invalid", true},
	    {"b.a.mtasts-selftest.invalid", true}, {"amtasts-selftest.invalid", false},
	    {"invalid", false}, {"mtasts-selftest.invalid.example", false}, {"", false}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (selftest_reserved(t[i].domain) != t[i].want)
			fail_msg("%s", t[i].domain);
}

/* The schedule neither looks at it before its end nor keeps it after that. */
static void
a_policy_ends_by_itself(void **state UNUSED)
{
	time_t now = 1800000000;

	for (size_t i = 0; i < SELFTEST_POLICIES; i++) {
		struct entry e = selftest_entry(selftest_policies[i], now);

		assert_true(selftest_reserved(selftest_policies[i]));
		assert_int_equal(entry_verdict(&e, now), VERDICT_ENFORCE);
		assert_false(entry_stale(&e, now + SELFTEST_LIFE_S - 1));
		assert_int_equal(entry_due(&e, now), now + SELFTEST_LIFE_S);
		assert_true(entry_forgettable(&e, now + SELFTEST_LIFE_S));
		entry_clear(&e);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_the_zone_and_what_is_below_it_is_reserved),
	    cmocka_unit_test(a_policy_ends_by_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
