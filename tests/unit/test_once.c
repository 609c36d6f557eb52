/* test_once.c: one round without a daemon: what is due and what is listed, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/once.h"
#include "daemon_room.h"
#include "servers.h"
#include "site/domains.h"

static struct room room;
static struct once *once;
static struct config_list list;
static int silent = -1; /* a DNS server that never answers */

static int
open_room(void **state UNUSED)
{
	struct sockaddr_in at = {.sin_port = 0};
	char text[160];

	silent = bound_socket(SOCK_DGRAM, &at);
	snprintf(text, sizeof(text),
	    "dns { servers = {\"127.0.0.1:%d\"} timeout = 1s }\n"
	    "domain \"off.example\" { policy = disable }\n",
	    ntohs(at.sin_port));
	room_open(&room, text);
	room.config->away_limit_s = AWAY_KEEP;
	room_start_writer(&room);
	room_start_resolver(&room);
	schedule_free(&room.schedule); /* nobody else looks */
	return 0;
}

static int
close_room(void **state UNUSED)
{
	once_stop(once);
	room_stop(&room);
	once_free(&once);
	domains_clear(&list);
	room_close(&room);
	close(silent);
	return 0;
}

static void
begin(void)
{
	struct once_parts parts = {.base = room.base,
	    .store = room.store,
	    .writer = room.writer,
	    .resolver = room.resolver,
	    .config = room.config};

	once = once_new(&parts, &list);
	assert_non_null(once);
}

static json_int_t
number(const char *name)
{
	json_t *report = once_report(once);
	json_int_t n = json_integer_value(json_object_get(report, name));

	json_decref(report);
	return n;
}

static bool
both_looked_at(void *arg UNUSED)
{
	return number("looked_at") >= 2;
}

static time_t
used(const char *domain)
{
	struct entry e = {0};
	time_t at = room_stored(&room, domain, &e) ? e.used : -1;

	entry_clear(&e);
	return at;
}

static void
what_is_due_or_listed_is_looked_at_and_only_the_listed_is_in_use(void **state UNUSED)
{
	struct entry due = room_enforce("mx.due.example"), old = room_none();
	time_t long_ago = time(NULL) / 3600 * 3600 - 3 * 86400;

	due.refetch = 1;
	due.used = long_ago;
	old.used = old.confirmed = 1;
	old.expires = 2;
	room_save(&room, "due.example", due);
	room_save(&room, "old.example", old);
	room_save(&room, "later.example", room_enforce("mx.later.example"));
	room_save(&room, "listed.example", room_enforce("mx.listed.example"));
	for (int i = 0; i < 2; i++)
		assert_true(domains_add(&list, "listed.example"));
	assert_true(domains_add(&list, "off.example"));
	begin();
	room_run(&room, both_looked_at, NULL);
	room_flush(&room);
	assert_int_equal(number("looked_at"), 2);
	assert_int_equal(number("dropped"), 1);
	assert_int_equal(number("changed"), 0);
	assert_int_equal(used("old.example"), -1);
	assert_int_equal(used("due.example"), long_ago);
	assert_true(used("listed.example") > long_ago);
	/* the body of what was due could not be had */
	assert_int_equal(number("failed"), 1);
	assert_true(once_again(once));
	assert_string_equal(room_map(&room, ":alive:"), "0");
}

static void
a_round_that_is_ended_early_is_to_be_repeated(void **state UNUSED)
{
	assert_true(domains_add(&list, "listed.example"));
	begin();
	for (int i = 0; i < 50; i++) /* 100 ms; the answer takes a second at least */
		room_turn(&room);
	assert_true(once_again(once));
	assert_int_equal(number("looked_at"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		what_is_due_or_listed_is_looked_at_and_only_the_listed_is_in_use, open_room,
		close_room),
	    cmocka_unit_test_setup_teardown(
		a_round_that_is_ended_early_is_to_be_repeated, open_room, close_room)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
