/* test_schedule.c: what is due is looked at though nobody asks; what is not is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon_room.h"
#include "servers.h"

static struct room room;
static int silent = -1; /* a DNS server that never answers */
static char due_name[] = "\003due\007example", due_txt[] = "\010_mta-sts\003due\007example",
	    due_host[] = "\007mta-sts\003due\007example";
static char last[512];
static size_t asked_about_due, asked_about_others;

static int
open_room(void **state UNUSED)
{
	struct sockaddr_in at = {.sin_port = 0};
	char text[128];

	silent = bound_socket(SOCK_DGRAM, &at);
	snprintf(text, sizeof(text), "dns { servers = {\"127.0.0.1:%d\"} timeout = 1s }\n",
	    ntohs(at.sin_port));
	room_open(&room, text);
	room_start_writer(&room);
	room_start_resolver(&room);
	asked_about_due = asked_about_others = 0;
	return 0;
}

static int
close_room(void **state UNUSED)
{
	room_close(&room);
	close(silent);
	return 0;
}

/* Reads the questions that have come; true once there was one that holds the name (a C string of
 * labels with their lengths). */
static bool
is_asked(void *name)
{
	ssize_t len;

	while ((len = recv(silent, last, sizeof(last), MSG_DONTWAIT)) > 0) {
		bool due = memmem(last, (size_t)len, due_name, strlen(due_name)) != NULL;

		asked_about_due += due;
		asked_about_others += !due;
		if (memmem(last, (size_t)len, name, strlen(name)) != NULL)
			return true;
	}
	return false;
}

/* Daily, and before a policy's end: RFC 8461 section 10.2. */
static void
a_policy_is_fetched_again_when_due_with_nobody_asking(void **state UNUSED)
{
	struct entry due = room_enforce("mx.due.example"), later = room_enforce("mx.later.example");
	time_t when = time(NULL) + 3;

	due.refetch = when;
	room_save(&room, "due.example", due);
	room_save(&room, "later.example", later);
	room_save(&room, "none.example", room_none());
	room_run(&room, is_asked, due_txt);
	assert_true(time(NULL) >= when);
	assert_int_equal(asked_about_due, 1);
	/* TXT gave no answer, and the body is fetched all the same. */
	room_run(&room, is_asked, due_host);
	assert_int_equal(asked_about_others, 0);
}

static bool
is_gone(void *arg UNUSED)
{
	struct entry e = {0};
	bool stored = room_stored(&room, "due.example", &e);

	entry_clear(&e);
	return !stored && *room_map(&room, "due.example") == '\0';
}

static void
what_nobody_asks_for_any_more_is_dropped_at_its_end(void **state UNUSED)
{
	struct entry e = room_enforce("mx.due.example");

	e.used = 1;
	e.expires = time(NULL) + 2;
	room_save(&room, "due.example", e);
	room_run(&room, is_gone, NULL);
	assert_false(is_asked(due_name));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		a_policy_is_fetched_again_when_due_with_nobody_asking, open_room, close_room),
	    cmocka_unit_test_setup_teardown(
		what_nobody_asks_for_any_more_is_dropped_at_its_end, open_room, close_room)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
