/* The call for a spare worker must reach the socket that libmilter opened, of whatever family. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

#include "milter/spare.h"

/* Listens where text says, calls, and tells whether somebody came. */
static bool
is_reached(const char *text)
{
	struct errmsg em = {""};
	struct sock_address a;
	int fd = sock_listen(text, 0600, NULL, NULL, &em);
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	bool reached;

	if (fd < 0 || !sock_parse(text, &a, &em))
		fail_msg("%s", em.text);
	spare_init(&a);
	spare_worker();
	reached = poll(&pfd, 1, 2000) == 1;
	close(fd);
	if (sock_unix_path(&a) != NULL)
		unlink(sock_unix_path(&a));
	return reached;
}

static void
the_listener_is_reached_in_every_form(void **state UNUSED)
{
	static const char *const forms[][2] = {{"unix:/tmp/test_spare.", ""},
	    {"local:/tmp/test_spare.", ""}, {"inet:", "@127.0.0.1"}, {"inet:", "@localhost"},
	    {"inet:127.0.0.1:", ""}, {"inet6:", "@::1"}, {"inet6:", "@localhost"},
	    {"inet:[::1]:", ""}};
	char text[SOCK_TEXT_MAX];

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		snprintf(text, sizeof(text), "%s%d%s", forms[i][0], 20000 + (int)(getpid() % 20000),
		    forms[i][1]);
		if (!is_reached(text))
			fail_msg("%s: nobody came", text);
	}
}

/* Whoever calls must not wait for an answer, nor mind that there is none. */
static void
a_call_that_nobody_hears_is_harmless(void **state UNUSED)
{
	struct errmsg em = {""};
	struct sock_address a;

	assert_true(sock_parse("unix:/tmp/test_spare.nobody", &a, &em));
	spare_init(&a);
	spare_worker();
}

/* libmilter opens one socket a process, and never lets it go. */
static int
open_by_libmilter(const char *text)
{
	struct smfiDesc filter = {.xxfi_name = (char[]){"test"}, .xxfi_version = SMFI_VERSION};
	char printed[SOCK_TEXT_MAX];
	struct errmsg em = {""};
	struct sock_address a;

	if (!sock_parse(text, &a, &em))
		return 1;
	sock_print(&a, printed);
	if (smfi_register(filter) != MI_SUCCESS || smfi_setconn(printed) != MI_SUCCESS ||
	    smfi_opensocket(0) != MI_SUCCESS)
		return 2;
	return sock_connect(text, &em) < 0 ? 3 : 0;
}

/* With `localhost' left to the resolver, it would listen on one family and we call another. */
static void
libmilter_listens_where_we_call(void **state UNUSED)
{
	static const char *const families[] = {"inet", "inet6"};
	char text[SOCK_TEXT_MAX];

	for (size_t i = 0; i < 2; i++) {
		pid_t child;
		int status;

		snprintf(text, sizeof(text), "%s:%d@localhost", families[i],
		    20000 + (int)(getpid() % 20000));
		if ((child = fork()) == 0)
			_exit(open_by_libmilter(text));
		assert_int_equal(waitpid(child, &status, 0), child);
		if (status != 0)
			fail_msg("%s: status %x", text, (unsigned)status);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_listener_is_reached_in_every_form),
	    cmocka_unit_test(a_call_that_nobody_hears_is_harmless),
	    cmocka_unit_test(libmilter_listens_where_we_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
