/* milter/releaser.h: asks mtasts-release, which alone may take messages out of quarantine. */
#ifndef MILTER_RELEASER_H
#define MILTER_RELEASER_H

#include "site/reason.h"

enum releaser_result {
	RELEASER_RELEASED,
	RELEASER_ABSENT, /* not in quarantine: not yet, or no longer */
	RELEASER_OTHERS, /* somebody else's quarantine */
	RELEASER_LATER,  /* did not work now */
	RELEASER_AWAY    /* nobody answers */
};

/*
 * Has a message released.
 *   address  of the socket
 *   wait_ms  for the answer
 */
enum releaser_result releaser_release(const char *address, const char *queue_id, int wait_ms);

/* Called with each message that is quarantined by us; both arguments are borrowed. */
typedef void releaser_cb(const char *queue_id, struct cursor reason, void *arg);

/* False: nobody answers, or not to the end. */
bool releaser_list(const char *address, releaser_cb *cb, void *arg);

#endif
