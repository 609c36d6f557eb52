#include "discover/https.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop.h"
#include "servers.h"

/* A network of our own with port 443: nsd, nginx, and a backend that never answers. */
struct lab {
	bool made;
	const char *lacks; /* why there is none */
	char dir[64], ca[96], strangers[96];
	int dns_port, silent_tcp, silent_udp, silent_port;
	int raw; /* a listener for serve_once() */
	int dead
	    [3]; /* one that accepts nobody, and who fills its queue: further SYNs are dropped */
	pid_t nsd, nginx;
	struct event_base *base;
};

static struct lab lab;

static bool
open_silent(void)
{
	struct sockaddr_in tcp = {.sin_port = htons(8098)}, udp = {.sin_port = 0};

	lab.silent_tcp = bound_socket(SOCK_STREAM, &tcp);
	lab.silent_udp = bound_socket(SOCK_DGRAM, &udp);
	lab.silent_port = ntohs(udp.sin_port);
	return lab.silent_tcp >= 0 && lab.silent_udp >= 0 && listen(lab.silent_tcp, 128) == 0;
}

/* At port 443 of 127.0.0.LAST. */
static int
listen_at(unsigned last, int backlog, struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(443)};
	at->sin_addr.s_addr = htonl(0x7f000000 + last);
	return bind(fd, (struct sockaddr *)at, sizeof(*at)) == 0 && listen(fd, backlog) == 0 ? fd
											     : -1;
}

static bool
open_strange(void)
{
	struct sockaddr_in at;

	lab.raw = listen_at(7, 8, &at);
	lab.dead[0] = listen_at(8, 0, &at);
	for (size_t i = 1; i < sizeof(lab.dead) / sizeof(lab.dead[0]); i++) {
		lab.dead[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(lab.dead[i], (struct sockaddr *)&at, sizeof(at));
	}
	return lab.raw >= 0 && lab.dead[0] >= 0;
}

static int
lab_open(void **state UNUSED)
{
	char nsd_conf[96], nginx_conf[96], nginx_err[96];
	const char *nsd[] = {"nsd", "-d", "-c", nsd_conf, NULL};
	const char *nginx[] = {"nginx", "-p", lab.dir, "-e", nginx_err, "-c", nginx_conf, NULL};

	if (lab.lacks != NULL)
		return 0;
	make_dir(lab.dir);
	snprintf(nsd_conf, sizeof(nsd_conf), "%s/nsd.conf", lab.dir);
	snprintf(nginx_conf, sizeof(nginx_conf), "%s/nginx.conf", lab.dir);
	snprintf(nginx_err, sizeof(nginx_err), "%s/nginx.err", lab.dir);
	snprintf(lab.ca, sizeof(lab.ca), "%s/ca.pem", lab.dir);
	snprintf(lab.strangers, sizeof(lab.strangers), "%s/strangers.pem", lab.dir);
	lab.dns_port = free_port();
	lab.base = event_base_new();
	if (lab.base == NULL || !open_silent() || !open_strange() ||
	    !prepare("https", lab.dir, lab.dns_port))
		return -1;
	lab.nsd = start(lab.dir, "nsd", nsd);
	lab.nginx = start(lab.dir, "nginx", nginx);
	lab.made = wait_tcp(lab.dns_port) && wait_tcp(80);
	return lab.made ? 0 : -1;
}

static int
lab_close(void **state UNUSED)
{
	if (lab.base == NULL)
		return 0;
	stop(lab.nginx);
	stop(lab.nsd);
	close(lab.silent_tcp);
	close(lab.silent_udp);
	close(lab.raw);
	for (size_t i = 0; i < sizeof(lab.dead) / sizeof(lab.dead[0]); i++)
		close(lab.dead[i]);
	event_base_free(lab.base);
	remove_dir(lab.dir);
	return 0;
}

/* One client: its resolver and its fetcher. */
struct client {
	struct dns *dns;
	struct https *https;
};

static struct client
client_of(const char *ca_file, int dns_port, int timeout_s)
{
	char server[32];
	const char *servers[] = {server};
	struct dns_config dns_config = {
	    .n_servers = 1, .servers = servers, .timeout_ms = 2000, .tries = 3};
	struct https_config config = {
	    .ca_file = ca_file, .timeout_s = timeout_s, .user_agent = "mtasts/test"};
	struct errmsg em = {""};
	struct client c;

	snprintf(server, sizeof(server), "127.0.0.1:%d", dns_port);
	c.dns = dns_new(lab.base, &dns_config, &em);
	if (c.dns == NULL)
		fail_msg("%s", em.text);
	c.https = https_new(lab.base, c.dns, &config, &em);
	if (c.https == NULL)
		fail_msg("%s", em.text);
	return c;
}

static void
client_free(struct client *c)
{
	https_free(&c->https);
	dns_free(&c->dns);
}

static void
skip_without_lab(void)
{
	if (lab.made)
		return;
	print_message("skipped: %s\n", lab.lacks);
	skip();
}

struct heard {
	unsigned n, policies;
	enum mode mode;
	size_t n_mx;
	uint32_t max_age_s;
	enum sts_type type;
	struct errmsg why;
};

static void
hear(const struct https_answer *answer, void *arg)
{
	struct heard *h = arg;

	h->n++;
	h->type = answer->type;
	h->why = answer->why;
	if (answer->policy == NULL)
		return;
	h->policies++;
	h->mode = answer->policy->mode;
	h->n_mx = answer->policy->n_mx;
	h->max_age_s = answer->policy->max_age_s;
}

static struct heard
fetch(struct client *c, const char *domain)
{
	struct heard h = {.n = 0};

	assert_true(https_fetch(c->https, domain, hear, &h));
	assert_int_equal(h.n, 0); /* never from within the call */
	loop_until(lab.base, &h.n, 1);
	return h;
}

static void
expect_policy(struct client *c, const char *domain)
{
	struct heard h = fetch(c, domain);

	if (h.policies != 1 || h.type != STS_OK)
		fail_msg("%s: no policy: %s", domain, h.why.text);
	assert_int_equal(h.mode, MODE_ENFORCE);
	assert_int_equal(h.n_mx, 2);
	assert_int_equal(h.max_age_s, 86400);
}

struct failing {
	const char *domain;
	enum sts_type type;
	const char *says;
};

static void
expect_failures(struct client *c, const struct failing *t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct heard h = fetch(c, t[i].domain);

		if (h.policies != 0)
			fail_msg("%s: a policy was taken", t[i].domain);
		if (h.type != t[i].type || strstr(h.why.text, t[i].says) == NULL)
			fail_msg("%s: type %d \"%s\", want %d \"%s\"", t[i].domain, h.type,
			    h.why.text, t[i].type, t[i].says);
		if (strncmp(h.why.text, "mta-sts.", 8) != 0 &&
		    strstr(h.why.text, " mta-sts.") == NULL)
			fail_msg(
			    "%s: \"%s\" does not name the policy host", t[i].domain, h.why.text);
	}
}

