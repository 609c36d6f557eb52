#include "ctl/selftest_hosts.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	LINE_MAX_LEN = 1100, /* bytes of an SMTP line, more than RFC 5321 section 4.5.3.1.6 has */
	IDLE_S = 30,
	TTL_S = 60,
	PACKET_MAX = 512,
	MX_PREFERENCE = 10,
	ANSWER_ROOM = 16 /* bytes of an address or a preference, with something to spare */
};

/* 127.84.83.1 and so on: no address that a site's configuration is likely to name. */
static struct in_addr
address_of(size_t index)
{
	return (struct in_addr){htonl(0x7f545301U + (uint32_t)index)};
}

static int
listen_on(int type, struct in_addr address, uint16_t port)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd >= 0 && (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
			   (type == SOCK_STREAM && listen(fd, 16) != 0))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

bool
selftest_hosts_listen(struct selftest_hosts *h, struct errmsg *em)
{
	bool ok =
	    (h->dns = listen_on(SOCK_DGRAM, (struct in_addr){htonl(INADDR_LOOPBACK)}, 53)) >= 0;

	for (size_t i = 0; ok && i < h->n; i++)
		ok = (h->smtp[i] = listen_on(SOCK_STREAM, address_of(i), 25)) >= 0;
	if (!ok)
		errmsg_set(em, "cannot listen in the private network: %s", strerror(errno));
	return ok;
}

/* ---- DNS ---- */

/* Is name label.domain, or with an empty label domain itself? */
static bool
is_name(const char *name, const char *label, const char *domain)
{
	size_t len = strlen(label);

	if (len > 0 && (strncasecmp(name, label, len) != 0 || name[len] != '.'))
		return false;
	return strcasecmp(name + len + (len > 0), domain) == 0;
}

/* An answer that grows behind its question. */
struct answer {
	unsigned char *p, *end;
	unsigned n;
};

static void
put_name(struct answer *a, const char *name)
{
	int n = ns_name_compress(name, a->p, (size_t)(a->end - a->p), NULL, NULL);

	a->p = n > 0 ? a->p + n : a->end;
}

/* One record with room for its data; returns where the length of the data stands. */
static unsigned char *
begin_record(struct answer *a, const char *owner, int type)
{
	put_name(a, owner);
	if (a->end - a->p < NS_RRFIXEDSZ + ANSWER_ROOM)
		return NULL;
	NS_PUT16(type, a->p);
	NS_PUT16(ns_c_in, a->p);
	NS_PUT32(TTL_S, a->p);
	a->p += NS_INT16SZ;
	a->n++;
	return a->p - NS_INT16SZ;
}

static void
end_record(const struct answer *a, unsigned char *length)
{
	NS_PUT16(a->p - length - NS_INT16SZ, length);
}

static void
put_alias(struct answer *a, const char *alias, const char *domain)
{
	unsigned char *length = begin_record(a, alias, ns_t_cname);

	if (length == NULL)
		return;
	put_name(a, domain);
	end_record(a, length);
}

static void
put_mx(struct answer *a, const struct selftest_host *host)
{
	unsigned char *length = begin_record(a, host->domain, ns_t_mx);
	char mx[NS_MAXDNAME];

	if (length == NULL)
		return;
	snprintf(mx, sizeof(mx), "%s.%s", host->label, host->domain);
	NS_PUT16(MX_PREFERENCE, a->p);
	put_name(a, mx);
	end_record(a, length);
}

static void
put_address(struct answer *a, const char *name, struct in_addr address)
{
	unsigned char *length = begin_record(a, name, ns_t_a);

	if (length == NULL)
		return;
	a->p = mempcpy(a->p, &address, sizeof(address));
	end_record(a, length);
}

/* What there is of a name; false: no such name. */
static bool
answer_name(const struct selftest_hosts *h, const char *name, int type, struct answer *a)
{
	for (size_t i = 0; i < h->n; i++) {
		const struct selftest_host *host = &h->host[i];
		bool alias = host->alias != NULL && is_name(name, "", host->alias);

		if (alias)
			put_alias(a, name, host->domain);
		if (alias || is_name(name, "", host->domain)) {
			if (type == ns_t_mx)
				put_mx(a, host);
			return true;
		}
		if (is_name(name, host->label, host->domain)) {
			if (type == ns_t_a)
				put_address(a, name, address_of(i));
			return true;
		}
	}
	return false;
}

/* Makes the answer in the place of the query; returns its length, 0: none. */
static size_t
answer_query(const struct selftest_hosts *h, unsigned char packet[PACKET_MAX], size_t len)
{
	unsigned char *p = packet + NS_HFIXEDSZ;
	const unsigned char *end = packet + len;
	struct answer a = {.end = packet + PACKET_MAX};
	ns_msg msg;
	ns_rr question;
	bool exists;

	if (ns_initparse(packet, (int)len, &msg) != 0 || ns_msg_count(msg, ns_s_qd) != 1 ||
	    ns_parserr(&msg, ns_s_qd, 0, &question) != 0)
		return 0;
	while (p < end && *p != 0 && *p < NS_CMPRSFLGS)
		p += *p + 1;
	if (end - p < 1 + NS_QFIXEDSZ || *p != 0)
		return 0;
	a.p = p + 1 + NS_QFIXEDSZ;
	exists = answer_name(h, ns_rr_name(question), ns_rr_type(question), &a);
	packet[2] = 0x84 | (packet[2] & 0x01);                      /* QR, AA, RD as asked */
	packet[3] = 0x80 | (exists ? ns_r_noerror : ns_r_nxdomain); /* RA */
	memset(packet + 6, 0, 6); /* answers, authority, additional */
	packet[7] = (unsigned char)a.n;
	return (size_t)(a.p - packet);
}

