/* daemon/control.h: the control socket: one request a line, one JSON answer a line;
 * mtasts-control(5). */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <event2/event.h>

#include "daemon/held.h"
#include "daemon/resolve.h"
#include "daemon/schedule.h"
#include "daemon/writer.h"

struct control;

struct control_parts {
	struct event_base *base;
	struct resolver *resolver;
	struct writer *writer;
	struct store *store;
	struct held *held;
	struct schedule *schedule;
	const struct config *config; /* until control_configure() */
};

MUST_USE struct control *control_new(
    const struct control_parts *parts, const struct config_sockets *sockets, struct errmsg *em);
void control_configure(struct control *c, const struct config *config);
void control_free(struct control **c); /* connections are closed; NULL-safe */

#endif
