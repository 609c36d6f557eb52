#include "daemon/control.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "site/describe.h"
#include "daemon/serve.h"
#include "policy/selftest.h"
#include "util/log.h"

enum {
	REQUEST_MAX = 64 * 1024, /* bytes of one line */
	CONNECTIONS_MAX = 1000,
	AWAIT_MAX = 100, /* domains of one await */
	AWAIT_MAX_MS = 60000,
	REFRESH_MAX_MS = 120000, /* a discovery ends sooner */
	PAGE_MAX = 1000
};

struct conn;

/* One domain of an await. */
struct awaited {
	struct conn *conn;
	struct resolve_wait *wait;
	char domain[DOMAIN_MAX + 1];
	struct resolution res;
};

struct conn {
	struct session session; /* first: daemon/serve.h */
	struct control *control;
	struct event *timer;
	bool refreshing; /* what it is busy with is a refresh, not an await */
	size_t n, n_waiting;
	struct awaited *awaited;
	struct selftest *selftest;
	char queue_id[QUEUE_ID_MAX + 1];
};

/* The writes of one selftest request; it outlives a client that went away. */
struct selftest {
	struct conn *conn; /* NULL: gone */
	size_t n_waiting;
	bool pushed;
};

struct control {
	struct control_parts parts;
	struct serve *serve;
	time_t started;
};

/* ---- answers ---- */

/* Consumes o. */
static void
answer(struct conn *c, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	evbuffer_add_printf(bufferevent_get_output(c->session.bev), "%s\n",
	    text != NULL ? text : "{\"error\":\"out of memory\",\"code\":70}");
	free(text);
	json_decref(o);
}

static void
answer_error(struct conn *c, int code, const char *text)
{
	answer(c, json_pack("{s:s,s:i}", "error", text, "code", code));
}

static const char *
enforcement_of(const struct config *config)
{
	return config->observe ? "observe" : "on";
}

/* e NULL: nothing is known of it. */
static json_t *
entry_object(const struct control_parts *parts, const char *domain, const struct entry *e)
{
	json_t *o = describe_entry(
	    domain, e, parts->config->rules, writer_in_step(parts->writer), time(NULL));

	json_object_set_new(o, "enforcement", json_string(enforcement_of(parts->config)));
	return o;
}

static json_t *
describe(struct control *control, const char *domain)
{
	struct entry e = {0};
	struct errmsg em = {""};
	enum store_result rc = store_get(control->parts.store, domain, &e, &em);
	long age_ms = resolve_age_ms(control->parts.resolver, domain);
	json_t *o = entry_object(&control->parts, domain, rc == STORE_OK ? &e : NULL);

	if (rc != STORE_OK && rc != STORE_ABSENT)
		json_object_set_new(o, "error", json_string(em.text));
	if (age_ms >= 0 && (rc != STORE_OK || time(NULL) >= e.expires)) {
		json_object_set_new(o, "why",
		    json_sprintf("discovery began %ld s ago and has not ended", age_ms / 1000));
		json_object_set_new(o, "wanted", describe_time(time(NULL) - age_ms / 1000));
	}
	entry_clear(&e);
	return o;
}

/* The request's domain, normalised; false when the answer has been given. */
static bool
take_domain(struct conn *c, const json_t *value, char domain[DOMAIN_MAX + 1])
{
	struct errmsg em = {""};

	if (!json_is_string(value)) {
		answer_error(c, EX_USAGE, "\"domain\" is missing or no string");
		return false;
	}
	if (domain_normalize(json_string_value(value), json_string_length(value), domain, &em) ==
	    DOMAIN_OK)
		return true;
	answer_error(c, EX_DATAERR, em.text);
	return false;
}

static void
take_queue_id(struct conn *c, const json_t *request)
{
	const char *id = json_string_value(json_object_get(request, "queue_id"));

	c->queue_id[0] = '\0';
	if (id != NULL && strlen(id) <= QUEUE_ID_MAX)
		memcpy(c->queue_id, id, strlen(id) + 1);
}

