/*
 * daemon/once.h: one round without a daemon, as cron wants it: the maps are compared with the
 * store, what is due and what is listed is looked at, and what follows is pushed. The same
 * discovery, the same table and the same writer as the daemon's.
 */
#ifndef DAEMON_ONCE_H
#define DAEMON_ONCE_H

#include <event2/event.h>
#include <jansson.h>

#include "daemon/resolve.h"

struct once;

struct once_parts {
	struct event_base *base;
	struct store *store;
	struct writer *writer;
	struct resolver *resolver;
	const struct config *config;
};

/*
 * The round begins in the loop, and breaks the loop at its end.
 *   list  normalised domains that count as wanted now; borrowed, sorted here
 * NULL: out of memory.
 */
MUST_USE struct once *once_new(const struct once_parts *parts, struct config_list *list);
void once_stop(struct once *o);  /* nothing begins any more; before resolver_stop() */
void once_free(struct once **o); /* NULL-safe; after writer_free() and resolver_free() */

/* True: something failed, or the round did not come to its end; the next one tries again. */
bool once_again(const struct once *o);

/* What was done, as mtastsd(8) lists it; the caller's to json_decref(). */
json_t *once_report(const struct once *o);

#endif
