/* The policy map by way of makemap. The makemap here is a script whose maps are text: what of it
 * counts, its exit and the bytes it leaves, a script has too. The lab runs the real one. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "maps/makemap.h"
#include "maps/mapkey.h"

#define FAR INT64_C(2000000000) /* not expired while these tests are of use */

enum { BLOCK = 4096, MANY = 300, TEXT_MAX = 1 << 20 };

static char dir[64], path[80], program[96];

static const char script[] = "#!/bin/sh\n"
			     "[ ! -e fail ] || { echo 'no such type'; exit 66; }\n"
			     "case $1 in -u) cat \"$3\" ;; *) cat >\"$2\" ;; esac\n";

static void
write_text(const char *name, const char *text, mode_t mode)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	chmod(name, mode);
}

static int
make_place(void **state UNUSED)
{
	strcpy(dir, "/tmp/test_makemap.XXXXXX");
	if (mkdtemp(dir) == NULL || chmod(dir, 0750) != 0 || chdir(dir) != 0)
		return -1;
	snprintf(path, sizeof(path), "%s/policy.db", dir);
	snprintf(program, sizeof(program), "%s/makemap", dir);
	write_text(program, script, 0755);
	return 0;
}

static int
remove_place(void **state UNUSED)
{
	unlink(path);
	unlink("policy.source.db");
	unlink("policy.in"); /* left when the process was killed */
	unlink("policy.out");
	unlink("policy.new.db");
	unlink(program);
	unlink("fail");
	return chdir("/") != 0 || rmdir(dir) != 0 ? -1 : 0;
}

/* --- writes to the map that Sendmail reads pass through here --- */

static unsigned n_writes, kill_at;

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t at);
ssize_t pwrite(int fd, const void *buf, size_t len, off_t at);

ssize_t
pwrite64(int fd, const void *buf, size_t len, off_t at)
{
	struct stat st, map;

	if (fstat(fd, &st) == 0 && stat(path, &map) == 0 && st.st_ino == map.st_ino &&
	    ++n_writes == kill_at)
		kill(getpid(), SIGKILL);
	return syscall(SYS_pwrite64, fd, buf, len, at);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t at)
{
	return pwrite64(fd, buf, len, at);
}

/* --- the sink --- */

static char mx1[] = "mx1.example.net";
static char *mx_one[] = {mx1};
static const struct requirement unknown = {.kind = REQUIRE_UNKNOWN};
static const struct requirement enforced = {REQUIRE_ENFORCE, FAR, 1, mx_one};
static const struct sink_state on = {false, FAR}, observing = {true, FAR};

static bool
many_known(const char *domain, struct requirement *r, void *arg UNUSED)
{
	*r = strncmp(domain, "many", 4) == 0 ? enforced : unknown;
	return r->kind == REQUIRE_ENFORCE;
}

static bool
walk_many(bool (*each)(const char *, const struct requirement *, void *), void *each_arg,
    void *arg UNUSED)
{
	char domain[64];

	for (int i = 0; i < MANY; i++) {
		snprintf(domain, sizeof(domain), "many%d.test", i);
		if (!each(domain, &enforced, each_arg))
			return false;
	}
	return true;
}

static bool
import_none(const char *domain, const struct requirement *r UNUSED, void *arg UNUSED)
{
	return domain == NULL;
}

static const struct sink_truth truth = {many_known, walk_many, import_none, NULL};

static struct sink *
open_sink(void)
{
	struct makemap_config config = {program, "text", path, 1000};
	struct errmsg em = {""};
	struct sink *s = makemap_open(&config, &em);

	if (s == NULL)
		fail_msg("%s", em.text);
	return s;
}

static struct sink *
open_repaired(void)
{
	struct sink *s = open_sink();
	struct errmsg em = {""};

	if (s->ops->repair(s, &truth, &on, &em) != SINK_OK)
		fail_msg("%s", em.text);
	return s;
}

static enum sink_result
commit_domain(struct sink *s, const char *domain, const struct sink_state *state, struct errmsg *em)
{
	if (s->ops->begin(s, em) != SINK_OK ||
	    s->ops->set(s, domain, &unknown, &enforced, em) != SINK_OK)
		return SINK_FAILED;
	return s->ops->commit(s, state, em);
}

/* The whole map; the caller frees it. */
static char *
map_text(void)
{
	char *text = calloc(1, TEXT_MAX);
	int fd = open(path, O_RDONLY);

	assert_non_null(text);
	assert_true(fd >= 0 && read(fd, text, TEXT_MAX - 1) >= 0);
	close(fd);
	return text;
}

static bool
map_has(const char *line)
{
	char *text = map_text();
	bool has = strstr(text, line) != NULL;

	free(text);
	return has;
}

static time_t
mtime(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	return st.st_mtime;
}

