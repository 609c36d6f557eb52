#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "ctl/txtline.h"
#include "util/errmsg.h"

static void
lines_end_in_lf_or_crlf_and_empty_ones_are_passed_over(void **state UNUSED)
{
	static const char text[] = "\n\r\none\r\n\ntwo \0x\nthree";
	static const struct {
		const char *bytes;
		size_t len;
	} want[] = {{"one", 3}, {"two \0x", 6}, {"three", 5}};
	struct cursor rest = cursor_of(text, sizeof(text) - 1), line;

	for (size_t i = 0; i < 3; i++) {
		assert_true(txtline_next(&rest, &line));
		assert_int_equal(cursor_len(&line), want[i].len);
		assert_memory_equal(line.p, want[i].bytes, want[i].len);
	}
	assert_false(txtline_next(&rest, &line));
}

static void
quoted_strings_are_joined_and_unescaped(void **state UNUSED)
{
	static const struct {
		const char *line, *want;
	} t[] = {
	    {"\"v=STSv1; id=1;\"", "v=STSv1; id=1;"},
	    {"\"v=STSv1; \" \"id=1;\"", "v=STSv1; id=1;"},
	    {"\"a\"\"b\"\t\"c\" ", "abc"},
	    {"\"a\\\"b\\\\c\"", "a\"b\\c"},
	    {"\"\\097\\x\\255\"", "ax\377"},
	    {"\"\"", ""},
	    {"v=STSv1; id=1;", NULL}, /* bare */
	    {"\"no end", NULL},
	    {"\"a\" b", NULL},   /* not wholly quoted */
	    {"\"\\256\"", NULL}, /* no byte */
	    {"\"\\09\"", NULL},  /* two digits */
	    {"\"a\\", NULL},
	    {" ", NULL},
	};
	unsigned char out[64];
	size_t len = 0;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		bool got = txtline_unquote(cursor_of(t[i].line, strlen(t[i].line)), out, &len);

		if (got != (t[i].want != NULL) ||
		    (got && (len != strlen(t[i].want) || memcmp(out, t[i].want, len) != 0)))
			fail_msg("row %zu: %s", i, t[i].line);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_end_in_lf_or_crlf_and_empty_ones_are_passed_over),
	    cmocka_unit_test(quoted_strings_are_joined_and_unescaped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
