/* One message against a control socket played by a thread: what each domain's name begins with says
 * how it is answered. The real mtastsd and Sendmail are in the lab. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "milter/message.h"

enum { AWAIT_TAKES_MS = 150 };

/* The played mtastsd. Its counters are read after the message is freed and the thread joined. */
struct peer {
	pthread_t thread;
	char address[128];
	int listener;
	int connections, wants, awaits;
	size_t await_names;
	char await_first[128];
};

static bool
begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* slow: enforce, but only to await; never: undecided; others as named, "none" by default. */
static json_t *
answer_for(const char *name, bool awaited)
{
	static const char *const plain[] = {"enforce", "testing", "none"};
	const char *verdict = "none";

	for (size_t i = 0; i < 3; i++)
		if (begins(name, plain[i]))
			verdict = plain[i];
	if (begins(name, "slow"))
		verdict = awaited ? "enforce" : "undecided";
	if (begins(name, "never"))
		verdict = "undecided";
	return json_pack("{ss ss sb}", "domain", name, "verdict", verdict, "pushed",
	    strcmp(verdict, "undecided") != 0);
}

static json_t *
await_answer(struct peer *p, const json_t *names)
{
	json_t *verdicts = json_array();

	p->awaits++;
	p->await_names = json_array_size(names);
	snprintf(p->await_first, sizeof(p->await_first), "%s",
	    json_string_value(json_array_get(names, 0)));
	for (size_t i = 0; i < json_array_size(names); i++)
		json_array_append_new(
		    verdicts, answer_for(json_string_value(json_array_get(names, i)), true));
	usleep(AWAIT_TAKES_MS * 1000);
	return json_pack("{so}", "verdicts", verdicts);
}

/* False: hang up. hang: no answer at all; drop: hangs up after the answer; bad: an error. */
static bool
serve_line(struct peer *p, FILE *out, const char *line)
{
	json_t *request = json_loads(line, 0, NULL), *answer;
	const char *domain = json_string_value(json_object_get(request, "domain"));
	bool go_on = domain == NULL || !begins(domain, "drop");

	p->wants += domain != NULL;
	if (domain != NULL && begins(domain, "hang")) {
		json_decref(request);
		return true;
	}
	if (domain != NULL && begins(domain, "bad"))
		answer = json_pack("{ss si}", "error", "no", "code", 75);
	else if (domain != NULL)
		answer = answer_for(domain, false);
	else
		answer = await_answer(p, json_object_get(request, "domains"));
	json_dumpf(answer, out, JSON_COMPACT);
	fputc('\n', out);
	fflush(out);
	json_decref(answer);
	json_decref(request);
	return go_on;
}

static void *
serve(void *arg)
{
	struct peer *p = arg;
	int fd;

	while ((fd = accept(p->listener, NULL, NULL)) >= 0) {
		FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
		char line[65536];

		p->connections++;
		while (fgets(line, sizeof(line), in) != NULL && serve_line(p, out, line))
			;
		fclose(in);
		fclose(out);
	}
	return NULL;
}

static struct peer *
peer_open(void)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	assert_non_null(p);
	snprintf(un.sun_path, sizeof(un.sun_path), "/tmp/test_message.%ld", (long)getpid());
	snprintf(p->address, sizeof(p->address), "unix:%s", un.sun_path);
	unlink(un.sun_path);
	p->listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(p->listener, 5), 0);
	assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
	return p;
}

/* Ends the thread; the counters stay readable until peer_free(). */
static void
peer_stop(struct peer *p)
{
	shutdown(p->listener, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->listener);
	unlink(p->address + strlen("unix:"));
}

static long
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct told {
	int times, until;
};

static bool
waiting(void *arg)
{
	struct told *t = arg;

	return ++t->times != t->until;
}

static struct message *
message_to(const char *control, const char *to, const char *const *domains)
{
	struct message *m = message_new(control, "X-MTA-STS");

	assert_non_null(m);
	message_queue_id(m, "q1");
	for (; *domains != NULL; domains++)
		message_rcpt(m, *domains, "u@it");
	message_header(m, "To", to);
	return m;
}