static json_t *
verdict_object(const struct conn *c, const char *domain, const struct resolution *res)
{
	json_t *o = json_pack("{s:s,s:s,s:b,s:s}", "domain", domain, "verdict",
	    verdict_name(res->verdict), "pushed", (int)res->pushed, "enforcement",
	    enforcement_of(c->control->parts.config));

	if (res->verdict == VERDICT_NONE && resolve_doubtful(c->control->parts.resolver, domain))
		json_object_set_new(o, "doubtful", json_true());
	return o;
}

/* ---- want, await, refresh ---- */

/* By the set of rules that the message is under, whose user, sender and listener may be told. */
static const char *
rule_for(const struct conn *c, const json_t *request, const char *domain)
{
	const struct config *config = c->control->parts.config;

	return rule_name(choice_find(config->chosen, config->rules,
	    json_string_value(json_object_get(request, "user")),
	    json_string_value(json_object_get(request, "sender")),
	    json_string_value(json_object_get(request, "listener")), domain));
}

static void
do_want(struct conn *c, const json_t *request)
{
	const json_t *value = json_object_get(request, "domain");
	struct resolution res = {VERDICT_NONE, true};
	char domain[DOMAIN_MAX + 1];
	json_t *o;

	/* What cannot have a policy has none: no error for the milter to think about. */
	if (json_is_string(value) && domain_normalize(json_string_value(value),
					 json_string_length(value), domain, NULL) != DOMAIN_OK) {
		answer(c, verdict_object(c, json_string_value(value), &res));
		return;
	}
	if (!take_domain(c, value, domain))
		return;
	res = resolve_want(c->control->parts.resolver, domain);
	o = verdict_object(c, domain, &res);
	json_object_set_new(o, "rule", json_string(rule_for(c, request, domain)));
	answer(c, o);
}

/* The end of an await or a refresh: settled, or the time is over. */
static void
finish_await(struct conn *c)
{
	json_t *verdicts = json_array();

	event_del(c->timer);
	for (size_t i = 0; i < c->n; i++) {
		struct awaited *a = &c->awaited[i];

		resolve_cancel(&a->wait);
		if (c->refreshing)
			break;
		if ((a->res.verdict == VERDICT_UNDECIDED ||
			(a->res.verdict == VERDICT_ENFORCE && !a->res.pushed)))
			held_note(c->control->parts.held, a->domain, c->queue_id);
		json_array_append_new(verdicts, verdict_object(c, a->domain, &a->res));
	}
	if (c->refreshing) {
		json_decref(verdicts);
		answer(c, describe(c->control, c->awaited[0].domain));
	} else {
		answer(c, json_pack("{s:o}", "verdicts", verdicts));
	}
	free(c->awaited);
	c->awaited = NULL;
	c->n = c->n_waiting = 0;
	c->session.busy = c->refreshing = false;
}

static void
on_awaited(const struct resolution *res, void *arg)
{
	struct awaited *a = arg;
	struct conn *c = a->conn;

	a->wait = NULL;
	a->res = *res;
	if (--c->n_waiting > 0)
		return;
	finish_await(c);
	session_resume(&c->session);
}

static void
on_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct conn *c = arg;

	finish_await(c);
	session_resume(&c->session);
}

