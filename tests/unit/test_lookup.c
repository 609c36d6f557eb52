/* mtastsctl lookup against a socketmap of this test's own: one connection, one canned answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/lookup.h"

struct server {
	int fd;
	const char *answer; /* NULL: hang up */
	char request[1024];
};

static void *
serve(void *arg)
{
	struct server *s = arg;
	int fd = accept(s->fd, NULL, NULL);

	if (fd >= 0 && recv(fd, s->request, sizeof(s->request) - 1, 0) > 0 && s->answer != NULL)
		for (const char *p = s->answer; *p != '\0'; p++) /* in pieces */
			(void)send(fd, p, 1, MSG_NOSIGNAL);
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* Runs lookup of key; what it prints is in out. */
static int
look_up(struct server *s, const char *key, char out[256])
{
	char dir[] = "/tmp/test_lookup.XXXXXX", path[64], conf[64];
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct invocation inv = {.conf = conf, .n = 1, .operand = (char *const[]){(char *)key}};
	pthread_t thread;
	FILE *f;
	int code;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(conf, sizeof(conf), "%s/conf", dir);
	assert_non_null(f = fopen(conf, "w"));
	fprintf(f, "socketmap { listen = {\"unix:%s\"} }\n", path);
	fclose(f);
	memcpy(un.sun_path, path, strlen(path) + 1);
	s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(s->fd, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, serve, s), 0);
	memset(out, 0, 256);
	inv.out = fmemopen(out, 256, "w");
	inv.err = fopen("/dev/null", "w");
	code = command_lookup(&inv);
	fclose(inv.out);
	fclose(inv.err);
	shutdown(s->fd, SHUT_RDWR); /* an accept() that nobody came to ends */
	pthread_join(thread, NULL);
	close(s->fd);
	unlink(path);
	unlink(conf);
	rmdir(dir);
	return code;
}

static void
the_word_is_printed_or_the_lookup_fails_for_now(void **state UNUSED)
{
	static const struct {
		const char *answer;
		int code;
		const char *out;
	} t[] = {
	    {"7:OK none,", EX_OK, "none\n"},
	    {"10:OK enforce,", EX_OK, "enforce\n"},
	    {"7:OK wait,", EX_OK, "wait\n"},
	    {"10:TEMP later,", EX_TEMPFAIL, ""},
	    {"20:PERM no such mapping,", EX_TEMPFAIL, ""},
	    {"9:NOTFOUND ,", EX_TEMPFAIL, ""},
	    {"7:OK none", EX_TEMPFAIL, ""},     /* cut off */
	    {"9999:OK none,", EX_TEMPFAIL, ""}, /* longer than any answer */
	    {"OK none\n", EX_TEMPFAIL, ""},
	    {NULL, EX_TEMPFAIL, ""},
	};
	char out[256];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct server s = {.answer = t[i].answer};
		int code = look_up(&s, "good.test,Q1", out);

		if (code != t[i].code || strcmp(out, t[i].out) != 0)
			fail_msg("row %zu: exit %d, printed %s", i, code, out);
		assert_string_equal(s.request, "20:mtastsq good.test,Q1,");
	}
}

static void
nobody_there_no_configuration_and_a_long_key_fail_for_now(void **state UNUSED)
{
	char key[600], out[256], path[] = "/tmp/test_lookup.XXXXXX";
	struct server s = {.answer = "7:OK none,"};
	struct invocation inv = {
	    .conf = path, .n = 1, .operand = (char *const[]){(char[]){"a.test"}}};
	int fd = mkstemp(path);

	memset(key, 'a', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	assert_int_equal(look_up(&s, key, out), EX_TEMPFAIL);
	assert_string_equal(s.request, "");
	inv.err = inv.out = fopen("/dev/null", "w");
	dprintf(fd, "socketmap { listen = {\"unix:/nonexistent/s\"} }\n");
	assert_int_equal(command_lookup(&inv), EX_TEMPFAIL);
	close(fd);
	unlink(path);
	assert_int_equal(command_lookup(&inv), EX_TEMPFAIL);
	fclose(inv.err);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_word_is_printed_or_the_lookup_fails_for_now),
	    cmocka_unit_test(nobody_there_no_configuration_and_a_long_key_fail_for_now),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
