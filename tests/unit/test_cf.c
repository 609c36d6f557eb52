#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cf.h"

static struct cf *
parsed(const char *text)
{
	struct errmsg em = {""};
	struct cf *cf = cf_parse(cursor_of(text, strlen(text)), &em);

	if (cf == NULL)
		fail_msg("not parsed: %s", em.text);
	return cf;
}

static void
the_last_value_of_an_option_counts(void **state UNUSED)
{
	struct cf *cf =
	    parsed("V10/Berkeley\nO ConnectionCacheSize=2\nO connectioncachesize = 0\n");

	assert_string_equal(cf_option(cf, "ConnectionCacheSize"), "0");
	assert_null(cf_option(cf, "ConnectionCache"));
	cf_free(&cf);
}

static void
a_commented_option_is_not_set(void **state UNUSED)
{
	struct cf *cf = parsed("V10/Berkeley\n#O CACertFile=/x\nO CACertPath=/y # why\n");

	assert_null(cf_option(cf, "CACertFile"));
	assert_string_equal(cf_option(cf, "CACertPath"), "/y");
	cf_free(&cf);
}

static void
booleans_are_read_as_sendmail_does(void **state UNUSED)
{
	static const struct {
		const char *line;
		bool want;
	} t[] = {{"O DontExpandCnames=True", true}, {"O DontExpandCnames=yes", true},
	    {"O DontExpandCnames=1", true}, {"O DontExpandCnames", true},
	    {"O DontExpandCnames=False", false}, {"O DontExpandCnames=no", false},
	    {"# O DontExpandCnames=True", false}};
	char text[128];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct cf *cf;

		snprintf(text, sizeof(text), "V10\n%s\n", t[i].line);
		cf = parsed(text);
		if (cf_option_true(cf, "DontExpandCnames") != t[i].want)
			fail_msg("%s", t[i].line);
		cf_free(&cf);
	}
}

static void
rules_of_a_ruleset_in_several_places_are_one_list(void **state UNUSED)
{
	struct cf *cf = parsed("V10\nScheck_compat\nR$*\t\t$: one # not two\nSother=7\nR$*\t$: x\n"
			       "SCheck_Compat\nR$* $| $# $*\t$#$2\n\t\tcontinued\n");

	assert_string_equal(cf_rule(cf, "check_compat", 0), "$*  $: one");
	assert_string_equal(cf_rule(cf, "check_compat", 1), "$* $| $# $* $#$2   continued");
	assert_null(cf_rule(cf, "check_compat", 2));
	assert_string_equal(cf_rule(cf, "other", 0), "$* $: x");
	cf_free(&cf);
}

static void
maps_and_milters_are_found_by_name(void **state UNUSED)
{
	struct cf *cf = parsed("V10\nKmtasts hash -T<TMPF> /m/policy\nXmtasts, S=local:/s, F=T\n");
	char s[32];

	assert_string_equal(cf_map(cf, "mtasts"), "hash -T<TMPF> /m/policy");
	assert_null(cf_map(cf, "mtastsq"));
	assert_true(cf_equate(cf_milter(cf, "mtasts"), 'S', s, sizeof(s)));
	assert_string_equal(s, "local:/s");
	assert_true(cf_equate(cf_milter(cf, "mtasts"), 'F', s, sizeof(s)));
	assert_string_equal(s, "T");
	assert_false(cf_equate(cf_milter(cf, "mtasts"), 'T', s, sizeof(s)));
	assert_false(cf_equate(cf_milter(cf, "mtasts"), 'S', s, strlen("local:/s")));
	cf_free(&cf);
}

static void
lists_are_searched_by_whole_words(void **state UNUSED)
{
	assert_true(cf_list_has("opendkim, mtasts", "mtasts"));
	assert_true(cf_list_has("opendkim;mtasts", "mtasts"));
	assert_false(cf_list_has("mtasts2, xmtasts", "mtasts"));
	assert_false(cf_list_has("mta", "mtasts"));
	assert_false(cf_list_has("", "mtasts"));
}

static void
what_is_no_cf_is_refused(void **state UNUSED)
{
	static const char nul[] = "V10\n\0O A=b\n", mc[] = "divert(-1)\nFEATURE(`mtasts')\n";
	char *large = malloc(CF_BYTES_MAX + 1);
	struct errmsg em;

	assert_non_null(large);
	memset(large, 'V', CF_BYTES_MAX + 1);
	assert_null(cf_parse(cursor_of(large, CF_BYTES_MAX + 1), &em));
	assert_null(cf_parse(cursor_of(nul, sizeof(nul) - 1), &em));
	assert_null(cf_parse(cursor_of(mc, sizeof(mc) - 1), &em));
	assert_non_null(strstr(em.text, "no V line"));
	assert_null(cf_parse(cursor_of(mc, 0), &em));
	free(large);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_last_value_of_an_option_counts),
	    cmocka_unit_test(a_commented_option_is_not_set),
	    cmocka_unit_test(booleans_are_read_as_sendmail_does),
	    cmocka_unit_test(rules_of_a_ruleset_in_several_places_are_one_list),
	    cmocka_unit_test(maps_and_milters_are_found_by_name),
	    cmocka_unit_test(lists_are_searched_by_whole_words),
	    cmocka_unit_test(what_is_no_cf_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
