/* daemon/held.h: the domains for which mail was told to wait, since when and which messages: for
 * `mtastsctl held` and for nudges. */
#ifndef DAEMON_HELD_H
#define DAEMON_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "policy/domain.h"

enum {
	HELD_QUEUE_IDS_MAX = 50, /* kept for one domain */
	QUEUE_ID_MAX = 31        /* characters of one */
};

struct held_domain {
	char domain[DOMAIN_MAX + 1];
	time_t since, last;   /* told to wait */
	size_t n_ids, n_more; /* kept, and seen beyond those */
	char ids[HELD_QUEUE_IDS_MAX][QUEUE_ID_MAX + 1];
};

struct held;

struct held *held_new(void); /* NULL: out of memory */
void held_free(struct held **h);

/* The MTA, or the milter, was told that the domain's policy is not known or not pushed yet.
 * queue_id NULL: not known. */
void held_note(struct held *h, const char *domain, const char *queue_id);

/* The domain has settled: true when mail had been told to wait for it, and it is held no longer. */
bool held_release(struct held *h, const char *domain);

/* Mail that nobody has tried to deliver since then is gone: its domains are held no longer. */
void held_expire(struct held *h, time_t since);

size_t held_count(const struct held *h);

typedef void held_cb(const struct held_domain *d, void *arg);
void held_each(const struct held *h, held_cb *cb, void *arg); /* the longest held first */

#endif
