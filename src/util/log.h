/* util/log.h: one line an event: to syslog (facility mail) and, in the foreground, to stderr. */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <stdbool.h>
#include <syslog.h>

#include "util/errmsg.h"

/*
 * Opens the log of a program.
 *   ident    borrowed for the life of the process
 *   to_tty   also write each line to stderr
 *   debug    let LOG_DEBUG through
 */
void log_open(const char *ident, bool to_tty, bool debug);

/* Logs one line, by convention key=value; thread-safe. Control bytes come out as '?'. */
void log_line(int priority, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
