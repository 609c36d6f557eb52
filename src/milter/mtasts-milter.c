/*
 * mtasts-milter: starts discovery at RCPT, waits a little at end-of-message, tags;
 * mtasts-milter(8).
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>

#include "milter/filter.h"
#include "milter/quarantine.h"
#include "site/arguments.h"
#include "site/config.h"
#include "site/notify.h"
#include "site/privs.h"
#include "site/sock.h"
#include "util/log.h"

/* Makes the directory of a unix socket for the user, when there is none; root only. */
static bool
make_socket_dir(const struct config *config, struct errmsg *em)
{
	struct sock_address a;
	struct stat st;
	const char *path;
	char dir[SOCK_TEXT_MAX];

	if (!sock_parse(config->milter_socket, &a, em))
		return false;
	path = sock_unix_path(&a);
	if (geteuid() != 0 || path == NULL || strrchr(path, '/') == path)
		return true;
	snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
	return stat(dir, &st) == 0 || privs_own_dir(dir, config->user, NULL, 0755, em);
}

/*
 * A session takes two descriptors, the MTA's connection and ours to mtastsd, and libmilter stops
 * serving when it has none: with the usual soft limit of 1024 that is some 500 sessions.
 */
static void
raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int
serve(const struct config *config)
{
	struct errmsg em = {""};
	int code = EX_OK;

	raise_descriptors();
	if (!make_socket_dir(config, &em) || !privs_drop(config->user, &em))
		code = EX_NOPERM;
	else if (!filter_open(config, &em))
		code = EX_UNAVAILABLE;
	else if (config->milter_hold == HOLD_QUARANTINE && !quarantine_start(config, &em))
		code = EX_OSERR;
	if (code != EX_OK) {
		log_line(LOG_ERR, "%s", em.text);
		return code;
	}
	log_line(LOG_INFO, "version=" PACKAGE_VERSION " socket=%s wait_s=%ld header=%s",
	    config->milter_socket, (long)config->milter_wait_s,
	    config->milter_header == NULL ? "off" : config->milter_header);
	notify("READY=1");
	if (!filter_run(&em)) {
		log_line(LOG_ERR, "%s", em.text);
		code = EX_SOFTWARE;
	}
	notify("STOPPING=1");
	log_line(LOG_INFO, "stopped");
	return code;
}

static int
run(const char *path, bool test)
{
	struct errmsg em = {""};
	struct config *config = config_read(path, &em);

	if (config == NULL) {
		fprintf(stderr, "mtasts-milter: %s\n", em.text);
		return EX_CONFIG;
	}
	if (!test) {
		log_open("mtasts-milter", true, config->debug);
		signal(SIGPIPE, SIG_IGN);
		json_object_seed(0); /* before there are threads */
		/* config stays: libmilter's workers outlive serve() and read it until we exit. */
		return serve(config);
	}
	printf("%s: ok\n", path);
	config_free(&config);
	return EX_OK;
}

int
main(int argc, char **argv)
{
	struct arguments arguments;
	int code = arguments_read("mtasts-milter", argc, argv, &arguments);

	return code == ARGUMENTS_RUN ? run(arguments.conf, arguments.test) : code;
}