static void
each_commit_is_in_the_map_with_a_later_time(void **state UNUSED)
{
	struct sink *s = open_repaired();
	struct errmsg em = {""};
	time_t before = mtime();
	char *text;

	assert_true(map_has("many299.test\tenforce 2000000000\n"));
	assert_true(map_has(":ready:\tyes\n"));
	assert_int_equal(commit_domain(s, "new.test", &on, &em), SINK_OK);
	assert_true(
	    map_has("new.test\tenforce 2000000000\n") && map_has("new.test:mx1.example.net\tmx\n"));
	assert_true(mtime() > before);
	before = mtime();
	assert_int_equal(commit_domain(s, "b.test", &observing, &em), SINK_OK);
	assert_true(map_has(":ready:\tobs\n") && map_has("b.test\tenforce"));
	assert_true(mtime() > before);
	assert_int_equal(s->ops->verify(s, &em), SINK_OK);
	text = map_text();
	assert_null(strstr(text, MAPKEY_MTIME)); /* of another file */
	free(text);
	s->ops->close(s);
}

static void
what_was_changed_or_lost_is_found_and_repaired(void **state UNUSED)
{
	static const char *const damage[] = {"s/many7.test\\tenforce 2/many7.test\\tenforce 1/",
	    "/many8.test:/d", "s/:ready:\\tyes/:ready:\\tobs/", "$a strange.test\\tnone 2000000000",
	    "1,$d"};
	struct sink *s = open_repaired();
	struct errmsg em = {""};
	char command[512];

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {

		snprintf(command, sizeof(command), "sed '%s' %s >%s/x && cat %s/x >%s && rm %s/x",
		    damage[i], path, dir, dir, path, dir);
		assert_int_equal(system(command), 0);
		if (s->ops->verify(s, &em) != SINK_DAMAGED)
			fail_msg("row %zu is not found", i);
		assert_int_equal(s->ops->repair(s, &truth, &on, &em), SINK_OK);
		assert_int_equal(s->ops->verify(s, &em), SINK_OK);
		assert_true(map_has("many7.test\tenforce 2") && map_has("many8.test:mx1") &&
			    map_has(":ready:\tyes") && !map_has("strange.test"));
	}
	unlink(path);
	assert_int_equal(s->ops->verify(s, &em), SINK_DAMAGED);
	assert_int_equal(s->ops->repair(s, &truth, &on, &em), SINK_OK);
	assert_true(map_has("many1.test\tenforce"));
	s->ops->close(s);
}

static void
a_makemap_that_fails_leaves_the_old_map_and_is_told(void **state UNUSED)
{
	struct sink *s = open_repaired();
	struct errmsg em = {""};
	char *before = map_text(), *after;

	write_text("fail", "", 0644);
	assert_int_not_equal(commit_domain(s, "new.test", &on, &em), SINK_OK);
	assert_non_null(strstr(em.text, "no such type"));
	assert_int_not_equal(s->ops->repair(s, &truth, &on, &em), SINK_OK);
	assert_int_equal(unlink(program), 0);
	assert_int_not_equal(s->ops->repair(s, &truth, &on, &em), SINK_OK);
	assert_non_null(strstr(em.text, program));
	after = map_text();
	assert_string_equal(before, after);
	assert_int_equal(access("policy.new.db", F_OK), -1);
	free(before);
	free(after);
	s->ops->close(s);
}

/* True: it was killed. */
static bool
killed_in_commit(unsigned at)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct sink *s = open_sink();

		setenv("CMOCKA_TEST_ABORT", "1", 1);
		n_writes = 0;
		kill_at = at;
		_exit(commit_domain(s, "new.test", &on, NULL) == SINK_OK ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status);
}

/* Whatever the format, it cannot be opened without its first block. */
static void
killed_at_any_write_it_leaves_the_old_map_or_one_without_its_first_block(void **state UNUSED)
{
	static const char nothing[BLOCK];
	struct sink *s = open_repaired();
	char *old = map_text();
	unsigned at = 1;

	s->ops->close(s);
	assert_true(strlen(old) > 4 * BLOCK);
	for (; killed_in_commit(at); at++) {
		char *text = map_text();

		if (strcmp(text, old) != 0 && memcmp(text, nothing, BLOCK) != 0)
			fail_msg("write %u: neither the old map nor one that cannot be opened", at);
		free(text);
		s = open_sink();
		if (at > 1)
			assert_int_equal(s->ops->verify(s, NULL), SINK_DAMAGED);
		assert_int_equal(s->ops->repair(s, &truth, &on, NULL), SINK_OK);
		assert_int_equal(s->ops->verify(s, NULL), SINK_OK);
		s->ops->close(s);
		assert_true(map_has("many299.test\tenforce") && !map_has("new.test"));
		free(old);
		old = map_text();
	}
	assert_true(at > 5);
	assert_true(map_has("new.test\tenforce"));
	free(old);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		each_commit_is_in_the_map_with_a_later_time, make_place, remove_place),
	    cmocka_unit_test_setup_teardown(
		what_was_changed_or_lost_is_found_and_repaired, make_place, remove_place),
	    cmocka_unit_test_setup_teardown(
		a_makemap_that_fails_leaves_the_old_map_and_is_told, make_place, remove_place),
	    cmocka_unit_test_setup_teardown(
		killed_at_any_write_it_leaves_the_old_map_or_one_without_its_first_block,
		make_place, remove_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
