#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "policy/policy.h"

#define ROW(s) s, sizeof(s) - 1
#define HEAD "version: STSv1\nmode: enforce\nmx: mx.test\n"
#define GOOD HEAD "max_age: 604800\n"

/* Parses an exact copy on the heap, so that the sanitizer sees one byte too far. */
static struct policy *
parse(const char *text, size_t len, struct findings *f, struct errmsg *em)
{
	unsigned char *copy = malloc(len == 0 ? 1 : len);
	struct policy *p;

	assert_non_null(copy);
	memcpy(copy, text, len);
	p = policy_parse(cursor_of(copy, len), f, em);
	free(copy);
	return p;
}

/* mode/max_age/patterns on one line */
static void
print(const struct policy *p, char out[512])
{
	int n = snprintf(out, 512, "%s %u", mode_name(p->mode), (unsigned)p->max_age_s);

	for (size_t i = 0; i < p->n_mx; i++)
		n += snprintf(out + n, 512 - (size_t)n, " %s", p->mx[i]);
}

static void
bodies_that_follow_the_syntax_are_policies(void **state UNUSED)
{
	static const struct {
		const char *text;
		size_t len;
		const char *want;
	} t[] = {
	    {ROW(GOOD), "enforce 604800 mx.test"},
	    {ROW("version: STSv1\r\nmode: testing\r\nmx: *.a.test\r\nmax_age: 1\r\n"),
		"testing 1 *.a.test"},
	    {ROW("version: STSv1\r\nmode: testing\nmx: a.test\r\nmax_age: 1"), "testing 1 a.test"},
	    {ROW("max_age:86400\nmx:b.test\nmx:\ta.test\nmode:enforce\nversion:STSv1"),
		"enforce 86400 b.test a.test"},
	    {ROW("version: \t STSv1 \t\nmode: none  \r\nmax_age: 0\t"), "none 0"},
	    {ROW("version: STSv1\nmode: none\nmax_age: 9\nmx: a.test"), "none 9 a.test"},
	    {ROW(HEAD "max_age: 0000000010\n"), "enforce 10 mx.test"}, /* not octal */
	    {ROW(HEAD "max_age: 0000000099\n"), "enforce 99 mx.test"},
	    {ROW(HEAD "max_age: 31557600\n"), "enforce 31557600 mx.test"},
	    {ROW("version: STSv1\nmode: enforce\nmax_age: 5\nmx: MX.Example.TEST\nmx: *.XN--fsq.test\n"),
		"enforce 5 mx.example.test *.xn--fsq.test"},
	    {ROW(GOOD "mx: mx.test\nmx: MX.test\nmx: *.mx.test\n"),
		"enforce 604800 mx.test *.mx.test"},
	    {ROW(GOOD "x: y\n"), "enforce 604800 mx.test"},
	    {ROW(GOOD "0-_.: a b  c; d=e: f\n"), "enforce 604800 mx.test"},
	    {ROW(GOOD "n2345678901234567890123456789012: y\n"), "enforce 604800 mx.test"},
	    {ROW(GOOD "x: Gr\xc3\xbc\xc3\x9f\x65 \xe4\xbe\x8b \xf0\x9f\x92\x8c\n"),
		"enforce 604800 mx.test"},
	    {ROW(GOOD "x: \xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\xe0\xa0\x80\xf0\x90\x80\x80\n"),
		"enforce 604800 mx.test"},
	    {ROW(GOOD "x: ~\xc2\x80\xdf\xbf\n"), "enforce 604800 mx.test"},
	    {ROW(GOOD "Mode: strict\nMX: not a host\nVERSION: 7\n"), "enforce 604800 mx.test"},
	    {ROW(GOOD "mode: none\nmax_age: 1\nversion: STSv2\n"), "enforce 604800 mx.test"},
	    {ROW(GOOD "mode: strict\nmax_age: -1\n"), "enforce 604800 mx.test"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct findings f = {0};
		struct errmsg em = {""};
		struct policy *p = parse(t[i].text, t[i].len, &f, &em);
		char got[512] = "";

		if (p != NULL)
			print(p, got);
		if (strcmp(got, t[i].want) != 0 || f.n_errors != 0)
			fail_msg("row %zu: \"%s\" %s", i, got, em.text);
		policy_free(p);
		findings_clear(&f);
	}
}

static void
bodies_that_do_not_are_invalid_with_the_line_of_the_first_error(void **state UNUSED)
{
	static const struct {
		const char *text;
		size_t len;
		const char *line; /* how the reason begins */
	} t[] = {
	    {ROW(""), "there is no \"version\""},
	    {ROW("\n"), "line 1: an empty line"},
	    {ROW("\n" GOOD), "line 1: an empty line"},
	    {ROW(GOOD "\n"), "line 5: an empty line"},
	    {ROW(GOOD "\r\n"), "line 5: an empty line"},
	    {ROW("version: STSv1\n\nmode: none\nmax_age: 1\n"), "line 2: an empty line"},
	    {ROW(GOOD " \n"), "line 5: not"},
	    {ROW("\xef\xbb\xbf" GOOD), "line 1: the body begins with a byte order mark"},
	    {ROW(" version: STSv1\nmode: none\nmax_age: 1\n"), "line 1: not"},
	    {ROW("version : STSv1\nmode: none\nmax_age: 1\n"), "line 1: not"},
	    {ROW("version STSv1\nmode: none\nmax_age: 1\n"), "line 1: not"},
	    {ROW(": STSv1\n"), "line 1: not"},
	    {ROW("mode: none\nmax_age: 1\n"), "there is no \"version\""},
	    {ROW("version: STSv1\nmax_age: 1\nmx: a.test\n"), "there is no \"mode\""},
	    {ROW("version: STSv1\nmode: enforce\nmx: a.test\n"), "there is no \"max_age\""},
	    {ROW("version: STSv1\nmode: enforce\nmax_age: 1\n"),
		"there is no valid \"mx\"; mode enforce"},
	    {ROW("version: STSv1\nmode: testing\nmax_age: 1\n"),
		"there is no valid \"mx\"; mode testing"},
	    {ROW("Version: STSv1\nmode: none\nmax_age: 1\n"), "there is no \"version\""},
	    {ROW("version: STSv2\nmode: none\nmax_age: 1\n"), "line 1: the version"},
	    {ROW("version: stsv1\nmode: none\nmax_age: 1\n"), "line 1: the version"},
	    {ROW("version: STSv1 x\nmode: none\nmax_age: 1\n"), "line 1: the version"},
	    {ROW("version: STSv2\nversion: STSv1\nmode: none\nmax_age: 1\n"),
		"line 1: the version"},
	    {ROW("version: STSv1\nmode: Enforce\nmx: a.test\nmax_age: 1\n"), "line 2: the mode"},
	    {ROW("version: STSv1\nmode: enforced\nmx: a.test\nmax_age: 1\n"), "line 2: the mode"},
	    {ROW("version: STSv1\nmode: report\nmode: enforce\nmx: a.test\nmax_age: 1\n"),
		"line 2: the mode"},
	    {ROW("version: STSv1\nmode:\nmax_age: 1\n"), "line 2: the value of \"mode\" is empty"},
	    {ROW("version: STSv1\nmode: none\0\nmax_age: 1\n"),
		"line 2: the value of \"mode\" has"},
	    {ROW(HEAD "max_age: 31557601\n"), "line 4: max_age is more"},
	    {ROW(HEAD "max_age: 4294967296\n"), "line 4: max_age is more"}, /* 2^32 is not 0 */
	    {ROW(HEAD "max_age: 4294967297\n"), "line 4: max_age is more"},
	    {ROW(HEAD "max_age: 9999999999\n"), "line 4: max_age is more"},
	    {ROW(HEAD "max_age: 10000000000\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: 00000000001\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: 18446744073709551617\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: -1\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: +1\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: 0x10\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: 1e5\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: 86400s\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: 1 0\n"), "line 4: max_age is not"},
	    {ROW(HEAD "max_age: \n"), "line 4: the value of \"max_age\" is empty"},
	    {ROW(HEAD "max_age: x\nmax_age: 1\n"), "line 4: max_age is not"},
	    {ROW(GOOD "mx: *\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: *.\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: *.*.test\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: a.*.test\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: .a.test\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: a.test.\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: a..test\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: a_b.test\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: -a.test\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: a.test b.test\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: a.test:25\n"), "line 5: the MX pattern"},
	    {ROW(GOOD "mx: b\xc3\xbc\x63her.test\n"), "line 5: the MX pattern"}, /* U-label */
	    {ROW(GOOD "x:\n"), "line 5: the value of \"x\" is empty"},
	    {ROW(GOOD "x: a\tb\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: a\rb\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: a\r\r\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: a\r"), "line 5: the value of \"x\" has"}, /* a CR alone ends no line */
	    {ROW(GOOD "x: a\x7f\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \0\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \xff\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \xc3"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \xc3\n\xbc\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \xc3"
		      "A\n"),
		"line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \xe4"
		      "A\x8b\n"),
		"line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \xe4\xbe"
		      "A\n"),
		"line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \xbc\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "x: \xc1\xbf\n"), "line 5: the value of \"x\" has"},         /* overlong */
	    {ROW(GOOD "x: \xe0\x9f\xbf\n"), "line 5: the value of \"x\" has"},     /* overlong */
	    {ROW(GOOD "x: \xf0\x8f\xbf\xbf\n"), "line 5: the value of \"x\" has"}, /* overlong */
	    {ROW(GOOD "x: \xed\xa0\x80\n"), "line 5: the value of \"x\" has"},     /* surrogate */
	    {ROW(GOOD "x: \xf4\x90\x80\x80\n"), "line 5: the value of \"x\" has"}, /* U+110000 */
	    {ROW(GOOD "x: \xf5\x80\x80\x80\n"), "line 5: the value of \"x\" has"},
	    {ROW(GOOD "_x: y\n"), "line 5: not"},
	    {ROW(GOOD "n23456789012345678901234567890123: y\n"), "line 5: not"},
	    {ROW(GOOD "\0\n"), "line 5: not"},
	    {ROW("version: STSv1\rmode: none\rmax_age: 1\r"),
		"line 1: the value of \"version\" has"},
	    {ROW("<html><body>404</body></html>"), "line 1: not"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct findings f = {0};
		struct errmsg em = {""}, alone = {""};

		if (parse(t[i].text, t[i].len, &f, &em) != NULL || f.n_errors == 0)
			fail_msg("row %zu is no policy: %s", i, t[i].text);
		if (strncmp(em.text, t[i].line, strlen(t[i].line)) != 0)
			fail_msg("row %zu: %s, not %s", i, em.text, t[i].line);
		assert_string_equal(f.errors[0], em.text);
		assert_null(parse(t[i].text, t[i].len, NULL, &alone));
		assert_string_equal(alone.text, em.text);
		findings_clear(&f);
	}
}

