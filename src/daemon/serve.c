#include "daemon/serve.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "site/sock.h"
#include "util/log.h"

enum {
	UNREAD_MAX = 64 * 1024, /* bytes of answers that a client may leave unread and ask on */
	UNREAD_S = 60,          /* before a client that reads nothing at all is cut off */
	PAUSE_S = 1             /* after an accept that failed: descriptors come back slowly */
};

TAILQ_HEAD(session_list, session);

struct listener {
	struct evconnlistener *accepts;
	struct serve *serve;
	size_t n; /* sessions */
};

struct serve {
	struct event_base *base;
	size_t n_listeners, n;
	bool full_logged;
	struct event *resume;
	struct listener *listener;
	const struct serve_ops *ops;
	void *arg;
	struct session_list sessions;
};

static void
enable_all(struct serve *s, bool on)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		(void)(on ? evconnlistener_enable(s->listener[i].accepts)
			  : evconnlistener_disable(s->listener[i].accepts));
}

static void
session_free(struct session *session)
{
	struct serve *s = session->serve;

	TAILQ_REMOVE(&s->sessions, session, link);
	s->listener[session->listener].n--;
	s->ops->closed(session);
	bufferevent_free(session->bev);
	free(session);
	if (s->n-- >= s->ops->sessions_max)
		enable_all(s, true);
	if (s->n < s->ops->sessions_max / 2)
		s->full_logged = false;
}

/* False while a client has not read what it was answered: its next request stays in the buffer
 * until the write callback comes. */
static bool
may_answer(const struct session *s)
{
	return evbuffer_get_length(bufferevent_get_output(s->bev)) < UNREAD_MAX;
}

static bool
all_read(const struct session *s)
{
	return evbuffer_get_length(bufferevent_get_output(s->bev)) == 0;
}

void
session_resume(struct session *s)
{
	const struct serve_ops *ops = s->serve->ops;
	struct session_list *list = &s->serve->sessions;
	enum session_result rc = SESSION_TOOK;

	while (rc == SESSION_TOOK && !s->busy && may_answer(s)) {
		rc = ops->take(s);
		if (rc == SESSION_TOOK) {
			TAILQ_REMOVE(list, s, link);
			TAILQ_INSERT_TAIL(list, s, link);
		}
	}
	if (rc == SESSION_MORE &&
	    evbuffer_get_length(bufferevent_get_input(s->bev)) >= ops->request_max)
		rc = SESSION_BAD;
	if (rc == SESSION_BAD)
		log_line(LOG_NOTICE, "%s: no request of at most %zu bytes; connection closed",
		    ops->name, ops->request_max);
	if (rc == SESSION_BAD || (s->eof && !s->busy && all_read(s)))
		session_free(s);
}

static void
on_ready(struct bufferevent *bev UNUSED, void *arg)
{
	session_resume(arg);
}

static void
on_event(struct bufferevent *bev UNUSED, short what, void *arg)
{
	struct session *s = arg;

	if (what & (BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT)) {
		session_free(s);
	} else if (what & BEV_EVENT_EOF) {
		s->eof = true;
		session_resume(s);
	}
}

/* Room for the next: who opens thousands of connections and asks nothing keeps nobody out. */
static bool
close_idlest(struct serve *s)
{
	struct session *session;
	size_t most = 0;

	for (size_t i = 1; i < s->n_listeners; i++)
		if (s->listener[i].n > s->listener[most].n)
			most = i;
	TAILQ_FOREACH (session, &s->sessions, link) {
		if (session->listener == most && !session->busy && all_read(session) &&
		    TAILQ_NEXT(session, link) != NULL) { /* the last one has just come */
			session_free(session);
			return true;
		}
	}
	return false;
}

