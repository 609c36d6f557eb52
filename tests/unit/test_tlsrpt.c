#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/tlsrpt.h"

static void
one_record_with_a_rua_is_wanted(void **state UNUSED) /* RFC 8460 section 3 */
{
	static const struct {
		const char *record;
		enum txt_result result;
		const char *rua;
	} t[] = {
	    {"v=TLSRPTv1;rua=mailto:a@b.test", TXT_RECORD, "mailto:a@b.test"},
	    {"v=TLSRPTv1; rua=mailto:a@b.test,https://b.test/x; c=d", TXT_RECORD,
		"mailto:a@b.test,https://b.test/x"},
	    {"v=TLSRPTv1; x=y;\t rua=mailto:a@b.test;", TXT_RECORD, "mailto:a@b.test"},
	    {"v=TLSRPTv1; rua=\x1b[31m\xff;", TXT_RECORD, "?[31m?"},
	    {"v=TLSRPTv1;", TXT_INVALID, ""},
	    {"v=TLSRPTv1; rua=", TXT_INVALID, ""},
	    {"v=TLSRPTv1; xrua=mailto:a@b.test", TXT_INVALID, ""},
	    {"v=TLSRPTv1 rua=mailto:a@b.test", TXT_ABSENT, ""},
	    {"v=TLSRPTv2; rua=mailto:a@b.test", TXT_ABSENT, ""},
	    {"v=tlsrptv1; rua=mailto:a@b.test", TXT_ABSENT, ""},
	    {"", TXT_ABSENT, ""},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		/* an exact copy on the heap, so that the sanitizer sees one byte too far */
		size_t len = strlen(t[i].record);
		unsigned char *copy = malloc(len + 1);
		struct cursor record = cursor_of(copy, len);
		char rua[TLSRPT_RUA_MAX] = "";
		struct errmsg em = {""};

		assert_non_null(copy);
		memcpy(copy, t[i].record, len);
		if (tlsrpt_select(&record, 1, rua, &em) != t[i].result ||
		    strcmp(rua, t[i].rua) != 0)
			fail_msg("row %zu: %s: rua %s, %s", i, t[i].record, rua, em.text);
		free(copy);
	}
}

static void
a_long_list_of_addresses_is_cut(void **state UNUSED)
{
	char text[1000], rua[TLSRPT_RUA_MAX];
	struct cursor record = cursor_of(text, sizeof(text));

	memset(text, 'x', sizeof(text));
	memcpy(text, "v=TLSRPTv1; rua=", 16);
	assert_int_equal(tlsrpt_select(&record, 1, rua, NULL), TXT_RECORD);
	assert_int_equal(strlen(rua), TLSRPT_RUA_MAX - 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_record_with_a_rua_is_wanted),
	    cmocka_unit_test(a_long_list_of_addresses_is_cut),
	};

	return cmocka_run_group_tests_name("tlsrpt", tests, NULL, NULL);
}