static void
lint_tells_what_is_doubtful_in_a_valid_policy(void **state UNUSED)
{
	static const struct {
		const char *text;
		size_t n;
		const char *warning;
	} t[] = {
	    {GOOD, 0, NULL},
	    {"version: STSv1\r\nmode: none\r\nmax_age: 60\r\n", 0, NULL},
	    {"version: STSv1\nmode: testing\nmx: a.test\nmax_age: 86400\n", 0, NULL},
	    {HEAD "max_age: 604799\n", 1, "max_age is less than a week"},
	    {HEAD "max_age: 86399\n", 1, "max_age is less than a day"},
	    {"version: STSv1\nmode: testing\nmx: a.test\nmax_age: 0\n", 1,
		"max_age is less than a day"},
	    {GOOD "x: y\n", 1, "line 5: the field \"x\""},
	    {GOOD "Mode: none\n", 1, "line 5: the field \"Mode\""},
	    {GOOD "mode: none\n", 1, "line 5: a second \"mode\""},
	    {GOOD "version: STSv1\n", 1, "line 5: a second \"version\""},
	    {GOOD "max_age: 1\n", 1, "line 5: a second \"max_age\""},
	    {GOOD "mx: MX.test\n", 1, "line 5: \"mx: mx.test\" was there before"},
	    {"version: STSv1\nmode: none\nmx: a.test\nmax_age: 1\n", 1, "mode none does not use"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct findings f = {0};
		struct errmsg em = {""};
		struct policy *p = parse(t[i].text, strlen(t[i].text), &f, &em);

		assert_non_null(p);
		if (f.n_warnings != t[i].n ||
		    (t[i].n > 0 && strncmp(f.warnings[0], t[i].warning, strlen(t[i].warning)) != 0))
			fail_msg("row %zu: %zu warnings, %s", i, f.n_warnings,
			    f.n_warnings > 0 ? f.warnings[0] : "none");
		policy_free(p);
		findings_clear(&f);
	}
}

static void
lint_goes_on_after_an_error(void **state UNUSED)
{
	static const char text[] = "version: STSv3\nmode: strict\n\nmx: *\nmax_age: 1d\nfoo: bar\n";
	struct findings f = {0};
	struct errmsg em = {""};

	assert_null(parse(text, sizeof(text) - 1, &f, &em));
	assert_int_equal(f.n_errors, 5);
	assert_int_equal(f.n_warnings, 1);
	assert_memory_equal(f.errors[4], "line 5: ", 8);
	findings_clear(&f);
	assert_null(f.errors);
	assert_int_equal(f.n_errors + f.n_warnings, 0);
}

static void
an_mx_that_is_no_pattern_does_not_count(void **state UNUSED)
{
	static const char text[] = "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n";
	struct findings f = {0};

	assert_null(parse(text, sizeof(text) - 1, &f, NULL));
	assert_int_equal(f.n_errors, 2);
	assert_non_null(strstr(f.errors[1], "there is no valid \"mx\""));
	findings_clear(&f);
}

static void
a_body_has_at_most_64_kib(void **state UNUSED)
{
	static char text[POLICY_BODY_MAX + 1];
	struct errmsg em = {""};
	struct policy *p;

	memset(text, 'y', sizeof(text));
	memcpy(text, GOOD "x: ", sizeof(GOOD "x: ") - 1);
	p = parse(text, POLICY_BODY_MAX, NULL, &em);
	assert_non_null(p);
	policy_free(p);
	assert_null(parse(text, POLICY_BODY_MAX + 1, NULL, &em));
	assert_non_null(strstr(em.text, "65536"));
}

static void
a_body_full_of_patterns_or_errors_is_bounded_work(void **state UNUSED)
{
	static char text[POLICY_BODY_MAX];
	size_t n = sizeof("version: STSv1\nmode: enforce\nmax_age: 86400\n") - 1, mx = 0;
	struct findings f = {0};
	struct policy *p;

	memcpy(text, "version: STSv1\nmode: enforce\nmax_age: 86400\n", n);
	for (; n + 9 <= sizeof(text); mx++, n += 8)
		snprintf(text + n, 9, "mx:%04zx\n", mx);
	p = parse(text, n, &f, NULL);
	assert_non_null(p);
	assert_int_equal(p->n_mx, mx);
	assert_string_equal(p->mx[0x1002], "1002");
	policy_free(p);
	findings_clear(&f);
	memset(text, '\n', sizeof(text));
	assert_null(parse(text, sizeof(text), &f, NULL));
	assert_in_range(f.n_errors, 10, 1000);
	findings_clear(&f);
}

static void
a_copy_is_equal_and_shares_nothing(void **state UNUSED)
{
	static const char *const mx[] = {"mx.test", "*.a.test"};
	struct policy *p = policy_new(MODE_TESTING, 77, 2, mx), *copy;
	char got[512];

	assert_non_null(p);
	copy = policy_copy(p);
	assert_non_null(copy);
	policy_free(p);
	print(copy, got);
	assert_string_equal(got, "testing 77 mx.test *.a.test");
	policy_free(copy);
	policy_free(NULL);
	p = policy_new(MODE_NONE, 0, 0, NULL);
	assert_non_null(p);
	policy_free(p);
}

static bool memory_is_out;

char *
strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = memory_is_out ? NULL : malloc(size);

	return copy == NULL ? NULL : memcpy(copy, text, size);
}

static void
memory_that_is_out_does_not_make_a_policy_invalid(void **state UNUSED)
{
	pid_t pid = fork();
	int status;

	assert_return_code(pid, errno);
	if (pid == 0) {
		memory_is_out = true;
		signal(SIGABRT, SIG_DFL);
		policy_free(policy_parse(cursor_of(ROW(GOOD)), NULL, NULL));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bodies_that_follow_the_syntax_are_policies),
	    cmocka_unit_test(bodies_that_do_not_are_invalid_with_the_line_of_the_first_error),
	    cmocka_unit_test(lint_tells_what_is_doubtful_in_a_valid_policy),
	    cmocka_unit_test(lint_goes_on_after_an_error),
	    cmocka_unit_test(an_mx_that_is_no_pattern_does_not_count),
	    cmocka_unit_test(a_body_has_at_most_64_kib),
	    cmocka_unit_test(a_body_full_of_patterns_or_errors_is_bounded_work),
	    cmocka_unit_test(memory_that_is_out_does_not_make_a_policy_invalid),
	    cmocka_unit_test(a_copy_is_equal_and_shares_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