#define N(t) (sizeof(t) / sizeof((t)[0]))

static void
a_policy_is_fetched_over_ipv4_and_ipv6_and_through_a_cname(void **state UNUSED)
{
	static const char *const domains[] = {"good.test", "params.test", "full.test", "six.test",
	    "both.test", "second.test", "alias.test", "gzip.test", "wild.test", "closed.test"};
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 10);
	for (size_t i = 0; i < N(domains); i++)
		expect_policy(&c, domains[i]);
	client_free(&c);
}

static void
what_is_not_retrieved_is_a_fetch_error(void **state UNUSED)
{
	static const struct failing t[] = {
	    {"missing.test", STS_POLICY_FETCH_ERROR, "mta-sts.missing.test answered 404, want 200"},
	    {"forbidden.test", STS_POLICY_FETCH_ERROR, "answered 403, want 200"},
	    {"moved.test", STS_POLICY_FETCH_ERROR,
		"a redirect to https://mta-sts.good.test/"}, /* section 3.3: not followed */
	    {"html.test", STS_POLICY_FETCH_ERROR, "media type text/html, want text/plain"},
	    {"notype.test", STS_POLICY_FETCH_ERROR, "without a media type"},
	    {"big.test", STS_POLICY_FETCH_ERROR, "more than 65536 bytes"},
	    {"chunked.test", STS_POLICY_FETCH_ERROR, "more than 65536 bytes"},
	    {"headers.test", STS_POLICY_FETCH_ERROR, "more than 65536 bytes of header lines"},
	    {"refused.test", STS_POLICY_FETCH_ERROR, "mta-sts.refused.test"},
	    {"nothing.test", STS_POLICY_FETCH_ERROR, "mta-sts.nothing.test: no such name in DNS"},
	    {"a.broken", STS_POLICY_FETCH_ERROR, "SERVFAIL"},
	    {"old.test", STS_POLICY_FETCH_ERROR, "no TLS session"}, /* TLS 1.1 */
	};
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 10);
	expect_failures(&c, t, N(t));
	client_free(&c);
}

