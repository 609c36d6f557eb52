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
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "milter/message.h"
#include "util/when.h"

enum { AWAIT_TAKES_MS = 150, LATE_MS = 1500 };

/* The played mtastsd. Its counters are read after the message is freed and the thread joined. */
struct peer {
	pthread_t thread;
	char address[128];
	int listener;
	int connections, wants, awaits;
	size_t await_names;    /* of all awaits */
	char await_first[128]; /* of the first one */
	char queue_id[128];    /* of the last request that had one */
};

static bool
begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/*
 * slow: enforce, but only to await; never, mute, late: undecided; unpushed: enforce, pushed only
 * when awaited; others as named, "none" by default. watched-: undecided, while mtastsd observes.
 */
static json_t *
answer_for(const char *name, bool awaited)
{
	static const char *const plain[] = {"enforce", "testing", "none"};
	const char *verdict = "none";

	for (size_t i = 0; i < 3; i++)
		if (begins(name, plain[i]))
			verdict = plain[i];
	if (begins(name, "unpushed"))
		verdict = "enforce";
	if (begins(name, "slow"))
		verdict = awaited ? "enforce" : "undecided";
	if (begins(name, "never") || begins(name, "mute") || begins(name, "late") ||
	    begins(name, "watched"))
		verdict = "undecided";
	return json_pack("{ss ss sb ss ss}", "domain", name, "verdict", verdict, "pushed",
	    strcmp(verdict, "undecided") != 0 && (awaited || !begins(name, "unpushed")),
	    "enforcement", begins(name, "watched") ? "observe" : "on", "rule",
	    begins(name, "none-unruled") ? "optional" : "refuse");
}

/* NULL: an await with a mute or late domain is not answered, not even when its time is over. */
static json_t *
await_answer(struct peer *p, const json_t *names)
{
	json_t *verdicts = json_array();
	bool mute = false;

	if (p->awaits++ == 0)
		snprintf(p->await_first, sizeof(p->await_first), "%s",
		    json_string_value(json_array_get(names, 0)));
	p->await_names += json_array_size(names);
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));

		mute |= begins(name, "mute") || begins(name, "late");
		json_array_append_new(verdicts, answer_for(name, true));
	}
	if (mute) {
		json_decref(verdicts);
		return NULL;
	}
	usleep(AWAIT_TAKES_MS * 1000);
	return json_pack("{so}", "verdicts", verdicts);
}

/* The answer to a request; NULL: none. hang: none to want either; bad: an error. */
static json_t *
answer_to(struct peer *p, const json_t *request, const char *domain)
{
	const char *id = json_string_value(json_object_get(request, "queue_id"));

	p->wants += domain != NULL;
	if (id != NULL)
		snprintf(p->queue_id, sizeof(p->queue_id), "%s", id);
	if (domain == NULL)
		return await_answer(p, json_object_get(request, "domains"));
	if (begins(domain, "hang"))
		return NULL;
	if (begins(domain, "bad"))
		return json_pack("{ss si}", "error", "no", "code", 75);
	if (begins(domain, "late"))
		usleep(LATE_MS * 1000);
	return answer_for(domain, false);
}

/* False: hang up. drop: hangs up after the answer. */
static bool
serve_line(struct peer *p, FILE *out, const char *line)
{
	json_t *request = json_loads(line, 0, NULL), *answer;
	const char *domain = json_string_value(json_object_get(request, "domain"));
	bool go_on = domain == NULL || !begins(domain, "drop");

	if ((answer = answer_to(p, request, domain)) != NULL) {
		json_dumpf(answer, out, JSON_COMPACT);
		fputc('\n', out);
		fflush(out);
		json_decref(answer);
	}
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
	long start = when_monotonic_ms();

	message_settle(m, 5000, waiting, &told);
	assert_in_range(when_monotonic_ms() - start, AWAIT_TAKES_MS - 1, 3000);
	assert_string_equal(tag_value(message_tag(m)), "enforce");
	assert_true(told.times >= 1); /* so that a spare worker is called */
	message_free(&m);
	peer_stop(p);
	assert_int_equal(p->await_names, 1);
	assert_string_equal(p->await_first, "slow.test");
	assert_string_equal(p->queue_id, "q1");
	free(p);
}

static void
a_policy_that_is_known_is_awaited_until_it_is_in_the_map(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m =
	    message_to(p->address, "u@unpushed.test", DOMAINS("unpushed.test", "enforce.test"));

	message_settle(m, 5000, waiting, &(struct told){0, 0});
	message_free(&m);
	peer_stop(p);
	assert_int_equal(p->awaits, 1);
	assert_string_equal(p->await_first, "unpushed.test");
	free(p);
}

/* "a b": those that message_unsettled() gives. */
static const char *
unsettled_of(const char *const *domains, long wait_ms, char out[256])
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, "u@it", domains);
	const char *names[3];
	size_t n;

	message_settle(m, wait_ms, waiting, &(struct told){0, 0});
	n = message_unsettled(m, names, 3);
	out[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(out + strlen(out), 256 - strlen(out), "%s%s", i == 0 ? "" : " ", names[i]);
	message_free(&m);
	peer_stop(p);
	free(p);
	return out;
}

