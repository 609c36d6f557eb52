#include "discover/probe.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "discover/trust.h"

enum {
	CONNECT_SHARE = 4, /* connecting has one part in so many of the time, besides */
	QUIT_S = 2,        /* for the answer to QUIT, when all is known */
	RECEIVE_MAX = 4096
};

/* What we wait for. */
enum stage { CONNECTING, GREETING, EHLO, STARTTLS, HANDSHAKE, QUITTING };

struct probe {
	LIST_ENTRY(probe) link;
	struct prober *prober;
	probe_cb *cb;
	void *arg;
	char host[HOST_MAX + 1];
	enum stage stage;
	evutil_socket_t fd;
	SSL *ssl; /* NULL: no STARTTLS yet */
	struct event *readable, *writable, *deadline;
	char out[HOST_MAX + 16]; /* the command under way */
	size_t out_len, sent;
	struct smtp_reader reader;
	struct probe_answer answer;
};

struct prober {
	struct event_base *base;
	int timeout_s, port;
	char *helo;
	SSL_CTX *context;
	LIST_HEAD(, probe) probes;
};

const char *
probe_result_name(enum probe_result r)
{
	static const char *const names[] = {"ok", "unreachable", "no-smtp",
	    "starttls-not-supported", "validation-failure", "certificate-expired",
	    "certificate-not-trusted", "certificate-host-mismatch"};

	return names[r];
}

/* --- the end --- */

static void
probe_free(struct probe *p)
{
	LIST_REMOVE(p, link);
	if (p->readable != NULL)
		event_free(p->readable);
	if (p->writable != NULL)
		event_free(p->writable);
	if (p->deadline != NULL)
		event_free(p->deadline);
	SSL_free(p->ssl); /* NULL-safe */
	if (p->fd >= 0)
		evutil_closesocket(p->fd);
	free(p);
}

/* Tells the caller. False, as all steps that leave nothing to be done now. */
static bool
probe_end(struct probe *p)
{
	p->cb(&p->answer, p->arg);
	probe_free(p);
	return false;
}