static void
a_body_that_is_no_policy_is_invalid(void **state UNUSED)
{
	static const struct failing t[] = {
	    {"empty.test", STS_POLICY_INVALID, "mta-sts.empty.test: "},
	    {"invalid.test", STS_POLICY_INVALID, "mta-sts.invalid.test: "},
	};
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 10);
	expect_failures(&c, t, N(t));
	client_free(&c);
}

static void
a_certificate_must_be_valid_and_have_the_hosts_dns_id(void **state UNUSED)
{
	/* RFC 8461 section 3.3 */
	static const struct failing t[] = {
	    /* the CN is right: the SAN is another's, is missing, has no DNS name */
	    {"other.test", STS_WEBPKI_INVALID, "does not name it"},
	    {"cnonly.test", STS_WEBPKI_INVALID, "does not name it"},
	    {"cnother.test", STS_WEBPKI_INVALID, "does not name it"},
	    /* mta-*.partial.test: no whole label; *.test: one label too few */
	    {"partial.test", STS_WEBPKI_INVALID, "does not name it"},
	    {"deep.test", STS_WEBPKI_INVALID, "does not name it"},
	    {"expired.test", STS_WEBPKI_INVALID, "expired"},
	    {"selfsigned.test", STS_WEBPKI_INVALID, "self-signed"},
	    {"stranger.test", STS_WEBPKI_INVALID, "issuer"},
	};
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 10);
	expect_failures(&c, t, N(t));
	client_free(&c);
}

static void
only_the_configured_ca_is_trusted(void **state UNUSED)
{
	static const struct failing good[] = {{"good.test", STS_WEBPKI_INVALID, "issuer"}};
	struct client strangers, system;

	skip_without_lab();
	strangers = client_of(lab.strangers, lab.dns_port, 10);
	expect_policy(&strangers, "stranger.test");
	expect_failures(&strangers, good, 1);
	client_free(&strangers);
	system = client_of(NULL, lab.dns_port, 10);
	expect_failures(&system, good, 1);
	client_free(&system);
}

/* --- a server that says and does what no nginx would --- */

enum end { CLOSE_NOTIFY, BARE_END };

enum opening { TLS, PLAIN, HANG_UP, RESET };

#define OK_200 "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
#define BODY "version: STSv1\nmode: enforce\nmx: a.test\nmx: b.test\nmax_age: 86400\n"

static void
speak_tls(int fd, const char *says, enum end end)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	char cert[96], key[96], request[4096];
	SSL *ssl;

	snprintf(cert, sizeof(cert), "%s/all.pem", lab.dir);
	snprintf(key, sizeof(key), "%s/key.pem", lab.dir);
	if (SSL_CTX_use_certificate_file(context, cert, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
	    (ssl = SSL_new(context)) == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_accept(ssl) != 1)
		_exit(1);
	SSL_read(ssl, request, sizeof(request));
	SSL_write(ssl, says, (int)strlen(says));
	if (end == CLOSE_NOTIFY)
		SSL_shutdown(ssl);
}

/* Answers one connection to raw.test, then ends. */
static pid_t
serve_once(enum opening opening, const char *says, enum end end)
{
	const struct linger at_once = {1, 0};
	char hello[4096];
	pid_t pid = fork();
	int fd;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	fd = accept(lab.raw, NULL, NULL);
	if (opening == TLS) {
		speak_tls(fd, says, end);
		_exit(0);
	}
	if (opening == RESET)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	else /* what is unread would turn the end into a reset */
		(void)!recv(fd, hello, sizeof(hello), 0);
	if (opening == PLAIN)
		(void)!send(fd, says, strlen(says), 0);
	_exit(0);
}

static struct heard
fetch_raw(struct client *c, enum opening opening, const char *says, enum end end)
{
	pid_t pid = serve_once(opening, says, end);
	struct heard h = fetch(c, "raw.test");

	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return h;
}

