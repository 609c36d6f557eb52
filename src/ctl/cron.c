#include "ctl/cron.h"

#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/maillog.h"
#include "ctl/qf.h"
#include "ctl/queuedir.h"
#include "site/domains.h"
#include "site/privs.h"

/* Everything that is read; opened with the rights that we were started with. */
struct sources {
	struct config *config;
	FILE *domains, *log;
	struct queuefiles queue;
};

/* ---- what others wrote: as the unprivileged user ---- */

static int
compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

struct harvest {
	const struct invocation *inv;
	void *seen; /* tree of domains */
	size_t n;
	FILE *out;
};

/* False: too many, or out of memory. */
static bool
note(struct harvest *h, const char *domain)
{
	char *copy;

	if (tfind(domain, &h->seen, compare_names) != NULL)
		return true;
	if (h->n >= DOMAINS_MAX || (copy = strdup(domain)) == NULL)
		return false;
	if (tsearch(copy, &h->seen, compare_names) == NULL) {
		free(copy);
		return false;
	}
	h->n++;
	return fprintf(h->out, "%s\n", domain) > 0;
}

static bool
harvest_list(struct harvest *h, FILE *f, const char *name)
{
	struct config_list list = {0};
	struct errmsg em = {""};
	bool ok = domains_read(f, name, h->inv->err, &list, &em);

	if (!ok)
		command_fail(h->inv, EX_DATAERR, "%s", em.text);
	for (size_t i = 0; i < list.n && ok; i++)
		ok = note(h, list.item[i]);
	domains_clear(&list);
	return ok;
}

static bool
harvest_log(struct harvest *h, FILE *f)
{
	char line[MAILLOG_LINE_MAX], domain[DOMAIN_MAX + 1];
	struct cursor rcpts;
	bool ok = true;

	while (ok && fgets(line, sizeof(line), f) != NULL) {
		if (!maillog_parse(cursor_of(line, strlen(line)), &rcpts))
			continue;
		while (ok && maillog_next(&rcpts, domain))
			ok = note(h, domain);
	}
	return ok && !ferror(f);
}

static bool
harvest_queue(struct harvest *h, const struct queuefiles *files)
{
	bool ok = true;

	for (size_t i = 0; i < files->n && ok; i++) {
		struct qf qf;

		ok = qf_parse(files->item[i].bytes, &qf);
		for (size_t j = 0; j < qf.n_rcpts && ok; j++)
			ok = *qf.rcpts[j].domain == '\0' || note(h, qf.rcpts[j].domain);
		qf_clear(&qf);
	}
	return ok;
}

static int
harvest(const struct invocation *inv, const struct sources *s, FILE *out)
{
	struct harvest h = {.inv = inv, .out = out};
	struct errmsg em = {""};
	bool ok;

	if (!privs_drop(s->config->user, &em))
		return command_fail(inv, EX_NOPERM, "%s", em.text);
	ok = (s->domains == NULL || harvest_list(&h, s->domains, inv->domains_path)) &&
	     (s->log == NULL || harvest_log(&h, s->log)) && harvest_queue(&h, &s->queue) &&
	     fflush(out) == 0;
	tdestroy(h.seen, free);
	return ok ? EX_OK
		  : command_fail(inv, EX_TEMPFAIL,
			"the domains could not be gathered: more than %d, no memory, or an error in reading or writing",
			DOMAINS_MAX);
}

/* ---- with the rights that we were started with ---- */

/* NULL with *code set when it cannot be opened; NULL alone without a path. */
static FILE *
open_source(const struct invocation *inv, const char *path, int *code)
{
	FILE *f = path == NULL ? NULL : strcmp(path, "-") == 0 ? inv->in : fopen(path, "re");

	if (path != NULL && f == NULL)
		*code = command_fail(
		    inv, EX_NOINPUT, "%s: cannot be opened: %s", path, strerror(errno));
	return f;
}

static int
load_queues(const struct invocation *inv, struct queuefiles *files)
{
	const char *const cf[] = {inv->cf_path != NULL ? inv->cf_path : "/etc/mail/sendmail.cf",
	    inv->submit_path != NULL ? inv->submit_path : "/etc/mail/submit.cf"};
	struct errmsg em = {""};

	for (size_t i = 0; i < 2; i++) {
		enum queuedir_result rc = queuedir_load(cf[i], NULL, files, &em);

		if (rc == QUEUEDIR_FAILED || (rc == QUEUEDIR_ABSENT && i == 0))
			return command_fail(inv, EX_NOINPUT, "%s", em.text);
	}
	if (files->more)
		command_fail(inv, EX_OK, "the queue is larger than %d MiB: not all of it was read",
		    QUEUEDIR_BYTES_MAX / 1024 / 1024);
	return EX_OK;
}

static int
open_sources(const struct invocation *inv, struct sources *s)
{
	struct errmsg em = {""};
	int code = EX_OK;

	if ((s->config = config_read(inv->conf, &em)) == NULL)
		return command_fail(inv, EX_CONFIG, "%s", em.text);
	s->domains = open_source(inv, inv->domains_path, &code);
	if (code == EX_OK)
		s->log = open_source(inv, inv->log_path, &code);
	if (code == EX_OK && inv->from_queue)
		code = load_queues(inv, &s->queue);
	return code;
}

static void
close_sources(const struct invocation *inv, struct sources *s)
{
	if (s->domains != NULL && s->domains != inv->in)
		fclose(s->domains);
	if (s->log != NULL && s->log != inv->in)
		fclose(s->log);
	queuefiles_clear(&s->queue);
	config_free(&s->config);
}

/* In a process of its own, as this one still has to be root when it becomes mtastsd. */
static int
gather(const struct invocation *inv, const struct sources *s, FILE *out)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (child == 0)
		_exit(harvest(inv, s, out));
	if (child < 0 || waitpid(child, &status, 0) != child)
		return command_fail(
		    inv, EX_OSERR, "no process for the list of domains: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

static int
become_mtastsd(const struct invocation *inv, FILE *list)
{
	const char *argv[9] = {"mtastsd", "--once", "--config", inv->conf, "--domains=-"};
	size_t n = 5;

	if (inv->from_queue) /* whoever waits there is found by the next run */
		argv[n++] = "--heartbeat";
	if (inv->json)
		argv[n++] = "--json";
	rewind(list);
	if (dup2(fileno(list), STDIN_FILENO) < 0)
		return command_fail(inv, EX_OSERR, "standard input: %s", strerror(errno));
	execv(SBINDIR "/mtastsd", (char *const *)(uintptr_t)argv);
	return command_fail(
	    inv, EX_UNAVAILABLE, SBINDIR "/mtastsd cannot be run: %s", strerror(errno));
}

int
command_refresh_once(const struct invocation *inv)
{
	struct sources s = {0};
	FILE *list = tmpfile();
	int code;

	if (list == NULL)
		return command_fail(
		    inv, EX_CANTCREAT, "a temporary file cannot be made: %s", strerror(errno));
	code = open_sources(inv, &s);
	if (code == EX_OK)
		code = gather(inv, &s, list);
	close_sources(inv, &s);
	if (code == EX_OK)
		code = become_mtastsd(inv, list);
	fclose(list);
	return code;
}
