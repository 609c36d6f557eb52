#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/errmsg.h"

static void
control_bytes_of_a_reason_cannot_forge_a_log_line(void **state UNUSED)
{
	struct errmsg em = {""};

	errmsg_set(&em, "bad \"%s\"", "a\r\nb\x7f\033");
	assert_string_equal(em.text, "bad \"a??b??\"");
	errmsg_set(&em, "more: %s", em.text);
	assert_string_equal(em.text, "more: bad \"a??b??\"");
	errmsg_set(NULL, "%s", "nobody asked");
}

static void
a_long_reason_is_cut(void **state UNUSED)
{
	struct errmsg em = {""};

	errmsg_set(&em, "%01000d", 7);
	assert_int_equal(strlen(em.text), ERRMSG_MAX - 1);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(control_bytes_of_a_reason_cannot_forge_a_log_line),
	    cmocka_unit_test(a_long_reason_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
