/* test_socketmap.c: what the MTA is told, and what clients that mean ill can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/socketmap.h"
#include "daemon_room.h"
#include "servers.h"

static struct room room;
static struct socketmap *server;
static int silent = -1; /* a DNS server that never answers */
static int mta = -1;    /* where nudges go */

static struct socketmap *
open_server(const struct config_sockets *sockets, struct errmsg *em)
{
	struct socketmap_parts parts = {.base = room.base,
	    .resolver = room.resolver,
	    .writer = room.writer,
	    .store = room.store,
	    .held = room.held,
	    .nudge = room.nudge};

	return socketmap_new(&parts, sockets, em);
}

static int
open_room(void **state UNUSED)
{
	struct sockaddr_in at = {.sin_port = 0}, mta_at = {.sin_port = 0};
	struct errmsg em = {""};
	char more[256];

	silent = bound_socket(SOCK_DGRAM, &at);
	mta = bound_socket(SOCK_STREAM | SOCK_NONBLOCK, &mta_at);
	assert_int_equal(listen(mta, 10), 0);
	snprintf(more, sizeof(more),
	    "dns { servers = {\"127.0.0.1:%d\"} timeout = 1s }\ndomain \"off.example\" { policy = disable }\n"
	    "nudge { address = \"127.0.0.1:%d\" }",
	    ntohs(at.sin_port), ntohs(mta_at.sin_port));
	room_open(&room, more);
	room_start_writer(&room);
	room_start_resolver(&room);
	room_save(&room, "good.example", room_enforce("*.good.example"));
	room_save(&room, "none.example", room_none());
	server = open_server(&room.config->socketmap, &em);
	if (server == NULL)
		fail_msg("%s", em.text);
	return 0;
}

static int
close_room(void **state UNUSED)
{
	socketmap_free(&server);
	room_close(&room);
	close(silent);
	close(mta);
	return 0;
}

static const char *
frame(const char *text)
{
	static char bytes[2048];

	snprintf(bytes, sizeof(bytes), "%zu:%s,", strlen(text), text);
	return bytes;
}

static void
ask(int fd, const char *request)
{
	const char *bytes = frame(request);

	room_send(fd, bytes, strlen(bytes));
}

static void
expect(int fd, const char *answer)
{
	char want[2048];

	snprintf(want, sizeof(want), "%s", frame(answer));
	if (strcmp(room_receive(&room, fd, strlen(want)), want) != 0)
		fail_msg("%s, want %s", room_receive(&room, fd, strlen(want)), want);
}

static void
each_key_has_its_answer(void **state UNUSED)
{
	static const struct {
		const char *request, *answer;
	} t[] = {{"mtastsq good.example", "OK enforce"},
	    {"mtastsq Good.EXAMPLE.,4ANa1b2c3d", "OK enforce"}, {"mtastsq none.example", "OK none"},
	    {"mtastsq off.example", "OK none"}, {"mtastsq localhost", "OK none"},
	    {"mtastsq [192.0.2.1]", "OK none"}, {"mtastsq ", "OK none"},
	    {"mtastsq :failed:good.example,4ANa1b2c3d", "OK noted"},
	    {"mtastsq :failed:good.example", "OK noted"},
	    {"mtastsq :beside:good.example,4ANa1b2c3d", "OK noted"},
	    {"sts :beside:good.example", "NOTFOUND "},
	    {"mtastsq :hop:off.example,4ANa1b2c3d", "OK none"},
	    {"mtastsq :failed::hop:good.example", "OK noted"},
	    {"mtastsq good.example,no such id", "PERM malformed queue id"},
	    {"mtastsq good.example,0123456789012345678901234567890123456789",
		"PERM malformed queue id"},
	    {"sts good.example", "OK secure match=.good.example servername=hostname"},
	    {"sts none.example", "NOTFOUND "}, {"sts localhost", "NOTFOUND "},
	    {"other good.example", "PERM no such map; want mtastsq or sts"},
	    {"", "PERM no such map; want mtastsq or sts"},
	    {"mtastsq", "PERM no such map; want mtastsq or sts"}};
	int fd = room_connect(room.socketmap);

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ask(fd, t[i].request);
		expect(fd, t[i].answer);
	}
	close(fd);
}

