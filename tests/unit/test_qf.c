/* test_qf.c: queue files as Sendmail 8.17 writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/qf.h"

static struct qf
parse(const char *text)
{
	struct qf qf;

	assert_true(qf_parse(cursor_of(text, strlen(text)), &qf));
	return qf;
}

static void
a_reason_before_the_sender_is_the_message_s_and_one_after_it_the_next_recipient_s(
    void **state UNUSED)
{
	struct qf qf = parse(
	    "V8\nT1795598518\nK1795598519\nN3\nP120145\nI254/5/1\n"
	    "MDeferred\nqmtasts: policy of a.test not known yet\nFs\n$_localhost [127.0.0.1]\n$rESMTP\nS<alice@sender.test>\n"
	    "MDeferred: 451 4.4.3 policy of Fresh.Test\nC:<alice@sender.test>\n"
	    "rRFC822; u@fresh.test\nRPFD:<u@Fresh.Test.>\n"
	    "RPFD:<v@none.test>\nRPFD:carol\nRPFD:\"|/bin/cat\"\n"
	    "H?P?Return-Path: <g>\nH??To: <x@y.test>,\n\t<R@z.test>\n.\nRPFD:<old@old.test>\n");

	assert_int_equal(qf.created, 1795598518);
	assert_int_equal(qf.tried, 1795598519);
	assert_int_equal(qf.tries, 3);
	assert_string_equal(qf.reason, "Deferred");
	assert_string_equal(qf.quarantine, "mtasts: policy of a.test not known yet");
	assert_int_equal(qf.n_rcpts, 4);
	assert_string_equal(qf.rcpts[0].address, "u@Fresh.Test.");
	assert_string_equal(qf.rcpts[0].domain, "fresh.test");
	assert_string_equal(qf.rcpts[0].reason, "Deferred: 451 4.4.3 policy of Fresh.Test");
	assert_string_equal(qf.rcpts[1].domain, "none.test");
	assert_string_equal(qf.rcpts[1].reason, "");
	assert_string_equal(qf.rcpts[2].address, "carol");
	assert_string_equal(qf.rcpts[2].domain, "");
	assert_string_equal(qf.rcpts[3].domain, "");
	qf_clear(&qf);
}

static void
domains_are_those_of_policies(void **state UNUSED)
{
	static const struct {
		const char *address, *want;
	} t[] = {{"u@a.test", "a.test"}, {"<u@a.test>", "a.test"}, {"\"x@y\"@A.Test", "a.test"},
	    {"u@[10.0.0.1]", NULL}, {"u@host", NULL}, {"u@", NULL}, {"@", NULL}, {"u", NULL},
	    {"", NULL}, {">", NULL}, {"u@a b.test", NULL}, {"@r.test:u@a.test", "a.test"}};
	char domain[DOMAIN_MAX + 1];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		bool got = qf_domain(cursor_of(t[i].address, strlen(t[i].address)), domain);

		if (got != (t[i].want != NULL) || (got && strcmp(domain, t[i].want) != 0))
			fail_msg("row %zu: %s", i, t[i].address);
	}
}

static void
what_is_long_or_odd_is_cut_and_made_printable(void **state UNUSED)
{
	char text[3 * QF_TEXT_MAX];
	size_t n = 0;
	struct qf qf;

	text[n++] = 'S';
	text[n++] = '\n';
	text[n++] = 'M';
	for (; n < 2 * QF_TEXT_MAX; n++)
		text[n] = '\x1b';
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\nT99999999999999999999\nR<u@a.test>");
	assert_true(qf_parse(cursor_of(text, n), &qf));
	assert_int_equal(qf.n_rcpts, 1);
	assert_int_equal(strlen(qf.rcpts[0].reason), QF_TEXT_MAX - 1);
	assert_int_equal(strspn(qf.rcpts[0].reason, "?"), QF_TEXT_MAX - 1);
	assert_string_equal(qf.rcpts[0].domain, "a.test");
	qf_clear(&qf);
}

static void
more_recipients_than_the_bound_are_counted(void **state UNUSED)
{
	size_t each = strlen("R<u@a.test>\n"), n = QF_RCPTS_MAX + 3;
	char *text = malloc(n * each + 1);
	struct qf qf;

	assert_non_null(text);
	for (size_t i = 0; i < n; i++)
		memcpy(text + i * each, "R<u@a.test>\n", each + 1);
	qf = parse(text);
	assert_int_equal(qf.n_rcpts, QF_RCPTS_MAX);
	assert_int_equal(qf.n_more, 3);
	qf_clear(&qf);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
		a_reason_before_the_sender_is_the_message_s_and_one_after_it_the_next_recipient_s),
	    cmocka_unit_test(domains_are_those_of_policies),
	    cmocka_unit_test(what_is_long_or_odd_is_cut_and_made_printable),
	    cmocka_unit_test(more_recipients_than_the_bound_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
