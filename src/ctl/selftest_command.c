#include "ctl/selftest_command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/input.h"
#include "ctl/mta.h"
#include "ctl/selftest_run.h"
#include "site/client.h"
#include "site/config.h"

enum { DAEMON_WAIT_MS = 10000 };

struct selftest {
	const struct invocation *inv;
	struct client *client;
	struct selftest_site site;
	json_t *steps; /* what --json prints */
	bool failed;
};

static volatile sig_atomic_t interrupted;

static void
on_signal(int number UNUSED)
{
	interrupted = 1;
}

/* Without SA_RESTART: the wait for a result ends, and what was pushed is taken back. */
static void
catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

/* ---- mtastsd ---- */

static json_t *
ask(struct selftest *t, json_t *request, struct errmsg *em)
{
	json_t *answer = NULL;

	if (client_send(t->client, request, em) == CLIENT_OK &&
	    client_wait(t->client, DAEMON_WAIT_MS, &answer, em) == CLIENT_AGAIN)
		errmsg_set(em, "mtastsd did not answer within %d s", DAEMON_WAIT_MS / 1000);
	json_decref(request);
	return answer;
}

/* The policies of the test come, or go. False with a reason. */
static bool
push(struct selftest *t, bool active, struct errmsg *em)
{
	json_t *answer =
	    ask(t, json_pack("{s:s, s:b}", "cmd", "selftest", "active", (int)active), em);
	bool pushed = json_is_true(json_object_get(answer, "pushed"));

	if (answer != NULL && !pushed)
		errmsg_set(em, "mtastsd cannot write its maps now: mtastsctl status tells why");
	json_decref(answer);
	return pushed;
}

/* ---- the report ---- */

static void
tell(struct selftest *t, const char *name, const char *what, enum selftest_outcome outcome,
    const char *found)
{
	static const char *const words[] = {"ok", "would", "note", "FAILED"};
	bool silent = found[0] == '\0' || outcome == SELFTEST_DONE;

	t->failed = t->failed || outcome == SELFTEST_WRONG;
	if (t->inv->json) {
		json_array_append_new(t->steps,
		    json_pack("{s:s, s:s, s:s, s:o}", "step", name, "what", what, "outcome",
			words[outcome], "found", command_text(found[0] == '\0' ? NULL : found)));
		return;
	}
	fprintf(t->inv->out, "%-8s%s\n", words[outcome], what);
	if (!silent)
		fprintf(t->inv->out, "        found:  %s\n", found);
	fflush(t->inv->out);
}

/* ---- the test ---- */

/* The test runs the program anew, by the file as it is now; the daemon may go by an older one. */
static void
look_at_daemon(struct selftest *t, const char *cf_path)
{
	static const char name[] = "running",
			  what[] = "the Sendmail that runs was started with this sendmail.cf";
	struct mta_daemon daemon;
	struct errmsg em = {""};
	struct stat st;

	if (!mta_daemon(t->site.cf, &daemon, &em))
		tell(t, name, what, SELFTEST_NOTED, em.text);
	else if (stat(cf_path, &st) == 0 && mta_daemon_is_older(&daemon, cf_path, st.st_mtime, &em))
		tell(t, name, what, SELFTEST_WRONG, em.text);
	else
		tell(t, name, what, SELFTEST_DONE, "");
}

static int
run_steps(struct selftest *t)
{
	struct selftest_result result;
	struct errmsg em = {""};
	size_t n = 0;
	bool staged = true;
	int results;
	pid_t pid = selftest_start(&t->site, &results, &em);

	if (pid < 0)
		return command_fail(t->inv, EX_OSERR, "%s", em.text);
	while (!interrupted && read(results, &result, sizeof(result)) == sizeof(result)) {
		result.found[sizeof(result.found) - 1] = '\0';
		tell(t, selftest_step_name(result.step), selftest_step_what(result.step),
		    (enum selftest_outcome)result.outcome, result.found);
		n += result.step < SELFTEST_STEPS_MAX;
		staged = staged && result.step < SELFTEST_STEPS_MAX;
	}
	kill(pid, SIGKILL); /* and all processes of its namespace */
	waitpid(pid, NULL, 0);
	close(results);
	if (interrupted)
		return command_fail(t->inv, EX_TEMPFAIL, "interrupted");
	if (!staged)
		return EX_OSERR;
	if (!t->failed && n < selftest_steps())
		return command_fail(t->inv, EX_SOFTWARE, "the test ended by itself");
	return t->failed ? EX_CONFIG : EX_OK;
}

/* One at a time, as each takes the policies back at its end. -1: another one runs. */
static int
lock_out_others(const char *conf)
{
	int fd = open(conf, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int
run_test(struct selftest *t, const struct config *config)
{
	struct errmsg em = {""};
	int code;

	t->client = client_open(config->control.listen.item[0], &em);
	if (t->client == NULL)
		return command_fail(t->inv, EX_UNAVAILABLE, "%s", em.text);
	catch_signals();
	look_at_daemon(t, t->site.cf_path != NULL ? t->site.cf_path : MTA_CF);
	t->site.observes = config->observe;
	if (config->socketmap.listen.n > 0)
		t->site.lookup = config->socketmap.listen.item[0];
	if (push(t, true, &em))
		code = run_steps(t);
	else
		code = command_fail(t->inv, EX_TEMPFAIL, "%s", em.text);
	if (!push(t, false, &em)) /* they end by themselves in minutes */
		command_fail(t->inv, code, "policies of the test not taken back: %s", em.text);
	client_close(&t->client);
	return code;
}

int
command_selftest(const struct invocation *inv)
{
	struct selftest t = {.inv = inv, .steps = json_array()};
	struct errmsg em = {""};
	struct config *config = NULL;
	struct cf *cf = NULL;
	int code = EX_CONFIG, lock = -1;

	if (geteuid() != 0)
		return command_fail(inv, EX_NOPERM, "selftest must be run as root");
	t.site.cf_path = inv->cf_path;
	t.site.sendmail = mta_program();
	if ((config = config_read(inv->conf, &em)) == NULL ||
	    (cf = mta_read_cf(inv->cf_path != NULL ? inv->cf_path : MTA_CF, &em)) == NULL)
		command_fail(inv, code, "%s", em.text);
	else if (t.site.sendmail == NULL)
		code = command_fail(inv, EX_UNAVAILABLE, "Sendmail is not installed");
	else if ((lock = lock_out_others(inv->conf)) < 0)
		code = command_fail(inv, EX_TEMPFAIL, "another selftest runs");
	else {
		t.site.cf = cf;
		code = run_test(&t, config);
		if (inv->json)
			command_print_json(
			    inv, json_pack("{s:b, s:b, s:O}", "ok", code == EX_OK, "observe",
				     (int)t.site.observes, "steps", t.steps));
	}
	if (lock >= 0)
		close(lock);
	json_decref(t.steps);
	cf_free(&cf);
	config_free(&config);
	return code;
}
