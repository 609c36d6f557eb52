/*
 * site/sock.h: the sockets of the configuration, of the daemon and of the milter alike.
 *
 *   unix:/path                    or, as Sendmail writes it, local:/path
 *   inet:127.0.0.1:8461           or inet:8461@127.0.0.1
 *   inet:[::1]:8461               or inet6:8461@::1
 *
 * TCP is for loopback only; `localhost` is 127.0.0.1, or ::1 behind inet6.
 */
#ifndef SITE_SOCK_H
#define SITE_SOCK_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "util/errmsg.h"

enum { SOCK_TEXT_MAX = 128 }; /* "local:", the longest path, NUL */

struct sock_address {
	struct sockaddr_storage ss; /* equal addresses have equal bytes */
	socklen_t len;
};

/* False with a reason: no such form, a path too long for the kernel, an address beyond loopback. */
MUST_USE bool sock_parse(const char *text, struct sock_address *out, struct errmsg *em);

/* Writes an address in the form that Sendmail and libmilter read. */
void sock_print(const struct sock_address *a, char out[SOCK_TEXT_MAX]);

/* The path of a unix socket; NULL: it is none. */
const char *sock_unix_path(const struct sock_address *a);

/*
 * Listens, non-blocking and close-on-exec. A unix socket left by a dead process is removed, one
 * that answers is an error.
 *   mode, owner, group  of a unix socket; owner and group NULL: those of the process
 * Returns a descriptor, -1 with a reason.
 */
MUST_USE int sock_listen(
    const char *text, mode_t mode, const char *owner, const char *group, struct errmsg *em);

/* Connects (close-on-exec; connecting and each send block for 2 s at most); -1 with a reason. */
MUST_USE int sock_connect(const char *text, struct errmsg *em);

/*
 * Removes a unix socket whose owner is dead. False with a reason: somebody listens there, or it is
 * no socket.
 */
MUST_USE bool sock_clear_stale(const struct sock_address *a, struct errmsg *em);

/* Gives a unix socket its owner, group and mode; see sock_listen(). False with a reason. */
MUST_USE bool sock_set_access(
    const char *path, mode_t mode, const char *owner, const char *group, struct errmsg *em);

#endif
