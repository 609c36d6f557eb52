#include "daemon/nudge.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "policy/domain.h"
#include "util/log.h"
#include "util/tree.h"
#include "util/when.h"

enum {
	TOGETHER = 4, /* as many domains due at once are served by one run of the whole queue */
	SESSION_MAX_S = 20, /* an MTA slower than this is left alone until the next tick */
	LINE_MAX_BYTES = 2048,
	DOMAINS_MAX =
	    20000, /* remembered at once; what comes on top waits for the MTA's own queue run */
	HOPS_MAX = 1000 /* a mailertable may name many */
};

static const int delays_s[] = {0, 2, 15, 60};

enum { TRIES = sizeof(delays_s) / sizeof(delays_s[0]) };

enum { GREETED, HELLO, STARTED, QUITTING }; /* which reply is next in a session */

struct nudged {
	char domain[DOMAIN_MAX + 1]; /* first: util/tree.h */
	TAILQ_ENTRY(nudged) link;
	time_t settled; /* clock_s() */
	size_t tries;
};
TAILQ_HEAD(nudged_list, nudged);

struct hop {
	char domain[DOMAIN_MAX + 1]; /* first: util/tree.h */
	SLIST_ENTRY(hop) link;
};

struct nudge {
	struct event_base *base;
	struct sockaddr_storage to;
	int to_len; /* 0: off */
	size_t per_minute, sent, n;
	time_t minute;
	bool whole; /* the whole queue is asked for */
	struct nudged_list list;
	void *tree;
	SLIST_HEAD(, hop) hops;
	void *hop_tree;
	size_t n_hops;
	struct event *tick;
	struct bufferevent *session; /* one in flight */
	char command[DOMAIN_MAX + 16];
	int step; /* the next reply */
};

/* A clock that is never set: delays are kept, and no minute comes twice. */
static time_t
clock_s(void)
{
	return when_monotonic_ms() / 1000;
}

static void
forget(struct nudge *n, struct nudged *d)
{
	tree_remove(&n->tree, d);
	TAILQ_REMOVE(&n->list, d, link);
	n->n--;
	free(d);
}

static bool
due(const struct nudged *d, time_t now)
{
	return d->settled + delays_s[d->tries] <= now;
}

static void
schedule(struct nudge *n)
{
	struct timeval second = {.tv_sec = 1};

	if (n->to_len > 0 && (n->whole || !TAILQ_EMPTY(&n->list)) &&
	    !event_pending(n->tick, EV_TIMEOUT, NULL))
		event_add(n->tick, &second);
}

static void
session_end(struct nudge *n)
{
	bufferevent_free(n->session);
	n->session = NULL;
	schedule(n);
}

/* The dialogue: greeting, EHLO, ETRN, QUIT; one reply at a time. */
static void
on_reply(struct nudge *n, const char *line)
{
	if (line[0] != '2') {
		log_line(LOG_NOTICE, "nudge=\"%s\" reply=\"%s\"", n->command, line);
		session_end(n);
		return;
	}
	switch (n->step++) {
	case GREETED:
		evbuffer_add_printf(bufferevent_get_output(n->session), "EHLO localhost\r\n");
		break;
	case HELLO:
		evbuffer_add_printf(bufferevent_get_output(n->session), "%s\r\n", n->command);
		break;
	case STARTED:
		log_line(LOG_INFO, "nudge=\"%s\" reply=\"%s\"", n->command, line);
		evbuffer_add_printf(bufferevent_get_output(n->session), "QUIT\r\n");
		break;
	default:
		session_end(n);
	}
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct nudge *n = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	char *line;

	while (
	    n->session != NULL && (line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF)) != NULL) {
		if (strlen(line) < 4 || line[3] != '-') /* the last line of a reply */
			on_reply(n, line);
		free(line);
	}
	if (n->session != NULL && evbuffer_get_length(in) > LINE_MAX_BYTES)
		session_end(n);
}

static void
on_event(struct bufferevent *bev UNUSED, short what, void *arg)
{
	struct nudge *n = arg;

	if (what & (BEV_EVENT_ERROR | BEV_EVENT_EOF | BEV_EVENT_TIMEOUT)) {
		if (n->step < QUITTING)
			log_line(LOG_NOTICE,
			    "nudge=\"%s\" failed: the MTA %s; its own queue runs will do",
			    n->command,
			    what & BEV_EVENT_TIMEOUT ? "did not answer" : "closed the connection");
		session_end(n);
	}
}

