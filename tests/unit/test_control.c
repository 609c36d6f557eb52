/* test_control.c: requests and answers of the control socket, well meant and not. */
#include <fcntl.h>
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
#include <jansson.h>

#include "daemon/control.h"
#include "daemon_room.h"
#include "servers.h"

static struct room room;
static struct control *server;
static int silent = -1; /* a DNS server that never answers */
static json_t *answer;

static int
open_room(void **state UNUSED)
{
	struct sockaddr_in at = {.sin_port = 0};
	struct control_parts parts;
	struct errmsg em = {""};
	char more[128];

	silent = bound_socket(SOCK_DGRAM, &at);
	snprintf(more, sizeof(more),
	    "dns { servers = {\"127.0.0.1:%d\"} timeout = 1s }\ndomain \"off.example\" { policy = disable }",
	    ntohs(at.sin_port));
	room_open(&room, more);
	room_start_writer(&room);
	room_start_resolver(&room);
	room_save(&room, "good.example", room_enforce("*.good.example"));
	room_save(&room, "none.example", room_none());
	parts = (struct control_parts){.base = room.base,
	    .resolver = room.resolver,
	    .writer = room.writer,
	    .store = room.store,
	    .held = room.held,
	    .schedule = room.schedule,
	    .config = room.config};
	server = control_new(&parts, &room.config->control, &em);
	if (server == NULL)
		fail_msg("%s", em.text);
	return 0;
}

static int
close_room(void **state UNUSED)
{
	json_decref(answer);
	answer = NULL;
	control_free(&server);
	room_close(&room);
	close(silent);
	return 0;
}

static void
send_line(int fd, const char *request)
{
	room_send(fd, request, strlen(request));
	room_send(fd, "\n", 1);
}

static void
take_answer(int fd)
{
	json_decref(answer);
	answer = json_loads(room_receive_line(&room, fd), 0, NULL);
	assert_non_null(answer);
}

/* Goes on with a part of the answer. */
static void
narrow(json_t *part)
{
	json_t *whole = answer;

	answer = json_incref(part);
	json_decref(whole);
}

/* Asks on a connection of its own and keeps the answer. */
static void
ask(const char *request)
{
	int fd = room_connect(room.control);

	send_line(fd, request);
	take_answer(fd);
	close(fd);
}

static const char *
text_of(json_t *value)
{
	static char text[4096];
	char *dump = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	snprintf(text, sizeof(text), "%s", dump == NULL ? "" : dump);
	free(dump);
	return text;
}

static const char *
member(const char *name)
{
	return text_of(json_object_get(answer, name));
}

static void
each_request_has_its_answer(void **state UNUSED)
{
	static const struct {
		const char *request, *answer;
	} t[] = {
	    {"{\"cmd\":\"want\",\"domain\":\"Good.Example.\"}",
		"{\"domain\":\"good.example\",\"verdict\":\"enforce\",\"pushed\":true,\"enforcement\":\"on\",\"rule\":\"optional\"}"},
	    {"{\"cmd\":\"want\",\"domain\":\"none.example\",\"queue_id\":\"A1\",\"more\":[1]}",
		"{\"domain\":\"none.example\",\"verdict\":\"none\",\"pushed\":true,\"enforcement\":\"on\",\"rule\":\"optional\"}"},
	    {"{\"cmd\":\"want\",\"domain\":\"off.example\"}",
		"{\"domain\":\"off.example\",\"verdict\":\"none\",\"pushed\":true,\"enforcement\":\"on\",\"rule\":\"disable\"}"},
	    {"{\"cmd\":\"want\",\"domain\":\"[192.0.2.1]\"}",
		"{\"domain\":\"[192.0.2.1]\",\"verdict\":\"none\",\"pushed\":true,\"enforcement\":\"on\"}"},
	    {"{\"cmd\":\"want\",\"domain\":\"new.example\"}",
		"{\"domain\":\"new.example\",\"verdict\":\"undecided\",\"pushed\":false,\"enforcement\":\"on\",\"rule\":\"optional\"}"},
	    {"{\"cmd\":\"await\",\"domains\":[\"none.example\",\"localhost\",\"GOOD.example\"],"
	     "\"wait_ms\":0}",
		"{\"verdicts\":[{\"domain\":\"none.example\",\"verdict\":\"none\",\"pushed\":true,\"enforcement\":\"on\"},"
		"{\"domain\":\"localhost\",\"verdict\":\"none\",\"pushed\":true,\"enforcement\":\"on\"},"
		"{\"domain\":\"good.example\",\"verdict\":\"enforce\",\"pushed\":true,\"enforcement\":\"on\"}]}"},
	    {"{\"cmd\":\"await\",\"domains\":[],\"wait_ms\":1000}", "{\"verdicts\":[]}"},
	    {"{\"cmd\":\"held\"}", "{\"held\":[],\"more_domains\":0}"},
	    {"{\"cmd\":\"forget\",\"domain\":\"never.example\"}", "{\"forgotten\":false}"}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ask(t[i].request);
		if (strcmp(text_of(answer), t[i].answer) != 0)
			fail_msg("%s: %s", t[i].request, text_of(answer));
	}
}

