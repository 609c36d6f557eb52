/* mtastsctl's questions against a daemon of this test's own: one thread, one canned answer a
 * request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>

#include "ctl/ask.h"

struct server {
	char dir[32], socket[64], conf[64];
	int fd;
	pthread_t thread;
	const char *const *answers; /* in order; NULL: hang up */
	char requests[4096];        /* what came, a line each */
};

static void *
serve(void *arg)
{
	struct server *s = arg;
	FILE *f = fdopen(accept(s->fd, NULL, NULL), "r+");
	char line[1024];

	for (size_t i = 0; f != NULL && s->answers[i] != NULL; i++) {
		if (fgets(line, sizeof(line), f) == NULL)
			break;
		strncat(s->requests, line, sizeof(s->requests) - strlen(s->requests) - 1);
		fseek(f, 0, SEEK_CUR); /* between reading and writing, ISO C wants it */
		fprintf(f, "%s\n", s->answers[i]);
		fflush(f);
	}
	if (f != NULL)
		fclose(f);
	return NULL;
}

static void
start(struct server *s, const char *const *answers)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	FILE *conf;

	*s = (struct server){.dir = "/tmp/test_ask.XXXXXX", .answers = answers};
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->socket, sizeof(s->socket), "%s/s", s->dir);
	snprintf(s->conf, sizeof(s->conf), "%s/conf", s->dir);
	assert_non_null(conf = fopen(s->conf, "w"));
	fprintf(conf, "control { listen = \"unix:%s\" }\n", s->socket);
	fclose(conf);
	memcpy(un.sun_path, s->socket, strlen(s->socket) + 1);
	s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(s->fd, 1), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void
stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR); /* an accept() that nobody came to ends */
	pthread_join(s->thread, NULL);
	close(s->fd);
	unlink(s->socket);
	unlink(s->conf);
	rmdir(s->dir);
}

struct run {
	int code;
	char *out, *err;
};

static struct run
run(struct server *s, command_fn *command, bool json, const char *domain)
{
	char *operand[] = {(char *)domain};
	struct run r = {0};
	size_t n_out, n_err;
	struct invocation inv = {.conf = s->conf,
	    .json = json,
	    .all = command == command_refresh && domain == NULL,
	    .n = domain != NULL,
	    .operand = operand,
	    .out = open_memstream(&r.out, &n_out),
	    .err = open_memstream(&r.err, &n_err)};

	r.code = command(&inv);
	fclose(inv.out);
	fclose(inv.err);
	stop(s);
	return r;
}

static void
run_clear(struct run *r)
{
	free(r->out);
	free(r->err);
}

static void
assert_has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", text, part);
}

#define ENFORCE \
	"{\"domain\":\"good.test\",\"verdict\":\"enforce\",\"id\":\"7\",\"mode\":\"enforce\",\"max_age\":86400," \
	"\"mx\":[\"mx.good.test\",\"*.example.net\"],\"fetched\":\"2026-01-01T00:00:00Z\"," \
	"\"expires\":\"9999-01-01T00:00:00Z\",\"pushed\":true,\"failure\":null,\"why\":\"it publishes it\"}"

static void
query_prints_the_answer_as_it_came_with_json(void **state UNUSED)
{
	static const char *const answers[] = {ENFORCE, NULL};
	struct server s;
	struct run r;

	start(&s, answers);
	r = run(&s, command_query, true, "good.test");
	assert_int_equal(r.code, EX_OK);
	assert_string_equal(r.out, ENFORCE "\n");
	assert_string_equal(s.requests, "{\"cmd\":\"query\",\"domain\":\"good.test\"}\n");
	run_clear(&r);
}

static void
query_says_why_and_lists_every_pattern(void **state UNUSED)
{
	static const char *const answers[] = {ENFORCE, NULL};
	struct server s;
	struct run r;

	start(&s, answers);
	r = run(&s, command_query, false, "good.test");
	assert_int_equal(r.code, EX_OK);
	assert_has(r.out, "good.test: enforce\n");
	assert_has(r.out, "Why:"); /* its words may stand on two lines */
	assert_has(r.out, "publishes");
	assert_has(r.out, "mx.good.test\n");
	assert_has(r.out, "*.example.net\n");
	assert_has(r.out, "2026-01-01T00:00:00Z (");
	run_clear(&r);
}

