/* site/sock.h: the socket addresses of the configuration: "unix:/path" and, on loopback only,
 * "inet:127.0.0.1:8461" or "inet:[::1]:8461". */
#ifndef SITE_SOCK_H
#define SITE_SOCK_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "util/errmsg.h"

struct sock_address {
	struct sockaddr_storage ss;
	socklen_t len;
};

/* False with a reason: no such form, a path too long for the kernel, an address beyond loopback. */
MUST_USE bool sock_parse(const char *text, struct sock_address *out, struct errmsg *em);

/*
 * Listens, non-blocking and close-on-exec. A unix socket left by a dead process is removed, one
 * that answers is an error. mode, owner, group  of a unix socket; owner and group NULL: those of
 * the process Returns a descriptor, -1 with a reason.
 */
MUST_USE int sock_listen(
    const char *text, mode_t mode, const char *owner, const char *group, struct errmsg *em);

/* Connects (close-on-exec; connecting and each send block for 2 s at most); -1 with a reason. */
MUST_USE int sock_connect(const char *text, struct errmsg *em);

/* Removes a unix socket whose owner is dead. False with a reason: somebody listens there, or it is
 * no socket. */
MUST_USE bool sock_clear_stale(const char *text, struct errmsg *em);

#endif