static void
wrong_requests_are_refused_with_a_reason_and_a_code(void **state UNUSED)
{
	static const struct {
		const char *request, *code;
	} t[] = {{"", "64"}, {"hello", "64"}, {"{", "64"}, {"[]", "64"}, {"7", "64"},
	    {"{\"cmd\":7}", "64"}, {"{\"cmd\":\"stop\"}", "64"}, {"{\"cmd\":\"query\"}", "64"},
	    {"{\"cmd\":\"query\",\"domain\":7}", "64"},
	    {"{\"cmd\":\"query\",\"domain\":\"a b.example\"}", "65"},
	    {"{\"cmd\":\"query\",\"domain\":\"\"}", "65"},
	    {"{\"cmd\":\"query\",\"domain\":\"a\\u0000.example\"}", "64"},
	    {"{\"cmd\":\"query\",\"domain\":\"\xff.example\"}", "64"},
	    {"{\"cmd\":\"query\",\"cmd\":\"status\"}", "64"},
	    {"{\"cmd\":\"forget\",\"domain\":\"localhost\"}", "65"},
	    {"{\"cmd\":\"refresh\",\"domain\":\"localhost\"}", "65"},
	    {"{\"cmd\":\"await\",\"domains\":\"a.example\",\"wait_ms\":5}", "64"},
	    {"{\"cmd\":\"await\",\"domains\":[\"a.example\",7],\"wait_ms\":5}", "64"},
	    {"{\"cmd\":\"await\",\"domains\":[],\"wait_ms\":-1}", "64"},
	    {"{\"cmd\":\"await\",\"domains\":[],\"wait_ms\":60001}", "64"}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ask(t[i].request);
		if (strcmp(member("code"), t[i].code) != 0 || strlen(member("error")) < 10)
			fail_msg("%s: %s", t[i].request, text_of(answer));
	}
}

static void
more_than_a_hundred_domains_are_refused(void **state UNUSED)
{
	char request[4096] = "{\"cmd\":\"await\",\"wait_ms\":0,\"domains\":[\"a.example\"";

	for (int i = 0; i < 99; i++)
		strcat(request, ",\"a.example\"");
	strcat(request, "]}");
	ask(request);
	assert_int_equal(json_array_size(json_object_get(answer, "verdicts")), 100);
	strcpy(request + strlen(request) - 2, ",\"a.example\"]}");
	ask(request);
	assert_string_equal(member("code"), "64");
}

