#include "milter/releaser.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "site/sock.h"
#include "util/when.h"

enum {
	LINE_MAX_LEN = REASON_MAX + 64, /* bytes of an answer's line */
	LIST_MS = 10000                 /* it may be at work when we ask, and a queue may be long */
};

struct answer {
	int fd;
	long until; /* when_monotonic_ms() */
	char buf[LINE_MAX_LEN];
	size_t len, taken; /* bytes in buf, and those of lines given out */
};

static bool
ask(struct answer *a, const char *address, const char *request, int wait_ms)
{
	char line[128];
	size_t len = (size_t)snprintf(line, sizeof(line), "%s\n", request);

	*a = (struct answer){.until = when_monotonic_ms() + wait_ms};
	a->fd = sock_connect(address, NULL);
	return a->fd >= 0 && len < sizeof(line) &&
	       send(a->fd, line, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool
fill(struct answer *a)
{
	struct pollfd pfd = {.fd = a->fd, .events = POLLIN};
	long left = a->until - when_monotonic_ms();
	ssize_t n;

	memmove(a->buf, a->buf + a->taken, a->len - a->taken);
	a->len -= a->taken;
	a->taken = 0;
	if (a->len == sizeof(a->buf) || left <= 0 || poll(&pfd, 1, (int)left) <= 0)
		return false;
	n = recv(a->fd, a->buf + a->len, sizeof(a->buf) - a->len, 0);
	if (n <= 0)
		return false;
	a->len += (size_t)n;
	return true;
}

/* The next line, without its end; valid until the next call. */
static bool
take_line(struct answer *a, struct cursor *line)
{
	char *nl;

	while ((nl = memchr(a->buf + a->taken, '\n', a->len - a->taken)) == NULL)
		if (!fill(a))
			return false;
	*line = cursor_of(a->buf + a->taken, (size_t)(nl - (a->buf + a->taken)));
	a->taken = (size_t)(nl + 1 - a->buf);
	return true;
}

static void
hang_up(struct answer *a)
{
	if (a->fd >= 0)
		close(a->fd);
}

static bool
is(const struct cursor *line, const char *word)
{
	return cursor_len(line) == strlen(word) && memcmp(line->p, word, strlen(word)) == 0;
}

enum releaser_result
releaser_release(const char *address, const char *queue_id, int wait_ms)
{
	enum releaser_result result = RELEASER_AWAY;
	struct cursor line;
	struct answer a;

	if (ask(&a, address, queue_id, wait_ms) && take_line(&a, &line)) {
		result = RELEASER_LATER;
		if (is(&line, "released"))
			result = RELEASER_RELEASED;
		if (is(&line, "absent"))
			result = RELEASER_ABSENT;
		if (is(&line, "others"))
			result = RELEASER_OTHERS;
	}
	hang_up(&a);
	return result;
}

bool
releaser_list(const char *address, releaser_cb *cb, void *arg)
{
	bool more = false, whole = false;
	struct cursor line;
	struct answer a;
	char id[64];

	if (ask(&a, address, "list", LIST_MS))
		more = take_line(&a, &line);
	while (more && !(whole = is(&line, "end"))) {
		const unsigned char *blank = memchr(line.p, ' ', cursor_len(&line));

		if (blank == NULL || (size_t)(blank - line.p) >= sizeof(id))
			break;
		snprintf(id, sizeof(id), "%.*s", (int)(blank - line.p), (const char *)line.p);
		cb(id, (struct cursor){blank + 1, line.end}, arg);
		more = take_line(&a, &line);
	}
	hang_up(&a);
	return whole;
}
