/* discover/cert.h: what a server's certificate says, for people and for a verdict. */
#ifndef DISCOVER_CERT_H
#define DISCOVER_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "policy/domain.h"

struct x509_st; /* X509 of OpenSSL */

enum { CERT_NAMES_MAX = 16, CERT_TEXT_MAX = 128 };

struct cert {
	char subject[CERT_TEXT_MAX]; /* its common name; for people, since no check counts it */
	char issuer[CERT_TEXT_MAX];  /* organisation and common name */
	size_t n_names, more;        /* DNS names of subjectAltName; more: left out of name[] */
	char name[CERT_NAMES_MAX][HOST_MAX + 1];
	time_t not_before, not_after; /* 0: not readable, or before 1970 */
	bool names_host;
};

/*
 * Reads a certificate; bytes that are not printable ASCII come out as '?'.
 *   host  names_host is true when a DNS name of subjectAltName is this host's: the same, or a
 *         wildcard for its one left-most label, as FEATURE(`mtasts') compares them. RFC 8461
 *         section 4.2, RFC 6125 section 6.4. The common name does not count.
 */
void cert_read(struct x509_st *x509, const char *host, struct cert *out);

#endif
