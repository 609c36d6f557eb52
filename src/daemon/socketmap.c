#include "daemon/socketmap.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>

#include "util/netstring.h"
#include "daemon/serve.h"
#include "util/ascii.h"
#include "util/log.h"

enum {
	REQUEST_MAX = 1024, /* bytes: map name, a domain, a queue id */
	CONNECTIONS_MAX = 2000,
	LIVE_WAIT_MS = 2000, /* from the start of a discovery; Sendmail waits 5 s (-d5) */
	LIVE_AGAIN_MS = 100, /* the same, once a wait was in vain: a client asks for one recipient
				after the other, and the last of a hundred must not wait for all */
	ANSWER_MAX = 100000  /* bytes: Sendmail and Postfix refuse longer ones */
};

/* Which of the two maps was asked: they differ in the words of the answer only. */
enum map_name { MAP_MTASTSQ, MAP_STS };

struct conn {
	struct session session; /* first: daemon/serve.h */
	struct socketmap *server;
	struct resolve_wait *wait;
	struct event *timer;
	enum map_name map;
	bool in_vain; /* it has waited before, and was told to wait */
	char domain[DOMAIN_MAX + 1], queue_id[QUEUE_ID_MAX + 1];
};

struct socketmap {
	struct socketmap_parts parts;
	struct serve *serve;
};

static void
reply(struct conn *c, const char *text)
{
	evbuffer_add_printf(bufferevent_get_output(c->session.bev), "%zu:%s,", strlen(text), text);
}

/* ---- the answers ---- */

/* What FEATURE(`sts') reads: "secure match=mx1.example.com:.example.net servername=hostname". */
static void
reply_sts_policy(struct conn *c)
{
	struct entry e = {0};
	struct evbuffer *text = evbuffer_new();
	const struct policy *p;

	if (text == NULL || store_get(c->server->parts.store, c->domain, &e, NULL) != STORE_OK ||
	    e.policy == NULL) {
		reply(c, "TEMP policy cannot be read");
		goto out;
	}
	p = e.policy;
	evbuffer_add_printf(text, "OK secure match=");
	for (size_t i = 0; i < p->n_mx; i++)
		evbuffer_add_printf(
		    text, "%s%s", i == 0 ? "" : ":", p->mx[i][0] == '*' ? p->mx[i] + 1 : p->mx[i]);
	evbuffer_add(
	    text, " servername=hostname", sizeof(" servername=hostname")); /* with the NUL */
	if (evbuffer_get_length(text) > ANSWER_MAX)
		reply(c, "TEMP policy is too long for a socketmap answer");
	else
		reply(c, (const char *)evbuffer_pullup(text, -1));
out:
	if (text != NULL)
		evbuffer_free(text);
	entry_clear(&e);
}

struct repush {
	struct nudge *nudge;
	char domain[DOMAIN_MAX + 1];
};

static void
on_repushed(const struct writer_result *result, void *arg)
{
	struct repush *r = arg;

	if (result->pushed)
		nudge_domain(r->nudge, r->domain);
	free(r);
}

/* The MTA asks although the maps should say it: evicted, raced, or damaged. Put it there again; and
 * have the MTA come back for what our answer defers. */
static void
repush(struct conn *c, bool deferred)
{
	struct repush *r = deferred ? malloc(sizeof(*r)) : NULL;

	if (r == NULL) {
		(void)writer_repush(c->server->parts.writer, c->domain, NULL, NULL);
		return;
	}
	r->nudge = c->server->parts.nudge;
	memcpy(r->domain, c->domain, sizeof(r->domain));
	if (!writer_repush(c->server->parts.writer, c->domain, on_repushed, r))
		free(r);
}

static void
reply_wait(struct conn *c)
{
	held_note(c->server->parts.held, c->domain, c->queue_id);
	log_line(LOG_INFO, "qid=%s domain=%s answer=wait why=\"policy not known yet\"", c->queue_id,
	    c->domain);
	reply(c, c->map == MAP_STS ? "TEMP mta-sts: policy not known yet" : "OK wait");
}

