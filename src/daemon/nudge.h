/*
 * daemon/nudge.h: asks the MTA to run its queue for a domain that has settled: ETRN (RFC 1985) on
 * loopback, which needs no privilege. It saves delay; nothing depends on it.
 */
#ifndef DAEMON_NUDGE_H
#define DAEMON_NUDGE_H

#include <event2/event.h>

#include "util/errmsg.h"

struct nudge;

/*
 *   address     "127.0.0.1:25"; NULL: nudges are off
 *   per_minute  ETRN commands at most
 */
MUST_USE struct nudge *nudge_new(
    struct event_base *base, const char *address, size_t per_minute, struct errmsg *em);
void nudge_free(struct nudge **n); /* NULL-safe */

/*
 * Runs the queue for a domain: now, and after 2, 15 and 60 s, since a message may be locked or not
 * yet in the queue at first, and an MTA that finds its answer in the map does not tell us. When
 * several domains wait for their turn, one run of the whole queue (ETRN #mqueue) does for all.
 */
void nudge_domain(struct nudge *n, const char *domain);

/*
 * Mail for others goes by way of this domain, a smart host: from now on a run for it is one of the whole
 * queue, where ETRN would look for recipients of that name.
 */
void nudge_next_hop(struct nudge *n, const char *domain);

/* Runs the whole queue once: mail may wait from a time when nobody was there to settle it. */
void nudge_queue(struct nudge *n);
#endif
