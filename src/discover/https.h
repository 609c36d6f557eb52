/*
 * discover/https.h: fetches policies: https://mta-sts.<domain>/.well-known/mta-sts.txt by libcurl's
 * multi interface on the event loop. RFC 8461 sections 3.2 and 3.3. All calls belong to the loop's
 * thread.
 */
#ifndef DISCOVER_HTTPS_H
#define DISCOVER_HTTPS_H

#include <event2/event.h>

#include "discover/dns.h"
#include "policy/entry.h"
#include "policy/policy.h"
#include "util/cursor.h"
#include "util/errmsg.h"

struct https; /* opaque: only https.c includes curl.h */

struct https_config {
	const char *ca_file; /* PEM; NULL: the system's bundle */
	int timeout_s;       /* from the address lookup to the last byte; 60 */
	const char *user_agent;
};

struct https_answer {
	struct policy *policy; /* borrowed for the callback; NULL: failed */
	enum sts_type type;    /* when failed: fetch-error, invalid or webpki-invalid */
	struct errmsg why;     /* a sentence for people */

	/* borrowed as well; what there is of them, also when failed */
	const struct dns_address_answer *addresses; /* n is 0 before the lookup's end */
	struct x509_st *certificate;                /* X509 of OpenSSL; NULL: none was shown */
	struct cursor body;                         /* of an answer with a whole body */
};

typedef void https_cb(const struct https_answer *answer, void *arg);

/*
 * NULL with a reason when the CA certificates cannot be read or libcurl is not one with OpenSSL:
 * what is wrong here must not be taken, fetch by fetch, for a fault of the policy hosts, which
 * would send mail unprotected. For the same reason memory that is out later ends the process. The
 * certificates are read only now. dns is borrowed and must outlive it. The program must ignore
 * SIGPIPE.
 */
MUST_USE struct https *https_new(
    struct event_base *base, struct dns *dns, const struct https_config *config, struct errmsg *em);
/* Outstanding fetches are called back as failed first; NULL-safe. */
void https_free(struct https **https);

/*
 * Fetches the policy of a normalised domain. The callback runs once, never from within the call
 * itself; https_free() must not be called from it. False when memory is out: then the callback does
 * not run.
 */
bool https_fetch(struct https *https, const char *domain, https_cb *cb, void *arg);

#endif