static bool say(struct probe *p, enum stage next, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool give_up(struct probe *p, enum probe_result result, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static bool leave(struct probe *p, enum probe_result result, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static void
set_result(struct probe *p, enum probe_result result, const char *fmt, va_list ap)
{
	char text[ERRMSG_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	p->answer.result = result;
	errmsg_set(&p->answer.why, "%s", text);
}

/* The connection is of no more use. */
static bool
give_up(struct probe *p, enum probe_result result, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_result(p, result, fmt, ap);
	va_end(ap);
	return probe_end(p);
}

static void
set_deadline(struct probe *p, int s)
{
	const struct timeval tv = {s, 0};

	if (evtimer_add(p->deadline, &tv) != 0)
		abort(); /* out of memory */
}

/* All is known: a polite good-bye, for whose answer nobody waits long. */
static bool
leave(struct probe *p, enum probe_result result, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_result(p, result, fmt, ap);
	va_end(ap);
	set_deadline(p, QUIT_S);
	return say(p, QUITTING, "QUIT");
}

/* What fails while the SMTP server should speak. */
static enum probe_result
failure_of(enum stage stage)
{
	return stage == CONNECTING                       ? PROBE_UNREACHABLE
	       : stage == STARTTLS || stage == HANDSHAKE ? PROBE_TLS_FAILED
							 : PROBE_NO_SMTP;
}

static const char *
stage_name(enum stage stage)
{
	static const char *const names[] = {"the connection", "its greeting", "its answer to EHLO",
	    "its answer to STARTTLS", "the TLS handshake", "its answer to QUIT"};

	return names[stage];
}

static void
on_deadline(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct probe *p = arg;

	if (p->stage == QUITTING)
		probe_end(p);
	else if (p->stage == CONNECTING)
		give_up(p, PROBE_UNREACHABLE, "no connection within %d s",
		    p->prober->timeout_s / CONNECT_SHARE + 1);
	else
		give_up(p, failure_of(p->stage), "%s was not whole within %d s",
		    stage_name(p->stage), p->prober->timeout_s);
}

/* --- bytes out and in --- */

/* Runs again when the socket is ready. */
static bool
wait_for(struct probe *p, short what)
{
	if (event_add(what == EV_READ ? p->readable : p->writable, NULL) != 0)
		abort(); /* out of memory */
	return false;
}

static const char *
openssl_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	return reason != NULL ? reason : "a TLS error";
}

/* An operation that did not succeed: it waits, or the connection is at its end. */
static bool
stalled(struct probe *p, int rc, short what)
{
	int error = errno;

	if (p->ssl != NULL)
		switch (SSL_get_error(p->ssl, rc)) {
		case SSL_ERROR_WANT_READ:
			return wait_for(p, EV_READ);
		case SSL_ERROR_WANT_WRITE:
			return wait_for(p, EV_WRITE);
		case SSL_ERROR_SSL:
			return p->stage == QUITTING ? probe_end(p)
						    : give_up(p, PROBE_TLS_FAILED, "%s failed: %s",
							  stage_name(p->stage), openssl_reason());
		default:
			break; /* the socket: errno, or its end */
		}
	else if (rc < 0 && (error == EAGAIN || error == EWOULDBLOCK || error == EINTR))
		return wait_for(p, what);
	if (p->stage == QUITTING)
		return probe_end(p);
	return give_up(p, failure_of(p->stage), "the connection ended before %s: %s",
	    stage_name(p->stage),
	    rc == 0 || error == 0 ? "closed by the other side" : strerror(error));
}

static bool
send_some(struct probe *p)
{
	const char *at = p->out + p->sent;
	size_t left = p->out_len - p->sent;
	int n;

	ERR_clear_error();
	errno = 0;
	n = p->ssl != NULL ? SSL_write(p->ssl, at, (int)left)
			   : (int)send(p->fd, at, left, MSG_NOSIGNAL);
	if (n <= 0)
		return stalled(p, n, EV_WRITE);
	p->sent += (size_t)n;
	return true;
}

/* Sends a command; its reply comes in the next stage. */
static bool
say(struct probe *p, enum stage next, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(p->out, sizeof(p->out) - 2, fmt, ap);
	va_end(ap);
	assert(len > 0 && (size_t)len < sizeof(p->out) - 2);
	memcpy(p->out + len, "\r\n", 2);
	p->out_len = (size_t)len + 2;
	p->sent = 0;
	p->stage = next;
	memset(&p->reader, 0, sizeof(p->reader));
	return true;
}

/* --- the session --- */

static void
read_session(struct probe *p)
{
	X509 *x509 = SSL_get_peer_certificate(p->ssl);

	snprintf(
	    p->answer.tls_version, sizeof(p->answer.tls_version), "%s", SSL_get_version(p->ssl));
	snprintf(p->answer.cipher, sizeof(p->answer.cipher), "%s", SSL_get_cipher_name(p->ssl));
	p->answer.has_cert = x509 != NULL;
	if (x509 == NULL) /* an anonymous cipher */
		return;
	p->answer.trusted = SSL_get_verify_result(p->ssl) == X509_V_OK;
	cert_read(x509, p->host, &p->answer.cert);
	X509_free(x509);
}

static bool
judge_session(struct probe *p)
{
	const struct cert *cert = &p->answer.cert;
	long verified = SSL_get_verify_result(p->ssl);
	const char *also =
	    cert->names_host ? "" : "; nor does it name the host in a subjectAltName";

	if (!p->answer.has_cert)
		return leave(p, PROBE_NOT_TRUSTED, "the server showed no certificate");
	if (verified != X509_V_OK)
		return leave(p,
		    verified == X509_V_ERR_CERT_HAS_EXPIRED ? PROBE_EXPIRED : PROBE_NOT_TRUSTED,
		    "the certificate is not valid: %s%s", X509_verify_cert_error_string(verified),
		    also);
	if (!cert->names_host)
		return leave(p, PROBE_HOST_MISMATCH,
		    "the certificate does not name the host in a subjectAltName%s%s",
		    cert->n_names > 0 ? ", but " : "", cert->n_names > 0 ? cert->name[0] : "");
	return leave(p, PROBE_OK, "%s", "");
}

static bool
shake_hands(struct probe *p)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	if ((rc = SSL_connect(p->ssl)) != 1)
		return stalled(p, rc, EV_READ);
	read_session(p);
	return judge_session(p);
}

/* Whatever the certificate is, the handshake shall end well, so that all of it can be told. */
static bool
start_tls(struct probe *p)
{
	if ((p->ssl = SSL_new(p->prober->context)) == NULL || SSL_set_fd(p->ssl, p->fd) != 1 ||
	    SSL_set_tlsext_host_name(p->ssl, p->host) != 1)
		abort(); /* out of memory */
	p->stage = HANDSHAKE;
	return true;
}

/* A whole reply to what was said. */
static bool
on_reply(struct probe *p, bool more)
{
	const struct smtp_reply *r = &p->reader.reply;

	if (p->stage == QUITTING)
		return probe_end(p);
	if (more) /* before TLS that would be taken for what the server said in TLS: RFC 3207 */
		return give_up(p, failure_of(p->stage), "bytes that nobody asked for follow %s",
		    stage_name(p->stage));
	switch (p->stage) {
	case GREETING:
		memcpy(p->answer.banner, r->text, sizeof(r->text));
		if (r->code != 220)
			return leave(p, PROBE_NO_SMTP, "it takes no mail from here: %d %s", r->code,
			    r->text);
		return say(p, EHLO, "EHLO %s", p->prober->helo);
	case EHLO:
		if (r->code / 100 == 4)
			return leave(p, PROBE_NO_SMTP, "it takes no mail from here now: %d %s",
			    r->code, r->text);
		if (r->code != 250)
			return leave(p, PROBE_NO_STARTTLS,
			    "it does not know EHLO, so has no STARTTLS: %d %s", r->code, r->text);
		if (!r->starttls)
			return leave(p, PROBE_NO_STARTTLS, "it does not offer STARTTLS");
		p->answer.starttls = true;
		return say(p, STARTTLS, "STARTTLS");
	default:
		if (r->code != 220)
			return leave(p, PROBE_TLS_FAILED,
			    "it offers STARTTLS and refuses it: %d %s", r->code, r->text);
		return start_tls(p);
	}
}

static bool
receive_some(struct probe *p)
{
	unsigned char bytes[RECEIVE_MAX];
	struct cursor rest;
	struct errmsg em;
	int n;

	ERR_clear_error();
	errno = 0;
	n = p->ssl != NULL ? SSL_read(p->ssl, bytes, sizeof(bytes))
			   : (int)recv(p->fd, bytes, sizeof(bytes), 0);
	if (n <= 0)
		return stalled(p, n, EV_READ);
	rest = cursor_of(bytes, (size_t)n);
	switch (smtp_read(&p->reader, &rest, &em)) {
	case SMTP_MORE:
		return true;
	case SMTP_REPLY:
		return on_reply(p, cursor_len(&rest) > 0);
	case SMTP_BAD:
		break;
	}
	if (p->stage == QUITTING)
		return probe_end(p);
	return give_up(p, failure_of(p->stage), "%s is no SMTP: %s", stage_name(p->stage), em.text);
}

static bool
connected(struct probe *p)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
		return give_up(p, PROBE_UNREACHABLE, "%s", strerror(error));
	p->stage = GREETING;
	set_deadline(p, p->prober->timeout_s);
	return true;
}

/* One step of the session. True: there may be more to be done at once. */
static bool
step(struct probe *p)
{
	if (p->stage == CONNECTING)
		return connected(p);
	if (p->stage == HANDSHAKE)
		return shake_hands(p);
	return p->sent < p->out_len ? send_some(p) : receive_some(p);
}

static void
on_socket(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	while (step(arg))
		;
}

/* --- the beginning --- */

static socklen_t
parse_address(const char *text, int port, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		return sizeof(*in6);
	}
	return 0;
}

