/*
 * site/client.h: asks mtastsd over its control socket: one request, one JSON answer, each a line;
 * mtasts-control(5). Used by mtastsctl and the milter alike.
 */
#ifndef SITE_CLIENT_H
#define SITE_CLIENT_H

#include <jansson.h>

#include "util/errmsg.h"

struct client; /* one connection; one thread at a time */

enum client_result {
	CLIENT_OK,
	CLIENT_AGAIN, /* no answer within the time; ask again with client_wait() */
	CLIENT_AWAY   /* nobody listens, or the connection broke */
};

/*
 * Connects to an address of the configuration. NULL: nobody there; em names the socket and the
 * remedy.
 */
MUST_USE struct client *client_open(const char *address, struct errmsg *em);
void client_close(struct client **c); /* NULL-safe */

/* Sends one request (borrowed). */
MUST_USE enum client_result client_send(struct client *c, json_t *request, struct errmsg *em);

/*
 * Waits up to timeout_ms for the answer to the oldest request unanswered; *answer is the caller's
 * to json_decref() on CLIENT_OK.
 */
MUST_USE enum client_result client_wait(
    struct client *c, int timeout_ms, json_t **answer, struct errmsg *em);

#endif
