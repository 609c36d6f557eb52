#include "ctl/lookup.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "site/config.h"
#include "site/sock.h"
#include "util/netstring.h"
#include "util/when.h"

enum {
	KEY_MAX = 512,        /* bytes: Sendmail cuts its keys to 255 */
	ANSWER_MAX = 1024,    /* bytes of the netstring; the words are short */
	ANSWER_WAIT_MS = 5000 /* as -d5 of a socket map */
};

/* The body of the answer, a view of buf; false with a reason. */
static bool
receive(int fd, unsigned char buf[ANSWER_MAX], struct cursor *body, struct errmsg *em)
{
	long until = when_monotonic_ms() + ANSWER_WAIT_MS;
	size_t len = 0;

	for (;;) {
		struct cursor bytes = cursor_of(buf, len);
		enum netstring_result rc = netstring_take(&bytes, ANSWER_MAX - 8, body);
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		long left = until - when_monotonic_ms();
		ssize_t n;

		if (rc == NETSTRING_OK)
			return true;
		if (rc == NETSTRING_BAD) {
			errmsg_set(
			    em, "the answer is no netstring of at most %d bytes", ANSWER_MAX - 8);
			return false;
		}
		if (left <= 0) {
			errmsg_set(em, "no answer within %d s", ANSWER_WAIT_MS / 1000);
			return false;
		}
		if (poll(&pfd, 1, (int)left) <= 0)
			continue; /* the time ends it */
		n = recv(fd, buf + len, ANSWER_MAX - len, 0);
		if (n <= 0 && !(n < 0 && errno == EINTR)) {
			errmsg_set(em, "the connection was closed without an answer");
			return false;
		}
		len += n > 0 ? (size_t)n : 0;
	}
}

/* One request, one answer. */
static bool
exchange(const char *address, const char *key, unsigned char buf[ANSWER_MAX], struct cursor *body,
    struct errmsg *em)
{
	char request[KEY_MAX + 32], text[KEY_MAX + 16];
	int len = snprintf(text, sizeof(text), "mtastsq %s", key);
	int n = snprintf(request, sizeof(request), "%d:%s,", len, text);
	int fd = sock_connect(address, em);
	bool ok;

	if (fd < 0)
		return false;
	ok = send(fd, request, (size_t)n, MSG_NOSIGNAL) == n;
	if (!ok)
		errmsg_set(em, "the request could not be sent: %s", strerror(errno));
	ok = ok && receive(fd, buf, body, em);
	close(fd);
	return ok;
}

/* EX_TEMPFAIL is the one code that Sendmail takes for "mtastsd does not answer". */
int
command_lookup(const struct invocation *inv)
{
	const char *key = inv->operand[0];
	unsigned char buf[ANSWER_MAX];
	struct cursor body = {NULL, NULL};
	struct errmsg em;
	struct config *config;
	bool ok;

	if (strlen(key) > KEY_MAX)
		return command_fail(inv, EX_TEMPFAIL, "a key of more than %d bytes", KEY_MAX);
	config = config_read(inv->conf, &em);
	if (config == NULL)
		return command_fail(inv, EX_TEMPFAIL, "%s", em.text);
	errmsg_set(&em, "%s: socketmap listen is empty", inv->conf);
	ok = config->socketmap.listen.n > 0 &&
	     exchange(config->socketmap.listen.item[0], key, buf, &body, &em);
	config_free(&config);
	if (!ok)
		return command_fail(inv, EX_TEMPFAIL, "mtastsd cannot be asked: %s", em.text);
	if (!cursor_take(&body, "OK "))
		return command_fail(inv, EX_TEMPFAIL, "mtastsd answers: %.*s",
		    (int)cursor_len(&body), (const char *)body.p);
	fprintf(inv->out, "%.*s\n", (int)cursor_len(&body), (const char *)body.p);
	return EX_OK;
}