static void
session_begin(struct listener *listener, struct bufferevent *bev)
{
	struct serve *s = listener->serve;
	struct session *session = calloc(1, s->ops->size);
	struct timeval patience = {.tv_sec = UNREAD_S};

	if (session == NULL)
		abort();
	session->serve = s;
	session->listener = (size_t)(listener - s->listener);
	listener->n++;
	session->bev = bev;
	TAILQ_INSERT_TAIL(&s->sessions, session, link);
	s->n++;
	if (!s->ops->opened(session, s->arg)) {
		session_free(session);
		return;
	}
	bufferevent_set_timeouts(bev, NULL, &patience);
	bufferevent_setwatermark(bev, EV_READ, 0, s->ops->request_max);
	bufferevent_setcb(bev, on_ready, on_ready, on_event, session);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void
on_accept(struct evconnlistener *accepts UNUSED, evutil_socket_t fd, struct sockaddr *sa UNUSED,
    int len UNUSED, void *arg)
{
	struct listener *listener = arg;
	struct serve *s = listener->serve;
	struct bufferevent *bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);

	if (bev == NULL) {
		close(fd);
		return;
	}
	session_begin(listener, bev);
	if (s->n < s->ops->sessions_max)
		return;
	if (!s->full_logged)
		log_line(LOG_WARNING,
		    "%s: %zu connections at once, the most allowed; idle ones are closed, further ones wait",
		    s->ops->name, s->n);
	s->full_logged = true;
	if (!close_idlest(s))
		enable_all(s, false);
}

static void
on_resume(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct serve *s = arg;

	if (s->n < s->ops->sessions_max)
		enable_all(s, true);
}

/* Out of descriptors, most likely: the listener would report it again and again without a pause. */
static void
on_accept_error(struct evconnlistener *accepts UNUSED, void *arg)
{
	struct serve *s = ((struct listener *)arg)->serve;
	struct timeval pause = {.tv_sec = PAUSE_S};

	log_line(LOG_ERR, "cannot accept a connection: %s; trying again in %d s", strerror(errno),
	    PAUSE_S);
	enable_all(s, false);
	event_add(s->resume, &pause);
}

static bool
listen_on(struct serve *s, const struct config_sockets *sockets, size_t i, struct errmsg *em)
{
	const char *text = sockets->listen.item[i];
	struct listener *listener = &s->listener[i];
	int fd = sock_listen(text, sockets->mode, sockets->owner, sockets->group, em);

	if (fd < 0)
		return false;
	listener->serve = s;
	listener->accepts = evconnlistener_new(
	    s->base, on_accept, listener, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (listener->accepts == NULL) {
		errmsg_set(em, "%s: out of memory", text);
		close(fd);
		return false;
	}
	evconnlistener_set_error_cb(listener->accepts, on_accept_error);
	s->n_listeners = i + 1;
	return true;
}

struct serve *
serve_new(struct event_base *base, const struct config_sockets *sockets,
    const struct serve_ops *ops, void *arg, struct errmsg *em)
{
	struct serve *s = calloc(1, sizeof(*s));

	if (s != NULL) {
		TAILQ_INIT(&s->sessions);
		s->listener = calloc(sockets->listen.n, sizeof(*s->listener));
		s->resume = evtimer_new(base, on_resume, s);
	}
	if (s == NULL || s->listener == NULL || s->resume == NULL) {
		errmsg_set(em, "out of memory");
		serve_free(&s);
		return NULL;
	}
	s->base = base;
	s->ops = ops;
	s->arg = arg;
	for (size_t i = 0; i < sockets->listen.n; i++)
		if (!listen_on(s, sockets, i, em)) {
			serve_free(&s);
			return NULL;
		}
	return s;
}

void
serve_free(struct serve **serve)
{
	struct serve *s = *serve;
	struct session *session, *next;

	if (s == NULL)
		return;
	for (session = TAILQ_FIRST(&s->sessions); session != NULL; session = next) {
		next = TAILQ_NEXT(session, link);
		session_free(session);
	}
	for (size_t i = 0; s->listener != NULL && i < s->n_listeners; i++)
		evconnlistener_free(s->listener[i].accepts);
	if (s->resume != NULL)
		event_free(s->resume);
	free(s->listener);
	free(s);
	*serve = NULL;
}
