/*
 * release/requests.h: the socket of mtasts-release. One line a connection: a queue id, or "list"; mtasts-control(5).
 * Served one after the other, with a time limit each.
 */
#ifndef RELEASE_REQUESTS_H
#define RELEASE_REQUESTS_H

#include <sys/types.h>

#include "site/config.h"

/*
 * Serves one connection and closes it. Whoever is neither root nor uid by the kernel's word is
 * turned away before a byte is read.
 */
void requests_serve(const struct config *config, int connection, uid_t uid);

#endif
