#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "milter/tag.h"

/* The domains found, each with a blank behind it. */
struct found {
	char text[4096];
};

static void
note(const char *domain, void *arg)
{
	struct found *f = arg;
	size_t len = strlen(f->text);

	assert_true(len + strlen(domain) + 2 < sizeof(f->text));
	sprintf(f->text + len, "%s ", domain);
}

static void
check(const char *value, const char *want)
{
	struct found f = {""};
	size_t budget = TAG_HEADERS_MAX, len = strlen(value);
	char *exact = malloc(len == 0 ? 1 : len); /* so that ASan sees a read beyond the end */

	assert_non_null(exact);
	memcpy(exact, value, len);
	assert_int_equal(tag_addresses(cursor_of(exact, len), &budget, note, &f), 0);
	free(exact);
	assert_int_equal(budget, TAG_HEADERS_MAX - len);
	if (strcmp(f.text, want) != 0)
		fail_msg("\"%s\": got \"%s\", not \"%s\"", value, f.text, want);
}

static void
addresses_show_their_domain(void **state UNUSED) /* RFC 5322 section 3.4 */
{
	check(" u@good.test", "good.test ");
	check("<u@good.test>", "good.test ");
	check("A Name <u@good.test>", "good.test ");
	check("\"Name, A.\" <u@good.test>, v@none.test", "good.test none.test ");
	check("u@GOOD.Test, v@good.test", "good.test good.test ");
	check("\"a@b.test\"@good.test", "good.test ");
	check("=?UTF-8?Q?J=C3=BCrgen?= <u@good.test>", "good.test ");
	check("u@b\xc3\xbc"
	      "cher.test",
	    "xn--bcher-kva.test ");
	check("first.last+x@sub.good.test", "sub.good.test ");
	check("u%far.test@good.test", "good.test ");
}

static void
folded_values_and_comments_are_white_space(void **state UNUSED) /* RFC 5322 sections 2.2.3, 3.2.2 */
{
	check("a@one.test,\r\n\tb@two.test,\n c@three.test", "one.test two.test three.test ");
	check("u@good.test (a comment, with b@secret.test)", "good.test ");
	check("(x (nested) \\) still) u@good.test", "good.test ");
	check("u @ good (dot) . (after)\r\n test", "good.test "); /* obs-domain */
	check("A (c) <u@good.test> (d)", "good.test ");
}

static void
groups_and_source_routes_show_only_mailboxes(void **state UNUSED) /* sections 3.4, 4.4 */
{
	check("undisclosed-recipients:;", "");
	check("Team: a@one.test, B <b@two.test>;, c@three.test", "one.test two.test three.test ");
	check("<@relay.test:u@good.test>", "good.test ");
	check("<@r1.test,@r2.test:u@good.test>", "good.test ");
	check(",, ,u@good.test,,", "good.test ");
}

static void
what_is_no_address_shows_nothing(void **state UNUSED)
{
	static const char *const t[] = {
	    "",
	    "   ",
	    "u",
	    "good.test",
	    "u@",
	    "@good.test",
	    "<@good.test>",
	    "u@[192.0.2.1]",
	    "u@host",
	    "u@good test",
	    "u@.good.test",
	    "u@good..test",
	    "u@secret.test@",
	    "u@\"good.test\"",
	    "u@secret.test <not an address>",
	    "\"u@secret.test\" <>",
	    "\"u@secret.test",
	    "(u@secret.test",
	    "<u@secret.test",
	    "u@secret.test (never closed",
	    "u@secret.test [never closed",
	    "<<u@secret.test>>",
	    "u@secret.test\x01",
	    "u@go\\od.test",
	    "(u@secret.test\\",
	    "u@sec(ret.test\\)",
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		check(t[i], "");
}

static void
a_bad_address_does_not_hide_its_neighbours(void **state UNUSED)
{
	check("a@one.test, b@@bad.test, c@two.test", "one.test two.test ");
	check("a@one.test, nobody, c@two.test", "one.test two.test ");
	check("x@display.test <u@good.test>", "good.test "); /* the address, not the name */
}

static void
an_overlong_domain_shows_nothing(void **state UNUSED)
{
	char value[4096];

	strcpy(value, "u@");
	for (int i = 0; i < 700; i++)
		strcat(value, "ab.");
	strcat(value, "test, v@good.test");
	check(value, "good.test ");
}

static void
an_address_that_the_budget_cuts_is_not_shown(void **state UNUSED)
{
	static const char value[] = "a@one.test, b@two.test.evil.test";

	for (size_t budget = 0; budget < sizeof(value) - 1; budget++) {
		struct found f = {""};
		size_t left = budget;
		size_t cut = tag_addresses(cursor_of(value, sizeof(value) - 1), &left, note, &f);

		assert_int_equal(cut, sizeof(value) - 1 - budget);
		assert_int_equal(left, 0);
		assert_string_equal(f.text, budget > strlen("a@one.test") ? "one.test " : "");
	}
}

static void
the_strongest_is_enforce_then_pending_then_testing_then_none(void **state UNUSED)
{
	assert_true(TAG_ENFORCE > TAG_PENDING);
	assert_true(TAG_PENDING > TAG_TESTING);
	assert_true(TAG_TESTING > TAG_NONE);
	assert_true(TAG_NONE > TAG_ABSENT);
}

static void
a_verdict_that_is_none_of_three_is_pending(void **state UNUSED)
{
	assert_string_equal(tag_value(tag_of_verdict("enforce")), "enforce");
	assert_string_equal(tag_value(tag_of_verdict("testing")), "testing");
	assert_string_equal(tag_value(tag_of_verdict("none")), "none");
	assert_string_equal(tag_value(tag_of_verdict("undecided")), "pending");
	assert_string_equal(tag_value(tag_of_verdict("Enforce")), "pending");
	assert_string_equal(tag_value(tag_of_verdict("")), "pending");
	assert_string_equal(tag_value(tag_of_verdict(NULL)), "pending");
	assert_string_equal(tag_value(TAG_ABSENT), "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses_show_their_domain),
	    cmocka_unit_test(folded_values_and_comments_are_white_space),
	    cmocka_unit_test(groups_and_source_routes_show_only_mailboxes),
	    cmocka_unit_test(what_is_no_address_shows_nothing),
	    cmocka_unit_test(a_bad_address_does_not_hide_its_neighbours),
	    cmocka_unit_test(an_overlong_domain_shows_nothing),
	    cmocka_unit_test(an_address_that_the_budget_cuts_is_not_shown),
	    cmocka_unit_test(the_strongest_is_enforce_then_pending_then_testing_then_none),
	    cmocka_unit_test(a_verdict_that_is_none_of_three_is_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
