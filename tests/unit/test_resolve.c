/* test_resolve.c: one discovery a domain however many ask, bounded, and no harm in stopping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon_room.h"
#include "servers.h"

static struct room room;
static atomic_bool map_waits, map_fails; /* the writer's thread calls the sink */
static int silent = -1;                  /* a DNS server that never answers by itself */
static char config_text[256];

static void
open_with(const char *more)
{
	struct sockaddr_in at = {.sin_port = 0};

	silent = bound_socket(SOCK_DGRAM, &at);
	snprintf(config_text, sizeof(config_text),
	    "dns { servers = {\"127.0.0.1:%d\"} timeout = 1s }\n%s", ntohs(at.sin_port), more);
	room_open(&room, config_text);
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
	map_waits = map_fails = false; /* a test that failed halfway must not hold the writer */
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

/* Whatever was asked does not exist. */
static void
deny_all(void)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	unsigned char msg[512];
	ssize_t n;

	while ((n = recvfrom(
		    silent, msg, sizeof(msg), MSG_DONTWAIT, (struct sockaddr *)&from, &len)) > 0) {
		msg[2] |= 0x80;               /* a response */
		msg[3] = (msg[3] & 0xf0) | 3; /* NXDOMAIN, RFC 1035 section 4.1.1 */
		assert_int_equal(
		    sendto(silent, msg, (size_t)n, 0, (struct sockaddr *)&from, len), n);
		len = sizeof(from);
	}
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

/* ---- what the map knows and the store does not ---- */

static const struct sink_ops *map_ops; /* the real ones */
static struct sink_ops moody_ops;

static enum sink_result
moody_repair(struct sink *s, const struct sink_truth *truth, const struct sink_state *state,
    struct errmsg *em)
{
	while (map_waits)
		usleep(1000);
	if (!map_fails)
		return map_ops->repair(s, truth, state, em);
	errmsg_set(em, "told to fail");
	return SINK_FAILED;
}

/* Stops and starts, with a map that can be made to wait or to fail from now on. */
static void
restart_moody(bool lose_store)
{
	char store[96];

	room_stop(&room);
	snprintf(store, sizeof(store), "%s/store", room.dir);
	if (lose_store)
		remove_dir(store);
	room_reopen(&room, config_text);
	map_ops = room.sink->ops;
	moody_ops = *map_ops;
	moody_ops.repair = moody_repair;
	room.sink->ops = &moody_ops;
	room_begin_writer(&room);
	room_start_resolver(&room);
}

static int
open_lost_room(void **state UNUSED)
{
	open_with("");
	room_save(&room, "lost.example", room_enforce("mx.lost.example"));
	return 0;
}

static bool
one_heard(void *arg)
{
	deny_all();
	return ((struct heard *)arg)->n == 1;
}

static bool
in_step(void *arg UNUSED)
{
	return writer_in_step(room.writer);
}

static void
assert_lost_is_enforced(void)
{
	struct entry e = {0};

	assert_memory_equal(room_map(&room, "lost.example"), "enforce ", 8);
	assert_string_equal(room_map(&room, "lost.example:mx.lost.example"), "mx");
	assert_true(room_stored(&room, "lost.example", &e));
	assert_int_equal(entry_verdict(&e, time(NULL)), VERDICT_ENFORCE);
	entry_clear(&e);
}

static bool
judged(void *arg)
{
	struct timespec *since = arg, now;

	deny_all();
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - since->tv_sec >= 2; /* what DNS said is long there */
}

static void
a_want_before_the_first_repair_waits_for_what_the_map_knows(void **state UNUSED)
{
	struct heard heard = {0};
	struct resolution now;
	struct timespec since;

	map_waits = true;
	restart_moody(true);
	assert_non_null(resolve_await(room.resolver, "lost.example", on_resolved, &heard, &now));
	clock_gettime(CLOCK_MONOTONIC, &since);
	room_run(&room, judged, &since);
	map_waits = false;
	room_run(&room, one_heard, &heard);
	assert_int_equal(heard.verdict, VERDICT_ENFORCE);
	assert_lost_is_enforced();
}

static void
while_the_first_repair_fails_nothing_is_decided(void **state UNUSED)
{
	struct heard heard = {0};
	struct entry e = {0};
	struct resolution now;

	map_fails = true;
	restart_moody(true);
	assert_non_null(resolve_await(room.resolver, "lost.example", on_resolved, &heard, &now));
	room_run(&room, one_heard, &heard);
	assert_int_equal(heard.verdict, VERDICT_UNDECIDED);
	assert_false(room_stored(&room, "lost.example", &e));
	map_fails = false;
	room_run(&room, in_step, NULL);
	assert_lost_is_enforced();
}

/* The record in the running store, and what of it stands in old pages. */
static void
damage_record(const char *text)
{
	char path[96];
	struct stat st;
	unsigned char *file, *at;
	int fd;

	snprintf(path, sizeof(path), "%s/store/data.mdb", room.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	at = file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(file != MAP_FAILED);
	while ((at = memmem(at, (size_t)(file + st.st_size - at), text, strlen(text))) != NULL)
		*at = 'n';
	munmap(file, (size_t)st.st_size);
	close(fd);
}

static void
a_damaged_record_whose_repair_fails_is_not_replaced_by_less(void **state UNUSED)
{
	struct heard heard = {0};
	struct entry e = {0};
	struct resolution now;

	restart_moody(false);
	room_run(&room, in_step, NULL);
	damage_record("mx.lost.example");
	map_fails = true;
	assert_non_null(resolve_await(room.resolver, "lost.example", on_resolved, &heard, &now));
	room_run(&room, one_heard, &heard);
	assert_int_equal(heard.verdict, VERDICT_UNDECIDED);
	assert_int_equal(store_get(room.store, "lost.example", &e, NULL), STORE_DAMAGED);
	map_fails = false;
	room_run(&room, in_step, NULL);
	assert_lost_is_enforced();
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
	    ROOM(stopping_tells_all_who_wait_that_nothing_is_decided),
#define LOST(test) cmocka_unit_test_setup_teardown(test, open_lost_room, close_room)
	    LOST(a_want_before_the_first_repair_waits_for_what_the_map_knows),
	    LOST(while_the_first_repair_fails_nothing_is_decided),
	    LOST(a_damaged_record_whose_repair_fails_is_not_replaced_by_less)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
