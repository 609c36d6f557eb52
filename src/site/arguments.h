/* site/arguments.h: the command line of a program that takes a configuration file and nothing else. */
#ifndef SITE_ARGUMENTS_H
#define SITE_ARGUMENTS_H

#include <stdbool.h>

#include "util/errmsg.h"

struct arguments {
	const char *conf; /* -c: borrowed from argv; CONFIG_FILE */
	bool test;        /* -t: only test it */
};

enum { ARGUMENTS_RUN = -1 };

/* Returns ARGUMENTS_RUN, or the exit code of a program that has said all that was asked for, or
 * what is wrong. */
MUST_USE int arguments_read(const char *program, int argc, char **argv, struct arguments *out);

#endif
