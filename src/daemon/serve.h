/*
 * daemon/serve.h: listens on the sockets of the configuration and leads the sessions on them: one
 * request at a time, answers in the order of the requests, everything bounded. What a request is,
 * the server's own functions say.
 */
#ifndef DAEMON_SERVE_H
#define DAEMON_SERVE_H

#include <event2/bufferevent.h>
#include <sys/queue.h>

#include "site/config.h"

struct serve;

/* A connection. Each server embeds it first in its own struct; but for `busy` it belongs to
 * serve.c. */
struct session {
	TAILQ_ENTRY(session) link; /* the one whose last request is oldest comes first */
	struct serve *serve;
	size_t listener;         /* the socket that it came by */
	struct bufferevent *bev; /* requests in its input, answers to its output */
	bool busy;               /* a request waits for its answer: set and cleared by the server */
	bool eof;                /* the client asks no more, but may wait for answers */
};

enum session_result {
	SESSION_TOOK, /* one request, which has been answered or has made the session busy */
	SESSION_MORE, /* no whole request is there yet */
	SESSION_BAD   /* what is there can never become one: the connection is closed */
};

struct serve_ops {
	const char *name; /* for the log */
	size_t size;      /* of the server's own struct, which is zeroed */
	/* When there are so many, the one idle longest goes, of the socket that has most of them;
	 * while none is idle, further ones wait in the kernel's queue. */
	size_t sessions_max;
	size_t request_max; /* bytes; an input as long as this without a whole request is bad */
	bool (*opened)(struct session *s, void *arg); /* false: out of memory */
	enum session_result (*take)(struct session *s);
	/* frees what the server's own struct holds; also after a false opened() */
	void (*closed)(struct session *s);
};

MUST_USE struct serve *serve_new(struct event_base *base, const struct config_sockets *sockets,
    const struct serve_ops *ops, void *arg, struct errmsg *em);

/* A busy session has been given its answer: goes on with its next request. May free s. */
void session_resume(struct session *s);

/*
 * Closes all sessions; NULL-safe. Unix sockets stay where they are: a refused connection is "away"
 * to Sendmail, a missing file is a SYSERR. The next start removes them.
 */
void serve_free(struct serve **s);

#endif
