/* test_queuedir.c: the files of all queues that a .cf names, and no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/queuedir.h"
#include "servers.h"

static char dir[64], cf[128];

static void
put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
make(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static int
make_queues(void **state UNUSED)
{
	static const char *const dirs[] = {
	    "mq", "mq/q1", "mq/q2", "mq/q2/qf", "mq/q2/df", "mq/group1", "mq/no", "abs"};
	char text[512], fifo[128], link[128];

	make_dir(dir);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		make(dirs[i]);
	snprintf(cf, sizeof(cf), "%s/sendmail.cf", dir);
	snprintf(text, sizeof(text),
	    "V10/Berkeley\nO QueueDirectory=%s/mq/q*\nQslow, P=group*, F=f\nQabs, P=%s/abs\n"
	    "O Timeout.queuereturn=1w2d3h\n",
	    dir, dir);
	put("sendmail.cf", text);
	put("mq/q1/qf4APAAAAA000001", "V8\n");
	put("mq/q1/hf4APAAAAA000002", "V8\nqwhy\n");
	put("mq/q1/df4APAAAAA000001", "body");
	put("mq/q1/qf4AP..AAA000003", "odd name");
	put("mq/q1/qf4APAAAAA0000000000000000000000004", "long name");
	put("mq/q2/qf/qf4APAAAAA000005", "V8\n");
	put("mq/group1/qf4APAAAAA000006", "V8\n");
	put("mq/no/qf4APAAAAA000007", "not a queue");
	put("abs/qf4APAAAAA000008", "V8\n");
	snprintf(fifo, sizeof(fifo), "%s/mq/q1/qf4APAAAAA000009", dir);
	snprintf(link, sizeof(link), "%s/mq/q1/qf4APAAAAA000010", dir);
	return mkfifo(fifo, 0600) | symlink("/etc/passwd", link);
}

static int
remove_queues(void **state UNUSED)
{
	remove_dir(dir);
	return 0;
}

static void
all_queues_and_groups_are_read_and_nothing_else(void **state UNUSED)
{
	struct queuefiles files = {0};
	struct errmsg em = {""};
	char seen[512] = "";

	assert_int_equal(queuedir_load(cf, NULL, &files, &em), QUEUEDIR_OK);
	for (size_t i = 0; i < files.n; i++) {
		strcat(strcat(seen, files.item[i].id + 12), " ");
		assert_int_equal(files.item[i].gives_up_s, 9 * 86400 + 3 * 3600);
	}
	assert_int_equal(files.n, 5);
	for (size_t i = 0; i < 5; i++) {
		static const char *const want[] = {"01 ", "02 ", "05 ", "06 ", "08 "};

		if (strstr(seen, want[i]) == NULL)
			fail_msg("%s is not among %s", want[i], seen);
	}
	queuefiles_clear(&files);
}

static void
one_message_is_found_by_its_id_in_quarantine_too(void **state UNUSED)
{
	struct queuefiles files = {0};
	struct errmsg em = {""};

	assert_int_equal(queuedir_load(cf, "4APAAAAA000002", &files, &em), QUEUEDIR_OK);
	assert_int_equal(files.n, 1);
	assert_memory_equal(files.item[0].bytes.p, "V8\nqwhy\n", 8);
	assert_non_null(strstr(files.item[0].path, "/mq/q1/hf4APAAAAA000002"));
	queuefiles_clear(&files);
	assert_int_equal(queuedir_load(cf, "4APAAAAA000007", &files, &em), QUEUEDIR_OK);
	assert_int_equal(files.n, 0);
	queuefiles_clear(&files);
}

static void
a_missing_configuration_is_told_and_a_missing_queue_is_empty(void **state UNUSED)
{
	struct queuefiles files = {0};
	struct errmsg em = {""};
	char text[256], other[128];

	assert_int_equal(queuedir_load("/nonexistent.cf", NULL, &files, &em), QUEUEDIR_ABSENT);
	assert_non_null(strstr(em.text, "/nonexistent.cf"));
	snprintf(text, sizeof(text), "V10\nO QueueDirectory=%s/none\n", dir);
	put("other.cf", text);
	snprintf(other, sizeof(other), "%s/other.cf", dir);
	assert_int_equal(queuedir_load(other, NULL, &files, &em), QUEUEDIR_OK);
	assert_int_equal(files.n, 0);
	queuefiles_clear(&files);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_queues_and_groups_are_read_and_nothing_else),
	    cmocka_unit_test(one_message_is_found_by_its_id_in_quarantine_too),
	    cmocka_unit_test(a_missing_configuration_is_told_and_a_missing_queue_is_empty)};

	return cmocka_run_group_tests(tests, make_queues, remove_queues);
}