static void
only_what_cannot_have_been_cut_short_is_taken(void **state UNUSED)
{
	static const struct {
		const char *says;
		enum end end;
		const char *fails; /* NULL: a policy */
	} t[] = {
	    {OK_200 "Connection: close\r\n\r\n" BODY, CLOSE_NOTIFY, NULL},
	    {OK_200 "Connection: close\r\n\r\n" BODY, BARE_END, "cut the policy short"},
	    {OK_200 "Content-Length: 66\r\n\r\n" BODY, BARE_END, NULL},
	    {OK_200 "Content-Length: 67\r\n\r\n" BODY, BARE_END, "mta-sts.raw.test"},
	    {OK_200 "content-length:66\r\n\r\n" BODY, BARE_END, NULL},
	    {OK_200 "Content-Length: \r\n\r\n" BODY, BARE_END, "mta-sts.raw.test"},
	    {OK_200 "Transfer-Encoding: \tChunked \r\n\r\n42\r\n" BODY "\r\n0\r\n\r\n", BARE_END,
		NULL},
	    {OK_200 "Transfer-Encoding: chunked\r\n\r\n42\r\n" BODY "\r\n", BARE_END,
		"mta-sts.raw.test"},
	    {OK_200 "Transfer-Encoding: identity\r\n\r\n" BODY, BARE_END, "transfer coding"},
	    {OK_200 "Content-Length: 66\r\nTransfer-Encoding: identity\r\n\r\n" BODY, BARE_END,
		"transfer coding"},
	    {OK_200 "Transfer-Encoding: gzip\r\n\r\n" BODY, BARE_END, "transfer coding"},
	    {OK_200 "Transfer-Encoding: gzip, chunked\r\n\r\n" BODY, BARE_END, "transfer coding"},
	    {OK_200 "Transfer-Encoding: chunked, gzip\r\n\r\n42\r\n" BODY "\r\n0\r\n\r\n", BARE_END,
		"transfer coding"},
	    {OK_200 "Transfer-Encoding:\r\n\r\n" BODY, BARE_END, "transfer coding"},
	    {"HTTP/1.1 103 Early Hints\r\nContent-Length: 66\r\n\r\n" OK_200
	     "Connection: close\r\n\r\n" BODY,
		BARE_END, "cut the policy short"},
	};
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 10);
	for (size_t i = 0; i < N(t); i++) {
		struct heard h = fetch_raw(&c, TLS, t[i].says, t[i].end);

		if (h.policies != (t[i].fails == NULL))
			fail_msg("row %zu: %u policies: %s", i, h.policies, h.why.text);
		if (t[i].fails != NULL &&
		    (h.type != STS_POLICY_FETCH_ERROR || strstr(h.why.text, t[i].fails) == NULL))
			fail_msg("row %zu: type %d: %s", i, h.type, h.why.text);
	}
	client_free(&c);
}

static void
a_media_type_is_one_word(void **state UNUSED)
{
	static const struct {
		const char *says;
		unsigned policies;
	} t[] = {
#define TYPED(type) "HTTP/1.1 200 OK\r\nContent-Type: " type "\r\nContent-Length: 66\r\n\r\n" BODY
	    {TYPED("text/plain"), 1},
	    {TYPED("text/plain ; charset=utf-8"), 1},
	    {TYPED("text/plain html"), 0},
	    {TYPED("text/plainer"), 0},
#undef TYPED
	};
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 10);
	for (size_t i = 0; i < N(t); i++)
		assert_int_equal(
		    fetch_raw(&c, TLS, t[i].says, CLOSE_NOTIFY).policies, t[i].policies);
	client_free(&c);
}

static void
a_connection_that_breaks_in_the_handshake_is_a_fetch_error(void **state UNUSED)
{
	static const struct {
		enum opening opening;
		const char *says;
	} t[] = {{PLAIN, "HTTP/1.1 400 Bad Request\r\n\r\n"}, {HANG_UP, ""}, {RESET, ""}};
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 10);
	for (size_t i = 0; i < N(t); i++) {
		struct heard h = fetch_raw(&c, t[i].opening, t[i].says, BARE_END);

		if (h.type != STS_POLICY_FETCH_ERROR ||
		    strstr(h.why.text, "mta-sts.raw.test") == NULL)
			fail_msg("row %zu: type %d: %s", i, h.type, h.why.text);
	}
	client_free(&c);
}

static void
a_header_line_without_end_is_a_fetch_error(void **state UNUSED)
{
	static char says[sizeof(OK_200 "X: ") + 200000];
	struct client c;
	struct heard h;

	skip_without_lab();
	memset(says, 'x', sizeof(says) - 1);
	memcpy(says, OK_200 "X: ", sizeof(OK_200 "X: ") - 1);
	c = client_of(lab.ca, lab.dns_port, 10);
	h = fetch_raw(&c, TLS, says, CLOSE_NOTIFY); /* curl 7.88 calls it out of memory */
	assert_int_equal(h.policies, 0);
	assert_int_equal(h.type, STS_POLICY_FETCH_ERROR);
	client_free(&c);
}