void
selftest_hosts_dns(const struct selftest_hosts *h)
{
	unsigned char packet[PACKET_MAX];
	struct sockaddr_storage from;

	for (;;) {
		socklen_t from_len = sizeof(from);
		ssize_t n =
		    recvfrom(h->dns, packet, PACKET_MAX, 0, (struct sockaddr *)&from, &from_len);
		size_t len = n > 0 ? answer_query(h, packet, (size_t)n) : 0;

		if (len > 0)
			(void)!sendto(h->dns, packet, len, 0, (struct sockaddr *)&from, from_len);
	}
}

/* ---- SMTP ---- */

struct session {
	int fd;
	SSL *ssl; /* NULL: in the clear */
	char in[LINE_MAX_LEN];
	size_t len;
};

static void
say(struct session *s, const char *text)
{
	if (s->ssl != NULL)
		(void)!SSL_write(s->ssl, text, (int)strlen(text));
	else
		(void)!send(s->fd, text, strlen(text), MSG_NOSIGNAL);
}

/* The next line without its end; false: the client is gone, or the line too long. */
static bool
hear(struct session *s, char line[LINE_MAX_LEN])
{
	char *end;
	ssize_t n;

	while ((end = memchr(s->in, '\n', s->len)) == NULL) {
		size_t room = sizeof(s->in) - s->len;

		n = room == 0        ? -1
		    : s->ssl != NULL ? SSL_read(s->ssl, s->in + s->len, (int)room)
				     : recv(s->fd, s->in + s->len, room, 0);
		if (n <= 0)
			return false;
		s->len += (size_t)n;
	}
	n = end - s->in;
	memcpy(line, s->in, (size_t)n);
	line[n > 0 && line[n - 1] == '\r' ? n - 1 : n] = '\0';
	s->len -= (size_t)n + 1;
	memmove(s->in, end + 1, s->len);
	return true;
}

static bool
begin_tls(struct session *s, SSL_CTX *ctx)
{
	say(s, "220 2.0.0 go ahead\r\n");
	s->len = 0;
	s->ssl = SSL_new(ctx);
	return s->ssl != NULL && SSL_set_fd(s->ssl, s->fd) == 1 && SSL_accept(s->ssl) == 1;
}

static bool
take_message(struct session *s)
{
	char line[LINE_MAX_LEN];

	say(s, "354 go ahead\r\n");
	do {
		if (!hear(s, line))
			return false;
	} while (strcmp(line, ".") != 0);
	say(s, "250 2.0.0 taken\r\n");
	return true;
}

static bool
is_command(const char *line, const char *name)
{
	return strncasecmp(line, name, strlen(name)) == 0;
}

static void
serve(struct session *s, SSL_CTX *tls, unsigned char index, int taken)
{
	char line[LINE_MAX_LEN];

	say(s, "220 mx.mtasts-selftest.invalid ESMTP\r\n");
	while (hear(s, line)) {
		if (is_command(line, "EHLO") && tls != NULL && s->ssl == NULL)
			say(s, "250-mx.mtasts-selftest.invalid\r\n250 STARTTLS\r\n");
		else if (is_command(line, "EHLO") || is_command(line, "HELO"))
			say(s, "250 mx.mtasts-selftest.invalid\r\n");
		else if (is_command(line, "STARTTLS") && tls != NULL && s->ssl == NULL) {
			if (!begin_tls(s, tls))
				return;
		} else if (is_command(line, "DATA")) {
			unsigned char byte = index | (s->ssl != NULL ? SELFTEST_TLS : 0);

			if (!take_message(s) || write(taken, &byte, 1) != 1)
				return;
		} else if (is_command(line, "QUIT")) {
			say(s, "221 2.0.0 bye\r\n");
			return;
		} else
			say(s, "250 2.0.0 ok\r\n");
	}
}

void
selftest_hosts_smtp(const struct selftest_hosts *h, int taken)
{
	static struct session session; /* one at a time: one message is under way */
	struct pollfd fds[SELFTEST_HOSTS_MAX];
	struct timeval idle = {.tv_sec = IDLE_S};

	for (size_t i = 0; i < h->n; i++)
		fds[i] = (struct pollfd){.fd = h->smtp[i], .events = POLLIN};
	for (;;) {
		(void)!poll(fds, (nfds_t)h->n, -1);
		for (size_t i = 0; i < h->n; i++) {
			if ((fds[i].revents & POLLIN) == 0)
				continue;
			session = (struct session){.fd = accept(fds[i].fd, NULL, NULL)};
			if (session.fd < 0)
				continue;
			setsockopt(session.fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle));
			setsockopt(session.fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof(idle));
			serve(&session, h->host[i].tls, (unsigned char)i, taken);
			if (session.ssl != NULL)
				(void)SSL_shutdown(session.ssl);
			SSL_free(session.ssl);
			close(session.fd);
		}
	}
}
