/*
 * release/queue.h: the MTA's queue, as far as we look at it: control files of quarantined messages,
 * hf and the queue id, and of each its first lines only. Read, never written: Sendmail does that.
 */
#ifndef RELEASE_QUEUE_H
#define RELEASE_QUEUE_H

#include <stdbool.h>
#include <time.h>

#include "site/config.h"
#include "site/reason.h"

enum {
	QUEUE_HEAD_MAX = 8192, /* bytes of a control file; its reason is among the first lines */
	QUEUE_ID_LEN_MAX = 24, /* Sendmail's longest, and some */
	QUEUE_ID_LEN_MIN = 8   /* "-qI" matches any part of a queue id */
};

struct queue_message {
	char id[QUEUE_ID_LEN_MAX + 1];
	time_t since;            /* it was queued */
	char reason[REASON_MAX]; /* of its quarantine: printable */
};

enum queue_result {
	QUEUE_OURS,
	QUEUE_OTHERS, /* quarantined, but not by us */
	QUEUE_ABSENT  /* not quarantined: not yet, or no longer, or no such message */
};

/* Letters and digits, of a length that a queue id has. */
bool queue_id_valid(struct cursor id);

/*
 * Reads the beginning of an hf file: out's since and reason. QUEUE_OTHERS for all that is not
 * plainly ours.
 */
enum queue_result queue_read_head(struct cursor head, struct queue_message *out);

/* Looks for one message in all queue directories; dirs may hold wildcards and qf directories. */
enum queue_result queue_find(
    const struct config_list *dirs, const char *id, struct queue_message *out);

/* Calls cb for each message quarantined by us, until it returns false. */
typedef bool queue_cb(const struct queue_message *m, void *arg);
void queue_each(const struct config_list *dirs, queue_cb *cb, void *arg);

#endif