static void
an_unknown_domain_waits_two_seconds_and_is_held(void **state UNUSED)
{
	struct timespec from, to;
	int fd = room_connect(room.socketmap), second = room_connect(room.socketmap);

	clock_gettime(CLOCK_MONOTONIC, &from);
	ask(fd, "mtastsq unknown.example,AAA1");
	ask(second, "mtastsq unknown.example,AAA2");
	expect(fd, "OK wait");
	expect(second, "OK wait");
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_in_range(
	    (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000, 1900, 4000);
	assert_int_equal(held_count(room.held), 1);
	ask(fd, "mtastsq unknown.example"); /* the discovery began long ago: no second wait */
	expect(fd, "OK wait");
	clock_gettime(CLOCK_MONOTONIC, &from);
	assert_true(from.tv_sec - to.tv_sec <= 1);
	ask(fd, "sts unknown.example");
	expect(fd, "TEMP mta-sts: policy not known yet");
	close(fd);
	close(second);
}

static void
who_has_waited_in_vain_waits_for_the_next_domain_only_briefly(void **state UNUSED)
{
	struct timespec from, to;
	int fd = room_connect(room.socketmap);
	char request[64];

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < 10; i++) {
		snprintf(request, sizeof(request), "mtastsq slow%d.example,AAA1", i);
		ask(fd, request);
		expect(fd, "OK wait");
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_in_range(
	    (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000, 2700, 6000);
	close(fd);
}

static bool
is_nudged(void *arg UNUSED)
{
	int fd = accept(mta, NULL, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static unsigned long
map_commits(void)
{
	struct writer_status status;

	room_flush(&room);
	writer_status(room.writer, &status);
	return status.commits;
}

/* The map should have answered: it is given what it lacks, and mail that was told to wait a nudge. */
static void
only_who_was_told_to_wait_is_nudged(void **state UNUSED)
{
	int fd = room_connect(room.socketmap);
	unsigned long before = map_commits();

	ask(fd, "mtastsq none.example");
	expect(fd, "OK none"); /* delivered */
	assert_int_equal(map_commits(), before + 1);
	for (int i = 0; i < 10; i++)
		room_turn(&room);
	assert_false(is_nudged(NULL));
	ask(fd, "mtastsq good.example");
	expect(fd, "OK enforce"); /* deferred */
	room_run(&room, is_nudged, NULL);
	close(fd);
}

static void
what_the_map_cannot_say_is_not_pushed_again_and_again(void **state UNUSED)
{
	struct entry e = room_enforce("mx.old.example");
	int fd = room_connect(room.socketmap);
	unsigned long before;

	e.policy->mode = MODE_TESTING;
	e.fetched = e.confirmed = time(NULL) - 2 * NONE_GOOD_S; /* and not to be had since */
	room_save(&room, "old.example", e);
	before = map_commits();
	for (int i = 0; i < 3; i++) {
		ask(fd, "mtastsq old.example");
		expect(fd, "OK none");
		assert_int_equal(map_commits(), before);
	}
	close(fd);
}

static void
one_byte_at_a_time_is_a_request_too(void **state UNUSED)
{
	int fd = room_connect(room.socketmap);
	const char *bytes = "20:mtastsq good.example,";

	for (const char *p = bytes; *p != '\0'; p++) {
		room_send(fd, p, 1);
		room_turn(&room);
	}
	expect(fd, "OK enforce");
	close(fd);
}

static void
requests_in_one_piece_are_answered_in_order(void **state UNUSED)
{
	const char bytes[] = "20:mtastsq good.example,20:mtastsq none.example,"
			     "20:mtastsq slow.example,20:mtastsq good.example,";
	int fd = room_connect(room.socketmap);

	room_send(fd, bytes, sizeof(bytes) - 1);
	expect(fd, "OK enforce");
	expect(fd, "OK none");
	expect(fd, "OK wait"); /* and what is behind it waits as well */
	expect(fd, "OK enforce");
	close(fd);
}

static void
a_client_that_closes_its_side_still_gets_its_answers(void **state UNUSED)
{
	const char bytes[] = "20:mtastsq slow.example,20:mtastsq good.example,";
	int fd = room_connect(room.socketmap);

	room_send(fd, bytes, sizeof(bytes) - 1);
	shutdown(fd, SHUT_WR);
	assert_string_equal(room_receive(&room, fd, 0), "7:OK wait,10:OK enforce,");
	close(fd);
}

static void
a_client_that_goes_while_it_waits_is_forgotten(void **state UNUSED)
{
	int fd = room_connect(room.socketmap), other;

	ask(fd, "mtastsq gone.example");
	room_turn(&room);
	room_turn(&room);
	close(fd);
	other = room_connect(room.socketmap);
	ask(other, "mtastsq good.example");
	expect(other, "OK enforce");
	ask(other, "mtastsq gone.example");
	expect(other, "OK wait");
	close(other);
}

static void
what_is_no_netstring_costs_the_connection(void **state UNUSED)
{
	static const char *const t[] = {"hello\n", "999999:", "01:a,", "3:abcd", ":,", "-1:,",
	    "GET / HTTP/1.0\r\n\r\n", "20:mtastsq good.example;"};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int fd = room_connect(room.socketmap);

		room_send(fd, t[i], strlen(t[i]));
		if (room_receive(&room, fd, 0)[0] != '\0')
			fail_msg("%s", t[i]);
		close(fd);
	}
}

static void
a_client_that_never_reads_is_not_served_without_bound(void **state UNUSED)
{
	const char *request = frame("mtastsq none.example");
	int fd = room_connect(room.socketmap), other;
	size_t sent = 0, len = strlen(request), stuck = 0;

	while (stuck < 50 && sent < (size_t)64 << 20) {
		ssize_t n =
		    send(fd, request + sent % len, len - sent % len, MSG_NOSIGNAL | MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		stuck = n > 0 ? 0 : stuck + 1;
		if (n < 0)
			room_turn(&room);
	}
	/* It is not read from any further: what it sent is in the sockets' buffers. */
	assert_int_equal(stuck, 50);
	assert_true(sent < (size_t)4 << 20);
	other = room_connect(room.socketmap);
	ask(other, "mtastsq good.example");
	expect(other, "OK enforce");
	assert_memory_equal(room_receive(&room, fd, 20000), "7:OK none,7:OK none,", 20);
	close(fd);
	close(other);
}

enum { MOST = 2000 }; /* connections of the server */

static bool
can_open(size_t n)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur >= 2 * n + 100;
}

static void
connect_many(const char *path, int *fd, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fd[i] = room_connect(path);
		room_turn(&room);
	}
}

static bool
is_closed(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void
beyond_the_limit_who_was_idle_longest_goes(void **state UNUSED)
{
	static int fd[MOST], late;

	if (!can_open(MOST + 1))
		skip();
	connect_many(room.socketmap, fd, MOST - 1);
	ask(fd[0], "mtastsq slow.example"); /* waits for its answer */
	ask(fd[1], "mtastsq good.example"); /* had one just now */
	expect(fd[1], "OK enforce");
	late = room_connect(room.socketmap);
	ask(late, "mtastsq good.example");
	expect(late, "OK enforce");
	assert_true(is_closed(fd[2]));
	assert_false(is_closed(fd[1]));
	assert_false(is_closed(fd[3]));
	expect(fd[0], "OK wait");
	for (size_t i = 0; i < MOST - 1; i++)
		close(fd[i]);
	close(late);
}

static void
a_crowded_socket_takes_no_place_from_the_other(void **state UNUSED)
{
	static int crowd[MOST];
	char second[128];
	char *paths[2] = {room.config->socketmap.listen.item[0], second};
	struct config_sockets sockets = room.config->socketmap;
	struct errmsg em = {""};
	int quiet;

	if (!can_open(MOST + 1))
		skip();
	snprintf(second, sizeof(second), "unix:%s/second.sock", room.dir);
	sockets.listen = (struct config_list){2, paths};
	socketmap_free(&server);
	server = open_server(&sockets, &em);
	assert_non_null(server);
	quiet = room_connect(room.socketmap); /* idle longest of all */
	room_turn(&room);
	connect_many(second + 5, crowd, MOST);
	assert_true(is_closed(crowd[0]));
	ask(quiet, "mtastsq good.example");
	expect(quiet, "OK enforce");
	for (size_t i = 0; i < MOST; i++)
		close(crowd[i]);
	close(quiet);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define ROOM(test) cmocka_unit_test_setup_teardown(test, open_room, close_room)
	    ROOM(each_key_has_its_answer), ROOM(an_unknown_domain_waits_two_seconds_and_is_held),
	    ROOM(who_has_waited_in_vain_waits_for_the_next_domain_only_briefly),
	    ROOM(only_who_was_told_to_wait_is_nudged),
	    ROOM(what_the_map_cannot_say_is_not_pushed_again_and_again),
	    ROOM(one_byte_at_a_time_is_a_request_too),
	    ROOM(requests_in_one_piece_are_answered_in_order),
	    ROOM(a_client_that_closes_its_side_still_gets_its_answers),
	    ROOM(a_client_that_goes_while_it_waits_is_forgotten),
	    ROOM(what_is_no_netstring_costs_the_connection),
	    ROOM(a_client_that_never_reads_is_not_served_without_bound),
	    ROOM(beyond_the_limit_who_was_idle_longest_goes),
	    ROOM(a_crowded_socket_takes_no_place_from_the_other)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
