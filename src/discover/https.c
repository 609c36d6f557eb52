#include "discover/https.h"

#include <assert.h>
#include <curl/curl.h>
#include <event2/util.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "discover/trust.h"
#include "policy/domain.h"
#include "util/ascii.h"
#include "util/cursor.h"

enum {
	HEADERS_MAX = 64 * 1024, /* bytes of all header lines of one answer */
	RECEIVE_MAX = 16 * 1024, /* bytes that curl reads at once */
	FOREIGN_SHOWN = 100      /* bytes of a header field in a sentence */
};

enum fetch_error {
	FETCH_FINE,
	FETCH_OVERSIZE,
	FETCH_HEADERS,
	FETCH_CODING,
	FETCH_STATUS,
	FETCH_MEDIA,
	FETCH_CUT
};

/* One call of https_fetch(). */
struct fetch {
	LIST_ENTRY(fetch) link;
	/* NULL: the caller has been told, and only the address lookup is outstanding */
	struct https *https;
	bool looking; /* the address lookup is outstanding */
	char host[HOST_MAX + 1];
	char url[HOST_MAX + 64];
	https_cb *cb;
	void *arg;
	struct event *deadline;
	CURL *easy;    /* NULL until the addresses are known */
	CURLSH *share; /* a DNS cache of its own, holding the addresses that we looked up */
	struct curl_slist *resolve;
	struct dns_address_answer found;
	size_t tried; /* of each family */
	char curl_text[CURL_ERROR_SIZE];
	enum fetch_error error; /* why we broke off */
	size_t headers_len;
	bool framed;       /* a length or chunks tell where the body ends */
	SSL_CTX *context;  /* of its one connection; its app data: a close_notify came */
	X509 *certificate; /* that the host showed last */
	char location[FOREIGN_SHOWN + 1]; /* of a redirect, for people; empty: none */
	unsigned char *body;
	size_t body_len, body_size;
};

/* A socket of curl. */
struct watch {
	LIST_ENTRY(watch) link;
	struct https *https;
	struct event *event;
};

struct https {
	struct event_base *base;
	struct dns *dns;
	int timeout_s;
	char *user_agent;
	X509_STORE *trusted; /* read once: 140 certificates a fetch would stop the loop for long */
	bool library;
	CURLM *multi;
	struct event *timer;
	LIST_HEAD(, fetch) fetches;
	LIST_HEAD(, watch) watches;
};

/* --- the life of a fetch --- */

static void
fetch_drop_curl(struct fetch *f)
{
	if (f->easy != NULL) {
		assert(f->https != NULL); /* it goes after its curl handle */
		curl_multi_remove_handle(f->https->multi, f->easy);
	}
	curl_easy_cleanup(f->easy);
	f->easy = NULL;
	if (f->share != NULL)
		curl_share_cleanup(f->share);
	f->share = NULL;
	curl_slist_free_all(f->resolve);
	f->resolve = NULL;
	SSL_CTX_free(f->context); /* NULL-safe */
	f->context = NULL;
}

static void
fetch_free(struct fetch *f)
{
	fetch_drop_curl(f);
	if (f->deadline != NULL)
		event_free(f->deadline);
	X509_free(f->certificate); /* NULL-safe */
	free(f->body);
	free(f);
}

/* Tells the caller, once, and ends the fetch; an open address lookup keeps its memory. */
static void
fetch_finish(struct fetch *f, struct https_answer *answer)
{
	answer->addresses = &f->found;
	answer->certificate = f->certificate;
	LIST_REMOVE(f, link);
	fetch_drop_curl(f);
	f->https = NULL;
	if (f->deadline != NULL)
		evtimer_del(f->deadline);
	f->cb(answer, f->arg);
	if (!f->looking)
		fetch_free(f);
}

static void
fetch_fail(struct fetch *f, enum sts_type type, const char *why)
{
	struct https_answer answer = {.policy = NULL, .type = type};

	errmsg_set(&answer.why, "%s", why);
	fetch_finish(f, &answer);
}

