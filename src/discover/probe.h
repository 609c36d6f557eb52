/*
 * discover/probe.h: asks one address of an MX host how it does STARTTLS: greeting, EHLO, STARTTLS,
 * handshake, certificate, QUIT; no mail. RFC 3207, RFC 8461 section 4.2. On the event loop; all
 * calls belong to its thread.
 */
#ifndef DISCOVER_PROBE_H
#define DISCOVER_PROBE_H

#include <event2/event.h>
#include <stdbool.h>

#include "discover/cert.h"
#include "discover/smtp.h"
#include "util/errmsg.h"

struct prober; /* opaque: only probe.c includes ssl.h */

enum { PROBE_PORT = 25 };

struct prober_config {
	const char *ca_file; /* PEM; NULL: the system's bundle */
	int timeout_s;       /* from the connect to the end of the handshake */
	const char *helo;    /* what EHLO says: this host's name */
	int port;            /* PROBE_PORT but for tests */
};

/* Where mail under an enforce policy would fail, after RFC 8460 section 4.3. */
enum probe_result {
	PROBE_OK,
	PROBE_UNREACHABLE,  /* no connection: any sender would go on to another address */
	PROBE_NO_SMTP,      /* it speaks no SMTP, or takes no mail from here now */
	PROBE_NO_STARTTLS,  /* starttls-not-supported */
	PROBE_TLS_FAILED,   /* validation-failure: STARTTLS refused, or the handshake broke */
	PROBE_EXPIRED,      /* certificate-expired */
	PROBE_NOT_TRUSTED,  /* certificate-not-trusted */
	PROBE_HOST_MISMATCH /* certificate-host-mismatch */
};

struct probe_answer {
	enum probe_result result;
	struct errmsg why;                /* unless PROBE_OK: a sentence for people */
	char banner[SMTP_TEXT_MAX];       /* empty: none came */
	bool starttls;                    /* offered */
	char tls_version[16], cipher[64]; /* empty: no TLS session */
	bool has_cert;                    /* then: */
	bool trusted;                     /* its chain and its dates are valid */
	struct cert cert;
};

/* answer is borrowed for the callback. */
typedef void probe_cb(const struct probe_answer *answer, void *arg);

/*
 * NULL with a reason when the CA certificates cannot be read: that is no fault of the MX hosts. The
 * program must ignore SIGPIPE.
 */
MUST_USE struct prober *prober_new(
    struct event_base *base, const struct prober_config *config, struct errmsg *em);
/* Outstanding probes end without a callback; NULL-safe. */
void prober_free(struct prober **prober);

/*
 * Probes an address (text, IPv4 or IPv6) of the MX host, whose name is sent as SNI and looked for
 * in the certificate. The callback runs once, never from within the call itself. False when memory
 * is out: then it does not run.
 */
MUST_USE bool probe_start(
    struct prober *prober, const char *address, const char *host, probe_cb *cb, void *arg);

const char *probe_result_name(enum probe_result r); /* RFC 8460's name where it has one */

#endif