/* Our rules know from the map what the site makes of it. FEATURE(`sts') knows of temporary refusals
 * only. */
static void
reply_none(struct conn *c)
{
	enum rule rule = resolve_rule(c->server->parts.resolver, c->domain);

	if (rule == RULE_HOLD)
		held_note(c->server->parts.held, c->domain, c->queue_id);
	if (c->map == MAP_MTASTSQ)
		reply(c, resolve_doubtful(c->server->parts.resolver, c->domain) ? "OK doubt"
										: "OK none");
	else
		reply(c, rule_requires(rule) ? "TEMP mta-sts: this site requires a policy"
					     : "NOTFOUND ");
}

static void
reply_resolution(struct conn *c, const struct resolution *res)
{
	bool sts = c->map == MAP_STS;

	switch (res->verdict) {
	case VERDICT_UNDECIDED:
		reply_wait(c);
		break;
	case VERDICT_NONE:
	case VERDICT_TESTING:
		reply_none(c);
		break;
	case VERDICT_ENFORCE:
		if (sts) {
			reply_sts_policy(c);
			break;
		}
		log_line(LOG_INFO, "qid=%s domain=%s answer=enforce pushed=%s", c->queue_id,
		    c->domain, res->pushed ? "yes" : "no");
		if (!res->pushed)
			held_note(c->server->parts.held, c->domain, c->queue_id);
		reply(c, "OK enforce");
		break;
	}
}

static void
on_resolved(const struct resolution *res, void *arg)
{
	struct conn *c = arg;

	c->wait = NULL;
	c->session.busy = false;
	event_del(c->timer);
	reply_resolution(c, res);
	session_resume(&c->session);
}

static void
on_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct conn *c = arg;

	resolve_cancel(&c->wait);
	c->session.busy = false;
	c->in_vain = true;
	reply_wait(c);
	session_resume(&c->session);
}

/* Answers now, or sets a wait that will. */
static void
look_up(struct conn *c)
{
	struct socketmap_parts *parts = &c->server->parts;
	struct resolution now;
	long left;

	c->wait = resolve_await(parts->resolver, c->domain, on_resolved, c, &now);
	if (c->wait == NULL) {
		reply_resolution(c, &now);
		if (now.pushed && c->map == MAP_MTASTSQ &&
		    (now.verdict == VERDICT_ENFORCE ||
			resolve_rule(parts->resolver, c->domain) == RULE_OPTIONAL))
			repush(c, now.verdict == VERDICT_ENFORCE);
		return;
	}
	left = (c->in_vain ? LIVE_AGAIN_MS : LIVE_WAIT_MS) -
	       resolve_age_ms(parts->resolver, c->domain);
	if (left <= 0) {
		resolve_cancel(&c->wait);
		reply_wait(c);
		return;
	}
	c->session.busy = true;
	event_add(
	    c->timer, &(struct timeval){.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000});
}

/* ---- requests: "MAP KEY", KEY = [":failed:" / ":beside:"] [":hop:"] DOMAIN ["," QUEUE-ID] ---- */

static bool
take_queue_id(struct conn *c, struct cursor id)
{
	size_t n = cursor_len(&id);

	if (n > QUEUE_ID_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!ascii_alnum(id.p[i]) && id.p[i] != '-' && id.p[i] != '_')
			return false;
	memcpy(c->queue_id, id.p, n);
	c->queue_id[n] = '\0';
	return true;
}

static void
note_failed(struct conn *c)
{
	bool look = resolve_failed_check(c->server->parts.resolver, c->domain);

	log_line(LOG_NOTICE, "qid=%s domain=%s check=failed action=%s", c->queue_id, c->domain,
	    look ? "txt-lookup" : "none-yet");
	reply(c, "OK noted");
}

/* Others of a message wait as well, only because they share a session with this domain; in a queue
 * run they would not. */
