#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/errmsg.h"
#include "util/when.h"

static void
durations_are_a_number_and_one_unit(void **state UNUSED)
{
	static const struct {
		const char *text;
		time_t want;
	} t[] = {{"0", 0}, {"90", 90}, {"5s", 5}, {"30m", 1800}, {"2h", 7200}, {"7d", 604800},
	    {"2w", 1209600}, {"010", 10}, {"36500d", (time_t)36500 * 86400}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		time_t got = -1;

		if (!when_parse_duration(t[i].text, &got) || got != t[i].want)
			fail_msg("%s gave %ld", t[i].text, (long)got);
	}
}

static void
anything_else_is_no_duration_and_leaves_the_result_alone(void **state UNUSED)
{
	static const char *const t[] = {"", "s", "-1", "+1", " 1", "1 ", "1 s", "1S", "1ms", "1.5h",
	    "0x10", "5sm", "36501d", "5300w", "99999999999999999999", "9223372036854775807s"};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		time_t got = 42;

		if (when_parse_duration(t[i], &got) || got != 42)
			fail_msg("\"%s\" gave %ld", t[i], (long)got);
	}
}

static void
times_are_rfc3339_in_utc(void **state UNUSED)
{
	char out[WHEN_RFC3339_MAX];

	assert_string_equal(when_print(0, out), "1970-01-01T00:00:00Z");
	assert_string_equal(when_print(951782400, out), "2000-02-29T00:00:00Z");
	assert_string_equal(when_print((time_t)253402300799, out), "9999-12-31T23:59:59Z");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(durations_are_a_number_and_one_unit),
	    cmocka_unit_test(anything_else_is_no_duration_and_leaves_the_result_alone),
	    cmocka_unit_test(times_are_rfc3339_in_utc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
