/* test_domains.c: lists of domains that an administrator writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "site/domains.h"

static void
one_a_line_with_comments_and_what_is_none_is_told_with_its_line(void **state UNUSED)
{
	char text[4096] = "# ours\ngood.test\n\n  Bad.Test. \t# why\r\nno domain\nhost\n", *said;
	char *p = text + strlen(text);
	struct config_list list = {0};
	struct errmsg em = {""};
	size_t len;
	FILE *in, *err = open_memstream(&said, &len);

	memset(p, 'x', DOMAINS_LINE_MAX);
	strcpy(p + DOMAINS_LINE_MAX, "\nlast.test");
	in = fmemopen(text, strlen(text), "r");
	assert_true(domains_read(in, "list", err, &list, &em));
	fclose(in);
	fclose(err);
	assert_int_equal(list.n, 3);
	assert_string_equal(list.item[0], "good.test");
	assert_string_equal(list.item[1], "bad.test");
	assert_string_equal(list.item[2], "last.test");
	assert_memory_equal(said, "list:5: ", strlen("list:5: "));
	assert_non_null(strstr(said, "\nlist:7: longer than 1023 bytes; passed over\n"));
	assert_null(strstr(said, "list:6"));
	free(said);
	domains_clear(&list);
}

static void
a_file_that_cannot_be_read_is_no_empty_list(void **state UNUSED)
{
	struct config_list list = {0};
	struct errmsg em = {""};
	FILE *in = fopen("/", "r");

	assert_non_null(in);
	assert_false(domains_read(in, "/", stderr, &list, &em));
	assert_string_equal(em.text, "/: cannot be read: Is a directory");
	fclose(in);
	domains_clear(&list);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_a_line_with_comments_and_what_is_none_is_told_with_its_line),
	    cmocka_unit_test(a_file_that_cannot_be_read_is_no_empty_list)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
