/* test_sock.c: the forms of an address, ours and Sendmail's, and what is done to a unix socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "site/sock.h"

static void
every_form_is_read_and_printed_as_sendmail_reads_it(void **state UNUSED)
{
	static const struct {
		const char *text, *printed;
	} t[] = {{"unix:/run/x", "local:/run/x"}, {"local:/run/x", "local:/run/x"},
	    {"inet:127.0.0.1:8461", "inet:8461@127.0.0.1"},
	    {"inet:8461@127.0.0.1", "inet:8461@127.0.0.1"},
	    {"inet:8461@[127.0.0.1]", "inet:8461@127.0.0.1"},
	    {"inet:8461@127.1.2.3", "inet:8461@127.1.2.3"},
	    {"inet:8461@localhost", "inet:8461@127.0.0.1"},
	    {"inet:localhost:8461", "inet:8461@127.0.0.1"}, {"inet:[::1]:8461", "inet6:8461@::1"},
	    {"inet6:8461@::1", "inet6:8461@::1"}, {"inet6:8461@[::1]", "inet6:8461@::1"},
	    {"inet6:8461@localhost", "inet6:8461@::1"},
	    {"inet:65535@127.0.0.1", "inet:65535@127.0.0.1"}};
	char printed[SOCK_TEXT_MAX];
	struct errmsg em = {""};
	struct sock_address a, again;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (!sock_parse(t[i].text, &a, &em))
			fail_msg("%s", em.text);
		sock_print(&a, printed);
		assert_string_equal(printed, t[i].printed);
		assert_true(sock_parse(printed, &again, &em));
		assert_int_equal(a.len, again.len);
		assert_memory_equal(&a.ss, &again.ss, sizeof(a.ss));
	}
}

static void
what_is_no_address_or_beyond_loopback_is_refused(void **state UNUSED)
{
	static const char *const t[] = {"", "banana", "/run/x", "unix:", "unix:rel", "local:rel",
	    "inet:", "inet:@", "inet:8461", "inet:@127.0.0.1", "inet:99999@127.0.0.1",
	    "inet:0@127.0.0.1", "inet:-1@127.0.0.1", "inet:+1@127.0.0.1", "inet: 1@127.0.0.1",
	    "inet:000001@127.0.0.1", "inet:smtp@127.0.0.1", "inet:8461@", "inet:8461@x",
	    "inet:8461@192.0.2.1", "inet:192.0.2.1:25", "inet:8461@0.0.0.0", "inet:8461@::1",
	    "inet:[2001:db8::1]:8461", "inet:::1:8461", "inet:127.0.0.1:", "inet:127.0.0.1:8461x",
	    "inet6:8461@127.0.0.1", "inet6:[::1]:8461", "inet6:", "inet:127.0.0.1:8461@"};
	struct sock_address a;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct errmsg em = {""};

		if (sock_parse(t[i], &a, &em))
			fail_msg("\"%s\" was taken", t[i]);
		if (strstr(em.text, "must begin with /") == NULL &&
		    strstr(em.text, "unix:/path") == NULL)
			fail_msg("\"%s\": no remedy in: %s", t[i], em.text);
	}
}

static void
a_path_is_as_long_as_the_kernel_takes(void **state UNUSED)
{
	struct sockaddr_un un;
	struct errmsg em = {""};
	struct sock_address a;
	char text[SOCK_TEXT_MAX], printed[SOCK_TEXT_MAX];

	snprintf(text, sizeof(text), "local:/%0*d", (int)sizeof(un.sun_path) - 2, 0);
	assert_true(sock_parse(text, &a, &em));
	sock_print(&a, printed);
	assert_string_equal(printed, text);
	snprintf(text, sizeof(text), "local:/%0*d", (int)sizeof(un.sun_path) - 1, 0);
	assert_false(sock_parse(text, &a, &em));
	assert_non_null(strstr(em.text, "shorter than"));
}

static void
a_socket_left_by_the_dead_is_replaced_and_a_living_one_is_not(void **state UNUSED)
{
	struct errmsg em = {""};
	char text[SOCK_TEXT_MAX];
	const char *path = text + strlen("local:");
	struct stat st;
	int fd;

	snprintf(text, sizeof(text), "local:/tmp/test_sock.%d", (int)getpid());
	assert_true((fd = sock_listen(text, 0620, NULL, NULL, &em)) >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0620);
	assert_int_equal(sock_listen(text, 0600, NULL, NULL, &em), -1);
	assert_non_null(strstr(em.text, "another process"));
	close(fd);
	assert_true((fd = sock_listen(text, 0600, NULL, NULL, &em)) >= 0);
	assert_false(sock_set_access(path, 0600, NULL, "no such group", &em));
	assert_non_null(strstr(em.text, "no such group"));
	close(fd);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_form_is_read_and_printed_as_sendmail_reads_it),
	    cmocka_unit_test(what_is_no_address_or_beyond_loopback_is_refused),
	    cmocka_unit_test(a_path_is_as_long_as_the_kernel_takes),
	    cmocka_unit_test(a_socket_left_by_the_dead_is_replaced_and_a_living_one_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
