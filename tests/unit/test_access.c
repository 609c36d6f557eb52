/* The access fragment: lines that the administrator's own access build includes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "maps/access.h"

#define FIRST \
	"# mtastsd: made anew at each change; include it in your access build, do not edit it\n"
#define FAR INT64_C(2000000000)

static char dir[64], path[80], temp[96];

static int
make_place(void **state UNUSED)
{
	strcpy(dir, "/tmp/test_access.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/fragment", dir);
	snprintf(temp, sizeof(temp), "%s.new", path);
	return 0;
}

static int
remove_place(void **state UNUSED)
{
	unlink(path);
	rmdir(temp);
	return rmdir(dir); /* nothing else was left there */
}

static char mx1[] = "mx1.example.net";
static char *mx_one[] = {mx1};
static const struct requirement unknown = {.kind = REQUIRE_UNKNOWN};
static const struct requirement enforced = {REQUIRE_ENFORCE, FAR, 1, mx_one};
static const struct requirement none = {REQUIRE_NONE, FAR, 0, NULL};

static const struct {
	const char *domain;
	struct requirement r;
} facts[] = {
    {"m.test", {REQUIRE_ENFORCE, FAR, 1, mx_one}},
    {"plain.test", {REQUIRE_NONE, FAR, 0, NULL}},
    {"b.test", {REQUIRE_ENFORCE, FAR + 1, 1, mx_one}},
    {"past.test", {REQUIRE_ENFORCE, 1000, 1, mx_one}},
};

static bool store_fails;

static bool
walk(bool (*each)(const char *, const struct requirement *, void *), void *each_arg,
    void *arg UNUSED)
{
	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
		if (!each(facts[i].domain, &facts[i].r, each_arg))
			return false;
	return !store_fails;
}

static const struct sink_truth truth = {.walk = walk};
static const struct sink_state enforcing = {false, 0}, observing = {true, 0};

static struct sink *
open_sink(const char *require)
{
	struct access_config config = {path, require};
	struct errmsg em = {""};
	struct sink *s = access_open(&config, &em);

	if (s == NULL)
		fail_msg("%s", em.text);
	return s;
}

static struct sink *
open_repaired(void)
{
	struct sink *s = open_sink(NULL);
	struct errmsg em = {""};

	if (s->ops->repair(s, &truth, &enforcing, &em) != SINK_OK)
		fail_msg("%s", em.text);
	return s;
}

static void
commit(struct sink *s, const struct sink_state *state)
{
	struct errmsg em = {""};

	if (s->ops->commit(s, state, &em) != SINK_OK)
		fail_msg("%s", em.text);
}

static void
set(struct sink *s, const char *domain, const struct requirement *now)
{
	struct errmsg em = {""};

	if (s->ops->set(s, domain, &unknown, now, &em) != SINK_OK)
		fail_msg("%s", em.text);
}

static void
begin(struct sink *s)
{
	assert_int_equal(s->ops->begin(s, NULL), SINK_OK);
}

static void
assert_fragment(const char *want)
{
	char text[4096];
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	assert_string_equal(text, want);
}

