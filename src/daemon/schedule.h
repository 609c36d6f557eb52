/* daemon/schedule.h: what is due without being asked: daily refetches, retries, confirmations,
 * expiries. RFC 8461 section 10.2. */
#ifndef DAEMON_SCHEDULE_H
#define DAEMON_SCHEDULE_H

#include <event2/event.h>

#include "daemon/resolve.h"

struct schedule;

struct schedule *schedule_new(struct event_base *base, struct store *store, struct writer *writer,
    struct resolver *r); /* NULL: out of memory */

/* Fetches every policy again, a few each second, as `mtastsctl refresh --all` asks. */
void schedule_refresh_all(struct schedule *s);
void schedule_free(struct schedule **s); /* NULL-safe */

#endif