static void
on_deadline(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct fetch *f = arg;
	struct errmsg em;

	if (f->looking)
		errmsg_set(&em, "%s: DNS did not tell its addresses within %d s", f->host,
		    f->https->timeout_s);
	else
		errmsg_set(&em, "%s did not answer with a whole policy within %d s", f->host,
		    f->https->timeout_s);
	fetch_fail(f, STS_POLICY_FETCH_ERROR, em.text);
}

/* --- what curl receives --- */

/* media type text/plain, RFC 8461 section 3.2; parameters may follow. */
static bool
is_text_plain(const char *type)
{
	static const char want[] = "text/plain";
	size_t i;

	if (type == NULL)
		return false;
	while (*type == ' ' || *type == '\t')
		type++;
	for (i = 0; want[i] != '\0'; i++)
		if (ascii_lower((unsigned char)type[i]) != (unsigned char)want[i])
			return false;
	while (type[i] == ' ' || type[i] == '\t')
		i++;
	return type[i] == '\0' || type[i] == ';';
}

static enum fetch_error
check_answer(CURL *easy)
{
	const char *type = NULL;
	long code = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
	curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
	return code != 200 ? FETCH_STATUS : !is_text_plain(type) ? FETCH_MEDIA : FETCH_FINE;
}

static bool
body_append(struct fetch *f, const char *bytes, size_t len)
{
	if (len > POLICY_BODY_MAX - f->body_len) {
		f->error = FETCH_OVERSIZE;
		return false;
	}
	if (len > f->body_size - f->body_len) {
		size_t size = f->body_len + len < POLICY_BODY_MAX / 2 ? 2 * (f->body_len + len)
								      : POLICY_BODY_MAX;
		unsigned char *body = realloc(f->body, size);

		if (body == NULL)
			abort();
		f->body = body;
		f->body_size = size;
	}
	memcpy(f->body + f->body_len, bytes, len);
	f->body_len += len;
	return true;
}

static size_t
on_body(char *bytes, size_t one, size_t n, void *arg)
{
	struct fetch *f = arg;

	f->error = check_answer(f->easy);
	if (f->error == FETCH_FINE && body_append(f, bytes, one * n))
		return one * n;
	return one * n + 1; /* not what was asked: curl breaks off */
}

/* The value of a header line of this name, "name:". */
static bool
header_value(struct cursor line, const char *name, struct cursor *value)
{
	if (cursor_len(&line) < strlen(name) ||
	    curl_strnequal((const char *)line.p, name, strlen(name)) == 0)
		return false;
	line.p += strlen(name);
	while (line.p < line.end && (*line.p == ' ' || *line.p == '\t'))
		line.p++;
	while (line.p < line.end && (line.end[-1] <= ' '))
		line.end--;
	*value = line;
	return true;
}

/* curl itself knows the target of a redirect only when the body is read to its end. */
static void
keep_location(struct fetch *f, struct cursor line)
{
	struct cursor v;

	if (header_value(line, "location:", &v))
		snprintf(f->location, sizeof(f->location), "%.*s", (int)cursor_len(&v),
		    (const char *)v.p);
}

/* Chunks tell where the body ends; another transfer coding makes curl ignore the length. */
static bool
keep_framing(struct fetch *f, struct cursor line)
{
	struct cursor v;

	if (cursor_take(&line, "HTTP/")) /* the answer after a 1xx */
		f->framed = false;
	else if (header_value(line, "content-length:", &v))
		f->framed = true;
	else if (header_value(line, "transfer-encoding:", &v)) {
		f->framed = true;
		return cursor_len(&v) == 7 && curl_strnequal((const char *)v.p, "chunked", 7) != 0;
	}
	return true;
}

static size_t
on_header(char *bytes, size_t one, size_t n, void *arg)
{
	struct cursor line = cursor_of(bytes, one * n);
	struct fetch *f = arg;

	f->headers_len += one * n;
	if (f->headers_len > HEADERS_MAX) {
		f->error = FETCH_HEADERS;
		return one * n + 1;
	}
	keep_location(f, line);
	if (!keep_framing(f, line)) {
		f->error = FETCH_CODING;
		return one * n + 1;
	}
	return one * n;
}