/* In observe mode nothing waits: the sentence must not say so. */
static void
query_says_what_happens_to_mail_while_observing(void **state UNUSED)
{
	static const char *const
	    enforce[] = {"{\"domain\":\"g.test\",\"verdict\":\"enforce\",\"pushed\":true,"
			 "\"enforcement\":\"observe\"}",
		NULL},
	    *const held[] =
		{"{\"domain\":\"g.test\",\"verdict\":\"undecided\",\"enforcement\":\"observe\","
		 "\"wanted\":\"2026-01-01T00:00:00Z\"}",
		    NULL},
	    *const on[] = {
		"{\"domain\":\"g.test\",\"verdict\":\"undecided\",\"enforcement\":\"on\","
		"\"wanted\":\"2026-01-01T00:00:00Z\"}",
		NULL};
	struct server s;
	struct run r;

	start(&s, enforce);
	r = run(&s, command_query, false, "g.test");
	assert_has(r.out, "only observes");
	assert_null(strstr(r.out, "queue"));
	run_clear(&r);
	start(&s, held);
	r = run(&s, command_query, false, "g.test");
	assert_has(r.out, "only observes");
	assert_null(strstr(r.out, "queue"));
	run_clear(&r);
	start(&s, on);
	r = run(&s, command_query, false, "g.test");
	assert_has(r.out, "waits in the queue");
	run_clear(&r);
}

static void
a_failure_is_told_with_type_and_reason(void **state UNUSED)
{
	static const char *const answers[] = {
	    "{\"domain\":\"x.test\",\"verdict\":\"none\",\"failure\":{\"type\":\"sts-webpki-invalid\","
	    "\"reason\":\"certificate has expired\",\"at\":\"2026-01-01T00:00:00Z\"}}",
	    NULL};
	struct server s;
	struct run r;

	start(&s, answers);
	r = run(&s, command_query, false, "x.test");
	assert_has(r.out, "sts-webpki-invalid");
	assert_has(r.out, "certificate has expired");
	run_clear(&r);
}

static void
a_refusal_gives_its_code_and_its_sentence(void **state UNUSED)
{
	static const char *const answers[] = {"{\"error\":\"no domain: a..b\",\"code\":65}", NULL};
	struct server s;
	struct run r;

	start(&s, answers);
	r = run(&s, command_query, true, "a..b");
	assert_int_equal(r.code, EX_DATAERR);
	assert_string_equal(r.out, "");
	assert_has(r.err, "no domain: a..b");
	run_clear(&r);
}

/* Others would be taken for an answer of `match', or for death by a signal. */
static void
a_code_that_is_none_of_sysexits_is_a_fault_of_the_protocol(void **state UNUSED)
{
	static const char *const refusals[][2] = {{"{\"error\":\"x\",\"code\":0}", NULL},
	    {"{\"error\":\"x\",\"code\":1}", NULL}, {"{\"error\":\"x\",\"code\":63}", NULL},
	    {"{\"error\":\"x\",\"code\":79}", NULL}, {"{\"error\":\"x\",\"code\":-1}", NULL},
	    {"{\"error\":\"x\"}", NULL}};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct server s;
		struct run r;

		start(&s, refusals[i]);
		r = run(&s, command_query, false, "a.test");
		assert_int_equal(r.code, EX_PROTOCOL);
		run_clear(&r);
	}
}

static void
a_daemon_that_hangs_up_or_is_not_there_is_unavailable(void **state UNUSED)
{
	static const char *const answers[] = {NULL};
	struct server s;
	struct run r;

	start(&s, answers);
	r = run(&s, command_status, false, NULL);
	assert_int_equal(r.code, EX_UNAVAILABLE);
	run_clear(&r);
	start(&s, answers);
	unlink(s.socket);
	r = run(&s, command_status, false, NULL);
	assert_int_equal(r.code, EX_UNAVAILABLE);
	assert_has(r.err, s.socket);
	run_clear(&r);
}

static void
an_answer_that_is_no_json_is_unavailable(void **state UNUSED)
{
	static const char *const answers[] = {"OK none", NULL};
	struct server s;
	struct run r;

	start(&s, answers);
	r = run(&s, command_held, true, NULL);
	assert_int_equal(r.code, EX_UNAVAILABLE);
	assert_string_equal(r.out, "");
	run_clear(&r);
}

static void
a_list_goes_on_after_the_last_domain_of_each_page(void **state UNUSED)
{
	static const char *const answers[] = {
	    "{\"entries\":[{\"domain\":\"a.test\"},{\"domain\":\"b.test\"}],\"more\":true}",
	    "{\"entries\":[{\"domain\":\"c.test\"}],\"more\":true}",
	    "{\"entries\":[],\"more\":false}", NULL};
	struct server s;
	struct run r;
	json_t *list;

	start(&s, answers);
	r = run(&s, command_list, true, NULL);
	assert_int_equal(r.code, EX_OK);
	assert_non_null(list = json_loads(r.out, 0, NULL));
	assert_int_equal(json_array_size(json_object_get(list, "entries")), 3);
	json_decref(list);
	assert_has(s.requests, "\"after\":\"b.test\"");
	assert_has(s.requests, "\"after\":\"c.test\"");
	run_clear(&r);
}

