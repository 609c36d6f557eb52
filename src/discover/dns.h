/*
 * discover/dns.h: DNS lookups on the event loop. libresolv builds and parses the messages (parsing:
 * dns_parse.c), c-ares carries them (retries, several servers, TCP on truncation). All calls belong
 * to the loop's thread.
 */
#ifndef DISCOVER_DNS_H
#define DISCOVER_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>

#include "policy/domain.h"
#include "policy/tlsrpt.h"
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
	char alias[HOST_MAX + 1]; /* the end of a chain of CNAMEs; empty: there was none */
	struct errmsg why;        /* unless TXT_RECORD */
};

enum { DNS_ADDRESSES_MAX = 16 };

struct dns_address_answer {
	size_t n;                         /* 0: none, and why says why */
	char text[DNS_ADDRESSES_MAX][46]; /* INET6_ADDRSTRLEN; IPv6 and IPv4 as found */
	unsigned families_without; /* 2: DNS says that there is no address, and not that it fails */
	struct errmsg why;
};

enum dns_mx_result {
	DNS_MX_FOUND,
	DNS_MX_IMPLICIT,  /* no MX record: the domain itself is the host, RFC 5321 section 5.1 */
	DNS_MX_NULL,      /* the domain takes no mail, RFC 7505 */
	DNS_MX_NO_DOMAIN, /* no such name */
	DNS_MX_TEMPFAIL   /* as TXT_TEMPFAIL */
};

enum { DNS_MX_MAX = 32 };

struct dns_mx_answer {
	enum dns_mx_result result;
	bool authentic; /* the resolver says that DNSSEC vouches for the answer */
	uint32_t ttl_s; /* as in struct dns_txt_answer */
	size_t n, more; /* DNS_MX_FOUND: hosts in order of preference; more: left out */
	struct dns_mx {
		uint16_t preference;
		char host[HOST_MAX + 1]; /* lower case, no final dot */
	} mx[DNS_MX_MAX];
	struct errmsg why; /* unless DNS_MX_FOUND */
};

enum dns_tlsa_result { DNS_TLSA_FOUND, DNS_TLSA_ABSENT, DNS_TLSA_TEMPFAIL };

enum { DNS_TLSA_MAX = 16, DNS_TLSA_DATA_MAX = 64 };

/* RFC 6698 section 2.1. */
struct dns_tlsa_answer {
	enum dns_tlsa_result result;
	bool authentic; /* else nobody may rely on the records, RFC 7672 section 2.2 */
	size_t n;       /* further records are left out */
	struct dns_tlsa {
		uint8_t usage, selector, matching;
		size_t len; /* of data; a longer association, as of a whole certificate, is cut */
		unsigned char data[DNS_TLSA_DATA_MAX];
	} tlsa[DNS_TLSA_MAX];
	struct errmsg why; /* unless DNS_TLSA_FOUND */
};

struct dns_tlsrpt_answer {
	enum txt_result result;   /* as in struct dns_txt_answer */
	char rua[TLSRPT_RUA_MAX]; /* TXT_RECORD only */
	struct errmsg why;
};

/*
 * The callback runs once, from the loop, never from within the call itself; dns_free() must not be
 * called from it. The calls return false when memory is out: then the callback does not run.
 */
typedef void dns_txt_cb(const struct dns_txt_answer *answer, void *arg);
typedef void dns_address_cb(const struct dns_address_answer *answer, void *arg);
typedef void dns_mx_cb(const struct dns_mx_answer *answer, void *arg);
typedef void dns_tlsa_cb(const struct dns_tlsa_answer *answer, void *arg);
typedef void dns_tlsrpt_cb(const struct dns_tlsrpt_answer *answer, void *arg);

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

bool dns_mx(struct dns *dns, const char *domain, dns_mx_cb *cb, void *arg);

/* TLSA records of an MX host: at _25._tcp.<host>. RFC 7672 section 3. */
bool dns_tlsa(struct dns *dns, const char *host, dns_tlsa_cb *cb, void *arg);

/* TXT at _smtp._tls.<domain>. RFC 8460 section 3. */
bool dns_tlsrpt(struct dns *dns, const char *domain, dns_tlsrpt_cb *cb, void *arg);

/*
 * Parses one whole DNS answer to a TXT question for name; the parser of untrusted bytes behind
 * dns_txt(), apart for tests and fuzzing.
 */
void dns_parse_txt(
    const unsigned char *msg, size_t len, const char *name, struct dns_txt_answer *out);

/* The same behind dns_addresses(): adds one family's addresses to out, or says why it has none. */
void dns_parse_addresses(const unsigned char *msg, size_t len, const char *name, bool ipv6,
    struct dns_address_answer *out);

/* The same behind the other three. */
void dns_parse_mx(
    const unsigned char *msg, size_t len, const char *name, struct dns_mx_answer *out);
void dns_parse_tlsa(
    const unsigned char *msg, size_t len, const char *name, struct dns_tlsa_answer *out);
void dns_parse_tlsrpt(
    const unsigned char *msg, size_t len, const char *name, struct dns_tlsrpt_answer *out);

#endif
