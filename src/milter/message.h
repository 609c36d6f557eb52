/*
 * milter/message.h: one message on its way through the MTA: whom it goes to, what mtastsd says of
 * them, how long it may wait for that. Knows nothing of libmilter. One thread at a time.
 */
#ifndef MILTER_MESSAGE_H
#define MILTER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "milter/tag.h"
#include "policy/rules.h"
#include "util/errmsg.h"

/* Limits of one message. What is beyond is left to the check at delivery, and logged. */
enum {
	MESSAGE_RCPTS_MAX = 10000,   /* outbound recipients with a log line of their own */
	MESSAGE_DOMAINS_MAX = 10000, /* different policy domains asked for */
	MESSAGE_AWAIT_MAX = 100,     /* domains waited for at end-of-message */
	MESSAGE_QID_MAX = 64         /* bytes of a queue id */
};

struct message;

/*
 *   control  address of mtastsd's control socket; borrowed for the life of the message
 *   header   name of the tag, borrowed as well; NULL: no tag
 * NULL: out of memory.
 */
MUST_USE struct message *message_new(const char *control, const char *header);
void message_free(struct message **m); /* NULL-safe */

/* Who sent it, for the site's rules; NULL: not known. As policy/choice.h has it. */
void message_from(struct message *m, const char *user, const char *sender, const char *listener);

/* Sets the queue id when one is given; the MTA may tell it early or late. */
void message_queue_id(struct message *m, const char *queue_id);

/* Letters and digits, "" while it is not known. */
const char *message_qid(const struct message *m);

/*
 * Adds an outbound recipient and asks mtastsd to look at its domain, if that is new to the message.
 * Does not wait for the answer.
 *   domain  normalised
 *   addr    for the log
 */
void message_rcpt(struct message *m, const char *domain, const char *addr);

/*
 * Does mtastsd say within wait_ms that the site requires a policy of this recipient's domain, and
 * that there is none that is valid and enforced? Then rule is RULE_HOLD or RULE_REFUSE. False as
 * well while it does not know, cannot be asked, or observes.
 */
bool message_unmet(struct message *m, const char *domain, long wait_ms, enum rule *rule);

/* The last recipient has been refused. */
void message_refused(struct message *m);

/* Looks at one header: a To or Cc, or a copy of the tag that is not ours. */
void message_header(struct message *m, const char *name, const char *value);

/* False: all recipients are local, or go by another way than their own MX. */
bool message_outbound(const struct message *m);

/*
 * Called a moment after waiting began, and then about twice a second while it goes on. False: the
 * MTA is gone, do not wait for it.
 */
typedef bool message_waiting_fn(void *arg);

/*
 * Waits until all domains are settled and pushed, the time is over, or message_stop() was called.
 * Domains that To or Cc show are awaited first and by themselves, so that others do not change the
 * tag.
 */
void message_settle(struct message *m, long wait_ms, message_waiting_fn *waiting, void *arg);

/* One line a recipient, with the queue id. */
void message_log(const struct message *m);

/*
 * The domains that mtastsd says are not settled, max at most, in the order of their recipients:
 * mail to them would be deferred at delivery. None while it cannot be asked, as it is then the map
 * that knows, and none while it only observes. Valid as long as m.
 */
size_t message_unsettled(const struct message *m, const char **domains, size_t max);

/* The value for the tag; TAG_ABSENT when no outbound recipient's domain is shown. */
enum tag message_tag(const struct message *m);

/*
 * How many headers with the name of the tag are to be removed: all that the message came with where
 * it gets one of ours, otherwise none, so that it is the same with and without a Bcc.
 */
int message_forged(const struct message *m);

/* Ends the waiting of all messages, now and later; thread-safe. */
void message_stop(void);

#endif