/* --- judging the end of a transfer --- */

static void
explain_certificate(struct fetch *f, struct errmsg *em)
{
	long verify = X509_V_OK;

	curl_easy_getinfo(f->easy, CURLINFO_SSL_VERIFYRESULT, &verify);
	if (verify == X509_V_ERR_HOSTNAME_MISMATCH)
		errmsg_set(
		    em, "%s has a certificate that does not name it in a subjectAltName", f->host);
	else
		errmsg_set(em, "%s has a certificate that is not valid: %s", f->host,
		    X509_verify_cert_error_string(verify));
}

static void
explain_status(struct fetch *f, struct errmsg *em)
{
	long code = 0;

	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &code);
	if (code / 100 == 3 && f->location[0] != '\0')
		errmsg_set(em,
		    "%s answered %ld, a redirect to %s; want 200 (redirects must not be followed)",
		    f->host, code, f->location);
	else
		errmsg_set(em, "%s answered %ld, want 200", f->host, code);
}

static void
explain_media(struct fetch *f, struct errmsg *em)
{
	const char *type = NULL;

	curl_easy_getinfo(f->easy, CURLINFO_CONTENT_TYPE, &type);
	if (type == NULL)
		errmsg_set(em, "%s answered without a media type, want text/plain", f->host);
	else
		errmsg_set(em, "%s answered with media type %.*s, want text/plain", f->host,
		    FOREIGN_SHOWN, type);
}

/*
 * Why there is no whole body. An over-size one was not retrieved, so RFC 8460 section 4.3.2.2 has
 * it as a fetch error.
 */
static enum sts_type
explain(struct fetch *f, CURLcode rc, struct errmsg *em)
{
	if (rc == CURLE_PEER_FAILED_VERIFICATION) {
		explain_certificate(f, em);
		return STS_WEBPKI_INVALID;
	}
	if (rc == CURLE_SSL_CONNECT_ERROR)
		errmsg_set(em, "%s: no TLS session: %s", f->host, f->curl_text);
	else if (f->error == FETCH_OVERSIZE || rc == CURLE_FILESIZE_EXCEEDED)
		errmsg_set(em, "%s sent a policy of more than %d bytes", f->host, POLICY_BODY_MAX);
	else if (f->error == FETCH_HEADERS)
		errmsg_set(em, "%s sent more than %d bytes of header lines", f->host, HEADERS_MAX);
	else if (f->error == FETCH_CODING)
		errmsg_set(em, "%s used a transfer coding other than chunked", f->host);
	else if (f->error == FETCH_STATUS)
		explain_status(f, em);
	else if (f->error == FETCH_MEDIA)
		explain_media(f, em);
	else if (f->error == FETCH_CUT)
		errmsg_set(em,
		    "%s ended the connection in a way that may have cut the policy short", f->host);
	else
		errmsg_set(em, "%s: %s", f->host,
		    f->curl_text[0] != '\0' ? f->curl_text : curl_easy_strerror(rc));
	return STS_POLICY_FETCH_ERROR;
}

static bool
is_cut(const struct fetch *f)
{
	return !f->framed && (f->context == NULL || SSL_CTX_get_app_data(f->context) == NULL);
}

static void
fetch_judge(struct fetch *f, CURLcode rc)
{
	struct https_answer answer = {.policy = NULL, .type = STS_OK};
	struct errmsg em = {""};

	if (f->error == FETCH_FINE && (rc == CURLE_OK || rc == CURLE_FILESIZE_EXCEEDED)) {
		/* an empty body never came to on_body() */
		enum fetch_error error = check_answer(f->easy);

		f->error = error == FETCH_FINE && rc != CURLE_OK ? FETCH_OVERSIZE : error;
	}
	if (rc == CURLE_OK && f->error == FETCH_FINE && is_cut(f))
		f->error = FETCH_CUT;
	if (rc != CURLE_OK || f->error != FETCH_FINE) {
		answer.type = explain(f, rc, &answer.why);
		fetch_finish(f, &answer);
		return;
	}
	answer.body = cursor_of(f->body, f->body_len);
	if ((answer.policy = policy_parse(answer.body, NULL, &em)) == NULL) {
		answer.type = STS_POLICY_INVALID;
		errmsg_set(&answer.why, "%s: %s", f->host, em.text);
	}
	fetch_finish(f, &answer);
	policy_free(answer.policy);
}