static void
only_what_mtastsd_says_is_not_settled_may_be_held(void **state UNUSED)
{
	char out[256];

	assert_string_equal(
	    unsettled_of(
		DOMAINS("enforce.test", "none.test", "slow.test", "testing.test"), 600, out),
	    "");
	assert_string_equal(
	    unsettled_of(
		DOMAINS("none.test", "never.test", "enforce.test", "never2.test"), 300, out),
	    "never.test never2.test");
	assert_string_equal(unsettled_of(DOMAINS("unpushed.test"), 0, out), "unpushed.test");
	/* no answer, or an error: the map knows better than we do */
	assert_string_equal(unsettled_of(DOMAINS("hang.test"), 300, out), "");
	assert_string_equal(unsettled_of(DOMAINS("bad.test"), 0, out), "");
	assert_string_equal(unsettled_of(DOMAINS("watched.test"), 300, out), "");
	assert_string_equal(
	    unsettled_of(
		DOMAINS("never1.test", "never2.test", "never3.test", "never4.test"), 0, out),
	    "never1.test never2.test never3.test");
}

static void
a_domain_without_a_policy_is_told_at_once(void **state UNUSED)
{
	static const struct {
		const char *domain;
		bool want;
	} t[] = {{"none.test", true}, {"testing.test", true}, {"enforce.test", false},
	    {"never.test", false}, {"hang.test", false}, {"bad.test", false},
	    {"none-unruled.test", false}};
	enum rule rule;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct peer *p = peer_open();
		struct message *m =
		    message_to(p->address, "u@it", DOMAINS("slow.test", t[i].domain));

		if (message_unmet(m, t[i].domain, 300, &rule) != t[i].want ||
		    (t[i].want && rule != RULE_REFUSE))
			fail_msg("%s", t[i].domain);
		message_refused(m);
		message_settle(m, 0, waiting, &(struct told){0, 0});
		message_log(m);
		message_free(&m);
		peer_stop(p);
		free(p);
	}
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

/* An await that is answered late, or never, would take the verdicts of all its domains along. */
static void
a_bcc_of_which_nothing_is_heard_does_not_change_the_tag(void **state UNUSED)
{
	assert_string_equal(tag_of("u@slow.test", DOMAINS("slow.test"), 600), "enforce");
	assert_string_equal(
	    tag_of("u@slow.test", DOMAINS("mute.test", "slow.test"), 600), "enforce");
	assert_string_equal(
	    tag_of("u@slow.test", DOMAINS("slow.test", "mute.test"), 600), "enforce");
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
	assert_int_equal(p->awaits, 2);
	assert_int_equal(p->await_names, MESSAGE_AWAIT_MAX);
	assert_string_equal(p->await_first, "slow149.test");
	free(p);
}

static void
without_mtastsd_nothing_waits_and_all_is_pending(void **state UNUSED)
{
	struct message *m = message_to("unix:/tmp/test_message.nobody", "u@enforce.test",
	    DOMAINS("enforce.test", "none.test"));
	long start = when_monotonic_ms();

	message_settle(m, 5000, waiting, &(struct told){0, 0});
	assert_in_range(when_monotonic_ms() - start, 0, 1000);
	assert_string_equal(tag_value(message_tag(m)), "pending");
	message_free(&m);
}

static void
an_mtastsd_that_hangs_costs_the_configured_time_and_no_more(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, "u@hang.test", DOMAINS("hang.test"));
	struct told told = {0, 0};
	long start = when_monotonic_ms();

	message_settle(m, 1200, waiting, &told);
	assert_in_range(when_monotonic_ms() - start, 1150, 3000);
	assert_in_range(told.times, 2, 10);
	assert_string_equal(tag_value(message_tag(m)), "pending");
	message_free(&m);
	peer_stop(p);
	free(p);
}

/* The time is one for all: what the answers to want took is gone for the await. */
static void
all_waiting_shares_one_deadline(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, "u@late.test", DOMAINS("late.test"));
	struct told told = {0, 20}; /* should it not end by itself */
	long start = when_monotonic_ms();

	message_settle(m, 2000, waiting, &told);
	assert_in_range(when_monotonic_ms() - start, 1950, 3000);
	assert_string_equal(tag_value(message_tag(m)), "pending");
	message_free(&m);
	peer_stop(p);
	assert_int_equal(p->awaits, 1);
	free(p);
}

