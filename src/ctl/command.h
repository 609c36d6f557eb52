/* ctl/command.h: what a command of mtastsctl is given, and how it speaks. */
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "util/errmsg.h"

struct invocation {
	const char *conf;                  /* -c, --config */
	bool json;                         /* --json */
	bool all;                          /* --all */
	bool require;                      /* --require */
	bool snippet;                      /* --snippet */
	bool once, from_queue;             /* --once, --from-queue */
	const char *domains_path;          /* --domains */
	const char *log_path;              /* --from-log */
	const char *cf_path, *submit_path; /* --cf, --submit-cf */
	int n;                             /* operands behind the command's name */
	char *const *operand;
	FILE *in, *out, *err; /* the standard streams, or a test's */
};

/*
 * A command returns an exit code of sysexits.h; it has told inv->err why when that is not EX_OK
 * (`match`: nor 1).
 */
typedef int command_fn(const struct invocation *inv);

/* Says "mtastsctl: reason" on inv->err and returns code. */
int command_fail(const struct invocation *inv, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * Prints an answer as one line of JSON and takes over the reference. A NULL object is "out of
 * memory", EX_OSERR. Returns EX_OK.
 */
int command_print_json(const struct invocation *inv, json_t *object);

/*
 * A JSON string of text that may hold any bytes: what is not UTF-8 comes out as '?'. NULL text:
 * JSON null.
 */
json_t *command_text(const char *text);

/* An array of such strings. */
json_t *command_texts(size_t n, char *const *text);

#endif