static void
await_waits_as_long_as_asked_and_holds_what_is_not_settled(void **state UNUSED)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	ask("{\"cmd\":\"await\",\"domains\":[\"new.example\",\"good.example\"],\"wait_ms\":400,"
	    "\"queue_id\":\"4ANa1\"}");
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_string_equal(member("verdicts"),
	    "[{\"domain\":\"new.example\",\"verdict\":\"undecided\",\"pushed\":false,\"enforcement\":\"on\"},"
	    "{\"domain\":\"good.example\",\"verdict\":\"enforce\",\"pushed\":true,\"enforcement\":\"on\"}]");
	assert_in_range(
	    (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000, 390, 3000);
	ask("{\"cmd\":\"held\"}");
	narrow(json_array_get(json_object_get(answer, "held"), 0));
	assert_string_equal(member("domain"), "\"new.example\"");
	assert_string_equal(member("queue_ids"), "[\"4ANa1\"]");
	assert_string_equal(member("more_queue_ids"), "0");
	assert_string_equal(member("verdict"), "\"undecided\"");
	assert_int_equal(strlen(member("since")), 22);
}

static void
await_answers_when_the_discovery_ends(void **state UNUSED)
{
	int fd = room_connect(room.control);

	/* DNS is silent: after its time-outs the domain is held for good, and the wait is over. */
	send_line(fd, "{\"cmd\":\"await\",\"domains\":[\"new.example\"],\"wait_ms\":60000}");
	send_line(fd, "{\"cmd\":\"query\",\"domain\":\"new.example\"}");
	take_answer(fd);
	assert_string_equal(member("verdicts"),
	    "[{\"domain\":\"new.example\",\"verdict\":\"undecided\",\"pushed\":false,\"enforcement\":\"on\"}]");
	take_answer(fd); /* in order: after the wait */
	assert_string_equal(member("verdict"), "\"undecided\"");
	assert_non_null(strstr(member("why"), "DNS does not say"));
	close(fd);
}

static void
query_list_status_and_forget_show_what_is_known(void **state UNUSED)
{
	json_t *entries;

	ask("{\"cmd\":\"query\",\"domain\":\"good.example\"}");
	assert_string_equal(member("verdict"), "\"enforce\"");
	assert_string_equal(member("mx"), "[\"*.good.example\"]");
	assert_string_equal(member("pushed"), "true");
	assert_string_equal(member("enforcement"), "\"on\"");
	ask("{\"cmd\":\"list\",\"max\":1}");
	entries = json_object_get(answer, "entries");
	assert_int_equal(json_array_size(entries), 1);
	assert_string_equal(
	    text_of(json_object_get(json_array_get(entries, 0), "domain")), "\"good.example\"");
	assert_string_equal(member("more"), "true");
	ask("{\"cmd\":\"list\",\"after\":\"good.example\"}");
	entries = json_object_get(answer, "entries");
	assert_int_equal(json_array_size(entries), 1);
	assert_string_equal(
	    text_of(json_object_get(json_array_get(entries, 0), "domain")), "\"none.example\"");
	assert_string_equal(member("more"), "false");
	ask("{\"cmd\":\"status\"}");
	assert_string_equal(member("entries"), "2");
	assert_string_equal(member("ready"), "true");
	assert_string_equal(member("enforcement"), "\"on\"");
	assert_int_equal(json_integer_value(json_object_get(answer, "pid")), getpid());
	assert_string_equal(
	    text_of(json_object_get(json_object_get(answer, "store"), "state")), "\"ready\"");
	narrow(json_array_get(json_object_get(answer, "maps"), 0));
	assert_string_equal(member("kind"), "\"sendmail\"");
	assert_string_equal(member("state"), "\"ready\"");
	assert_string_equal(member("error"), "null");
	ask("{\"cmd\":\"forget\",\"domain\":\"good.example\"}");
	assert_string_equal(member("forgotten"), "true");
	for (int i = 0; i < 1000 && room_map(&room, "good.example")[0] != '\0'; i++)
		room_turn(&room);
	assert_string_equal(room_map(&room, "good.example"), "");
	ask("{\"cmd\":\"query\",\"domain\":\"good.example\"}");
	assert_string_equal(member("verdict"), "\"undecided\"");
}

