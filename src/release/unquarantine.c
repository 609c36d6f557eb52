#include "release/unquarantine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"
#include "util/when.h"

enum {
	RUN_MAX_MS = 60000, /* one run of Sendmail */
	TERM_MS = 5000,     /* between SIGTERM and SIGKILL */
	POLL_MS = 5
};

/* False: still running after ms. */
static bool
wait_for(pid_t pid, long ms)
{
	const struct timespec moment = {.tv_nsec = POLL_MS * 1000 * 1000};
	long until = when_monotonic_ms() + ms;
	pid_t done;

	while ((done = waitpid(pid, NULL, WNOHANG)) == 0 || (done < 0 && errno == EINTR)) {
		if (when_monotonic_ms() >= until)
			return false;
		nanosleep(&moment, NULL);
	}
	return true;
}

static void
put_an_end_to(pid_t pid, const char *program)
{
	log_line(LOG_ERR, "%s ran for %d s and is ended", program, RUN_MAX_MS / 1000);
	kill(pid, SIGTERM);
	if (wait_for(pid, TERM_MS))
		return;
	kill(pid, SIGKILL);
	(void)wait_for(pid, TERM_MS);
}

/* A process of its own session with no input, no output and an environment of nothing but a path. */
static void
run(const char *program, char *const argv[])
{
	char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	char *const environment[] = {path, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t signals;
	pid_t pid;
	int rc;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(
	    &attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	sigfillset(&signals);
	posix_spawnattr_setsigdefault(&attributes, &signals);
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attributes, &signals);
	rc = posix_spawn(&pid, program, &files, &attributes, argv, environment);
	if (rc != 0)
		log_line(LOG_ERR, "%s: cannot be run: %s; name it in release { sendmail }", program,
		    strerror(rc));
	else if (!wait_for(pid, RUN_MAX_MS))
		put_an_end_to(pid, program);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
}

enum unquarantine_result
unquarantine(const struct config *config, const char *id, const char *why)
{
	/* -qQ alone takes any quarantine; with text, those with the text in their reason. */
	char all[] = "-Q", quarantined[] = "-qQ" REASON_PREFIX, name[] = "sendmail";
	char one[QUEUE_ID_LEN_MAX + 4];
	struct queue_message m;
	enum queue_result found = queue_find(&config->release_queue, id, &m);

	if (found == QUEUE_ABSENT)
		return UNQUARANTINE_ABSENT;
	if (found != QUEUE_OURS) {
		log_line(LOG_NOTICE, "qid=%s not released: its quarantine is not ours", id);
		return UNQUARANTINE_OTHERS;
	}
	snprintf(one, sizeof(one), "-qI%s", id);
	run(config->release_sendmail, (char *const[]){name, all, quarantined, one, NULL});
	found = queue_find(&config->release_queue, id, &m);
	log_line(found == QUEUE_ABSENT ? LOG_INFO : LOG_WARNING,
	    "qid=%s released=%s by=%s after_s=%ld reason=\"%s\"", id,
	    found == QUEUE_ABSENT ? "yes" : "no", why, (long)(time(NULL) - m.since), m.reason);
	if (found != QUEUE_ABSENT)
		return UNQUARANTINE_FAILED;
	run(config->release_sendmail, (char *const[]){name, one, NULL});
	return UNQUARANTINE_OK;
}
