/*
 * ctl/peers.h: does what listens on a socket speak the language that is wanted there? One question
 * each, without effect on the other side.
 */
#ifndef CTL_PEERS_H
#define CTL_PEERS_H

#include <stdbool.h>

#include "util/errmsg.h"

/* Addresses as in mtasts.conf; false with a reason. */
MUST_USE bool peer_is_lookup(const char *address, struct errmsg *em); /* mtastsd's socketmap */
MUST_USE bool peer_is_filter(const char *address, struct errmsg *em); /* mtasts-milter */

/*
 * Asks a DNS server for the root zone's SOA record.
 *   server     "192.0.2.1", "192.0.2.1:53" or "[2001:db8::1]:53"
 *   validates  set when the result is true: it says that it has validated the answer (AD)
 *   loopback   always set: the way to it cannot be tampered with
 */
MUST_USE bool peer_is_resolver(
    const char *server, bool *validates, bool *loopback, struct errmsg *em);

#endif