static void
a_selftest_brings_policies_of_reserved_domains_and_no_other(void **state UNUSED)
{
	static const char *const bad = "{\"cmd\":\"selftest\",\"domain\":\"good.example\"}";

	ask("{\"cmd\":\"selftest\",\"active\":true}");
	assert_string_equal(text_of(answer), "{\"pushed\":true}");
	assert_memory_equal(room_map(&room, "good.mtasts-selftest.invalid"), "enforce ", 8);
	assert_string_equal(
	    room_map(&room, "good.mtasts-selftest.invalid:mx.good.mtasts-selftest.invalid"), "mx");
	ask("{\"cmd\":\"want\",\"domain\":\"good.mtasts-selftest.invalid\"}");
	assert_string_equal(member("verdict"), "\"enforce\"");
	assert_false(resolve_failed_check(room.resolver, "good.mtasts-selftest.invalid"));
	ask("{\"cmd\":\"status\"}");
	assert_string_equal(member("entries"), "8");
	ask("{\"cmd\":\"selftest\",\"active\":false}");
	assert_string_equal(text_of(answer), "{\"pushed\":true}");
	assert_string_equal(room_map(&room, "good.mtasts-selftest.invalid"), "");
	ask("{\"cmd\":\"status\"}");
	assert_string_equal(member("entries"), "2");
	assert_string_equal(member("lookups"), "0");
	/* without a policy they have none, at once, and nothing is kept of them */
	ask("{\"cmd\":\"await\",\"domains\":[\"x.mtasts-selftest.invalid\"],\"wait_ms\":60000}");
	assert_non_null(strstr(member("verdicts"), "\"verdict\":\"none\",\"pushed\":true"));
	assert_string_equal(room_map(&room, "x.mtasts-selftest.invalid"), "");
	ask(bad);
	assert_string_equal(member("code"), "64");
}

static void
a_request_comes_in_pieces_and_two_in_one(void **state UNUSED)
{
	const char *bytes = "{\"cmd\":\"held\"}\n{\"cmd\":\"want\",\"domain\":\"none.example\"}\n";
	int fd = room_connect(room.control);

	for (const char *p = bytes; *p != '\0'; p++) {
		room_send(fd, p, 1);
		room_turn(&room);
	}
	take_answer(fd);
	assert_string_equal(member("held"), "[]");
	take_answer(fd);
	assert_string_equal(member("verdict"), "\"none\"");
	room_send(fd, bytes, strlen(bytes));
	take_answer(fd);
	take_answer(fd);
	assert_string_equal(member("verdict"), "\"none\"");
	close(fd);
}

static void
a_client_that_closes_its_side_still_gets_its_answers(void **state UNUSED)
{
	int fd = room_connect(room.control);

	send_line(fd, "{\"cmd\":\"await\",\"domains\":[\"new.example\"],\"wait_ms\":300}");
	send_line(fd, "{\"cmd\":\"held\"}");
	shutdown(fd, SHUT_WR);
	take_answer(fd);
	assert_int_equal(json_array_size(json_object_get(answer, "verdicts")), 1);
	take_answer(fd);
	assert_int_equal(json_array_size(json_object_get(answer, "held")), 1);
	assert_string_equal(room_receive(&room, fd, 0), ""); /* and then the end */
	close(fd);
}

static void
a_line_without_end_costs_the_connection(void **state UNUSED)
{
	static char bytes[70000];
	int fd = room_connect(room.control);

	memset(bytes, 'x', sizeof(bytes));
	for (size_t sent = 0; sent < sizeof(bytes);) {
		ssize_t n = send(fd, bytes, sizeof(bytes) - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			break; /* closed before all of it was sent */
		sent += (size_t)n;
		room_turn(&room);
	}
	for (int i = 0; i < 20; i++)
		room_turn(&room);
	assert_true(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) <= 0);
	assert_true(send(fd, bytes, 1, MSG_NOSIGNAL) < 0);
	close(fd);
	ask("{\"cmd\":\"held\"}");
	assert_string_equal(member("held"), "[]");
}

