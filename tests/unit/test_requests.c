/* test_requests.c: who may ask mtasts-release, and for what. The real Sendmail is in the lab. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "release/requests.h"

#define OURS "V8\nT1\nqmtasts: policy of good.test not known yet\nS<a@b.test>\n"

static char dir[] = "/tmp/test_requests.XXXXXX", script[64];
static char *dirs[] = {dir};

static void
put(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static const char *
in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* In the place of Sendmail: notes how it was called, and lets go of what is not "stuck". */
static int
set_up(void **state UNUSED)
{
	char text[512];

	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0777), 0);
	snprintf(script, sizeof(script), "%s/sendmail", dir);
	snprintf(text, sizeof(text),
	    "#!/bin/sh\n"
	    "echo \"$# $* HOME=$HOME PATH=$PATH\" >> %s/calls\n"
	    "rm -f %s/hf6AP9BW8u000096\n",
	    dir, dir);
	put(script, text, 0755);
	put(in_dir("hf6AP9BW8u000096"), OURS, 0644);
	put(in_dir("hf6AP9BWstuck1"), OURS, 0644);
	put(in_dir("hf6AP9BW8u000097"), "V8\nT1\nqadmin says\nS<a@b.test>\n", 0644);
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* Sends text as this process and returns what comes back. */
static const char *
ask(const char *text, uid_t uid)
{
	static char answer[4096];
	struct config config = {.release_queue = {1, dirs}, .release_sendmail = script};
	ssize_t n;
	size_t len = 0;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(send(pair[0], text, strlen(text), 0), strlen(text));
	assert_int_equal(shutdown(pair[0], SHUT_WR), 0);
	requests_serve(&config, pair[1], uid);
	while ((n = recv(pair[0], answer + len, sizeof(answer) - 1 - len, 0)) > 0)
		len += (size_t)n;
	answer[len] = '\0';
	close(pair[0]);
	return answer;
}

static const char *
calls(void)
{
	static char text[4096];
	FILE *f = fopen(in_dir("calls"), "r");
	size_t n = f == NULL ? 0 : fread(text, 1, sizeof(text) - 1, f);

	text[n] = '\0';
	if (f != NULL)
		fclose(f);
	unlink(in_dir("calls"));
	return text;
}

#define ENVIRONMENT " HOME= PATH=/usr/sbin:/usr/bin:/sbin:/bin\n"

static void
only_a_queue_id_of_ours_reaches_sendmail(void **state UNUSED)
{
	static const char *const bad[] = {"", "\n", "6AP9BW8u000096", "6AP9BW8u000096;id\n",
	    "-qI6AP9BW8u000096\n", "../hf6AP9BW8u000096\n", "6AP9BW8u000096\n6AP9BW8u000096\n",
	    "6AP9BW8u000096 \n",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *answer = ask(bad[i], geteuid());

		if (answer[0] != '\0' && strcmp(answer, "no queue id\n") != 0)
			fail_msg("row %zu: %s", i, answer);
	}
	assert_string_equal(ask("6AP9BW8u000097\n", geteuid()), "others\n");
	assert_string_equal(ask("6AP9BW8u000099\n", geteuid()), "absent\n");
	assert_string_equal(calls(), "");
}

static void
what_is_ours_is_listed_and_released(void **state UNUSED)
{
	const char *list = ask("list\n", geteuid());

	assert_non_null(strstr(list, "6AP9BW8u000096 mtasts: policy of good.test not known yet\n"));
	assert_non_null(strstr(list, "6AP9BWstuck1 mtasts"));
	assert_null(strstr(list, "000097"));
	assert_string_equal(list + strlen(list) - 4, "end\n");
	assert_string_equal(ask("6AP9BWstuck1\n", geteuid()), "later\n");
	assert_string_equal(calls(), "3 -Q -qQmtasts: policy of  -qI6AP9BWstuck1" ENVIRONMENT);
	put(in_dir("hf6AP9BW8u000096"), OURS, 0644);
	assert_string_equal(ask("6AP9BW8u000096\n", geteuid()), "released\n");
	assert_string_equal(calls(), "3 -Q -qQmtasts: policy of  -qI6AP9BW8u000096" ENVIRONMENT
				     "1 -qI6AP9BW8u000096" ENVIRONMENT);
}

static void
others_than_root_and_the_user_are_turned_away(void **state UNUSED)
{
	pid_t pid;
	int status;

	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0) {
		bool good = setresuid(65534, 65534, 65534) == 0 &&
			    strcmp(ask("list\n", 12345), "") == 0 &&
			    strstr(ask("list\n", 65534), "end\n") != NULL;

		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_a_queue_id_of_ours_reaches_sendmail),
	    cmocka_unit_test(what_is_ours_is_listed_and_released),
	    cmocka_unit_test(others_than_root_and_the_user_are_turned_away),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
