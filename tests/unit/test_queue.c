/* test_queue.c: which messages of a queue are quarantined, and by whom. Sendmail's own are in the lab. */
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

#include "release/queue.h"

#define OURS \
	"V8\nT1795597892\nK0\nN0\nP30145\nqmtasts: policy of good.test not known yet\nFbs\n$_x\nS<a@b.test>\n"

static char dir[] = "/tmp/test_queue.XXXXXX";

static void
put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void
make(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static int
set_up(void **state UNUSED)
{
	assert_non_null(mkdtemp(dir));
	make("q1");
	make("q2");
	make("q2/qf");
	put("q1/hf6AP9BW8u000096", OURS);
	put("q1/hf6AP9BW8u000097", "V8\nT1\nq\"admin says\"\nS<a@b.test>\n");
	put("q1/qf6AP9BW8u000098", "V8\nT1\nS<a@b.test>\n");
	put("q1/hfshort", OURS);
	put("q1/hf..bad..id..", OURS);
	put("q2/hf6AP9BW8u000100", OURS); /* not where Sendmail looks */
	put("q2/qf/hf6AP9BW8u000101", OURS);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* The queue directories of the test, by a wildcard. */
static struct config_list
queues(void)
{
	static char pattern[256], *items[] = {pattern};

	snprintf(pattern, sizeof(pattern), "%s/q*", dir);
	return (struct config_list){1, items};
}

static void
a_message_is_ours_anothers_or_not_there(void **state UNUSED)
{
	struct config_list dirs = queues();
	struct queue_message m;

	assert_int_equal(queue_find(&dirs, "6AP9BW8u000096", &m), QUEUE_OURS);
	assert_string_equal(m.id, "6AP9BW8u000096");
	assert_string_equal(m.reason, "mtasts: policy of good.test not known yet");
	assert_int_equal(m.since, 1795597892);
	assert_int_equal(queue_find(&dirs, "6AP9BW8u000097", &m), QUEUE_OTHERS);
	assert_int_equal(queue_find(&dirs, "6AP9BW8u000098", &m), QUEUE_ABSENT);
	assert_int_equal(queue_find(&dirs, "6AP9BW8u000100", &m), QUEUE_ABSENT);
	assert_int_equal(queue_find(&dirs, "6AP9BW8u000101", &m), QUEUE_OURS);
}

static bool
count(const struct queue_message *m, void *arg)
{
	assert_true(strcmp(m->id, "6AP9BW8u000096") == 0 || strcmp(m->id, "6AP9BW8u000101") == 0);
	++*(int *)arg;
	return true;
}

static void
only_ours_are_listed(void **state UNUSED)
{
	struct config_list dirs = queues();
	int n = 0;

	queue_each(&dirs, count, &n);
	assert_int_equal(n, 2);
}

static void
a_link_is_not_followed(void **state UNUSED)
{
	struct config_list dirs = queues();
	struct queue_message m;
	char to[256], from[256];

	snprintf(to, sizeof(to), "%s/q1/hf6AP9BW8u000096", dir);
	snprintf(from, sizeof(from), "%s/q1/hf6AP9BW8u000102", dir);
	assert_int_equal(symlink(to, from), 0);
	assert_int_equal(queue_find(&dirs, "6AP9BW8u000102", &m), QUEUE_ABSENT);
	assert_int_equal(unlink(from), 0);
}

static void
only_what_is_plainly_ours_is(void **state UNUSED)
{
	static const struct {
		const char *head;
		enum queue_result want;
	} t[] = {
	    {OURS, QUEUE_OURS},
	    {"", QUEUE_OTHERS},
	    {"V8\nT1\nS<a@b>\nqmtasts: policy of good.test not known yet\n", QUEUE_OTHERS},
	    {"V8\nqmtasts: policy of good.test not known yet", QUEUE_OTHERS}, /* cut */
	    {"qspam, mtasts: policy of good.test not known yet\nS<a@b>\n", QUEUE_OTHERS},
	    {"qmtasts: policy of good.test\x01 not known yet\nS<a@b>\n", QUEUE_OTHERS},
	    {"qmtasts: policy of a.test not known yet\nqadmin says\nS<a@b>\n", QUEUE_OTHERS},
	};
	struct queue_message m;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (queue_read_head(cursor_of(t[i].head, strlen(t[i].head)), &m) != t[i].want)
			fail_msg("row %zu", i);
}

static void
a_queue_id_is_letters_and_digits(void **state UNUSED)
{
	static const char *const bad[] = {"", "6AP9BW8", "6AP9BW8u000096 ", "../../../../etc",
	    "6AP9BW8u/000096", "6AP9BW8u0000966AP9BW8u000", "-qI6AP9BW8u0000"};

	assert_true(queue_id_valid(cursor_of("6AP9BW8u000096", 14)));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(queue_id_valid(cursor_of(bad[i], strlen(bad[i]))));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_message_is_ours_anothers_or_not_there),
	    cmocka_unit_test(only_ours_are_listed),
	    cmocka_unit_test(a_link_is_not_followed),
	    cmocka_unit_test(only_what_is_plainly_ours_is),
	    cmocka_unit_test(a_queue_id_is_letters_and_digits),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
