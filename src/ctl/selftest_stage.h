/*
 * ctl/selftest_stage.h: what Sendmail sees in a selftest: the host's own files, none of which can be
 * changed, a network with nothing but loopback, and in the places named here others. The kernel
 * takes all of it back with the last process in it, however that ends.
 */
#ifndef CTL_SELFTEST_STAGE_H
#define CTL_SELFTEST_STAGE_H

#include <ifaddrs.h>
#include <stdbool.h>
#include <sys/types.h>

#include "ctl/cf.h"
#include "util/errmsg.h"

/*
 * fork(2) into namespaces of its own (mounts, network, processes, IPC, host name); the child is
 * killed when its parent ends. -1 with a reason: not permitted, most likely.
 */
pid_t stage_fork(struct errmsg *em);

/* For the child, in this order; false with a reason. */

/* Makes all read-only, and /dev anew: devices, a syslog socket (*log_fd), room for own files. */
MUST_USE bool stage_open(int *log_fd, struct errmsg *em);

/*
 * Loopback, with the addresses of the host, which Sendmail may be told to use (CLIENT_OPTIONS); names
 * from DNS on it, a host name with a dot in it.
 *   host  getifaddrs(3) of the host, from before the fork
 */
MUST_USE bool stage_network(const struct ifaddrs *host, struct errmsg *em);

/* Sendmail's queue directories, empty. */
MUST_USE bool stage_queues(const struct cf *cf, struct errmsg *em);

/* Puts a file with this text in the place of one that is there; path NULL or absent: nothing. */
MUST_USE bool stage_replace(const char *path, const char *text, size_t len, struct errmsg *em);

#endif
