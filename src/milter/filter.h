/*
 * milter/filter.h: libmilter's callbacks: each decodes, asks the message, and accepts; only the
 * end of a message may be answered otherwise, by the rung of the configuration.
 */
#ifndef MILTER_FILTER_H
#define MILTER_FILTER_H

#include "site/config.h"
#include "util/errmsg.h"

/*
 * Opens the socket of the configuration (as the process's user) and registers with libmilter; a
 * socket left by a dead process is replaced, one that answers is an error. config is borrowed for
 * the life of the process. False with a reason.
 */
MUST_USE bool filter_open(const struct config *config, struct errmsg *em);

/*
 * Serves until SIGTERM, SIGINT or SIGHUP. Messages at their end are given a moment to go on
 * without waiting. False with a reason.
 */
MUST_USE bool filter_run(struct errmsg *em);

#endif