static void
a_dead_address_does_not_use_up_the_time_of_the_others(void **state UNUSED)
{
	struct client c;
	struct heard h;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 6);
	expect_policy(&c, "half.test");
	h = fetch(&c, "dead.test");
	assert_int_equal(h.type, STS_POLICY_FETCH_ERROR);
	if (strstr(h.why.text, "whole policy within") != NULL)
		fail_msg("connecting had all the time: %s", h.why.text);
	client_free(&c);
}

/* The last line that nginx logged for a host. */
static void
logged(const char *host, char line[512])
{
	char path[96], text[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/access.log", lab.dir);
	f = fopen(path, "r");
	assert_non_null(f);
	line[0] = '\0';
	while (fgets(text, sizeof(text), f) != NULL)
		if (strstr(text, host) != NULL)
			memcpy(line, text, sizeof(text));
	fclose(f);
}

static void
the_request_is_plain_and_the_environment_does_not_change_it(void **state UNUSED)
{
	char line[512], path[96];
	struct client c;
	FILE *f;

	skip_without_lab();
	snprintf(path, sizeof(path), "%s/.netrc", lab.dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("default login user password secret\n", f);
	fclose(f);
	setenv("HOME", lab.dir, 1);
	setenv("https_proxy", "http://127.0.0.1:80", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:80", 1);
	c = client_of(lab.ca, lab.dns_port, 10);
	expect_policy(&c, "good.test");
	client_free(&c);
	unsetenv("https_proxy");
	unsetenv("ALL_PROXY");
	logged("mta-sts.good.test", line);
	assert_string_equal(line,
	    "host=mta-sts.good.test request=\"GET /.well-known/mta-sts.txt HTTP/1.1\" auth=\"-\" cookie=\"-\" "
	    "encoding=\"-\" agent=\"mtasts/test\" sni=mta-sts.good.test\n");
}

static void
the_time_is_limited_from_the_address_lookup_to_the_last_byte(void **state UNUSED)
{
	static const struct failing late[] = {
	    {"slow.test", STS_POLICY_FETCH_ERROR,
		"mta-sts.slow.test did not answer with a whole policy within 1 s"},
	    {"trickle.test", STS_POLICY_FETCH_ERROR,
		"did not answer with a whole policy within 1 s"},
	};
	static const struct failing silent[] = {
	    {"good.test", STS_POLICY_FETCH_ERROR,
		"mta-sts.good.test: DNS did not tell its addresses within 1 s"},
	};
	double begin = now_s();
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 1);
	expect_failures(&c, late, N(late));
	client_free(&c);
	c = client_of(lab.ca, lab.silent_port, 1);
	expect_failures(&c, silent, N(silent));
	client_free(&c);
	assert_true(now_s() - begin < 3 * 5);
}

static void
fetches_that_hang_do_not_delay_those_that_do_not(void **state UNUSED)
{
	enum { HANG = 200, GOOD = 50 };
	struct heard slow = {.n = 0}, good = {.n = 0};
	struct client c;
	double begin;

	skip_without_lab();
	c = client_of(lab.ca, lab.dns_port, 300);
	for (int i = 0; i < HANG; i++)
		assert_true(https_fetch(c.https, "slow.test", hear, &slow));
	for (int i = 0; i < GOOD; i++)
		assert_true(https_fetch(c.https, "good.test", hear, &good));
	begin = now_s();
	loop_until(lab.base, &good.n, GOOD);
	print_message("%d policies in %.0f ms beside %d fetches that hang\n", GOOD,
	    (now_s() - begin) * 1000, HANG);
	assert_int_equal(good.policies, GOOD);
	assert_int_equal(slow.n, 0);
	client_free(&c); /* with the others outstanding */
	assert_int_equal(slow.n, HANG);
	assert_int_equal(slow.type, STS_POLICY_FETCH_ERROR);
	assert_int_equal(good.n, GOOD);
}

static void
closing_fails_what_is_outstanding(void **state UNUSED)
{
	struct heard looking = {.n = 0};
	struct client c;

	skip_without_lab();
	c = client_of(lab.ca, lab.silent_port, 10);
	assert_true(https_fetch(c.https, "good.test", hear, &looking));
	https_free(&c.https);
	assert_int_equal(looking.n, 1);
	assert_non_null(strstr(looking.why.text, "given up"));
	dns_free(&c.dns);
	assert_int_equal(looking.n, 1); /* and not again when the address lookup ends */
	https_free(&c.https);           /* NULL-safe */
}

/* --- a system that lacks something: what libcurl says of itself, as we want it to say --- */

static const char *bundle; /* NULL: the real one */
static bool other_tls;

curl_version_info_data *
curl_version_info(CURLversion version)
{
	static curl_version_info_data data;
	curl_version_info_data *(*real)(CURLversion);

	*(void **)&real = dlsym(RTLD_NEXT, "curl_version_info");
	data = *real(version);
	if (bundle != NULL)
		data.cainfo = bundle;
	if (other_tls)
		data.ssl_version = "GnuTLS/3.7.9";
	return &data;
}

CURLsslset
curl_global_sslset(curl_sslbackend id, const char *name, const curl_ssl_backend ***all)
{
	CURLsslset (*real)(curl_sslbackend, const char *, const curl_ssl_backend ***);

	*(void **)&real = dlsym(RTLD_NEXT, "curl_global_sslset");
	return other_tls ? CURLSSLSET_UNKNOWN_BACKEND : real(id, name, all);
}

static void
expect_no_start(const char *ca_file, const char *first, const char *second)
{
	struct https_config config = {.ca_file = ca_file, .timeout_s = 1};
	struct event_base *base = event_base_new();
	struct errmsg em = {""};

	assert_null(https_new(base, NULL, &config, &em));
	if (strstr(em.text, first) == NULL || strstr(em.text, second) == NULL)
		fail_msg("\"%s\" does not say \"%s\" and \"%s\"", em.text, first, second);
	event_base_free(base);
}

static void
a_ca_that_cannot_be_read_is_an_error_at_start(void **state UNUSED)
{
	expect_no_start("/nonexistent/ca.pem", "/nonexistent/ca.pem", "no certificate read");
	expect_no_start("/dev/null", "/dev/null", "no certificate read");
}

static void
a_system_without_certificates_is_an_error_at_start(void **state UNUSED)
{
	bundle = "/nonexistent/bundle.crt";
	expect_no_start(NULL, bundle, "apt-get install ca-certificates");
	bundle = "/dev/null";
	expect_no_start(NULL, bundle, "apt-get install ca-certificates");
	bundle = NULL;
}

static void
a_libcurl_without_openssl_is_an_error_at_start(void **state UNUSED)
{
	other_tls = true;
	expect_no_start(NULL, "GnuTLS", "libcurl4");
	other_tls = false;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_policy_is_fetched_over_ipv4_and_ipv6_and_through_a_cname),
	    cmocka_unit_test(what_is_not_retrieved_is_a_fetch_error),
	    cmocka_unit_test(a_body_that_is_no_policy_is_invalid),
	    cmocka_unit_test(a_certificate_must_be_valid_and_have_the_hosts_dns_id),
	    cmocka_unit_test(only_the_configured_ca_is_trusted),
	    cmocka_unit_test(only_what_cannot_have_been_cut_short_is_taken),
	    cmocka_unit_test(a_media_type_is_one_word),
	    cmocka_unit_test(a_connection_that_breaks_in_the_handshake_is_a_fetch_error),
	    cmocka_unit_test(a_header_line_without_end_is_a_fetch_error),
	    cmocka_unit_test(a_dead_address_does_not_use_up_the_time_of_the_others),
	    cmocka_unit_test(the_request_is_plain_and_the_environment_does_not_change_it),
	    cmocka_unit_test(the_time_is_limited_from_the_address_lookup_to_the_last_byte),
	    cmocka_unit_test(fetches_that_hang_do_not_delay_those_that_do_not),
	    cmocka_unit_test(closing_fails_what_is_outstanding),
	    cmocka_unit_test(a_ca_that_cannot_be_read_is_an_error_at_start),
	    cmocka_unit_test(a_system_without_certificates_is_an_error_at_start),
	    cmocka_unit_test(a_libcurl_without_openssl_is_an_error_at_start),
	};

	signal(SIGPIPE, SIG_IGN);
	if (!have_program("nsd") || !have_program("nginx") || !have_program("openssl"))
		lab.lacks = "no servers: apt-get install nsd nginx-light openssl";
	else if (!own_network())
		lab.lacks =
		    "no network namespace for port 443: run as root, or allow user namespaces";
	return cmocka_run_group_tests_name("https", tests, lab_open, lab_close);
}
