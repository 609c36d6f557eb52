#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* readcf.c, setoption(): a letter, or a beginning that no other option has. */
static void
an_option_by_its_letter_or_abbreviated_counts_too(void **state UNUSED)
{
	static const struct {
		const char *line, *option, *want;
	} t[] = {{"Ok2", "ConnectionCacheSize", "2"},
	    {"O ConnectionCacheS=2", "ConnectionCacheSize", "2"},
	    {"O connectioncachesiz=2", "ConnectionCacheSize", "2"},
	    {"O ConnectionCache=2", "ConnectionCacheSize", "0"}, /* ...Timeout as well: an error */
	    {"O ConnectionCacheSizes=2", "ConnectionCacheSize", "0"},
	    {"Oz2", "ConnectionCacheSize", "0"}, {"O DontE=False", "DontExpandCnames", "False"},
	    {"O Inp=x", "InputMailFilters", "x"}, {"O Ru=mail", "RunAsUser", "mail"}};
	char text[128];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct cf *cf;

		snprintf(text, sizeof(text), "V10\nO ConnectionCacheSize=0\n%s\n", t[i].line);
		cf = parsed(text);
		if (strcmp(cf_option(cf, t[i].option), t[i].want) != 0)
			fail_msg("%s: %s", t[i].line, cf_option(cf, t[i].option));
		cf_free(&cf);
	}
}

static void
an_option_that_is_there_several_times_is_a_list(void **state UNUSED)
{
	struct cf *cf = parsed("V10\nO DaemonPortOptions=Name=MTA\nO Other=x\nOOName=MSA, I=a\n");
	size_t at = 0;

	assert_string_equal(cf_next_option(cf, "DaemonPortOptions", &at), "Name=MTA");
	assert_string_equal(cf_next_option(cf, "DaemonPortOptions", &at), "Name=MSA, I=a");
	assert_null(cf_next_option(cf, "DaemonPortOptions", &at));
	cf_free(&cf);
}

/* readcf.c, translate_dollars(). */
static void
comments_are_cut_as_sendmail_does(void **state UNUSED)
{
	static const struct {
		const char *line, *want; /* of ruleset s, joined; of option x */
	} t[] = {{"R$*#c\t$: x", NULL}, {"R$*\t$: x#c", "$* $: x"}, {"R$*\t$: x # c", "$* $: x"},
	    {"R$*\t$#error", "$* $#error"}, {"R$* $| $#$*\t$#$2#c", "$* $| $#$* $#$2"},
	    {"R$*\t$: a\\#b", "$* $: a#b"}, {"R$*\t$: $$#c", "$* $: $$"},
	    {"R$*\t$: x#c\n y", "$* $: x  y"}, /* to the end of its own line only */
	    {"#R$*\t$: x\n\ty", NULL},         /* but a whole line goes with what continues it */
	    {"R$*\t\t$: x\t\tR by me", "$*  $: x"}, {"R$* $: x", NULL}};
	char text[128];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct cf *cf;
		const char *rule;
		size_t at = 0;

		snprintf(text, sizeof(text), "V10\nSs\n%s\n", t[i].line);
		cf = parsed(text);
		rule = cf_next_rule(cf, "s", &at);
		if ((rule == NULL) != (t[i].want == NULL) ||
		    (rule != NULL && strcmp(rule, t[i].want) != 0))
			fail_msg("row %zu: %s", i, rule == NULL ? "no rule" : rule);
		cf_free(&cf);
	}
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
			       "SCheck_Compat\nR$* $| $# $*\t$#$2\n  continued\n");
	size_t at = 0;

	assert_string_equal(cf_next_rule(cf, "check_compat", &at), "$*  $: one");
	assert_string_equal(cf_next_rule(cf, "check_compat", &at), "$* $| $# $* $#$2   continued");
	assert_null(cf_next_rule(cf, "check_compat", &at));
	at = 0;
	assert_string_equal(cf_next_rule(cf, "other", &at), "$* $: x");
	cf_free(&cf);
}

/* 100,000 rules, as a site with many virtual domains may generate; a scan a rule took minutes. */
static void
many_rules_are_read_in_one_pass(void **state UNUSED)
{
	enum { RULES = 100 * 1000 };
	static const char rule[] = "Ra\tb\n";
	char *text = malloc(8 + RULES * (sizeof(rule) - 1) + 1);
	clock_t start = clock();
	size_t len = 0, n = 0, at = 0;
	struct cf *cf;

	assert_non_null(text);
	len += (size_t)sprintf(text, "V10\nSs\n");
	for (int i = 0; i < RULES; i++, len += sizeof(rule) - 1)
		memcpy(text + len, rule, sizeof(rule));
	cf = parsed(text);
	while (cf_next_rule(cf, "s", &at) != NULL)
		n++;
	assert_int_equal(n, RULES);
	assert_true(clock() - start < 10 * CLOCKS_PER_SEC);
	cf_free(&cf);
	free(text);
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

/* map.c, map_parseargs(): words that begin with '-' and a letter, then the file. */
static void
flags_and_file_of_a_map_are_found(void **state UNUSED)
{
	char s[16];

	assert_string_equal(cf_map_flag("hash -T<TMPF> /m", 'T'), "<TMPF> /m");
	assert_string_equal(cf_map_flag("hash -Tx -T<TMPF> /m", 'T'), "<TMPF> /m");
	assert_non_null(cf_map_flag("hash -optional -T<TMPF> /m", 'o'));
	assert_null(cf_map_flag("hash -T<TMPF> /m -o", 'o')); /* behind the file it is no flag */
	assert_null(cf_map_flag("hash -T<-o> /m", 'o'));
	assert_true(cf_map_file("hash -T<TMPF> /m rest", s, sizeof(s)));
	assert_string_equal(s, "/m");
	assert_false(cf_map_file("hash -T<TMPF>", s, sizeof(s)));
	assert_false(cf_map_file("hash /0123456789abcde", s, sizeof(s)));
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
	    cmocka_unit_test(an_option_by_its_letter_or_abbreviated_counts_too),
	    cmocka_unit_test(an_option_that_is_there_several_times_is_a_list),
	    cmocka_unit_test(comments_are_cut_as_sendmail_does),
	    cmocka_unit_test(a_commented_option_is_not_set),
	    cmocka_unit_test(booleans_are_read_as_sendmail_does),
	    cmocka_unit_test(rules_of_a_ruleset_in_several_places_are_one_list),
	    cmocka_unit_test(many_rules_are_read_in_one_pass),
	    cmocka_unit_test(flags_and_file_of_a_map_are_found),
	    cmocka_unit_test(maps_and_milters_are_found_by_name),
	    cmocka_unit_test(lists_are_searched_by_whole_words),
	    cmocka_unit_test(what_is_no_cf_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