static void
write_fragment(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

#define LINE_B "# until 2000000001\nTLS_Rcpt:b.test\tTEMP+VERIFY:128+CN\n"
#define LINE_M "# until 2000000000\nTLS_Rcpt:m.test\tTEMP+VERIFY:128+CN\n"

static void
the_fragment_has_the_unexpired_enforce_domains_sorted(void **state UNUSED)
{
	struct sink *s = open_repaired();
	struct stat st;

	assert_fragment(FIRST LINE_B LINE_M "# end\n");
	assert_int_equal(s->ops->verify(s, NULL), SINK_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0137, 0);
	s->ops->close(s);
}

static void
a_commit_merges_its_changes_in(void **state UNUSED)
{
	struct sink *s = open_repaired();

	begin(s);
	set(s, "z.test", &none);
	set(s, "y.test", &enforced);
	set(s, "a.test", &enforced);
	set(s, "m.test", &unknown);
	set(s, "b.test", &none);
	set(s, "b.test", &enforced); /* the later one counts */
	commit(s, &enforcing);
	assert_fragment(FIRST "# until 2000000000\nTLS_Rcpt:a.test\tTEMP+VERIFY:128+CN\n"
			      "# until 2000000000\nTLS_Rcpt:b.test\tTEMP+VERIFY:128+CN\n"
			      "# until 2000000000\nTLS_Rcpt:y.test\tTEMP+VERIFY:128+CN\n# end\n");
	begin(s);
	commit(s, &enforcing); /* changes were ended with their commit */
	begin(s);
	set(s, "a.test", &none);
	set(s, "y.test", &none);
	set(s, "b.test", &unknown);
	commit(s, &enforcing);
	assert_fragment(FIRST "# end\n");
	s->ops->close(s);
}

static void
what_has_expired_goes_with_the_next_commit(void **state UNUSED)
{
	struct sink *s = open_repaired();

	write_fragment(
	    FIRST "# until 1000\nTLS_Rcpt:a.test\tTEMP+VERIFY:128+CN\n" LINE_M "# end\n");
	begin(s);
	commit(s, &enforcing);
	assert_fragment(FIRST LINE_M "# end\n");
	s->ops->close(s);
}

static void
observe_mode_comments_every_line_out_and_loses_none(void **state UNUSED)
{
	struct sink *s = open_repaired();

	begin(s);
	commit(s, &observing);
	assert_fragment(FIRST "# until 2000000001\n#TLS_Rcpt:b.test\tTEMP+VERIFY:128+CN\n"
			      "# until 2000000000\n#TLS_Rcpt:m.test\tTEMP+VERIFY:128+CN\n# end\n");
	begin(s);
	commit(s, &enforcing);
	assert_fragment(FIRST LINE_B LINE_M "# end\n");
	s->ops->close(s);
}

static void
another_requirement_takes_effect_with_the_next_commit(void **state UNUSED)
{
	struct sink *s = open_repaired();

	s->ops->close(s);
	s = open_sink("PERM+VERIFY");
	begin(s);
	commit(s, &enforcing);
	assert_fragment(FIRST "# until 2000000001\nTLS_Rcpt:b.test\tPERM+VERIFY\n"
			      "# until 2000000000\nTLS_Rcpt:m.test\tPERM+VERIFY\n# end\n");
	s->ops->close(s);
}

static void
a_requirement_of_two_lines_is_refused(void **state UNUSED)
{
	struct access_config config = {path, "OK\nConnect:bad.test"};
	struct errmsg em = {""};

	assert_null(access_open(&config, &em));
	assert_non_null(strstr(em.text, "one short line"));
}

static void
a_domain_that_would_be_another_line_is_refused(void **state UNUSED)
{
	static const char *const t[] = {
	    "a.test\tOK\nConnect:bad.test", "a b.test", "A.test", "a.test:b", ""};
	struct sink *s = open_repaired();
	struct errmsg em = {""};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (s->ops->set(s, t[i], &unknown, &enforced, &em) != SINK_FAILED)
			fail_msg("row %zu", i);
	s->ops->close(s);
}

static void
a_fragment_that_is_not_whole_is_damaged_and_left_alone(void **state UNUSED)
{
	static const char *const t[] = {
	    "",
	    "# something else\n# end\n",
	    FIRST,
	    FIRST LINE_B,
	    FIRST "# until 2000000000\n",
	    FIRST "# until soon\nTLS_Rcpt:a.test\tX\n# end\n",
	    FIRST "TLS_Rcpt:a.test\tX\n# end\n",
	    FIRST "# until 2000000000\nConnect:a.test\tX\n# end\n",
	    FIRST "# until 2000000000\nTLS_Rcpt:a.test\n# end\n",
	};
	struct sink *s = open_repaired();
	struct errmsg em = {""};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		write_fragment(t[i]);
		if (s->ops->verify(s, &em) != SINK_DAMAGED)
			fail_msg("row %zu: verify", i);
		begin(s);
		set(s, "a.test", &enforced);
		if (s->ops->commit(s, &enforcing, &em) != SINK_DAMAGED || em.text[0] == '\0')
			fail_msg("row %zu: commit", i);
		assert_fragment(t[i]);
	}
	assert_int_equal(s->ops->repair(s, &truth, &enforcing, &em), SINK_OK);
	assert_int_equal(s->ops->verify(s, &em), SINK_OK);
	s->ops->close(s);
}

