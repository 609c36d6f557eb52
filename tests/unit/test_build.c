#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "ctl/build.h"

static struct build *
parse(const char *text)
{
	struct errmsg em;

	return build_parse(cursor_of(text, strlen(text)), &em);
}

static void
features_are_the_words_of_two_lists(void **state UNUSED)
{
	struct build *b = parse("Version 8.17.1.9\n"
				" Compiled with: DNSMAP LOG\n"
				"\t\tNEWDB=5.3 SOCKETMAP\n"
				"    OS Defines: HASFLOCK\n"
				"\t\tHASLSTAT\n"
				"   FFR Defines: _FFR_MTA_STS\n"
				"\t\t_FFR_TLS_ALTNAMES\n"
				"Canonical name: DANE\n");

	assert_non_null(b);
	assert_string_equal(build_version(b), "8.17.1.9");
	assert_true(build_has(b, "DNSMAP") && build_has(b, "LOG") && build_has(b, "NEWDB"));
	assert_true(build_has(b, "SOCKETMAP") && build_has(b, "_FFR_MTA_STS"));
	assert_true(build_has(b, "_FFR_TLS_ALTNAMES"));
	assert_false(build_has(b, "HASFLOCK") || build_has(b, "HASLSTAT"));
	assert_false(build_has(b, "DANE") || build_has(b, "SOCKET") || build_has(b, "5.3"));
	build_free(&b);
}

static void
what_is_not_of_sendmail_is_refused(void **state UNUSED)
{
	static const char *const t[] = {"", "sendmail: illegal option", "Version ", "Version x",
	    "Version 8.17x\n", "Version 8.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1\n"};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (parse(t[i]) != NULL)
			fail_msg("%s", t[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(features_are_the_words_of_two_lists),
	    cmocka_unit_test(what_is_not_of_sendmail_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
