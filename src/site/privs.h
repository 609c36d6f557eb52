/* site/privs.h: from root to the user of the configuration; the one visible place. */
#ifndef SITE_PRIVS_H
#define SITE_PRIVS_H

#include <stdbool.h>
#include <sys/types.h>

#include "util/errmsg.h"

/* Becomes user with its own groups, for good. Nothing to do unless root. False with a reason. */
MUST_USE bool privs_drop(const char *user, struct errmsg *em);

/* False with a reason, and the remedy. */
MUST_USE bool privs_user_exists(const char *user, struct errmsg *em);

/*
 * As root: makes dir, and its parents with mode 755, owned by user:group (NULL: the user's own)
 * with this mode. One that exists is given these when it is the user's already, or holds nothing
 * but files of the user; any other is left alone. Not as root: makes it when it is missing. False
 * with a reason.
 */
MUST_USE bool privs_own_dir(
    const char *dir, const char *user, const char *group, mode_t mode, struct errmsg *em);

#endif