static void
start_timer(struct conn *c, json_int_t ms)
{
	struct timeval tv = {
	    .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	c->session.busy = true;
	event_add(c->timer, &tv);
}

static bool
await_one(struct conn *c, const json_t *value)
{
	struct awaited *a = &c->awaited[c->n];

	a->conn = c;
	a->res = (struct resolution){VERDICT_NONE, true};
	if (!json_is_string(value) || json_string_length(value) > DOMAIN_MAX)
		return false;
	c->n++;
	if (domain_normalize(
		json_string_value(value), json_string_length(value), a->domain, NULL) != DOMAIN_OK)
		memcpy(a->domain, json_string_value(value), json_string_length(value) + 1);
	else
		a->wait =
		    resolve_await(c->control->parts.resolver, a->domain, on_awaited, a, &a->res);
	c->n_waiting += a->wait != NULL;
	return true;
}

static void
do_await(struct conn *c, const json_t *request)
{
	const json_t *domains = json_object_get(request, "domains"), *value;
	json_int_t wait_ms = json_integer_value(json_object_get(request, "wait_ms"));
	size_t i, n = json_array_size(domains);
	bool good =
	    json_is_array(domains) && n <= AWAIT_MAX && wait_ms >= 0 && wait_ms <= AWAIT_MAX_MS;

	take_queue_id(c, request);
	c->awaited = calloc(n + 1, sizeof(*c->awaited));
	if (c->awaited == NULL)
		abort();
	json_array_foreach (domains, i, value) {
		good = good && await_one(c, value);
	}
	if (!good) {
		for (i = 0; i < c->n; i++)
			resolve_cancel(&c->awaited[i].wait);
		free(c->awaited);
		c->awaited = NULL;
		c->n = c->n_waiting = 0;
		answer_error(
		    c, EX_USAGE, "await wants at most 100 \"domains\" and 0 to 60000 \"wait_ms\"");
		return;
	}
	if (c->n_waiting == 0)
		finish_await(c);
	else
		start_timer(c, wait_ms);
}

static void
do_refresh_all(struct conn *c)
{
	schedule_refresh_all(c->control->parts.schedule);
	answer(
	    c, json_pack("{s:I}", "scheduled", (json_int_t)store_count(c->control->parts.store)));
}

static void
do_refresh(struct conn *c, const json_t *request)
{
	struct awaited *a;
	char domain[DOMAIN_MAX + 1];

	if (json_is_true(json_object_get(request, "all"))) {
		do_refresh_all(c);
		return;
	}
	if (!take_domain(c, json_object_get(request, "domain"), domain))
		return;
	a = c->awaited = calloc(1, sizeof(*a));
	if (a == NULL)
		abort();
	a->conn = c;
	memcpy(a->domain, domain, sizeof(domain));
	c->n = c->n_waiting = 1;
	c->refreshing = true;
	a->wait = resolve_force(c->control->parts.resolver, domain, RESOLVE_FETCH, on_awaited, a);
	start_timer(c, a->wait == NULL ? 0 : REFRESH_MAX_MS);
}

/* ---- query, list, held, status, forget ---- */

static void
do_query(struct conn *c, const json_t *request)
{
	char domain[DOMAIN_MAX + 1];

	if (take_domain(c, json_object_get(request, "domain"), domain))
		answer(c, describe(c->control, domain));
}

struct page {
	struct control *control;
	json_t *entries;
	json_int_t n_more; /* held ones beyond the page */
};

static bool
list_one(const char *domain, const struct entry *e, void *arg)
{
	struct page *page = arg;

	json_array_append_new(page->entries, entry_object(&page->control->parts, domain, e));
	return true;
}

static void
do_list(struct conn *c, const json_t *request)
{
	const char *after = json_string_value(json_object_get(request, "after"));
	json_int_t max = json_integer_value(json_object_get(request, "max"));
	struct page page = {.control = c->control, .entries = json_array()};
	struct errmsg em = {""};
	bool more;

	if (max <= 0 || max > PAGE_MAX)
		max = PAGE_MAX;
	if (after != NULL && after[0] == '\0')
		after = NULL;
	if (store_each(c->control->parts.store, after, (size_t)max, list_one, &page, NULL, &em) !=
	    STORE_OK) {
		json_decref(page.entries);
		answer_error(c, EX_IOERR, em.text);
		return;
	}
	more = json_array_size(page.entries) == (size_t)max;
	answer(c, json_pack("{s:o,s:b}", "entries", page.entries, "more", (int)more));
}

static void
held_one(const struct held_domain *d, void *arg)
{
	struct page *page = arg;
	json_t *known, *ids;

	if (json_array_size(page->entries) >= PAGE_MAX) {
		page->n_more++;
		return;
	}
	known = describe(page->control, d->domain);
	ids = json_array();
	for (size_t i = 0; i < d->n_ids; i++)
		json_array_append_new(ids, json_string(d->ids[i]));
	json_array_append_new(page->entries,
	    json_pack("{s:s,s:o,s:O,s:O,s:O,s:o,s:I}", "domain", d->domain, "since",
		describe_time(d->since), "why", json_object_get(known, "why"), "until",
		json_object_get(known, "expires"), "verdict", json_object_get(known, "verdict"),
		"queue_ids", ids, "more_queue_ids", (json_int_t)d->n_more));
	json_decref(known);
}

static void
do_held(struct conn *c, const json_t *request UNUSED)
{
	struct page page = {.control = c->control, .entries = json_array()};

	held_each(c->control->parts.held, held_one, &page);
	answer(c, json_pack("{s:o,s:I}", "held", page.entries, "more_domains", page.n_more));
}

static json_t *
status_store(const struct writer_status *writer, const struct config *config)
{
	const char *error = writer->store_error.text;

	return json_pack("{s:s,s:s,s:s?}", "path", config->store_dir, "state",
	    error[0] == '\0' ? "ready" : "failing", "error", error[0] == '\0' ? NULL : error);
}

static json_t *
status_maps(const struct writer_status *writer, const struct config *config)
{
	json_t *maps = json_array();

	for (size_t i = 0; i < writer->n; i++) {
		const char *kind = writer->sink[i].kind;
		const char *path =
		    strcmp(kind, "access") == 0 ? config->access_path : config->map_path;

		json_array_append_new(
		    maps, json_pack("{s:s,s:s?,s:s,s:o,s:o}", "kind", kind, "path", path, "state",
			      writer->sink[i].in_step ? "ready" : "behind", "error",
			      writer->sink[i].error.text[0] == '\0'
				  ? json_null()
				  : json_string(writer->sink[i].error.text),
			      "last_commit", describe_time(writer->sink[i].committed)));
	}
	return maps;
}

static void
do_status(struct conn *c, const json_t *request UNUSED)
{
	const struct control_parts *parts = &c->control->parts;
	struct writer_status writer;
	struct resolver_status resolver;

	writer_status(parts->writer, &writer);
	resolver_status(parts->resolver, &resolver);
	answer(c,
	    json_pack("{s:s,s:i,s:o,s:I,s:b,s:s,s:o,s:o,s:I,s:I,s:I,s:o,s:I,s:I,s:I}", "version",
		PACKAGE_VERSION, "pid", (int)getpid(), "started",
		describe_time(c->control->started), "entries",
		(json_int_t)store_count(parts->store), "ready", (int)writer.ready, "enforcement",
		enforcement_of(parts->config), "store", status_store(&writer, parts->config),
		"maps", status_maps(&writer, parts->config), "discoveries",
		(json_int_t)resolver.running, "queued", (json_int_t)resolver.queued, "held",
		(json_int_t)held_count(parts->held), "alive_until",
		describe_time(writer.alive_until), "commits", (json_int_t)writer.commits, "lookups",
		(json_int_t)resolver.txt_lookups, "fetches", (json_int_t)resolver.fetches));
}

static void
do_forget(struct conn *c, const json_t *request)
{
	struct entry e = {0};
	char domain[DOMAIN_MAX + 1];
	bool known;

	if (!take_domain(c, json_object_get(request, "domain"), domain))
		return;
	known = store_get(c->control->parts.store, domain, &e, NULL) != STORE_ABSENT;
	entry_clear(&e);
	log_line(LOG_NOTICE, "domain=%s forgotten by the administrator", domain);
	writer_forget(c->control->parts.writer, domain, NULL, NULL);
	answer(c, json_pack("{s:b}", "forgotten", (int)known));
}

/* ---- selftest ---- */

static void
on_selftest_written(const struct writer_result *result, void *arg)
{
	struct selftest *s = arg;

	s->pushed = s->pushed && result->pushed;
	if (--s->n_waiting > 0)
		return;
	if (s->conn != NULL) {
		s->conn->selftest = NULL;
		s->conn->session.busy = false;
		answer(s->conn, json_pack("{s:b}", "pushed", (int)s->pushed));
		session_resume(&s->conn->session);
	}
	free(s);
}

/* Policies of the reserved domains come into store and maps, or go; no request names a domain. */
static void
do_selftest(struct conn *c, const json_t *request)
{
	const json_t *active = json_object_get(request, "active");
	struct writer *writer = c->control->parts.writer;
	struct selftest *s;

	if (!json_is_boolean(active)) {
		answer_error(c, EX_USAGE, "\"active\" is missing or no boolean");
		return;
	}
	if ((s = calloc(1, sizeof(*s))) == NULL)
		abort();
	*s = (struct selftest){c, SELFTEST_POLICIES, true};
	c->selftest = s;
	c->session.busy = true;
	for (size_t i = 0; i < SELFTEST_POLICIES; i++) {
		const char *domain = selftest_policies[i];
		struct entry e = selftest_entry(domain, time(NULL));

		if (json_is_true(active))
			writer_save(writer, domain, &e, true, on_selftest_written, s);
		else
			writer_forget(writer, domain, on_selftest_written, s);
		entry_clear(&e);
	}
}

/* ---- connections ---- */

static void
handle_line(struct conn *c, const char *line, size_t len)
{
	static const struct {
		const char *cmd;
		void (*run)(struct conn *, const json_t *);
	} commands[] = {{"want", do_want}, {"await", do_await}, {"query", do_query},
	    {"list", do_list}, {"refresh", do_refresh}, {"forget", do_forget}, {"held", do_held},
	    {"status", do_status}, {"selftest", do_selftest}};
	json_error_t error;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	const char *cmd = json_string_value(json_object_get(request, "cmd"));

	for (size_t i = 0; cmd != NULL && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(cmd, commands[i].cmd) == 0) {
			commands[i].run(c, request);
			json_decref(request);
			return;
		}
	answer_error(c, EX_USAGE,
	    request == NULL ? "request is no JSON object on one line"
			    : "unknown \"cmd\"; mtasts-control(5) lists them");
	json_decref(request);
}

static enum session_result
on_input(struct session *session)
{
	size_t len;
	char *line = evbuffer_readln(bufferevent_get_input(session->bev), &len, EVBUFFER_EOL_LF);

	if (line == NULL)
		return SESSION_MORE;
	handle_line((struct conn *)session, line, len);
	free(line);
	return SESSION_TOOK;
}

static bool
on_opened(struct session *session, void *arg)
{
	struct conn *c = (struct conn *)session;

	c->control = arg;
	c->timer = evtimer_new(c->control->parts.base, on_timer, c);
	return c->timer != NULL;
}

static void
on_closed(struct session *session)
{
	struct conn *c = (struct conn *)session;

	for (size_t i = 0; i < c->n; i++)
		resolve_cancel(&c->awaited[i].wait);
	free(c->awaited);
	if (c->selftest != NULL)
		c->selftest->conn = NULL;
	if (c->timer != NULL)
		event_free(c->timer);
}

static const struct serve_ops ops = {.name = "control",
    .size = sizeof(struct conn),
    .sessions_max = CONNECTIONS_MAX,
    .request_max = REQUEST_MAX,
    .opened = on_opened,
    .take = on_input,
    .closed = on_closed};

struct control *
control_new(
    const struct control_parts *parts, const struct config_sockets *sockets, struct errmsg *em)
{
	struct control *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		errmsg_set(em, "out of memory");
		return NULL;
	}
	c->parts = *parts;
	c->started = time(NULL);
	c->serve = serve_new(parts->base, sockets, &ops, c, em);
	if (c->serve == NULL) {
		free(c);
		c = NULL;
	}
	return c;
}

void
control_configure(struct control *c, const struct config *config)
{
	c->parts.config = config;
}

void
control_free(struct control **c)
{
	if (*c == NULL)
		return;
	serve_free(&(*c)->serve);
	free(*c);
	*c = NULL;
}
