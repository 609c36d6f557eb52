#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/mx.h"

static void
wildcard_is_exactly_one_label(void **state UNUSED) /* RFC 8461 section 4.1 */
{
	static const struct {
		const char *pattern, *host;
		bool want;
	} t[] = {
	    {"*.example.com", "mx1.example.com", true},
	    {"*.example.com", "MX1.Example.COM.", true},
	    {"*.example.com", "example.com", false},     /* not none */
	    {"*.example.com", ".example.com", false},    /* not an empty one */
	    {"*.example.com", "a.b.example.com", false}, /* not two */
	    {"*.example.com", "mxexample.com", false},
	    {"*.example.com", "mx.badexample.com", false},
	    {"*.example.com", "mx.example.com.evil.test", false},
	    {"*.example.com", "mx.example.co", false},
	    {"*.example.com", "a.xxample.com", false},
	    {"*.com", "example.com", true},
	    {"*.xn--bcher-kva.example", "mx.XN--bcher-kva.example", true},
	    {"*.", "mx", false},
	    {"*.", "mx.", false},
	    {"*.", ".", false},
	    {"*.*.com", "a.*.com", false},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (mx_match(t[i].pattern, t[i].host) != t[i].want)
			fail_msg("row %zu: %s against %s", i, t[i].pattern, t[i].host);
}

static void
without_a_wildcard_names_are_equal_but_for_case_and_final_dot(void **state UNUSED)
{
	static const struct {
		const char *pattern, *host;
		bool want;
	} t[] = {
	    {"mx.example.com", "mx.example.com", true}, {"mx.example.com", "MX.EXAMPLE.COM", true},
	    {"MX.example.com.", "mx.example.com", true},
	    {"mx.example.com", "mx.example.com.", true},
	    {"mx.example.com", "mx.example.com..", false},
	    {"mx.example.com", "mx2.example.com", false},
	    {"mx.example.com", "nx.example.com", false}, {"m.example.com", "m.example.com", true},
	    {"m.example.com", "a.example.com", false},
	    {"mx.example.com", "a.mx.example.com", false},
	    {"mx.example.com", "mxaexample.com", false}, {"mx.example.com", "", false},
	    {"", "", false}, {".", "", false}, {"*", "*", false}, {"*", "mx", false},
	    {"m*.example.com", "mx.example.com", false},
	    {"m*.example.com", "m*.example.com", false}, {"mx.*.com", "mx.example.com", false},
	    {"mx[.example.com", "mx{.example.com", false}, /* not letters, though 0x20 apart */
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (mx_match(t[i].pattern, t[i].host) != t[i].want)
			fail_msg("row %zu: %s against %s", i, t[i].pattern, t[i].host);
}

static void
a_pattern_is_a_host_name_perhaps_after_one_wildcard_label(void **state UNUSED)
{
	static const struct {
		const char *text, *want; /* NULL: no pattern */
	} t[] = {
	    {"MX.Example.com", "mx.example.com"},
	    {"*.EXAMPLE.com", "*.example.com"},
	    {"*.example.com.", "*.example.com"},
	    {"mx", "mx"},
	    {"*.b\xc3\xbc\x63her.example", "*.xn--bcher-kva.example"},
	    {"", NULL},
	    {"*", NULL},
	    {"*.", NULL},
	    {"*..", NULL},
	    {".example.com", NULL},
	    {"*.*.example.com", NULL},
	    {"a.*.example.com", NULL},
	    {"m*.example.com", NULL},
	    {"*example.com", NULL},
	    {"mx_1.example.com", NULL},
	    {"-mx.example.com", NULL},
	    {"mx:25", NULL},
	    {"mx.example.com mx2.example.com", NULL},
	    {"[192.0.2.1]", NULL},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char out[MX_PATTERN_MAX + 1] = "";
		struct errmsg em = {""};
		bool ok = mx_pattern_normalize(t[i].text, strlen(t[i].text), out, &em);

		if (ok != (t[i].want != NULL) || (ok && strcmp(out, t[i].want) != 0))
			fail_msg("row %zu: %s gave \"%s\"", i, t[i].text, out);
		if (!ok && em.text[0] == '\0')
			fail_msg("row %zu: no reason", i);
	}
}

static void
a_pattern_of_the_longest_name_fits(void **state UNUSED)
{
	char text[MX_PATTERN_MAX + 1], out[MX_PATTERN_MAX + 1];

	memset(text, 'a', sizeof(text));
	memcpy(text, "*.", 2);
	for (size_t i = 2 + 60; i < MX_PATTERN_MAX - 1; i += 61)
		text[i] = '.';
	assert_true(mx_pattern_normalize(text, MX_PATTERN_MAX, out, NULL));
	assert_int_equal(strlen(out), MX_PATTERN_MAX);
	assert_false(mx_pattern_normalize(text, MX_PATTERN_MAX + 1, out, NULL));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wildcard_is_exactly_one_label),
	    cmocka_unit_test(without_a_wildcard_names_are_equal_but_for_case_and_final_dot),
	    cmocka_unit_test(a_pattern_is_a_host_name_perhaps_after_one_wildcard_label),
	    cmocka_unit_test(a_pattern_of_the_longest_name_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