static void
session_begin(struct nudge *n)
{
	struct timeval limit = {.tv_sec = SESSION_MAX_S};

	n->step = GREETED;
	n->session = bufferevent_socket_new(n->base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (n->session == NULL)
		return;
	bufferevent_setcb(n->session, on_read, NULL, on_event, n);
	bufferevent_set_timeouts(n->session, &limit, &limit);
	bufferevent_enable(n->session, EV_READ | EV_WRITE);
	/* A connect that fails at once may have called on_event() already. */
	if (bufferevent_socket_connect(n->session, (struct sockaddr *)&n->to, n->to_len) != 0 &&
	    n->session != NULL)
		session_end(n);
}

/* Counts a try of every domain that this run serves. */
static void
count_tries(struct nudge *n, const struct nudged *only, time_t now)
{
	struct nudged *d, *next;

	for (d = TAILQ_FIRST(&n->list); d != NULL; d = next) {
		next = TAILQ_NEXT(d, link);
		if ((only == NULL || d == only) && due(d, now) && ++d->tries == TRIES)
			forget(n, d);
	}
}

static void
on_tick(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct nudge *n = arg;
	struct nudged *d, *first = NULL;
	time_t now = clock_s();
	size_t n_due = 0;
	bool hop = false;

	if (n->minute != now / 60) {
		n->minute = now / 60;
		n->sent = 0;
	}
	TAILQ_FOREACH (d, &n->list, link) {
		if (due(d, now) && n_due++ == 0)
			first = d;
		hop = hop || (due(d, now) && tree_find(&n->hop_tree, d->domain) != NULL);
	}
	if ((n->whole || n_due > 0) && n->session == NULL && n->sent < n->per_minute) {
		n->sent++;
		n->whole = n->whole || hop || n_due >= TOGETHER;
		if (n->whole)
			strcpy(n->command, "ETRN #mqueue");
		else
			evutil_snprintf(n->command, sizeof(n->command), "ETRN %s", first->domain);
		count_tries(n, n->whole ? NULL : first, now);
		n->whole = false;
		session_begin(n);
	}
	schedule(n);
}

void
nudge_domain(struct nudge *n, const char *domain)
{
	struct nudged *d;

	if (n->to_len == 0 || n->n >= DOMAINS_MAX || tree_find(&n->tree, domain) != NULL)
		return;
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return;
	memcpy(d->domain, domain, strlen(domain) + 1);
	d->settled = clock_s();
	(void)tree_insert(&n->tree, d);
	TAILQ_INSERT_TAIL(&n->list, d, link);
	n->n++;
	event_active(n->tick, EV_TIMEOUT, 0);
}

void
nudge_next_hop(struct nudge *n, const char *domain)
{
	struct hop *hop;

	if (n->to_len == 0 || n->n_hops >= HOPS_MAX || tree_find(&n->hop_tree, domain) != NULL ||
	    (hop = calloc(1, sizeof(*hop))) == NULL)
		return;
	memcpy(hop->domain, domain, strlen(domain) + 1);
	(void)tree_insert(&n->hop_tree, hop);
	SLIST_INSERT_HEAD(&n->hops, hop, link);
	n->n_hops++;
}

void
nudge_queue(struct nudge *n)
{
	if (n->to_len == 0)
		return;
	n->whole = true;
	event_active(n->tick, EV_TIMEOUT, 0);
}

struct nudge *
nudge_new(struct event_base *base, const char *address, size_t per_minute, struct errmsg *em)
{
	struct nudge *n = calloc(1, sizeof(*n));

	if (n == NULL) {
		errmsg_set(em, "out of memory");
		return NULL;
	}
	n->base = base;
	n->per_minute = per_minute;
	TAILQ_INIT(&n->list);
	SLIST_INIT(&n->hops);
	n->to_len = sizeof(n->to);
	if (address == NULL)
		n->to_len = 0;
	else if (evutil_parse_sockaddr_port(address, (struct sockaddr *)&n->to, &n->to_len) != 0) {
		errmsg_set(em,
		    "nudge address \"%s\": want an address and port such as 127.0.0.1:25", address);
		free(n);
		return NULL;
	}
	n->tick = event_new(base, -1, 0, on_tick, n);
	if (n->tick == NULL) {
		errmsg_set(em, "out of memory");
		free(n);
		return NULL;
	}
	return n;
}

void
nudge_free(struct nudge **nudge)
{
	struct nudge *n = *nudge;
	struct hop *hop;

	if (n == NULL)
		return;
	while (!TAILQ_EMPTY(&n->list))
		forget(n, TAILQ_FIRST(&n->list));
	tree_clear(&n->hop_tree);
	while ((hop = SLIST_FIRST(&n->hops)) != NULL) {
		SLIST_REMOVE_HEAD(&n->hops, link);
		free(hop);
	}
	if (n->session != NULL)
		bufferevent_free(n->session);
	event_free(n->tick);
	free(n);
	*nudge = NULL;
}
