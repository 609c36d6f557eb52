/* The command line of mtasts-milter and mtasts-release. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <getopt.h>
#include <sysexits.h>

#include "site/arguments.h"
#include "site/config.h"

static int
read_words(struct arguments *out, char *a, char *b, char *c)
{
	static char program[] = "p";
	char *argv[] = {program, a, b, c, NULL};
	int argc = 1;

	while (argv[argc] != NULL)
		argc++;
	optind = 0; /* glibc's getopt begins anew */
	return arguments_read("p", argc, argv, out);
}

static void
a_file_may_be_named_and_tested(void **state UNUSED)
{
	static char conf[] = "--config=/x", letter[] = "-c", file[] = "/y", test[] = "-t";
	struct arguments a;

	assert_int_equal(read_words(&a, NULL, NULL, NULL), ARGUMENTS_RUN);
	assert_string_equal(a.conf, CONFIG_FILE);
	assert_false(a.test);
	assert_int_equal(read_words(&a, conf, test, NULL), ARGUMENTS_RUN);
	assert_string_equal(a.conf, "/x");
	assert_true(a.test);
	assert_int_equal(read_words(&a, letter, file, NULL), ARGUMENTS_RUN);
	assert_string_equal(a.conf, "/y");
}

static void
help_and_version_end_well_and_all_else_is_an_error(void **state UNUSED)
{
	static char help[] = "--help", version[] = "-V", strange[] = "-x", operand[] = "file";
	struct arguments a;

	assert_int_equal(read_words(&a, help, NULL, NULL), EX_OK);
	assert_int_equal(read_words(&a, version, NULL, NULL), EX_OK);
	assert_int_equal(read_words(&a, strange, NULL, NULL), EX_USAGE);
	assert_int_equal(read_words(&a, operand, NULL, NULL), EX_USAGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_file_may_be_named_and_tested),
	    cmocka_unit_test(help_and_version_end_well_and_all_else_is_an_error)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
