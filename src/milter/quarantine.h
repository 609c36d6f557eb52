/*
 * milter/quarantine.h: messages of ours in the MTA's quarantine: a thread asks mtastsd about their
 * domains until all are settled, and then mtasts-release to let them go.
 *
 * What is in quarantine stands in the MTA's queue and nowhere else: after a restart the thread
 * reads it from mtasts-release, and while there is no thread mtasts-release itself lets go of what
 * is too old.
 */
#ifndef MILTER_QUARANTINE_H
#define MILTER_QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>

#include "site/config.h"

/* Starts the thread, which ends with the process. config is borrowed for the life of that. */
MUST_USE bool quarantine_start(const struct config *config, struct errmsg *em);

/* False: nobody would release this message, so it must not be quarantined. Waits 1 s at most. */
bool quarantine_possible(const char *queue_id);

/* A message is being quarantined for n domains. */
void quarantine_add(const char *queue_id, const char *const *domains, size_t n);

#endif