/* --- starting a fetch --- */

/*
 * A body without a length ends with the connection, and libcurl 7.88 takes a bare TCP end for that.
 * Whoever can end TCP could then shorten max_age, so only TLS's own close_notify counts. The mark
 * is kept in the context, which may outlive the fetch in curl's hands.
 */
static void
on_tls_info(const SSL *ssl, int where, int alert)
{
	SSL_CTX *context = SSL_get_SSL_CTX(ssl);

	if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT &&
	    (alert & 0xff) == SSL3_AD_CLOSE_NOTIFY)
		SSL_CTX_set_app_data(context, context);
}

/* Keeps the certificate, whatever comes of it: a failed handshake leaves none behind. */
static int
on_verify(X509_STORE_CTX *verification, void *arg)
{
	struct fetch *f = arg;

	X509_free(f->certificate); /* of an address tried before */
	f->certificate = X509_STORE_CTX_get0_cert(verification);
	X509_up_ref(f->certificate);
	return X509_verify_cert(verification);
}

/*
 * libcurl falls back to the CN of a certificate without subjectAltName; RFC 8461 section 3.3 wants
 * a DNS-ID. So OpenSSL checks the name too, in the handshake and without that fallback; a wildcard
 * is one whole left-most label (RFC 6125 section 6.4.3).
 */
static CURLcode
on_tls_context(CURL *easy UNUSED, void *context, void *arg)
{
	struct fetch *f = arg;
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);

	SSL_CTX_free(f->context); /* of an address tried before */
	f->context = context;
	SSL_CTX_up_ref(context);
	SSL_CTX_set_info_callback(context, on_tls_info);
	SSL_CTX_set1_cert_store(context, f->https->trusted);
	SSL_CTX_set_cert_verify_callback(context, on_verify, f);
	X509_VERIFY_PARAM_set_hostflags(
	    param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (X509_VERIFY_PARAM_set1_host(param, f->host, 0) != 1)
		abort(); /* out of memory */
	return CURLE_OK;
}

/* The nth address of a family; NULL: there are not so many. */
static const char *
nth_address(const struct dns_address_answer *found, bool ipv6, size_t n)
{
	for (size_t i = 0; i < found->n; i++)
		if ((strchr(found->text[i], ':') != NULL) == ipv6 && n-- == 0)
			return found->text[i];
	return NULL;
}

static bool
has_more_addresses(const struct fetch *f)
{
	return nth_address(&f->found, true, f->tried) != NULL ||
	       nth_address(&f->found, false, f->tried) != NULL;
}

/*
 * "HOST:443:[ADDRESS],ADDRESS" for CURLOPT_RESOLVE: curl asks no resolver of its own. It gets one
 * address of each family at a time, and tries both at once: before 8.4 it does not go on to a
 * second one in time (its issue 11920).
 */
static bool
set_addresses(struct fetch *f)
{
	const char *six = nth_address(&f->found, true, f->tried);
	const char *four = nth_address(&f->found, false, f->tried);
	char text[sizeof(f->host) + 8 + 2 * (sizeof(f->found.text[0]) + 3)];

	snprintf(text, sizeof(text), "%s:443:%s%s%s%s%s", f->host, six != NULL ? "[" : "",
	    six != NULL ? six : "", six != NULL ? "]" : "", six != NULL && four != NULL ? "," : "",
	    four != NULL ? four : "");
	f->tried++;
	f->resolve = curl_slist_append(NULL, text);
	return f->resolve != NULL;
}

static bool
set_protocol(CURL *c)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	return curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK;
#else
	return curl_easy_setopt(c, CURLOPT_PROTOCOLS, CURLPROTO_HTTPS) == CURLE_OK;
#endif
}

/*
 * One GET, no more and no less: no redirect, proxy, credential, cookie, compression or reuse;
 * .netrc and the environment do not count.
 */