/* The administrator's make compares times. */
static void
a_fragment_with_nothing_new_is_not_written_again(void **state UNUSED)
{
	struct sink *s = open_repaired();
	struct stat before, after;

	assert_int_equal(stat(path, &before), 0);
	begin(s);
	commit(s, &enforcing);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(access(temp, F_OK), -1);
	begin(s);
	set(s, "a.test", &enforced);
	commit(s, &enforcing);
	assert_int_equal(stat(path, &after), 0);
	assert_int_not_equal(after.st_ino, before.st_ino);
	s->ops->close(s);
}

static void
without_a_file_it_is_damaged_and_repair_makes_it(void **state UNUSED)
{
	struct sink *s = open_sink(NULL);
	struct errmsg em = {""};

	assert_int_equal(s->ops->verify(s, &em), SINK_DAMAGED);
	begin(s);
	assert_int_equal(s->ops->commit(s, &enforcing, &em), SINK_DAMAGED);
	assert_int_equal(access(path, F_OK), -1); /* not a half truth */
	assert_int_equal(s->ops->repair(s, &truth, &enforcing, &em), SINK_OK);
	assert_int_equal(s->ops->verify(s, &em), SINK_OK);
	s->ops->close(s);
}

static void
a_store_that_cannot_be_read_leaves_the_old_fragment(void **state UNUSED)
{
	struct sink *s = open_repaired();
	struct errmsg em = {""};

	write_fragment(FIRST LINE_M "# end\n");
	store_fails = true;
	assert_int_equal(s->ops->repair(s, &truth, &enforcing, &em), SINK_FAILED);
	store_fails = false;
	assert_fragment(FIRST LINE_M "# end\n");
	s->ops->close(s);
}

static void
where_nothing_can_be_written_the_old_fragment_stays(void **state UNUSED)
{
	struct sink *s = open_repaired();
	struct errmsg em = {""};

	assert_int_equal(mkdir(temp, 0700), 0); /* in the way of the new file, also of root's */
	begin(s);
	set(s, "a.test", &enforced);
	assert_int_equal(s->ops->commit(s, &enforcing, &em), SINK_FAILED);
	assert_non_null(strstr(em.text, "the old fragment stays"));
	assert_fragment(FIRST LINE_B LINE_M "# end\n");
	s->ops->close(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_fragment_has_the_unexpired_enforce_domains_sorted),
	    TEST(a_commit_merges_its_changes_in),
	    TEST(what_has_expired_goes_with_the_next_commit),
	    TEST(observe_mode_comments_every_line_out_and_loses_none),
	    TEST(another_requirement_takes_effect_with_the_next_commit),
	    TEST(a_requirement_of_two_lines_is_refused),
	    TEST(a_domain_that_would_be_another_line_is_refused),
	    TEST(a_fragment_that_is_not_whole_is_damaged_and_left_alone),
	    TEST(a_fragment_with_nothing_new_is_not_written_again),
	    TEST(without_a_file_it_is_damaged_and_repair_makes_it),
	    TEST(a_store_that_cannot_be_read_leaves_the_old_fragment),
	    TEST(where_nothing_can_be_written_the_old_fragment_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