static void
when_the_mta_is_gone_the_wait_ends(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, "u@hang.test", DOMAINS("hang.test"));
	long start = when_monotonic_ms();

	message_settle(m, 20000, waiting, &(struct told){0, 2});
	assert_in_range(when_monotonic_ms() - start, 0, 5000);
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
	assert_int_equal(p->awaits, 2);
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
copies_of_the_tag_stay_where_only_a_bcc_goes_out(void **state UNUSED)
{
	struct message *with = message_to(
			   "unix:/tmp/test_message.nobody", "u@local", DOMAINS("bcc.test")),
		       *without =
			   message_to("unix:/tmp/test_message.nobody", "u@local", DOMAINS(NULL));

	message_header(with, "X-MTA-STS", "enforce");
	message_header(without, "X-MTA-STS", "enforce");
	assert_int_equal(message_tag(with), message_tag(without));
	assert_int_equal(message_forged(with), 0);
	assert_int_equal(message_forged(without), 0);
	message_free(&with);
	message_free(&without);
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

/* What message_log() writes to standard error. */
static void
log_of(const struct message *m, char *text, size_t size)
{
	FILE *f = tmpfile();
	int err = dup(STDERR_FILENO);
	size_t len;

	assert_non_null(f);
	dup2(fileno(f), STDERR_FILENO);
	message_log(m);
	dup2(err, STDERR_FILENO);
	close(err);
	rewind(f);
	len = fread(text, 1, size - 1, f);
	text[len] = '\0';
	fclose(f);
}

static void
every_recipient_has_a_line_with_the_queue_id(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m =
	    message_to(p->address, "u@enforce.test", DOMAINS("enforce.test", "none.test"));
	char text[4096];

	message_rcpt(m, "enforce.test", "second@it");
	message_queue_id(m, "q2"); /* told again, at the end */
	message_settle(m, 5000, waiting, &(struct told){0, 0});
	log_of(m, text, sizeof(text));
	if (strstr(text, "qid=q1 domain=enforce.test verdict=enforce pushed=yes waited_ms=") ==
		NULL ||
	    strstr(text, "qid=q1 domain=none.test verdict=none pushed=yes") == NULL ||
	    strstr(text, " rcpt=<u@it>\n") == NULL || strstr(text, " rcpt=<second@it>\n") == NULL ||
	    strstr(text, "left_out") != NULL)
		fail_msg("%s", text);
	message_free(&m);
	peer_stop(p);
	free(p);
}

static void
recipients_beyond_the_limit_are_counted_in_the_log(void **state UNUSED)
{
	struct message *m =
	    message_to("unix:/tmp/test_message.nobody", "u@none.test", DOMAINS("none.test"));
	char *text = malloc(4 << 20);

	assert_non_null(text);
	for (int i = 1; i < MESSAGE_RCPTS_MAX + 3; i++)
		message_rcpt(m, "none.test", "u@it");
	log_of(m, text, 4 << 20);
	assert_non_null(strstr(text, "qid=q1 rcpts_left_out=3,"));
	free(text);
	message_free(&m);
}

/* The last test: there is no way back. */
static void
once_stopped_nothing_waits(void **state UNUSED)
{
	struct peer *p = peer_open();
	struct message *m = message_to(p->address, "u@hang.test", DOMAINS("hang.test"));
	long start = when_monotonic_ms();

	message_stop();
	message_settle(m, 20000, waiting, &(struct told){0, 10});
	assert_in_range(when_monotonic_ms() - start, 0, 1000);
	message_free(&m);
	peer_stop(p);
	free(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_message_whose_domains_are_all_settled_awaits_nothing),
	    cmocka_unit_test(answers_that_come_between_recipients_belong_to_their_domains),
	    cmocka_unit_test(an_unsettled_domain_is_awaited_until_it_is_settled),
	    cmocka_unit_test(a_policy_that_is_known_is_awaited_until_it_is_in_the_map),
	    cmocka_unit_test(a_bcc_of_which_nothing_is_heard_does_not_change_the_tag),
	    cmocka_unit_test(only_what_mtastsd_says_is_not_settled_may_be_held),
	    cmocka_unit_test(a_domain_without_a_policy_is_told_at_once),
	    cmocka_unit_test(the_tag_is_the_same_with_and_without_a_bcc),
	    cmocka_unit_test(of_many_unsettled_domains_a_hundred_are_awaited_those_shown_first),
	    cmocka_unit_test(without_mtastsd_nothing_waits_and_all_is_pending),
	    cmocka_unit_test(an_mtastsd_that_hangs_costs_the_configured_time_and_no_more),
	    cmocka_unit_test(all_waiting_shares_one_deadline),
	    cmocka_unit_test(when_the_mta_is_gone_the_wait_ends),
	    cmocka_unit_test(a_connection_lost_before_the_end_is_made_anew),
	    cmocka_unit_test(an_error_for_one_domain_leaves_the_others_their_verdicts),
	    cmocka_unit_test(copies_of_the_tag_are_counted_whatever_their_case),
	    cmocka_unit_test(copies_of_the_tag_stay_where_only_a_bcc_goes_out),
	    cmocka_unit_test(other_headers_than_to_and_cc_show_nothing),
	    cmocka_unit_test(every_recipient_has_a_line_with_the_queue_id),
	    cmocka_unit_test(recipients_beyond_the_limit_are_counted_in_the_log),
	    cmocka_unit_test(once_stopped_nothing_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