static void
note_beside(struct conn *c)
{
	log_line(LOG_INFO, "qid=%s domain=%s action=nudge why=\"others wait beside it\"",
	    c->queue_id, c->domain);
	nudge_domain(c->server->parts.nudge, c->domain);
	reply(c, "OK noted");
}

static void
handle_key(struct conn *c, struct cursor key)
{
	void (*handle)(struct conn *) = look_up;
	const unsigned char *comma;
	bool hop;

	if (c->map == MAP_MTASTSQ && cursor_take(&key, ":failed:"))
		handle = note_failed;
	else if (c->map == MAP_MTASTSQ && cursor_take(&key, ":beside:"))
		handle = note_beside;
	hop = c->map == MAP_MTASTSQ && cursor_take(&key, ":hop:");
	comma = cursor_len(&key) == 0 ? NULL : memchr(key.p, ',', cursor_len(&key));
	c->queue_id[0] = '\0';
	if (comma != NULL) {
		if (!take_queue_id(c, (struct cursor){comma + 1, key.end})) {
			reply(c, "PERM malformed queue id");
			return;
		}
		key.end = comma;
	}
	/* What is no policy domain has no policy: its mail is none of our business. */
	if (domain_normalize((const char *)key.p, cursor_len(&key), c->domain, NULL) != DOMAIN_OK) {
		reply(c, c->map == MAP_STS ? "NOTFOUND " : "OK none");
		return;
	}
	if (hop)
		nudge_next_hop(c->server->parts.nudge, c->domain);
	handle(c);
}

static void
handle_request(struct conn *c, struct cursor request)
{
	if (cursor_take(&request, "mtastsq "))
		c->map = MAP_MTASTSQ;
	else if (cursor_take(&request, "sts "))
		c->map = MAP_STS;
	else {
		reply(c, "PERM no such map; want mtastsq or sts");
		return;
	}
	handle_key(c, request);
}

static enum session_result
on_input(struct session *session)
{
	struct evbuffer *in = bufferevent_get_input(session->bev);
	size_t len = evbuffer_get_length(in);
	struct cursor bytes, body = {NULL, NULL};
	enum netstring_result rc;

	if (len == 0)
		return SESSION_MORE;
	bytes = cursor_of(evbuffer_pullup(in, (ev_ssize_t)len), len);
	rc = netstring_take(&bytes, REQUEST_MAX, &body);
	if (rc != NETSTRING_OK)
		return rc == NETSTRING_MORE ? SESSION_MORE : SESSION_BAD;
	handle_request((struct conn *)session, body);
	evbuffer_drain(in, len - cursor_len(&bytes));
	return SESSION_TOOK;
}

static bool
on_opened(struct session *session, void *arg)
{
	struct conn *c = (struct conn *)session;

	c->server = arg;
	c->timer = evtimer_new(c->server->parts.base, on_timer, c);
	return c->timer != NULL;
}

static void
on_closed(struct session *session)
{
	struct conn *c = (struct conn *)session;

	resolve_cancel(&c->wait);
	if (c->timer != NULL)
		event_free(c->timer);
}

static const struct serve_ops ops = {.name = "socketmap",
    .size = sizeof(struct conn),
    .sessions_max = CONNECTIONS_MAX,
    .request_max = 4 * REQUEST_MAX, /* a few pipelined ones; netstring_take() bounds each */
    .opened = on_opened,
    .take = on_input,
    .closed = on_closed};

struct socketmap *
socketmap_new(
    const struct socketmap_parts *parts, const struct config_sockets *sockets, struct errmsg *em)
{
	struct socketmap *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		errmsg_set(em, "out of memory");
		return NULL;
	}
	s->parts = *parts;
	s->serve = serve_new(parts->base, sockets, &ops, s, em);
	if (s->serve == NULL) {
		free(s);
		s = NULL;
	}
	return s;
}

void
socketmap_free(struct socketmap **s)
{
	if (*s == NULL)
		return;
	serve_free(&(*s)->serve);
	free(*s);
	*s = NULL;
}
