#include "ctl/peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "site/sock.h"

enum { ANSWER_MAX = 512, WAIT_S = 2 };

/* Sends a question and reads once; the number of bytes, or -1 with a reason. */
static ssize_t
ask(int fd, const void *question, size_t len, unsigned char answer[ANSWER_MAX], struct errmsg *em)
{
	struct timeval wait = {.tv_sec = WAIT_S};
	ssize_t n = -1;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (send(fd, question, len, MSG_NOSIGNAL) == (ssize_t)len)
		n = recv(fd, answer, ANSWER_MAX, 0);
	if (n < 0)
		errmsg_set(em, "no answer: %s",
		    errno == EAGAIN ? "nothing came in time" : strerror(errno));
	return n;
}

/* A single label has no policy, so nothing is looked up. */
bool
peer_is_lookup(const char *address, struct errmsg *em)
{
	static const char question[] = "17:mtastsq localhost,", wanted[] = "7:OK none,";
	unsigned char answer[ANSWER_MAX];
	int fd = sock_connect(address, em);
	ssize_t n;

	if (fd < 0)
		return false;
	n = ask(fd, question, strlen(question), answer, em);
	close(fd);
	if (n >= 0 && ((size_t)n != strlen(wanted) || memcmp(answer, wanted, (size_t)n) != 0)) {
		errmsg_set(em, "%s: what listens there is not mtastsd's socketmap", address);
		return false;
	}
	return n >= 0;
}

/* The name of the process that listens on a unix socket; empty: not known. */
static void
listener_name(int fd, char *out, size_t size)
{
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);
	char path[64];
	FILE *f;

	out[0] = '\0';
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%ld/comm", (long)peer.pid);
	if ((f = fopen(path, "re")) == NULL)
		return;
	if (fgets(out, (int)size, f) == NULL)
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	fclose(f);
}

/* The milter protocol's first step, as Sendmail makes it, and its last one. */
bool
peer_is_filter(const char *address, struct errmsg *em)
{
	static const unsigned char offer[] = {0, 0, 0, 13, 'O', 0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f,
	    0xff, 0xff},
				   quit[] = {0, 0, 0, 1, 'Q'};
	unsigned char answer[ANSWER_MAX];
	char name[64];
	int fd = sock_connect(address, em);
	ssize_t n;

	if (fd < 0)
		return false;
	listener_name(fd, name, sizeof(name));
	n = ask(fd, offer, sizeof(offer), answer, em);
	(void)!send(fd, quit, sizeof(quit), MSG_NOSIGNAL);
	close(fd);
	if (n < 0)
		return false;
	errmsg_set(em, "%s: what listens there is no milter", address);
	if (n < 17 || answer[4] != 'O')
		return false;
	errmsg_set(em, "%s: what listens there is %s, not mtasts-milter", address, name);
	return name[0] == '\0' || strcmp(name, "mtasts-milter") == 0;
}

/* ---- DNS ---- */

static bool
is_loopback(const struct addrinfo *at)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (at->ai_family == AF_INET) {
		memcpy(&in, at->ai_addr, sizeof(in));
		return ntohl(in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	memcpy(&in6, at->ai_addr, sizeof(in6));
	return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
}

/* NULL: no address; freeaddrinfo() otherwise. */
static struct addrinfo *
server_address(const char *server)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
			    .ai_socktype = SOCK_DGRAM},
			*found = NULL;
	const char *colon = strrchr(server, ':'), *port = "53";
	char host[64];

	snprintf(host, sizeof(host), "%s", server + (server[0] == '['));
	if (server[0] == '[')
		host[strcspn(host, "]")] = '\0';
	else if (colon != NULL && strchr(server, ':') == colon)
		host[strcspn(host, ":")] = '\0';
	if (colon != NULL && (server[0] == '[' ? colon[-1] == ']' : strchr(server, ':') == colon))
		port = colon + 1;
	return getaddrinfo(host, port, &hints, &found) == 0 ? found : NULL;
}

bool
peer_is_resolver(const char *server, bool *validates, bool *loopback, struct errmsg *em)
{
	/* ". SOA" with RD and AD, EDNS with DO */
	static const unsigned char question[] = {0x4d, 0x54, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1, 0,
	    0, 6, 0, 1, 0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0};
	struct addrinfo *at = server_address(server);
	unsigned char answer[ANSWER_MAX];
	ssize_t n = -1;
	int fd;

	*validates = *loopback = false;
	if (at == NULL) {
		errmsg_set(em, "%s: no address", server);
		return false;
	}
	*loopback = is_loopback(at);
	fd = socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0)
		n = ask(fd, question, sizeof(question), answer, em);
	else
		errmsg_set(em, "%s", strerror(errno));
	if (fd >= 0)
		close(fd);
	freeaddrinfo(at);
	if (n >= 12 && memcmp(answer, question, 2) == 0 && (answer[2] & 0x80) != 0) {
		*validates = (answer[3] & 0x20) != 0;
		return true;
	}
	if (n >= 0)
		errmsg_set(em, "what answers is no DNS server");
	return false;
}
