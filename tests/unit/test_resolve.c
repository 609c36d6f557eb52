/* test_resolve.c: one discovery a domain however many ask, bounded, and no harm in stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon_room.h"
#include "servers.h"

static struct room room;
static int silent = -1; /* a DNS server that never answers */

static void
open_with(const char *more)
{
	struct sockaddr_in at = {.sin_port = 0};
	char text[256];

	silent = bound_socket(SOCK_DGRAM, &at);
	snprintf(text, sizeof(text), "dns { servers = {\"127.0.0.1:%d\"} timeout = 1s }\n%s",
	    ntohs(at.sin_port), more);
	room_open(&room, text);
	room_start_writer(&room);
	room_start_resolver(&room);
}

static int
open_room(void **state UNUSED)
{
	open_with("domain \"off.example\" { policy = disable }");
	return 0;
}

static int
open_narrow_room(void **state UNUSED)
{
	open_with("discoveries_max = 8");
	return 0;
}

static int
close_room(void **state UNUSED)
{
	room_close(&room);
	close(silent);
	return 0;
}

static size_t
questions(void)
{
	char msg[512];
	size_t n = 0;

	while (recv(silent, msg, sizeof(msg), MSG_DONTWAIT) > 0)
		n++;
	return n;
}

struct heard {
	size_t n;
	enum verdict verdict;
};

static void
on_resolved(const struct resolution *res, void *arg)
{
	struct heard *h = arg;

	h->n++;
	h->verdict = res->verdict;
}

static bool
three_heard(void *arg)
{
	return ((struct heard *)arg)->n == 3;
}

static void
however_many_ask_there_is_one_discovery(void **state UNUSED)
{
	struct heard heard = {0};
	struct resolve_wait *cancelled;
	struct resolver_status status;
	struct resolution now;

	for (int i = 0; i < 1000; i++)
		assert_int_equal(
		    resolve_want(room.resolver, "new.example").verdict, VERDICT_UNDECIDED);
	for (int i = 0; i < 3; i++)
		assert_non_null(
		    resolve_await(room.resolver, "new.example", on_resolved, &heard, &now));
	cancelled = resolve_await(room.resolver, "new.example", on_resolved, &heard, &now);
	resolve_cancel(&cancelled);
	assert_null(cancelled);
	room_turn(&room);
	assert_true(resolve_age_ms(room.resolver, "new.example") >= 0);
	assert_int_equal(resolve_age_ms(room.resolver, "other.example"), -1);
	resolver_status(room.resolver, &status);
	assert_int_equal(status.running, 1);
	assert_int_equal(status.txt_lookups, 1);
	assert_int_equal(questions(), 1);
	room_run(&room, three_heard, &heard); /* DNS times out */
	assert_int_equal(heard.verdict, VERDICT_UNDECIDED);
	assert_int_equal(room.n_settled, 0);
	/* The trouble is noted: asking again at once asks nobody. */
	(void)questions();
	assert_null(resolve_await(room.resolver, "new.example", on_resolved, &heard, &now));
	room_turn(&room);
	assert_int_equal(questions(), 0);
}

static void
what_is_settled_is_answered_at_once(void **state UNUSED)
{
	struct resolution now;
	struct entry e = {0};

	room_save(&room, "good.example", room_enforce("mx.good.example"));
	room_save(&room, "none.example", room_none());
	assert_null(resolve_await(room.resolver, "good.example", NULL, NULL, &now));
	assert_int_equal(now.verdict, VERDICT_ENFORCE);
	assert_true(now.pushed);
	assert_int_equal(resolve_want(room.resolver, "none.example").verdict, VERDICT_NONE);
	assert_int_equal(resolve_want(room.resolver, "off.example").verdict, VERDICT_NONE);
	assert_int_equal(resolve_peek(room.resolver, "new.example").verdict, VERDICT_UNDECIDED);
	room_turn(&room);
	assert_int_equal(questions(), 0);
	assert_false(room_stored(&room, "new.example", &e));
}

static void
a_stale_policy_answers_and_is_looked_at_in_the_background(void **state UNUSED)
{
	struct entry e = room_enforce("mx.good.example");
	struct resolver_status status;

	e.recheck = time(NULL) - 1;
	room_save(&room, "good.example", e);
	for (int i = 0; i < 100; i++)
		assert_int_equal(
		    resolve_want(room.resolver, "good.example").verdict, VERDICT_ENFORCE);
	resolver_status(room.resolver, &status);
	assert_int_equal(status.txt_lookups, 1);
}

static void
a_failed_check_looks_at_txt_once_in_a_while(void **state UNUSED)
{
	struct resolver_status status;

	room_save(&room, "good.example", room_enforce("mx.good.example"));
	assert_true(resolve_failed_check(room.resolver, "good.example"));
	for (int i = 0; i < 100; i++)
		assert_false(resolve_failed_check(room.resolver, "good.example"));
	resolver_status(room.resolver, &status);
	assert_int_equal(status.txt_lookups, 1);
}

static void
discoveries_run_so_many_at_once_and_so_many_wait(void **state UNUSED)
{
	struct resolver_status status;
	char domain[32];

	for (int i = 0; i < 25000; i++) {
		snprintf(domain, sizeof(domain), "d%d.example", i);
		assert_int_equal(resolve_want(room.resolver, domain).verdict, VERDICT_UNDECIDED);
	}
	resolver_status(room.resolver, &status);
	assert_int_equal(status.running, 8);
	assert_int_equal(status.queued, 20000);
	assert_null(resolve_force(room.resolver, "more.example", RESOLVE_FETCH, on_resolved, NULL));
	assert_int_equal(resolve_age_ms(room.resolver, "d24999.example"), -1);
	assert_true(resolve_age_ms(room.resolver, "d19999.example") >= 0);
}

static void
stopping_tells_all_who_wait_that_nothing_is_decided(void **state UNUSED)
{
	struct heard heard = {0};
	struct resolution now;
	struct entry e = {0};
	char domain[32];

	for (int i = 0; i < 100; i++) {
		snprintf(domain, sizeof(domain), "d%d.example", i);
		assert_non_null(resolve_await(room.resolver, domain, on_resolved, &heard, &now));
	}
	room_turn(&room);
	schedule_free(&room.schedule);
	resolver_stop(room.resolver);
	https_free(&room.https);
	dns_free(&room.dns);
	assert_int_equal(heard.n, 100);
	assert_int_equal(heard.verdict, VERDICT_UNDECIDED);
	/* Our end is no evidence about a domain. */
	assert_false(room_stored(&room, "d0.example", &e));
	assert_null(resolve_await(room.resolver, "late.example", on_resolved, &heard, &now));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define ROOM(test) cmocka_unit_test_setup_teardown(test, open_room, close_room)
	    ROOM(however_many_ask_there_is_one_discovery),
	    ROOM(what_is_settled_is_answered_at_once),
	    ROOM(a_stale_policy_answers_and_is_looked_at_in_the_background),
	    ROOM(a_failed_check_looks_at_txt_once_in_a_while),
	    cmocka_unit_test_setup_teardown(
		discoveries_run_so_many_at_once_and_so_many_wait, open_narrow_room, close_room),
	    ROOM(stopping_tells_all_who_wait_that_nothing_is_decided)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
