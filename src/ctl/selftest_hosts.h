/*
 * ctl/selftest_hosts.h: the MX hosts of a selftest and the DNS that names them, on loopback
 * addresses of a private network. Both serve until they are killed.
 */
#ifndef CTL_SELFTEST_HOSTS_H
#define CTL_SELFTEST_HOSTS_H

#include <stdbool.h>

#include <openssl/ssl.h>

#include "util/errmsg.h"

enum { SELFTEST_HOSTS_MAX = 8 };

struct selftest_host {
	const char *domain; /* its MX host is LABEL.domain */
	const char *label;
	const char *alias; /* a CNAME of domain; NULL: none */
	SSL_CTX *tls;      /* NULL: no STARTTLS */
};

struct selftest_hosts {
	size_t n;
	struct selftest_host host[SELFTEST_HOSTS_MAX];
	int dns, smtp[SELFTEST_HOSTS_MAX]; /* sockets that listen */
};

/* Listens for all of them. False with a reason. */
MUST_USE bool selftest_hosts_listen(struct selftest_hosts *h, struct errmsg *em);

/* Answers DNS queries; does not return. */
void selftest_hosts_dns(const struct selftest_hosts *h) __attribute__((noreturn));

/*
 * Takes mail; of each message one byte is written to `taken`: the index of the host, or with
 * SELFTEST_TLS when it came over TLS. Does not return.
 */
enum { SELFTEST_TLS = 0x80 };
void selftest_hosts_smtp(const struct selftest_hosts *h, int taken) __attribute__((noreturn));

#endif