/* False with errno: not even begun. */
static bool
begin_connect(struct probe *p, const char *address)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(address, p->prober->port, &ss);

	if (len == 0) {
		errno = EINVAL;
		return false;
	}
	p->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return p->fd >= 0 &&
	       (connect(p->fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS);
}

bool
probe_start(struct prober *prober, const char *address, const char *host, probe_cb *cb, void *arg)
{
	struct probe *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return false;
	p->prober = prober;
	p->cb = cb;
	p->arg = arg;
	p->fd = -1;
	LIST_INSERT_HEAD(&prober->probes, p, link);
	snprintf(p->host, sizeof(p->host), "%s", host);
	if ((p->deadline = evtimer_new(prober->base, on_deadline, p)) == NULL)
		goto no_memory;
	if (!begin_connect(p, address)) { /* told from the loop */
		p->stage = QUITTING;
		p->answer.result = PROBE_UNREACHABLE;
		errmsg_set(&p->answer.why, "%s", strerror(errno));
		set_deadline(p, 0);
		return true;
	}
	p->readable = event_new(prober->base, p->fd, EV_READ, on_socket, p);
	p->writable = event_new(prober->base, p->fd, EV_WRITE, on_socket, p);
	if (p->readable == NULL || p->writable == NULL)
		goto no_memory;
	set_deadline(p, prober->timeout_s / CONNECT_SHARE + 1);
	wait_for(p, EV_WRITE);
	return true;
no_memory:
	probe_free(p);
	return false;
}

struct prober *
prober_new(struct event_base *base, const struct prober_config *config, struct errmsg *em)
{
	struct prober *prober = calloc(1, sizeof(*prober));
	X509_STORE *trusted = NULL;

	errmsg_set(em, "OpenSSL cannot start: out of memory");
	if (prober == NULL)
		return NULL;
	LIST_INIT(&prober->probes);
	prober->base = base;
	prober->timeout_s = config->timeout_s;
	prober->port = config->port;
	prober->helo = strndup(config->helo, HOST_MAX);
	prober->context = SSL_CTX_new(TLS_client_method());
	if (prober->helo == NULL || prober->context == NULL ||
	    (trusted = trust_load(config->ca_file, em)) == NULL) {
		prober_free(&prober);
		return NULL;
	}
	SSL_CTX_set_cert_store(prober->context, trusted); /* takes it over */
	SSL_CTX_set_session_cache_mode(prober->context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(prober->context, SSL_MODE_ENABLE_PARTIAL_WRITE);
	return prober;
}

void
prober_free(struct prober **proberp)
{
	struct prober *prober = *proberp;
	struct probe *p, *next;

	if (prober == NULL)
		return;
	*proberp = NULL;
	for (p = LIST_FIRST(&prober->probes); p != NULL; p = next) {
		next = LIST_NEXT(p, link);
		probe_free(p);
	}
	SSL_CTX_free(prober->context); /* NULL-safe */
	free(prober->helo);
	free(prober);
}
