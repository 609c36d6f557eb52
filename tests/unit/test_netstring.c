/* test_netstring.c: frames of the socketmap protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "util/netstring.h"

static void
whole_frames_are_taken_one_by_one(void **state UNUSED)
{
	const char bytes[] = "3:abc,0:,12:mtastsq a.bc,";
	struct cursor c = cursor_of(bytes, sizeof(bytes) - 1), body;

	assert_int_equal(netstring_take(&c, 100, &body), NETSTRING_OK);
	assert_int_equal(cursor_len(&body), 3);
	assert_memory_equal(body.p, "abc", 3);
	assert_int_equal(netstring_take(&c, 100, &body), NETSTRING_OK);
	assert_int_equal(cursor_len(&body), 0);
	assert_int_equal(netstring_take(&c, 100, &body), NETSTRING_OK);
	assert_memory_equal(body.p, "mtastsq a.bc", 12);
	assert_int_equal(cursor_len(&c), 0);
}

static void
a_frame_cut_anywhere_asks_for_more_and_moves_nothing(void **state UNUSED)
{
	const char bytes[] = "12:mtastsq a.bc,";

	for (size_t len = 0; len < sizeof(bytes) - 1; len++) {
		struct cursor c = cursor_of(bytes, len), body;

		if (netstring_take(&c, 100, &body) != NETSTRING_MORE)
			fail_msg("cut at %zu", len);
		assert_int_equal(cursor_len(&c), len);
	}
}

static void
what_is_no_netstring_is_bad(void **state UNUSED)
{
	static const char *const bad[] = {"abc", ":abc,", "3;abc,", "3:abcd", "3:abc;", "-1:a,",
	    " 3:abc,", "03:abc,", "00:,", "101:", "99999999999999999999999999:", "+1:a,",
	    "GET / HTTP/1.1\r\n"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cursor c = cursor_of(bad[i], strlen(bad[i])), body;

		if (netstring_take(&c, 100, &body) != NETSTRING_BAD)
			fail_msg("row %zu: %s", i, bad[i]);
	}
}

static void
the_longest_allowed_body_is_whole_and_one_more_byte_is_bad(void **state UNUSED)
{
	char bytes[120] = "100:";
	struct cursor c, body;

	memset(bytes + 4, 'x', 100);
	bytes[104] = ',';
	c = cursor_of(bytes, 105);
	assert_int_equal(netstring_take(&c, 100, &body), NETSTRING_OK);
	assert_int_equal(cursor_len(&body), 100);
	c = cursor_of(bytes, 105);
	assert_int_equal(netstring_take(&c, 99, &body), NETSTRING_BAD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_frames_are_taken_one_by_one),
	    cmocka_unit_test(a_frame_cut_anywhere_asks_for_more_and_moves_nothing),
	    cmocka_unit_test(what_is_no_netstring_is_bad),
	    cmocka_unit_test(the_longest_allowed_body_is_whole_and_one_more_byte_is_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