static bool
set_http(CURL *c, struct fetch *f)
{
	/* half of the time, then a quarter: those that are dead leave the others theirs */
	long connect_ms = f->https->timeout_s * 1000L >> f->tried;

	return set_protocol(c) && curl_easy_setopt(c, CURLOPT_URL, f->url) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_MAXFILESIZE, (long)POLICY_BODY_MAX) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)RECEIVE_MAX) == CURLE_OK &&
	       (f->https->user_agent == NULL ||
		   curl_easy_setopt(c, CURLOPT_USERAGENT, f->https->user_agent) == CURLE_OK);
}

static bool
set_tls(CURL *c, struct fetch *f)
{
	return curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK &&
	       /* https->trusted stands for both */
	       curl_easy_setopt(c, CURLOPT_CAINFO, NULL) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_CAPATH, NULL) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, on_tls_context) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, f) == CURLE_OK;
}

static bool
set_callbacks(CURL *c, struct fetch *f)
{
	return curl_easy_setopt(c, CURLOPT_PRIVATE, f) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->curl_text) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEDATA, f) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_HEADERDATA, f) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SHARE, f->share) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_RESOLVE, f->resolve) == CURLE_OK;
}

static void
fetch_start(struct fetch *f)
{
	if (!set_addresses(f) || (f->share = curl_share_init()) == NULL ||
	    curl_share_setopt(f->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK ||
	    (f->easy = curl_easy_init()) == NULL || !set_http(f->easy, f) || !set_tls(f->easy, f) ||
	    !set_callbacks(f->easy, f) ||
	    curl_multi_add_handle(f->https->multi, f->easy) != CURLM_OK)
		abort(); /* out of memory */
}

static void
on_addresses(const struct dns_address_answer *addresses, void *arg)
{
	struct fetch *f = arg;
	struct errmsg em;

	f->looking = false;
	f->found = *addresses;
	if (f->https == NULL) { /* its time was over before */
		fetch_free(f);
		return;
	}
	if (addresses->n == 0) {
		errmsg_set(&em, "no address of the policy host: %s", addresses->why.text);
		fetch_fail(f, STS_POLICY_FETCH_ERROR, em.text);
	} else {
		fetch_start(f);
	}
}

bool
https_fetch(struct https *https, const char *domain, https_cb *cb, void *arg)
{
	const struct timeval tv = {https->timeout_s, 0};
	struct fetch *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return false;
	f->cb = cb;
	f->arg = arg;
	f->deadline = evtimer_new(https->base, on_deadline, f);
	snprintf(f->host, sizeof(f->host), "mta-sts.%s", domain);
	snprintf(f->url, sizeof(f->url), "https://%s/.well-known/mta-sts.txt", f->host);
	if (f->deadline == NULL || evtimer_add(f->deadline, &tv) != 0 ||
	    !dns_addresses(https->dns, f->host, on_addresses, f)) {
		fetch_free(f);
		return false;
	}
	f->looking = true;
	f->https = https;
	LIST_INSERT_HEAD(&https->fetches, f, link);
	return true;
}

/* --- curl on the loop --- */

/* Only connecting has a time-out of curl's: the whole has ours. */
static bool
is_connect_error(CURLcode rc)
{
	return rc == CURLE_COULDNT_CONNECT || rc == CURLE_OPERATION_TIMEDOUT;
}

static void
reap(struct https *https)
{
	struct fetch *f;
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(https->multi, &left)) != NULL) {
		CURLcode rc = msg->data.result; /* msg dies with its handle */

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &f);
		if (is_connect_error(rc) && has_more_addresses(f)) {
			fetch_drop_curl(f);
			fetch_start(f);
		} else {
			fetch_judge(f, rc);
		}
	}
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg; /* may be gone after the call */
	struct https *https = w->https;
	int running, action = (what & EV_READ ? CURL_CSELECT_IN : 0) |
			      (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

	curl_multi_socket_action(https->multi, fd, action, &running);
	reap(https);
}

static void
on_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct https *https = arg;
	int running;

	curl_multi_socket_action(https->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(https);
}

