/* daemon/socketmap.h: the live lookup: what the MTA is told of a domain that its map does not know.
 * mtasts-control(5) lists keys and answers. */
#ifndef DAEMON_SOCKETMAP_H
#define DAEMON_SOCKETMAP_H

#include <event2/event.h>

#include "daemon/held.h"
#include "daemon/nudge.h"
#include "daemon/resolve.h"
#include "daemon/writer.h"

struct socketmap;

struct socketmap_parts {
	struct event_base *base;
	struct resolver *resolver;
	struct writer *writer;
	struct store *store;
	struct held *held;
	struct nudge *nudge;
};

MUST_USE struct socketmap *socketmap_new(
    const struct socketmap_parts *parts, const struct config_sockets *sockets, struct errmsg *em);
void socketmap_free(struct socketmap **s); /* connections are closed; NULL-safe */

#endif
