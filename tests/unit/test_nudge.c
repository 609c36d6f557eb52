/* test_nudge.c: when the MTA is asked to run its queue, and what a strange one cannot do to us. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/nudge.h"
#include "servers.h"

enum { PATIENCE_S = 20 };

/* An MTA that answers each line by 250, and keeps the ETRN lines. */
static struct {
	struct event_base *base;
	struct evconnlistener *listener;
	const char *greeting, *etrn_reply;
	char etrn[16][300];
	size_t n_sessions, n_etrn, n_quit;
	char address[32];
	struct bufferevent *session[32];
} mta;

static struct nudge *nudge;

static void
on_line(struct bufferevent *bev, void *arg UNUSED)
{
	char *line;

	while (
	    (line = evbuffer_readln(bufferevent_get_input(bev), NULL, EVBUFFER_EOL_CRLF)) != NULL) {
		bool etrn = strncmp(line, "ETRN ", 5) == 0;

		mta.n_quit += strcmp(line, "QUIT") == 0;
		if (etrn && mta.n_etrn < 16)
			snprintf(mta.etrn[mta.n_etrn++], sizeof(mta.etrn[0]), "%s", line + 5);
		evbuffer_add_printf(bufferevent_get_output(bev), "%s\r\n",
		    etrn ? mta.etrn_reply : "250-mta.example\r\n250-ETRN\r\n250 HELP");
		free(line);
	}
}

static void
on_session(struct evconnlistener *l UNUSED, evutil_socket_t fd, struct sockaddr *sa UNUSED,
    int len UNUSED, void *arg UNUSED)
{
	struct bufferevent *bev = bufferevent_socket_new(mta.base, fd, BEV_OPT_CLOSE_ON_FREE);

	assert_true(mta.n_sessions < 32);
	mta.session[mta.n_sessions++] = bev;
	bufferevent_setcb(bev, on_line, NULL, NULL, NULL);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	evbuffer_add_printf(bufferevent_get_output(bev), "%s", mta.greeting);
}

static int
open_mta(void **state UNUSED)
{
	struct sockaddr_in at = {.sin_port = 0};
	int fd = bound_socket(SOCK_STREAM, &at);

	signal(SIGPIPE, SIG_IGN);
	memset(&mta, 0, sizeof(mta));
	mta.greeting = "220 mta.example ESMTP\r\n";
	mta.etrn_reply = "253 2.0.0 Queuing started";
	mta.base = event_base_new();
	evutil_make_socket_nonblocking(fd);
	mta.listener =
	    evconnlistener_new(mta.base, on_session, NULL, LEV_OPT_CLOSE_ON_FREE, 16, fd);
	assert_non_null(mta.listener);
	snprintf(mta.address, sizeof(mta.address), "127.0.0.1:%d", ntohs(at.sin_port));
	return 0;
}

static int
close_mta(void **state UNUSED)
{
	nudge_free(&nudge);
	for (size_t i = 0; i < mta.n_sessions; i++)
		bufferevent_free(mta.session[i]);
	evconnlistener_free(mta.listener);
	event_base_free(mta.base);
	return 0;
}

static void
open_nudge(const char *address, size_t per_minute)
{
	struct errmsg em = {""};

	nudge = nudge_new(mta.base, address, per_minute, &em);
	if (nudge == NULL)
		fail_msg("%s", em.text);
}

static void
on_time(evutil_socket_t fd UNUSED, short what UNUSED, void *arg UNUSED)
{
}

static void
run_ms(long ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_once(mta.base, -1, EV_TIMEOUT, on_time, NULL, &tv);
	event_base_loop(mta.base, EVLOOP_ONCE);
}

static void
wait_for_etrn(size_t n)
{
	time_t end = time(NULL) + PATIENCE_S;

	while (mta.n_etrn < n) {
		if (time(NULL) > end)
			fail_msg("%zu ETRN, want %zu", mta.n_etrn, n);
		run_ms(10);
	}
}

static void
run_for_s(int s)
{
	for (time_t end = time(NULL) + s; time(NULL) <= end;)
		run_ms(10);
}

static void
a_domain_is_nudged_at_once_and_again_after_two_seconds(void **state UNUSED)
{
	time_t start = time(NULL);

	open_nudge(mta.address, 100);
	nudge_domain(nudge, "a.example");
	nudge_domain(nudge, "a.example"); /* known already */
	wait_for_etrn(1);
	assert_string_equal(mta.etrn[0], "a.example");
	assert_true(time(NULL) <= start + 1);
	wait_for_etrn(2);
	assert_true(time(NULL) >= start + 2);
	assert_string_equal(mta.etrn[1], "a.example");
	run_for_s(1);
	assert_int_equal(mta.n_quit, 2);
	assert_int_equal(mta.n_sessions, 2); /* a few ETRN in one session would be slowed down */
}

