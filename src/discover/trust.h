/* discover/trust.h: whom we trust: the CA certificates behind a TLS session. */
#ifndef DISCOVER_TRUST_H
#define DISCOVER_TRUST_H

#include "util/errmsg.h"

struct x509_store_st; /* X509_STORE of OpenSSL */

/*
 * Reads the certificates of ca_file (PEM) and of no other place; NULL: of the system's bundle. For
 * the caller to X509_STORE_free(); NULL with a reason when there is none.
 */
MUST_USE struct x509_store_st *trust_load(const char *ca_file, struct errmsg *em);

#endif