#define DOMAINS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *
tag_of(const char *to, const char *const *domains, long wait_ms)
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, to, domains);
	const char *value;

	message_settle(m, wait_ms, waiting, &(struct told){0, 0});
	value = tag_value(message_tag(m));
	message_free(&m);
	peer_stop(p);
	free(p);
	return value;
}

static void
a_message_whose_domains_are_all_settled_awaits_nothing(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, "u@enforce.test",
	    DOMAINS("enforce.test", "none.test", "enforce.test", "testing.test"));
	struct told told = {0, 0};

	message_settle(m, 5000, waiting, &told);
	assert_string_equal(tag_value(message_tag(m)), "enforce");
	message_free(&m);
	peer_stop(p);
	assert_int_equal(p->wants, 3); /* a domain is asked for once */
	assert_int_equal(p->awaits, 0);
	assert_int_equal(p->connections, 1);
	free(p);
}

static void
answers_that_come_between_recipients_belong_to_their_domains(void **state UNUSED)
{
	static const char *const domains[] = {
	    "enforce.test", "none.test", "testing.test", "none2.test"};
	struct peer *p = peer_open();
	struct message *m = message_new(p->address, "X-MTA-STS");

	for (size_t i = 0; i < 4; i++) {
		message_rcpt(m, domains[i], "u@it");
		usleep(30 * 1000);
	}
	message_header(m, "To", "u@testing.test, v@none.test");
	message_settle(m, 5000, waiting, &(struct told){0, 0});
	assert_string_equal(tag_value(message_tag(m)), "testing");
	message_free(&m);
	peer_stop(p);
	assert_int_equal(p->awaits, 0);
	free(p);
}

static void
an_unsettled_domain_is_awaited_until_it_is_settled(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m =
	    message_to(p->address, "u@slow.test", DOMAINS("none.test", "slow.test"));
	struct told told = {0, 0};
	long start = now_ms();

	message_settle(m, 5000, waiting, &told);
	assert_in_range(now_ms() - start, AWAIT_TAKES_MS - 1, 3000);
	assert_string_equal(tag_value(message_tag(m)), "enforce");
	assert_true(told.times >= 1); /* so that a spare worker is called */
	message_free(&m);
	peer_stop(p);
	assert_int_equal(p->await_names, 1);
	assert_string_equal(p->await_first, "slow.test");
	free(p);
}

static void
the_tag_is_the_same_with_and_without_a_bcc(void **state UNUSED)
{
	static const char *const shown[] = {
	    "none.test", "testing.test", "enforce.test", "never.test"};
	static const char *const want[] = {"none", "testing", "enforce", "pending"};
	static const char *const bcc[] = {
	    "none1.test", "testing1.test", "enforce1.test", "never1.test", "slow1.test"};
	char to[64];

	for (size_t i = 0; i < 4; i++) {
		snprintf(to, sizeof(to), "u@%s", shown[i]);
		assert_string_equal(tag_of(to, DOMAINS(shown[i]), 300), want[i]);
		for (size_t j = 0; j < 5; j++)
			assert_string_equal(tag_of(to, DOMAINS(bcc[j], shown[i]), 300), want[i]);
	}
	assert_string_equal(tag_of("u@else.test", DOMAINS("enforce.test"), 300), "");
}

static void
of_many_unsettled_domains_a_hundred_are_awaited_those_shown_first(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m = message_new(p->address, "X-MTA-STS");
	char name[64];

	for (int i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "slow%d.test", i);
		message_rcpt(m, name, "u@it");
	}
	message_header(m, "cc", "u@slow149.test");
	message_settle(m, 5000, waiting, &(struct told){0, 0});
	assert_string_equal(tag_value(message_tag(m)), "enforce");
	message_free(&m);
	peer_stop(p);
	assert_int_equal(p->wants, 150);
	assert_int_equal(p->await_names, MESSAGE_AWAIT_MAX);
	assert_string_equal(p->await_first, "slow149.test");
	free(p);
}