static void
a_client_that_never_reads_is_not_served_without_bound(void **state UNUSED)
{
	const char *request = "{\"cmd\":\"list\"}\n";
	int fd = room_connect(room.control);
	size_t sent = 0, len = strlen(request), stuck = 0;

	while (stuck < 50 && sent < (size_t)16 << 20) {
		ssize_t n =
		    send(fd, request + sent % len, len - sent % len, MSG_NOSIGNAL | MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		stuck = n > 0 ? 0 : stuck + 1;
		if (n < 0)
			room_turn(&room);
	}
	assert_int_equal(stuck, 50);
	assert_true(sent < (size_t)2 << 20);
	ask("{\"cmd\":\"held\"}");
	assert_string_equal(member("held"), "[]");
	take_answer(fd); /* it reads again, and is served again */
	assert_int_equal(json_array_size(json_object_get(answer, "entries")), 2);
	close(fd);
}

static void
connections_end_with_the_server_whatever_they_wait_for(void **state UNUSED)
{
	int fd[3];

	for (int i = 0; i < 3; i++) {
		fd[i] = room_connect(room.control);
		send_line(fd[i],
		    i == 0   ? "{\"cmd\":\"await\",\"domains\":[\"new.example\",\"more.example\"],"
			       "\"wait_ms\":60000}"
		    : i == 1 ? "{\"cmd\":\"refresh\",\"domain\":\"new.example\"}"
			     : "{\"cmd\":\"refresh\",\"all\":true}");
	}
	take_answer(fd[2]);
	assert_string_equal(member("scheduled"), "2");
	control_free(&server);
	assert_null(server);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(room_receive(&room, fd[i], 0), "");
		close(fd[i]);
	}
}

static void
held_shows_the_longest_held_and_counts_the_rest(void **state UNUSED)
{
	char domain[32];

	for (int i = 0; i < 1005; i++) {
		snprintf(domain, sizeof(domain), "h%d.example", i);
		held_note(room.held, domain, NULL);
	}
	ask("{\"cmd\":\"held\"}");
	assert_int_equal(json_array_size(json_object_get(answer, "held")), 1000);
	assert_string_equal(member("more_domains"), "5");
}

/* The pages that hold a domain are lost. */
static void
damage_store(const char *domain)
{
	static const char zeros[4096];
	char path[96], page[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/store/data.mdb", room.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	for (off_t at = 0; pread(fd, page, sizeof(page), at) == sizeof(page);
	     at += (off_t)sizeof(page))
		if (memmem(page, sizeof(page), domain, strlen(domain)) != NULL)
			assert_int_equal(pwrite(fd, zeros, sizeof(zeros), at), sizeof(zeros));
	close(fd);
}

static void
a_store_that_cannot_be_read_is_no_empty_list(void **state UNUSED)
{
	struct entry none = room_none();

	damage_store("good.example");
	ask("{\"cmd\":\"list\"}");
	assert_string_equal(member("code"), "74");
	assert_true(json_string_length(json_object_get(answer, "error")) > 0);
	writer_save(room.writer, "new.example", &none, true, NULL, NULL);
	room_flush(&room);
	room_flush(&room); /* says nothing of the store */
	ask("{\"cmd\":\"status\"}");
	narrow(json_object_get(answer, "store"));
	assert_string_equal(member("state"), "\"failing\"");
	assert_true(json_string_length(json_object_get(answer, "error")) > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define ROOM(test) cmocka_unit_test_setup_teardown(test, open_room, close_room)
	    ROOM(each_request_has_its_answer),
	    ROOM(wrong_requests_are_refused_with_a_reason_and_a_code),
	    ROOM(more_than_a_hundred_domains_are_refused),
	    ROOM(await_waits_as_long_as_asked_and_holds_what_is_not_settled),
	    ROOM(await_answers_when_the_discovery_ends),
	    ROOM(query_list_status_and_forget_show_what_is_known),
	    ROOM(a_selftest_brings_policies_of_reserved_domains_and_no_other),
	    ROOM(a_request_comes_in_pieces_and_two_in_one),
	    ROOM(a_client_that_closes_its_side_still_gets_its_answers),
	    ROOM(a_line_without_end_costs_the_connection),
	    ROOM(a_client_that_never_reads_is_not_served_without_bound),
	    ROOM(held_shows_the_longest_held_and_counts_the_rest),
	    ROOM(a_store_that_cannot_be_read_is_no_empty_list),
	    ROOM(connections_end_with_the_server_whatever_they_wait_for)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
