#include "release/requests.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "release/unquarantine.h"
#include "util/log.h"

enum {
	REQUEST_MAX = 64, /* bytes of a line */
	LIST_MAX = 10000, /* messages of one answer; those to come are listed when these are gone */
	PATIENCE_S = 2    /* for the peer, at each read and write */
};

static bool
may_ask(int connection, uid_t uid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return false;
	if (peer.uid == 0 || peer.uid == uid)
		return true;
	log_line(LOG_WARNING, "refused: uid %ld, process %ld", (long)peer.uid, (long)peer.pid);
	return false;
}

/* Reads a line of at most REQUEST_MAX bytes; without its end. */
static bool
read_request(int connection, char line[REQUEST_MAX + 1])
{
	size_t len = 0;
	ssize_t n;

	while (len < REQUEST_MAX && (n = recv(connection, line + len, REQUEST_MAX - len, 0)) > 0) {
		char *nl = memchr(line + len, '\n', (size_t)n);

		len += (size_t)n;
		if (nl == NULL)
			continue;
		*nl = '\0';
		return nl + 1 == line + len; /* one line, and nothing behind it */
	}
	return false;
}

static bool
reply(int connection, const char *text)
{
	size_t len = strlen(text);

	return send(connection, text, len, MSG_NOSIGNAL) == (ssize_t)len;
}

struct listing {
	int connection;
	size_t n;
};

static bool
list_one(const struct queue_message *m, void *arg)
{
	struct listing *l = arg;
	char line[QUEUE_ID_LEN_MAX + REASON_MAX + 3];

	snprintf(line, sizeof(line), "%s %s\n", m->id, m->reason);
	return ++l->n <= LIST_MAX && reply(l->connection, line);
}

static const char *
release(const struct config *config, const char *id)
{
	switch (unquarantine(config, id, "request")) {
	case UNQUARANTINE_OK:
		return "released\n";
	case UNQUARANTINE_ABSENT:
		return "absent\n";
	case UNQUARANTINE_OTHERS:
		return "others\n";
	case UNQUARANTINE_FAILED:
		break;
	}
	return "later\n";
}

static void
answer(const struct config *config, int connection, const char *request)
{
	struct listing l = {connection, 0};

	if (strcmp(request, "list") == 0) {
		queue_each(&config->release_queue, list_one, &l);
		reply(connection, "end\n");
	} else if (queue_id_valid(cursor_of(request, strlen(request)))) {
		reply(connection, release(config, request));
	} else {
		reply(connection, "no queue id\n");
	}
}

void
requests_serve(const struct config *config, int connection, uid_t uid)
{
	static const struct timeval patience = {.tv_sec = PATIENCE_S};
	char line[REQUEST_MAX + 1];

	(void)setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (may_ask(connection, uid) && read_request(connection, line))
		answer(config, connection, line);
	close(connection);
}