static void
a_list_that_does_not_go_on_ends_with_an_error(void **state UNUSED)
{
	static const char *const answers[] = {
	    "{\"entries\":[{\"domain\":\"a.test\"}],\"more\":true}",
	    "{\"entries\":[{\"domain\":\"a.test\"}],\"more\":true}", NULL};
	struct server s;
	struct run r;

	start(&s, answers);
	r = run(&s, command_list, false, NULL);
	assert_int_equal(r.code, EX_PROTOCOL);
	run_clear(&r);
}

static void
refresh_and_forget_send_what_the_protocol_wants(void **state UNUSED)
{
	static const char *const refreshed[] = {ENFORCE, NULL},
				 *const scheduled[] = {"{\"scheduled\":12}", NULL},
				 *const forgotten[] = {"{\"forgotten\":true}", NULL};
	struct server s;
	struct run r;

	start(&s, refreshed);
	r = run(&s, command_refresh, false, "good.test");
	assert_string_equal(s.requests, "{\"cmd\":\"refresh\",\"domain\":\"good.test\"}\n");
	assert_has(r.out, "good.test: enforce\n");
	run_clear(&r);
	start(&s, scheduled);
	r = run(&s, command_refresh, false, NULL);
	assert_string_equal(s.requests, "{\"cmd\":\"refresh\",\"all\":true}\n");
	assert_has(r.out, "12 domains");
	run_clear(&r);
	start(&s, forgotten);
	r = run(&s, command_forget, false, "good.test");
	assert_string_equal(s.requests, "{\"cmd\":\"forget\",\"domain\":\"good.test\"}\n");
	assert_has(r.out, "forgotten");
	run_clear(&r);
}

static void
held_and_status_show_queue_ids_and_map_errors(void **state UNUSED)
{
	static const char *const held
	    [] = {"{\"held\":[{\"domain\":\"w.test\",\"since\":null,"
		  "\"why\":\"DNS\",\"queue_ids\":[\"Q1\",\"Q2\"],"
		  "\"more_queue_ids\":7}],\"more_domains\":30}",
		NULL},
	*const status[] = {
	    "{\"version\":\"1\",\"ready\":false,\"enforcement\":\"on\","
	    "\"entries\":3,\"store\":{\"path\":\"/s\",\"state\":"
	    "\"failing\",\"error\":\"no room\"},\"maps\":[{\"kind\":\"sendmail\",\"path\":\"/m\","
	    "\"state\":\"behind\",\"error\":\"disk full\"}]}",
	    NULL};
	struct server s;
	struct run r;

	start(&s, held);
	r = run(&s, command_held, false, NULL);
	assert_has(r.out, "w.test\n");
	assert_has(r.out, "Q1\n");
	assert_has(r.out, "Q2\n    and 7 more\nand 30 more\n");
	run_clear(&r);
	start(&s, status);
	r = run(&s, command_status, false, NULL);
	assert_has(r.out, "not ready");
	assert_has(r.out, "map sendmail: /m, behind\n    disk full\n");
	assert_has(r.out, "store: /s, failing\n    no room\n");
	run_clear(&r);
}

static void
a_configuration_that_cannot_be_read_is_named(void **state UNUSED)
{
	static const char *const answers[] = {NULL};
	struct server s;
	struct run r;

	start(&s, answers);
	unlink(s.conf);
	r = run(&s, command_status, false, NULL);
	assert_int_equal(r.code, EX_CONFIG);
	assert_has(r.err, s.conf);
	run_clear(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(query_prints_the_answer_as_it_came_with_json),
	    cmocka_unit_test(query_says_why_and_lists_every_pattern),
	    cmocka_unit_test(query_says_what_happens_to_mail_while_observing),
	    cmocka_unit_test(a_failure_is_told_with_type_and_reason),
	    cmocka_unit_test(a_refusal_gives_its_code_and_its_sentence),
	    cmocka_unit_test(a_code_that_is_none_of_sysexits_is_a_fault_of_the_protocol),
	    cmocka_unit_test(a_daemon_that_hangs_up_or_is_not_there_is_unavailable),
	    cmocka_unit_test(an_answer_that_is_no_json_is_unavailable),
	    cmocka_unit_test(a_list_goes_on_after_the_last_domain_of_each_page),
	    cmocka_unit_test(a_list_that_does_not_go_on_ends_with_an_error),
	    cmocka_unit_test(refresh_and_forget_send_what_the_protocol_wants),
	    cmocka_unit_test(held_and_status_show_queue_ids_and_map_errors),
	    cmocka_unit_test(a_configuration_that_cannot_be_read_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
