/* test_probe.c: the MX probe against servers that behave, and against those that do not. */
#include "discover/probe.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop.h"
#include "servers.h"

#define HOST "mta-sts.good.test" /* the certificates of servers.sh name it */

/* Of probes that run into it, and of all others, which may run under valgrind. */
enum { TIMEOUT_S = 2, PATIENCE_S = 40 };

enum habit {
	PLAIN,   /* says its words */
	ENDLESS, /* says the greeting again and again */
	DRIP,    /* a byte of it each tenth of a second */
	STALL,   /* nothing after its words */
	TLS      /* a handshake after them, with the certificate */
};

/* What a server says, and then does. NULL: it closes instead. */
struct server {
	enum habit habit;
	const char *greeting, *ehlo, *starttls, *certificate;
};

static struct lab {
	char dir[64];
	struct event_base *base;
} lab;

static int
lab_open(void **state UNUSED)
{
	signal(SIGPIPE, SIG_IGN);
	make_dir(lab.dir);
	lab.base = event_base_new();
	return lab.base != NULL && prepare("https", lab.dir, 53) ? 0 : -1;
}

static int
lab_close(void **state UNUSED)
{
	event_base_free(lab.base);
	remove_dir(lab.dir);
	return 0;
}

/* --- the server, in a child --- */

static void
say(int fd, const char *text)
{
	if (text == NULL)
		_exit(0);
	if (write(fd, text, strlen(text)) < 0)
		_exit(0);
}

/* A command, which must begin with verb. */
static void
hear(int fd, const char *verb)
{
	char line[512] = "";
	size_t n = 0;

	while (n + 1 < sizeof(line) && read(fd, line + n, 1) == 1 && line[n++] != '\n')
		;
	if (strncmp(line, verb, strlen(verb)) != 0)
		_exit(1);
}

static void
serve_tls(int fd, const char *certificate)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	char path[128], key[128], line[16] = "";
	SSL *ssl;

	snprintf(path, sizeof(path), "%s/%s.pem", lab.dir, certificate);
	snprintf(key, sizeof(key), "%s/key.pem", lab.dir);
	if (SSL_CTX_use_certificate_file(context, path, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
		_exit(1);
	ssl = SSL_new(context);
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) != 1 ||
	    strcmp(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), HOST) != 0)
		_exit(1);
	if (SSL_read(ssl, line, sizeof(line) - 1) <= 0 || strcmp(line, "QUIT\r\n") != 0)
		_exit(1);
	SSL_write(ssl, "221 bye\r\n", 9);
	_exit(0);
}

static void
serve(int fd, const struct server *s)
{
	while (s->habit == ENDLESS)
		say(fd, s->greeting);
	for (const char *p = s->greeting; s->habit == DRIP; p++, usleep(100000))
		say(fd, (const char[]){*p, '\0'});
	say(fd, s->greeting);
	if (s->ehlo != NULL || s->habit == PLAIN) {
		hear(fd, "EHLO probe.test\r\n");
		say(fd, s->ehlo);
	}
	if (s->starttls != NULL || s->habit == PLAIN) {
		hear(fd, "STARTTLS\r\n");
		say(fd, s->starttls);
	}
	if (s->habit == STALL)
		sleep(60);
	if (s->habit == TLS)
		serve_tls(fd, s->certificate);
	_exit(0);
}

static pid_t
spawn_server(const struct server *s, int *port)
{
	struct sockaddr_in at = {.sin_port = 0};
	int fd = bound_socket(SOCK_STREAM, &at);
	pid_t pid;

	assert_true(fd >= 0 && listen(fd, 1) == 0);
	*port = ntohs(at.sin_port);
	if ((pid = fork()) == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(accept(fd, NULL, NULL), s);
	}
	close(fd);
	return pid;
}

/* --- the probe --- */

struct heard {
	unsigned n;
	struct probe_answer answer;
};

static void
on_answer(const struct probe_answer *answer, void *arg)
{
	struct heard *h = arg;

	h->n++;
	h->answer = *answer;
}

static struct prober *
prober_at(int port, int timeout_s)
{
	char ca[128];
	struct prober_config config = {
	    .ca_file = ca, .timeout_s = timeout_s, .helo = "probe.test", .port = port};
	struct errmsg em = {""};
	struct prober *prober;

	snprintf(ca, sizeof(ca), "%s/ca.pem", lab.dir);
	prober = prober_new(lab.base, &config, &em);
	if (prober == NULL)
		fail_msg("%s", em.text);
	return prober;
}

