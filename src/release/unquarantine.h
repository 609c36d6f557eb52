/* release/unquarantine.h: has Sendmail let go of a message that is quarantined by us. */
#ifndef RELEASE_UNQUARANTINE_H
#define RELEASE_UNQUARANTINE_H

#include "release/queue.h"

enum unquarantine_result {
	UNQUARANTINE_OK,
	UNQUARANTINE_ABSENT, /* not in quarantine: not yet, or no longer */
	UNQUARANTINE_OTHERS, /* an administrator's or another filter's: left alone */
	UNQUARANTINE_FAILED /* still there: locked, or Sendmail does not let this user; try later */
};

/*
 * Runs "sendmail -Q" for one message, told to look at our reason as well; sees whether it has left
 * the quarantine, since Sendmail's exit code does not tell; then "sendmail -qI", which delivers it
 * in the background. Blocks while Sendmail works, for a minute at most.
 *   id   queue_id_valid()
 *   why  for the log: who or what asks
 */
MUST_USE enum unquarantine_result unquarantine(
    const struct config *config, const char *id, const char *why);

#endif
