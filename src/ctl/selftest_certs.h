/*
 * ctl/selftest_certs.h: a certificate authority that lives as long as one selftest, and the TLS
 * contexts of MX hosts with certificates of it.
 */
#ifndef CTL_SELFTEST_CERTS_H
#define CTL_SELFTEST_CERTS_H

#include <stdbool.h>
#include <stdio.h>

#include <openssl/ssl.h>

#include "util/errmsg.h"

struct selftest_certs; /* one key for all, and the authority's certificate */

MUST_USE struct selftest_certs *selftest_certs_new(struct errmsg *em);
void selftest_certs_free(struct selftest_certs **c); /* NULL-safe */

/* Writes the authority's certificate as PEM. False: out could not be written. */
MUST_USE bool selftest_certs_print(const struct selftest_certs *c, FILE *out);

/* A server's context with a certificate for name; NULL: out of memory. */
SSL_CTX *selftest_certs_server(const struct selftest_certs *c, const char *name, bool self_signed);

#endif
