/* test_reason.c: the reason of our quarantine, written and read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "site/reason.h"

static size_t
parse(const char *text, char domains[REASON_DOMAINS_MAX][DOMAIN_MAX + 1])
{
	return reason_parse(cursor_of(text, strlen(text)), domains);
}

static void
what_is_printed_is_read_again(void **state UNUSED)
{
	static const char *const names[] = {"a.example", "b.example", "xn--bcher-kva.example"};
	char text[REASON_MAX], domains[REASON_DOMAINS_MAX][DOMAIN_MAX + 1];

	reason_print(names, 1, text);
	assert_string_equal(text, "mtasts: policy of a.example not known yet");
	reason_print(names, 3, text);
	assert_int_equal(parse(text, domains), 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(domains[i], names[i]);
}

static void
the_longest_domain_fits_and_more_are_left_out(void **state UNUSED)
{
	char name[DOMAIN_MAX + 1], text[REASON_MAX];
	char domains[REASON_DOMAINS_MAX][DOMAIN_MAX + 1];
	const char *names[30] = {name, name, "a.example"};

	for (size_t i = 0; i < DOMAIN_MAX; i++)
		name[i] = i % 50 == 49 ? '.' : 'a';
	name[DOMAIN_MAX] = '\0';
	reason_print(names, 3, text);
	assert_int_equal(parse(text, domains), 2);
	assert_string_equal(domains[0], name);
	assert_string_equal(domains[1], "a.example");
	for (size_t i = 0; i < 30; i++)
		names[i] = "a.bc";
	reason_print(names, 30, text);
	assert_int_equal(parse(text, domains), REASON_DOMAINS_MAX);
}

static void
what_others_wrote_is_not_ours(void **state UNUSED)
{
	static const char *const t[] = {"", "admin says", "mtasts: policy of ",
	    "mtasts: policy of  not known yet", "mtasts: policy of a.example",
	    "mtasts: policy of a.example not known yet, or so",
	    "\"mtasts: policy of a.example not known yet\"",
	    "mtasts: policy of A.example not known yet",
	    "mtasts: policy of a.example,b.example not known yet",
	    "mtasts: policy of a.example,  not known yet",
	    "mtasts: policy of localhost not known yet",
	    "spam: mtasts: policy of a.example not known yet"};
	char domains[REASON_DOMAINS_MAX][DOMAIN_MAX + 1];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (parse(t[i], domains) != 0)
			fail_msg("%s", t[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_printed_is_read_again),
	    cmocka_unit_test(the_longest_domain_fits_and_more_are_left_out),
	    cmocka_unit_test(what_others_wrote_is_not_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
