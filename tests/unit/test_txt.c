#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/txt.h"

#define N32 "abcdefghijklmnopqrstuvwxyzABCDEF"
#define ROW(s) s, sizeof(s) - 1

static void
check(size_t row, const char *text, size_t len, enum txt_result want, const char *want_id)
{
	/* an exact copy on the heap, so that the sanitizer sees one byte too far */
	unsigned char *copy = test_malloc(len + 1);
	struct cursor record = cursor_of(copy, len);
	char id[TXT_ID_MAX + 1] = "untouched";
	struct errmsg em = {""};
	enum txt_result got;

	memcpy(copy, text, len);
	got = txt_select(&record, 1, id, &em);
	if (got != want || strcmp(id, want_id) != 0)
		fail_msg("row %zu: %s: result %d, id %s, %s", row, text, got, id, em.text);
	if (want != TXT_RECORD && em.text[0] == '\0')
		fail_msg("row %zu: %s: no reason", row, text);
	test_free(copy);
}

static void
a_record_has_a_version_an_id_and_extensions_in_any_order(void **state UNUSED)
{
	static const struct {
		const char *text;
		size_t len;
		const char *id;
	} t[] = {
	    {ROW("v=STSv1; id=20160831085700Z;"), "20160831085700Z"}, {ROW("v=STSv1;id=1"), "1"},
	    {ROW("v=STSv1;id=a;"), "a"}, {ROW("v=STSv1; \t id=a\t;\t"), "a"},
	    {ROW("v=STSv1; id=" N32), N32}, {ROW("v=STSv1; id=a; x=y"), "a"},
	    {ROW("v=STSv1; x=y; id=a"), "a"}, {ROW("v=STSv1; 9_-.z=!\"#:<>~/; id=a ; b=c;"), "a"},
	    {ROW("v=STSv1; ID=upper; id=a"), "a"}, {ROW("v=STSv1; id2=no; id=a"), "a"},
	    {ROW("v=STSv1; v=STSv2; id=a"), "a"}, {ROW("v=STSv1; " N32 "=x; id=a"), "a"},
	    {ROW("v=STSv1; id=first; id=second"), "first"}, /* section 3.2: the first counts, */
	    {ROW("v=STSv1; id=first; id=no_id; id=x"), "first"}, /* the others are ignored */
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		check(i, t[i].text, t[i].len, TXT_RECORD, t[i].id);
}

static void
a_record_of_ours_that_breaks_the_syntax_is_invalid(void **state UNUSED)
{
	static const struct {
		const char *text;
		size_t len;
	} t[] = {
	    {ROW("v=STSv1;")},
	    {ROW("v=STSv1; ")},
	    {ROW("v=STSv1;;")},
	    {ROW("v=STSv1;;id=a")},
	    {ROW("v=STSv1; id=a;;")},
	    {ROW("v=STSv1; id=a; ;")},
	    {ROW("v=STSv1; x=y")},
	    {ROW("v=STSv1; ID=a")},
	    {ROW("v=STSv1; id=")},
	    {ROW("v=STSv1; id=;")},
	    {ROW("v=STSv1; id")},
	    {ROW("v=STSv1; id = a")},
	    {ROW("v=STSv1; id= a")},
	    {ROW("v=STSv1; id=a b")},
	    {ROW("v=STSv1; id=a ")}, /* blanks belong to a delimiter, and there is none */
	    {ROW("v=STSv1; id=-a")},
	    {ROW("v=STSv1; id=a-b")},
	    {ROW("v=STSv1; id=a_b; id=good")},
	    {ROW("v=STSv1; id=" N32 "G")},
	    {ROW("v=STSv1; id=\"a\"")},
	    {ROW("v=STSv1; id=a=b")},
	    {ROW("v=STSv1; id=a, x=y")},
	    {ROW("v=STSv1; id=a; x")},
	    {ROW("v=STSv1; id=a; =y")},
	    {ROW("v=STSv1; id=a; x=")},
	    {ROW("v=STSv1; id=a; x=y z")},
	    {ROW("v=STSv1; id=a; x=y=z")},
	    {ROW("v=STSv1; id=a; _x=y")},
	    {ROW("v=STSv1; id=a; .x=y")},
	    {ROW("v=STSv1; id=a; " N32 "G=y")},
	    {ROW("v=STSv1; id=a\0b;")},
	    {ROW("v=STSv1; id=a\0")},
	    {ROW("v=STSv1; id=a; x=\0")},
	    {ROW("v=STSv1; id=a;\n")},
	    {ROW("v=STSv1;\r\nid=a")},
	    {ROW("v=STSv1; id=a; x=\x7f")},
	    {ROW("v=STSv1; id=\xc3\xbc")},
	    {ROW("v=STSv1; id=a; x=\xc3\xbc")},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		check(i, t[i].text, t[i].len, TXT_INVALID, "untouched");
}

static void
what_does_not_begin_with_the_version_and_its_semicolon_is_discarded(void **state UNUSED)
{
	static const struct {
		const char *text;
		size_t len;
	} t[] = {
	    {ROW("")},
	    {ROW("v=STSv1")},
	    {ROW("v=STSv1 ; id=a")}, /* erratum 6285: section 3.1 is narrower than its ABNF */
	    {ROW(" v=STSv1; id=a")},
	    {ROW("V=STSv1; id=a")},
	    {ROW("v=stsv1; id=a")},
	    {ROW("v=STSv2; id=a")},
	    {ROW("v=STSv11; id=a")},
	    {ROW("v = STSv1; id=a")},
	    {ROW("id=a; v=STSv1;")},
	    {ROW("\"v=STSv1; id=a\"")},
	    {ROW("v=spf1 -all")},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		check(i, t[i].text, t[i].len, TXT_ABSENT, "untouched");
}

static void
others_do_not_count_and_exactly_one_must_remain(void **state UNUSED)
{
	static const struct {
		const char *text[4];
		enum txt_result want;
	} t[] = {
	    {{NULL}, TXT_ABSENT},
	    {{"v=spf1 -all", "v=TLSRPTv1; rua=mailto:a@b.test"}, TXT_ABSENT},
	    {{"v=spf1 -all", "v=STSv1; id=a", "v=STSv2; id=b"}, TXT_RECORD},
	    {{"v=STSv1 is not one", "v=STSv1; id=a"}, TXT_RECORD},
	    {{"v=STSv1; id=a", "v=STSv1; id=b"}, TXT_INVALID},
	    {{"v=STSv1; id=a", "v=STSv1; id=a"}, TXT_INVALID},
	    {{"v=STSv1; id=a", "v=STSv1; broken"}, TXT_INVALID}, /* counted before it is parsed */
	    {{"v=STSv1; broken", "v=STSv1;", "x", "v=STSv1; id=a"}, TXT_INVALID},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct cursor records[4];
		char id[TXT_ID_MAX + 1] = "untouched";
		struct errmsg em = {""};
		size_t n = 0;

		for (; n < 4 && t[i].text[n] != NULL; n++)
			records[n] = cursor_of(t[i].text[n], strlen(t[i].text[n]));
		if (txt_select(records, n, id, &em) != t[i].want)
			fail_msg("row %zu: %s", i, em.text);
		assert_string_equal(id, t[i].want == TXT_RECORD ? "a" : "untouched");
	}
}

static void
a_reason_names_the_byte(void **state UNUSED)
{
	struct cursor record = cursor_of(ROW("v=STSv1; id=a b"));
	char id[TXT_ID_MAX + 1];
	struct errmsg em = {""};

	assert_int_equal(txt_select(&record, 1, id, &em), TXT_INVALID);
	assert_non_null(strstr(em.text, "byte 15"));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_record_has_a_version_an_id_and_extensions_in_any_order),
	    cmocka_unit_test(a_record_of_ours_that_breaks_the_syntax_is_invalid),
	    cmocka_unit_test(what_does_not_begin_with_the_version_and_its_semicolon_is_discarded),
	    cmocka_unit_test(others_do_not_count_and_exactly_one_must_remain),
	    cmocka_unit_test(a_reason_names_the_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
