/* test_privs.c: whose directories root hands to the user of the configuration. Needs root. */
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "servers.h"
#include "site/privs.h"

static const char user[] = "daemon"; /* of Debian's base system, as is the group root */
static char dir[64], inner[96];

static int
open_dir(void **state UNUSED)
{
	make_dir(dir);
	snprintf(inner, sizeof(inner), "%s/a/b", dir);
	return 0;
}

static int
close_dir(void **state UNUSED)
{
	remove_dir(dir);
	return 0;
}

static void
put_file(const char *in, const char *owner)
{
	char path[128];
	const struct passwd *pw = getpwnam(owner);
	int fd;

	snprintf(path, sizeof(path), "%s/file-of-%s", in, owner);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && pw != NULL && fchown(fd, pw->pw_uid, pw->pw_gid) == 0);
	close(fd);
}

/* Owner and mode, as in "daemon 2750". */
static void
assert_is(const char *path, const char *owner, mode_t mode)
{
	struct stat st;
	const struct passwd *pw = getpwnam(owner);

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, pw->pw_uid);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void
what_is_missing_is_made_for_the_user(void **state UNUSED)
{
	struct errmsg em = {""};
	struct stat st;
	char parent[96];

	mode_t before = umask(077);

	snprintf(parent, sizeof(parent), "%s/a", dir);
	assert_true(privs_own_dir(inner, user, "root", 02750, &em));
	umask(before);
	assert_is(inner, user, 02750);
	assert_is(parent, "root", 0755);
	assert_true(privs_own_dir(inner, user, NULL, 0700, &em)); /* the user's: mended */
	assert_is(inner, user, 0700);
	assert_int_equal(stat(inner, &st), 0);
	assert_int_equal(st.st_gid, getpwnam(user)->pw_gid);
}

static void
an_empty_directory_and_one_with_files_of_the_user_are_taken_over(void **state UNUSED)
{
	struct errmsg em = {""};

	chmod(dir, 0711);
	assert_true(privs_own_dir(dir, user, NULL, 0755, &em));
	assert_is(dir, user, 0755);
	put_file(dir, user);
	assert_int_equal(chown(dir, 0, 0), 0);
	assert_true(privs_own_dir(dir, user, NULL, 0755, &em));
	assert_is(dir, user, 0755);
}

static void
a_directory_with_files_of_others_is_left_alone(void **state UNUSED)
{
	struct errmsg em = {""};

	put_file(dir, user);
	put_file(dir, "root");
	chmod(dir, 0711);
	assert_false(privs_own_dir(dir, user, "root", 02750, &em));
	assert_is(dir, "root", 0711);
	assert_non_null(strstr(em.text, dir));
	assert_non_null(strstr(em.text, "install -d -o daemon -g root -m 2750"));
}

static void
what_is_no_directory_and_who_is_unknown_is_an_error(void **state UNUSED)
{
	struct errmsg em = {""};

	assert_false(privs_own_dir(inner, "nosuch", NULL, 0755, &em));
	assert_non_null(strstr(em.text, "no user \"nosuch\"; make it: adduser"));
	assert_false(privs_own_dir(inner, user, "nosuch", 0755, &em));
	assert_non_null(strstr(em.text, "no group \"nosuch\""));
	snprintf(inner, sizeof(inner), "%s/link", dir);
	assert_int_equal(symlink("/etc", inner), 0);
	assert_false(privs_own_dir(inner, user, NULL, 0755, &em));
	assert_non_null(strstr(em.text, "no directory"));
	assert_is("/etc", "root", 0755);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, open_dir, close_dir)
	    TEST(what_is_missing_is_made_for_the_user),
	    TEST(an_empty_directory_and_one_with_files_of_the_user_are_taken_over),
	    TEST(a_directory_with_files_of_others_is_left_alone),
	    TEST(what_is_no_directory_and_who_is_unknown_is_an_error)};

	if (geteuid() != 0)
		return 77; /* skipped: there is nobody to hand over to */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