static struct probe_answer
probe_port(int port, int timeout_s, const char *address)
{
	struct prober *prober = prober_at(port, timeout_s);
	struct heard h = {.n = 0};

	assert_true(probe_start(prober, address, HOST, on_answer, &h));
	assert_int_equal(h.n, 0); /* never from within the call */
	loop_until(lab.base, &h.n, 1);
	prober_free(&prober);
	assert_null(prober);
	return h.answer;
}

static struct probe_answer
probe_server(const struct server *s, int timeout_s)
{
	int port;
	pid_t pid = spawn_server(s, &port);
	struct probe_answer answer = probe_port(port, timeout_s, "127.0.0.1");

	stop(pid);
	return answer;
}

static void
check(size_t row, const struct server *s, enum probe_result want, const char *why)
{
	bool waits = strstr(why, "not whole") != NULL;
	double began = now_s();
	struct probe_answer a = probe_server(s, waits ? TIMEOUT_S : PATIENCE_S);

	if (a.result != want || strstr(a.why.text, why) == NULL)
		fail_msg("row %zu: %s: %s", row, probe_result_name(a.result), a.why.text);
	if (waits && now_s() - began > TIMEOUT_S + 5)
		fail_msg("row %zu: %.1f s", row, now_s() - began);
}

#define G "220 mx.test ESMTP\r\n"
#define E "250-mx.test\r\n250-SIZE 1\r\n250 STARTTLS\r\n"
#define S "220 go ahead\r\n"