static int
on_timer_wanted(CURLM *multi UNUSED, long timeout_ms, void *arg)
{
	const struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	struct https *https = arg;

	if (timeout_ms < 0)
		return evtimer_del(https->timer);
	return evtimer_add(https->timer, &tv);
}

static void
watch_free(struct watch *w)
{
	if (w == NULL)
		return;
	LIST_REMOVE(w, link);
	event_free(w->event);
	free(w);
}

static struct watch *
watch_new(struct https *https, evutil_socket_t fd, short what)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL || (w->event = event_new(https->base, fd, what, on_socket, w)) == NULL ||
	    event_add(w->event, NULL) != 0)
		abort(); /* out of memory */
	w->https = https;
	LIST_INSERT_HEAD(&https->watches, w, link);
	return w;
}

static int
on_socket_wanted(CURL *easy UNUSED, curl_socket_t fd, int what, void *arg, void *known)
{
	struct https *https = arg;
	struct watch *w = NULL;

	watch_free(known);
	if (what != CURL_POLL_REMOVE)
		w = watch_new(https, fd,
		    (short)((what & CURL_POLL_IN ? EV_READ : 0) |
			    (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST));
	curl_multi_assign(https->multi, fd, w);
	return 0;
}

/* --- opening and closing --- */

/* Our rules for certificates are OpenSSL's: no other library would ask on_tls_context(). */
static bool
check_library(struct errmsg *em)
{
	const char *tls = curl_version_info(CURLVERSION_NOW)->ssl_version;

	if (curl_global_sslset(CURLSSLBACKEND_OPENSSL, NULL, NULL) == CURLSSLSET_OK)
		return true;
	errmsg_set(em, "libcurl was built with %s, want OpenSSL: apt-get install libcurl4",
	    tls != NULL ? tls : "no TLS library");
	return false;
}

static bool
open_multi(struct https *https)
{
	https->library = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	https->multi = https->library ? curl_multi_init() : NULL;
	https->timer = evtimer_new(https->base, on_timer, https);
	return https->multi != NULL && https->timer != NULL &&
	       curl_multi_setopt(https->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted) ==
		   CURLM_OK &&
	       curl_multi_setopt(https->multi, CURLMOPT_SOCKETDATA, https) == CURLM_OK &&
	       curl_multi_setopt(https->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted) ==
		   CURLM_OK &&
	       curl_multi_setopt(https->multi, CURLMOPT_TIMERDATA, https) == CURLM_OK;
}

struct https *
https_new(
    struct event_base *base, struct dns *dns, const struct https_config *config, struct errmsg *em)
{
	struct https *https = calloc(1, sizeof(*https));
	bool ok = https != NULL;

	errmsg_set(em, "libcurl cannot start: out of memory");
	if (!ok)
		return NULL;
	LIST_INIT(&https->fetches);
	LIST_INIT(&https->watches);
	https->base = base;
	https->dns = dns;
	https->timeout_s = config->timeout_s;
	if (config->user_agent != NULL)
		ok = (https->user_agent = strdup(config->user_agent)) != NULL;
	ok = ok && check_library(em) && open_multi(https) &&
	     (https->trusted = trust_load(config->ca_file, em)) != NULL;
	if (!ok)
		https_free(&https);
	return https;
}

void
https_free(struct https **httpsp)
{
	struct https *https = *httpsp;
	struct fetch *f, *next;

	if (https == NULL)
		return;
	*httpsp = NULL;
	for (f = LIST_FIRST(&https->fetches); f != NULL; f = next) {
		next = LIST_NEXT(f, link);
		fetch_fail(
		    f, STS_POLICY_FETCH_ERROR, "the fetch was given up because this program stops");
	}
	if (https->multi != NULL)
		curl_multi_cleanup(https->multi);
	assert(LIST_EMPTY(&https->watches));
	if (https->timer != NULL)
		event_free(https->timer);
	if (https->library)
		curl_global_cleanup();
	X509_STORE_free(https->trusted); /* NULL-safe */
	free(https->user_agent);
	free(https);
}
