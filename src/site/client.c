#include "site/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "site/sock.h"
#include "util/when.h"

/* bytes of one answer line: a full page of list with the largest policies fits */
enum { ANSWER_MAX = 64 << 20 };

struct client {
	int fd;
	char *buf;
	size_t len, room;
};

struct client *
client_open(const char *address, struct errmsg *em)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		errmsg_set(em, "out of memory");
		return NULL;
	}
	c->fd = sock_connect(address, em);
	if (c->fd < 0)
		client_close(&c);
	return c;
}

void
client_close(struct client **c)
{
	if (*c == NULL)
		return;
	if ((*c)->fd >= 0)
		close((*c)->fd);
	free((*c)->buf);
	free(*c);
	*c = NULL;
}

enum client_result
client_send(struct client *c, json_t *request, struct errmsg *em)
{
	char *text = json_dumps(request, JSON_COMPACT);
	size_t len = text == NULL ? 0 : strlen(text);

	if (text == NULL) {
		errmsg_set(em, "request cannot be written as JSON");
		return CLIENT_AWAY;
	}
	text[len++] = '\n'; /* in the place of the NUL: the length is explicit from here on */
	for (size_t done = 0; done < len;) {
		ssize_t n = send(c->fd, text + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errmsg_set(em, "mtastsd closed the connection: %s", strerror(errno));
			free(text);
			return CLIENT_AWAY;
		}
		done += (size_t)n;
	}
	free(text);
	return CLIENT_OK;
}

/*
 * Takes the first line out of the buffer; NULL when there is none yet, or when it is no JSON (then
 * *broken).
 */
static json_t *
take_line(struct client *c, bool *broken, struct errmsg *em)
{
	char *nl = c->len == 0 ? NULL : memchr(c->buf, '\n', c->len);
	json_error_t error;
	json_t *answer;
	size_t used;

	if (nl == NULL)
		return NULL;
	used = (size_t)(nl + 1 - c->buf);
	answer = json_loadb(c->buf, used - 1, 0, &error);
	if (answer == NULL) {
		errmsg_set(em, "mtastsd's answer is no JSON: %s", error.text);
		*broken = true;
	}
	c->len -= used;
	memmove(c->buf, c->buf + used, c->len);
	return answer;
}

static bool
make_room(struct client *c)
{
	size_t room = c->room == 0 ? 4096 : c->room * 2;
	char *grown;

	if (c->len < c->room)
		return true;
	if (room > ANSWER_MAX || (grown = realloc(c->buf, room)) == NULL)
		return false;
	c->buf = grown;
	c->room = room;
	return true;
}

enum client_result
client_wait(struct client *c, int timeout_ms, json_t **answer, struct errmsg *em)
{
	long until = when_monotonic_ms() + timeout_ms;
	bool broken = false;

	while ((*answer = take_line(c, &broken, em)) == NULL && !broken) {
		struct pollfd pfd = {.fd = c->fd, .events = POLLIN};
		long left = until - when_monotonic_ms();
		ssize_t n;
		int rc = poll(&pfd, 1, left > 0 ? (int)left : 0);

		if (rc == 0)
			return CLIENT_AGAIN;
		if (rc < 0 && errno == EINTR)
			continue;
		if (!make_room(c)) {
			errmsg_set(em, "mtastsd's answer is longer than %d bytes", ANSWER_MAX);
			return CLIENT_AWAY;
		}
		n = recv(c->fd, c->buf + c->len, c->room - c->len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errmsg_set(em, "mtastsd closed the connection%s%s", n < 0 ? ": " : "",
			    n < 0 ? strerror(errno) : "");
			return CLIENT_AWAY;
		}
		c->len += (size_t)n;
	}
	return broken ? CLIENT_AWAY : CLIENT_OK;
}
