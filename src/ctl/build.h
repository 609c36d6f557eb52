/*
 * ctl/build.h: what a Sendmail program was built with, as `sendmail -d0.13 -bt` prints it. Pure.
 */
#ifndef CTL_BUILD_H
#define CTL_BUILD_H

#include <stdbool.h>

#include "util/cursor.h"
#include "util/errmsg.h"

enum { BUILD_BYTES_MAX = 64 * 1024, BUILD_VERSION_MAX = 32 };

struct build; /* opaque: words */

/* NULL with a reason: that is not Sendmail's output, or out of memory. */
MUST_USE struct build *build_parse(struct cursor output, struct errmsg *em);
void build_free(struct build **b); /* NULL-safe */

const char *build_version(const struct build *b); /* "8.17.1.9" */

/* Compiled with it: "SOCKETMAP", "NEWDB", "_FFR_MTA_STS", ... */
bool build_has(const struct build *b, const char *feature);

#endif
