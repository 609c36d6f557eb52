/*
 * discover/dns.h: DNS lookups on the event loop. libresolv builds and parses the messages, c-ares
 * carries them (retries, several servers, TCP on truncation). All calls belong to the loop's
 * thread.
 */
#ifndef DISCOVER_DNS_H
#define DISCOVER_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>

#include "policy/txt.h"
#include "util/errmsg.h"

struct dns; /* opaque: only dns.c includes ares.h */

struct dns_config {
	size_t n_servers;           /* 0: those of /etc/resolv.conf */
	const char *const *servers; /* "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53" */
	int timeout_ms; /* of the first try at one server; default of the configuration: 3000 */
	int tries;
};

/* NULL with a reason when a server is malformed or the library cannot start. */
MUST_USE struct dns *dns_new(
    struct event_base *base, const struct dns_config *config, struct errmsg *em);
/* Outstanding lookups are called back as failed first; NULL-safe. */
void dns_free(struct dns **dns);

struct dns_txt_answer {
	/* TXT_TEMPFAIL: SERVFAIL, REFUSED, time-out, a malformed answer, no server */
	enum txt_result result;
	char id[TXT_ID_MAX + 1]; /* TXT_RECORD only */
	/* least TTL of the answer with its CNAMEs, or the negative TTL (RFC 2308); 0: unknown */
	uint32_t ttl_s;
	struct errmsg why; /* unless TXT_RECORD */
};

enum { DNS_ADDRESSES_MAX = 16 };

struct dns_address_answer {
	size_t n;                         /* 0: none, and why says why */
	char text[DNS_ADDRESSES_MAX][46]; /* INET6_ADDRSTRLEN; IPv6 and IPv4 as found */
	struct errmsg why;
};

/*
 * The callback runs once, from the loop, never from within the call itself; dns_free() must not be
 * called from it. The calls return false when memory is out: then the callback does not run.
 */
typedef void dns_txt_cb(const struct dns_txt_answer *answer, void *arg);
typedef void dns_address_cb(const struct dns_address_answer *answer, void *arg);

/*
 * Looks up TXT at _mta-sts.<domain>; CNAMEs are followed as the resolver gives them. RFC 8461
 * section 3.1.
 */
bool dns_txt(struct dns *dns, const char *domain, dns_txt_cb *cb, void *arg);

/*
 * Looks up A and AAAA of host, at most half of DNS_ADDRESSES_MAX of each; one that is late does not
 * hold up the other for long.
 */
bool dns_addresses(struct dns *dns, const char *host, dns_address_cb *cb, void *arg);

/*
 * Parses one whole DNS answer to a TXT question for name; the parser of untrusted bytes behind
 * dns_txt(), apart for tests and fuzzing.
 */
void dns_parse_txt(
    const unsigned char *msg, size_t len, const char *name, struct dns_txt_answer *out);

/* The same behind dns_addresses(): adds one family's addresses to out, or says why it has none. */
void dns_parse_addresses(const unsigned char *msg, size_t len, const char *name, bool ipv6,
    struct dns_address_answer *out);

#endif