static void
many_domains_are_served_by_one_run_of_the_queue(void **state UNUSED)
{
	char domain[32];

	open_nudge(mta.address, 100);
	for (int i = 0; i < 1000; i++) {
		snprintf(domain, sizeof(domain), "d%d.example", i);
		nudge_domain(nudge, domain);
	}
	wait_for_etrn(1);
	assert_string_equal(mta.etrn[0], "#mqueue");
	run_ms(500);
	assert_int_equal(mta.n_etrn, 1);
}

static void
a_smart_host_is_served_by_a_run_of_the_whole_queue(void **state UNUSED)
{
	open_nudge(mta.address, 100);
	nudge_next_hop(nudge, "smart.example");
	nudge_next_hop(nudge, "smart.example");
	nudge_domain(nudge, "smart.example");
	wait_for_etrn(1);
	assert_string_equal(mta.etrn[0], "#mqueue");
	nudge_domain(nudge, "a.example");
	wait_for_etrn(2);
	assert_string_equal(mta.etrn[1], "a.example");
}

static void
no_more_than_so_many_a_minute(void **state UNUSED)
{
	struct timespec now;

	do { /* the minute must not change meanwhile */
		usleep(100000);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec % 60 > 50);
	open_nudge(mta.address, 1);
	nudge_domain(nudge, "a.example");
	wait_for_etrn(1);
	run_for_s(4);
	assert_int_equal(mta.n_etrn, 1);
}

static void
an_mta_that_refuses_or_rambles_costs_a_session(void **state UNUSED)
{
	static char long_line[10000];

	memset(long_line, '2', sizeof(long_line) - 1);
	mta.greeting = "554 no service\r\n";
	open_nudge(mta.address, 100);
	nudge_domain(nudge, "a.example");
	run_ms(1000);
	mta.greeting = long_line;
	nudge_domain(nudge, "b.example");
	run_for_s(3);
	assert_true(mta.n_sessions >= 2);
	assert_int_equal(mta.n_etrn, 0);
	mta.greeting = "220 better now\r\n";
	mta.etrn_reply = "458 4.0.0 Unable to queue";
	nudge_domain(nudge, "c.example");
	wait_for_etrn(1);
}

static void
an_mta_that_is_away_or_out_of_reach_does_no_harm(void **state UNUSED)
{
	char address[32];

	snprintf(address, sizeof(address), "127.0.0.1:%d", free_port());
	open_nudge(address, 100);
	nudge_domain(nudge, "a.example");
	run_for_s(3);
	nudge_free(&nudge);
	open_nudge("255.255.255.255:25", 100); /* connect(2) fails at once */
	nudge_domain(nudge, "a.example");
	run_for_s(3);
	nudge_free(&nudge);
	open_nudge(NULL, 100); /* off */
	nudge_domain(nudge, "a.example");
	run_ms(100);
	assert_int_equal(mta.n_sessions, 0);
}

static void
an_address_without_sense_is_an_error_that_names_it(void **state UNUSED)
{
	struct errmsg em = {""};

	assert_null(nudge_new(mta.base, "localhost:smtp", 1, &em));
	assert_non_null(strstr(em.text, "localhost:smtp"));
}

static void
the_whole_queue_is_run_once_when_asked_for(void **state UNUSED)
{
	open_nudge(mta.address, 100);
	nudge_queue(nudge);
	nudge_queue(nudge);
	wait_for_etrn(1);
	run_for_s(3);
	assert_int_equal(mta.n_etrn, 1);
	assert_string_equal(mta.etrn[0], "#mqueue");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define MTA(test) cmocka_unit_test_setup_teardown(test, open_mta, close_mta)
	    MTA(a_domain_is_nudged_at_once_and_again_after_two_seconds),
	    MTA(many_domains_are_served_by_one_run_of_the_queue),
	    MTA(a_smart_host_is_served_by_a_run_of_the_whole_queue),
	    MTA(the_whole_queue_is_run_once_when_asked_for), MTA(no_more_than_so_many_a_minute),
	    MTA(an_mta_that_refuses_or_rambles_costs_a_session),
	    MTA(an_mta_that_is_away_or_out_of_reach_does_no_harm),
	    MTA(an_address_without_sense_is_an_error_that_names_it)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
