/*
 * mtasts-release: releases messages that mtasts-milter put into the MTA's quarantine;
 * mtasts-release(8). Runs as root or as Sendmail's TrustedUser, so it is small: it parses a queue
 * id and the first lines of the MTA's own files, and nothing that comes from the network.
 */
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "release/requests.h"
#include "release/unquarantine.h"
#include "site/arguments.h"
#include "site/notify.h"
#include "site/privs.h"
#include "site/sock.h"
#include "util/log.h"
#include "util/when.h"

enum { SWEEP_MS = 30000 }; /* between two looks for messages that nobody has released in time */

static volatile sig_atomic_t stopping;

static void
on_signal(int number UNUSED)
{
	stopping = 1;
}

/* How long a message may stay, whatever mtastsd says or does not say: the rules hold it anyway. */
static time_t
longest(const struct config *config)
{
	return config->away_limit_s != AWAY_NEVER && config->away_limit_s < config->hold_max_s
		   ? config->away_limit_s
		   : config->hold_max_s;
}

static bool
sweep_one(const struct queue_message *m, void *arg)
{
	const struct config *config = arg;

	if (time(NULL) - m->since >= longest(config))
		(void)!unquarantine(config, m->id, "age"); /* tried again at the next sweep */
	return stopping == 0;
}

static void
serve(struct config *config, int listener, uid_t uid)
{
	struct pollfd pfd = {.fd = listener, .events = POLLIN};
	long next_sweep = when_monotonic_ms();

	while (stopping == 0) {
		long left = next_sweep - when_monotonic_ms();
		int connection;

		if (left <= 0) {
			queue_each(&config->release_queue, sweep_one, config);
			next_sweep = when_monotonic_ms() + SWEEP_MS;
			continue;
		}
		if (poll(&pfd, 1, (int)left) <= 0)
			continue;
		connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (connection >= 0)
			requests_serve(config, connection, uid);
	}
}

/* The directory of the socket is ours alone, so that nobody exchanges the socket for a link. */
static int
open_socket(const struct config *config, struct errmsg *em)
{
	struct sock_address a;
	const char *path;
	char dir[SOCK_TEXT_MAX];

	if (!sock_parse(config->release_socket, &a, em))
		return -1;
	path = sock_unix_path(&a);
	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (dir[0] != '\0' && !privs_own_dir(dir, "root", NULL, 0755, em))
		return -1;
	if (geteuid() == 0)
		return sock_listen(config->release_socket, 0600, config->user, NULL, em);
	/* Cannot give it away: open to all, and requests.c turns away whom it must. */
	return sock_listen(config->release_socket, 0666, NULL, NULL, em);
}

static int
open_and_serve(struct config *config)
{
	const struct sigaction stop = {.sa_handler = on_signal};
	const struct passwd *pw = getpwnam(config->user);
	struct errmsg em = {""};
	int listener;

	if (pw == NULL) {
		log_line(LOG_ERR, "no user \"%s\"", config->user);
		return EX_NOUSER;
	}
	if ((listener = open_socket(config, &em)) < 0) {
		log_line(LOG_ERR, "%s", em.text);
		return EX_UNAVAILABLE;
	}
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	log_line(LOG_INFO, "version=" PACKAGE_VERSION " socket=%s longest_s=%ld",
	    config->release_socket, (long)longest(config));
	notify("READY=1");
	serve(config, listener, pw->pw_uid);
	notify("STOPPING=1");
	close(listener);
	log_line(LOG_INFO, "stopped");
	return EX_OK;
}

static int
run(const char *path, bool test)
{
	struct errmsg em = {""};
	struct config *config = config_read(path, &em);
	int code = EX_OK;

	if (config == NULL) {
		fprintf(stderr, "mtasts-release: %s\n", em.text);
		return EX_CONFIG;
	}
	if (test) {
		printf("%s: ok\n", path);
	} else {
		log_open("mtasts-release", true, config->debug);
		code = open_and_serve(config);
	}
	config_free(&config);
	return code;
}

int
main(int argc, char **argv)
{
	struct arguments arguments;
	int code = arguments_read("mtasts-release", argc, argv, &arguments);

	return code == ARGUMENTS_RUN ? run(arguments.conf, arguments.test) : code;
}