static void
without_mtastsd_nothing_waits_and_all_is_pending(void **state UNUSED)
{
	struct message *m = message_to("unix:/tmp/test_message.nobody", "u@enforce.test",
	    DOMAINS("enforce.test", "none.test"));
	long start = now_ms();

	message_settle(m, 5000, waiting, &(struct told){0, 0});
	assert_in_range(now_ms() - start, 0, 1000);
	assert_string_equal(tag_value(message_tag(m)), "pending");
	message_free(&m);
}

static void
an_mtastsd_that_hangs_costs_the_configured_time_and_no_more(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, "u@hang.test", DOMAINS("hang.test"));
	struct told told = {0, 0};
	long start = now_ms();

	message_settle(m, 1200, waiting, &told);
	assert_in_range(now_ms() - start, 1150, 3000);
	assert_in_range(told.times, 2, 10);
	assert_string_equal(tag_value(message_tag(m)), "pending");
	message_free(&m);
	peer_stop(p);
	free(p);
}

static void
when_the_mta_is_gone_the_wait_ends(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, "u@hang.test", DOMAINS("hang.test"));
	long start = now_ms();

	message_settle(m, 20000, waiting, &(struct told){0, 2});
	assert_in_range(now_ms() - start, 0, 5000);
	message_free(&m);
	peer_stop(p);
	free(p);
}

static void
a_connection_lost_before_the_end_is_made_anew(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m =
	    message_to(p->address, "u@slow.test", DOMAINS("drop.test", "slow.test"));

	usleep(50 * 1000);
	message_rcpt(m, "enforce.test", "u@it"); /* finds the connection broken */
	message_settle(m, 5000, waiting, &(struct told){0, 0});
	assert_string_equal(tag_value(message_tag(m)), "enforce");
	message_free(&m);
	peer_stop(p);
	assert_int_equal(p->connections, 2);
	assert_int_equal(p->awaits, 1);
	free(p);
}

static void
an_error_for_one_domain_leaves_the_others_their_verdicts(void **state UNUSED)
{
	assert_string_equal(
	    tag_of("u@testing.test", DOMAINS("bad.test", "testing.test"), 300), "testing");
}

static void
copies_of_the_tag_are_counted_whatever_their_case(void **state UNUSED)
{
	struct message *m =
	    message_to("unix:/tmp/test_message.nobody", "u@none.test", DOMAINS("none.test"));

	message_header(m, "x-mta-sts", "enforce");
	message_header(m, "X-MTA-STS ", "enforce");
	message_header(m, "X-MTA-STS-", "enforce");
	message_header(m, "X-MTA-ST", "enforce");
	assert_int_equal(message_forged(m), 2);
	message_free(&m);
}

static void
other_headers_than_to_and_cc_show_nothing(void **state UNUSED)
{
	struct message *m =
	    message_to("unix:/tmp/test_message.nobody", "x@else.test", DOMAINS("none.test"));

	message_header(m, "Bcc", "u@none.test");
	message_header(m, "From", "u@none.test");
	message_header(m, "Resent-To", "u@none.test");
	message_header(m, "Too", "u@none.test");
	assert_int_equal(message_tag(m), TAG_ABSENT);
	message_header(m, "CC", "u@none.test");
	assert_int_equal(message_tag(m), TAG_PENDING);
	message_free(&m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_message_whose_domains_are_all_settled_awaits_nothing),
	    cmocka_unit_test(answers_that_come_between_recipients_belong_to_their_domains),
	    cmocka_unit_test(an_unsettled_domain_is_awaited_until_it_is_settled),
	    cmocka_unit_test(the_tag_is_the_same_with_and_without_a_bcc),
	    cmocka_unit_test(of_many_unsettled_domains_a_hundred_are_awaited_those_shown_first),
	    cmocka_unit_test(without_mtastsd_nothing_waits_and_all_is_pending),
	    cmocka_unit_test(an_mtastsd_that_hangs_costs_the_configured_time_and_no_more),
	    cmocka_unit_test(when_the_mta_is_gone_the_wait_ends),
	    cmocka_unit_test(a_connection_lost_before_the_end_is_made_anew),
	    cmocka_unit_test(an_error_for_one_domain_leaves_the_others_their_verdicts),
	    cmocka_unit_test(copies_of_the_tag_are_counted_whatever_their_case),
	    cmocka_unit_test(other_headers_than_to_and_cc_show_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