static void
what_a_server_says_is_told_by_its_result(void **state UNUSED)
{
	static const struct {
		struct server server;
		enum probe_result want;
		const char *why;
	} t[] = {
	    {{TLS, G, E, S, "all"}, PROBE_OK, ""},
	    {{TLS, G, E, S, "other"}, PROBE_HOST_MISMATCH, "but mta-sts.another.test"},
	    {{TLS, G, E, S, "cnonly"}, PROBE_HOST_MISMATCH, "subjectAltName"},
	    {{TLS, G, E, S, "expired"}, PROBE_EXPIRED, "expired; nor does it name the host"},
	    {{TLS, G, E, S, "stranger"}, PROBE_NOT_TRUSTED, "issuer"},
	    {{TLS, G, E, S, "selfsigned"}, PROBE_NOT_TRUSTED, "self"},
	    {{PLAIN, "554 go away\r\n", NULL, NULL, NULL}, PROBE_NO_SMTP, "554 go away"},
	    {{PLAIN, "421 busy\r\n", NULL, NULL, NULL}, PROBE_NO_SMTP, "421 busy"},
	    {{PLAIN, G, "421 busy\r\n", NULL, NULL}, PROBE_NO_SMTP, "now: 421 busy"},
	    {{PLAIN, G, "502 what?\r\n", NULL, NULL}, PROBE_NO_STARTTLS, "EHLO"},
	    {{PLAIN, G, "250 mx.test\r\n", NULL, NULL}, PROBE_NO_STARTTLS, "does not offer"},
	    {{PLAIN, G, E, "454 not now\r\n", NULL}, PROBE_TLS_FAILED, "refuses it: 454 not now"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		check(i, &t[i].server, t[i].want, t[i].why);
}

static void
a_session_is_told_whole(void **state UNUSED)
{
	struct probe_answer a = probe_server(&(struct server){TLS, G, E, S, "all"}, PATIENCE_S);

	assert_string_equal(a.banner, "mx.test ESMTP");
	assert_true(a.starttls && a.has_cert && a.trusted && a.cert.names_host);
	assert_string_equal(a.tls_version, "TLSv1.3");
	assert_non_null(strstr(a.cipher, "AES"));
	assert_string_equal(a.cert.issuer, "test ca");
	assert_string_equal(a.why.text, "");
}

static void
a_hostile_server_costs_a_bounded_time_and_its_fault_is_named(void **state UNUSED)
{
	static const struct {
		struct server server;
		enum probe_result want;
		const char *why;
	} t[] = {
	    {{PLAIN, NULL, NULL, NULL, NULL}, PROBE_NO_SMTP, "ended before its greeting"},
	    {{STALL, "", NULL, NULL, NULL}, PROBE_NO_SMTP, "greeting was not whole within 2 s"},
	    {{DRIP, "220-slowly, slowly, slowly, slowly, slowly, slowly, slowly", NULL, NULL, NULL},
		PROBE_NO_SMTP, "greeting was not whole within 2 s"},
	    {{ENDLESS, "220-more\r\n", NULL, NULL, NULL}, PROBE_NO_SMTP, "more than 128 lines"},
	    {{ENDLESS, "220-more", NULL, NULL, NULL}, PROBE_NO_SMTP, "more than 2048 bytes"},
	    {{PLAIN, "SSH-2.0-x\r\n", NULL, NULL, NULL}, PROBE_NO_SMTP, "have \"SSH-2.0-x\""},
	    {{PLAIN, G G, NULL, NULL, NULL}, PROBE_NO_SMTP, "nobody asked for"},
	    {{STALL, G, NULL, NULL, NULL}, PROBE_NO_SMTP, "answer to EHLO was not whole"},
	    {{STALL, G, E, NULL, NULL}, PROBE_TLS_FAILED, "answer to STARTTLS was not whole"},
	    {{PLAIN, G, E, S "250 injected\r\n", NULL}, PROBE_TLS_FAILED, "nobody asked for"},
	    {{PLAIN, G, E, S, NULL}, PROBE_TLS_FAILED, "handshake"},
	    {{STALL, G, E, S, NULL}, PROBE_TLS_FAILED, "handshake was not whole within 2 s"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		check(i, &t[i].server, t[i].want, t[i].why);
}

/* The garbage comes as an answer to the ClientHello, so not in the packet of the 220. */
static void
tls_garbage_is_a_failed_handshake(void **state UNUSED)
{
	struct sockaddr_in at = {.sin_port = 0};
	int fd = bound_socket(SOCK_STREAM, &at);
	struct probe_answer a;
	pid_t pid;

	assert_true(fd >= 0 && listen(fd, 1) == 0);
	if ((pid = fork()) == 0) {
		char hello[4096];
		int client = accept(fd, NULL, NULL);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		say(client, G);
		hear(client, "EHLO");
		say(client, E);
		hear(client, "STARTTLS");
		say(client, S);
		if (read(client, hello, sizeof(hello)) <= 0)
			_exit(1);
		for (;;)
			say(client, "\x16\x03\x03\x7f\xff garbage without end");
	}
	close(fd);
	a = probe_port(ntohs(at.sin_port), PATIENCE_S, "127.0.0.1");
	stop(pid);
	assert_int_equal(a.result, PROBE_TLS_FAILED);
	assert_non_null(strstr(a.why.text, "the TLS handshake failed: "));
}

static void
nobody_there_is_told_as_the_system_does(void **state UNUSED)
{
	struct probe_answer a = probe_port(free_port(), PATIENCE_S, "127.0.0.1");

	assert_int_equal(a.result, PROBE_UNREACHABLE);
	assert_string_equal(a.why.text, "Connection refused");
	a = probe_port(25, PATIENCE_S, "no address");
	assert_int_equal(a.result, PROBE_UNREACHABLE);
}

static void
probes_under_way_end_with_their_prober(void **state UNUSED)
{
	static const struct server silent = {STALL, "", NULL, NULL, NULL};
	struct heard h = {.n = 0};
	struct prober *prober;
	int port;
	pid_t pid = spawn_server(&silent, &port);

	prober = prober_at(port, PATIENCE_S);
	assert_true(probe_start(prober, "127.0.0.1", HOST, on_answer, &h));
	assert_true(probe_start(prober, "no address", HOST, on_answer, &h));
	prober_free(&prober);
	event_base_loop(lab.base, EVLOOP_NONBLOCK);
	assert_int_equal(h.n, 0);
	stop(pid);
}

static void
certificates_that_cannot_be_read_are_an_error_at_start(void **state UNUSED)
{
	struct prober_config config = {
	    .ca_file = "/nonexistent", .timeout_s = 1, .helo = "x", .port = 25};
	struct errmsg em;

	assert_null(prober_new(lab.base, &config, &em));
	assert_non_null(strstr(em.text, "/nonexistent"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_a_server_says_is_told_by_its_result),
	    cmocka_unit_test(a_session_is_told_whole),
	    cmocka_unit_test(a_hostile_server_costs_a_bounded_time_and_its_fault_is_named),
	    cmocka_unit_test(tls_garbage_is_a_failed_handshake),
	    cmocka_unit_test(nobody_there_is_told_as_the_system_does),
	    cmocka_unit_test(probes_under_way_end_with_their_prober),
	    cmocka_unit_test(certificates_that_cannot_be_read_are_an_error_at_start),
	};

	return cmocka_run_group_tests_name("probe", tests, lab_open, lab_close);
}
