#include "ctl/selftest_run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/input.h"
#include "ctl/selftest_certs.h"
#include "ctl/selftest_hosts.h"
#include "ctl/selftest_stage.h"
#include "policy/selftest.h"
#include "util/when.h"

enum {
	CA_FILE_MAX = 16 * 1024 * 1024,
	DELIVERY_MS = 60000, /* one message; seconds, where nothing is amiss */
	LOG_MAX = 16 * 1024, /* of one message */
	OUTPUT_MAX = 2048
};

#define DOMAIN(label) label "." SELFTEST_ZONE

static const char sender[] = "sender@" DOMAIN("good");

/* The order is that of selftest_hosts as well. */
static const struct step {
	const char *name, *what;
	const char *domain, *label; /* its MX host is label.domain; label NULL: "mx" */
	const char *reason;         /* of the refusal; NULL: it is delivered */
	bool tls, self_signed;
	const char *alias;     /* the recipient's domain, a CNAME of domain; NULL: it is domain */
	const char *certified; /* the name in the certificate; NULL: that of the MX host */
	bool away;             /* mtastsd does not answer */
} steps[] = {
    {.name = "good",
	.what = "mail to a host that meets its policy is delivered, over TLS",
	.domain = DOMAIN("good"),
	.tls = true},
    {.name = "selfsigned",
	.what = "mail to a host with a self-signed certificate waits",
	.domain = DOMAIN("selfsigned"),
	.reason = "validation-failure",
	.tls = true,
	.self_signed = true},
    {.name = "wrongname",
	.what = "mail to a host with the certificate of another name waits",
	.domain = DOMAIN("wrongname"),
	.reason = "certificate-host-mismatch",
	.tls = true,
	.certified = DOMAIN("mx.other")},
    {.name = "notlisted",
	.what = "mail to a host that the policy does not list waits",
	.domain = DOMAIN("notlisted"),
	.label = "other",
	.reason = "mx-mismatch",
	.tls = true},
    {.name = "notls",
	.what = "mail to a host without STARTTLS waits",
	.domain = DOMAIN("notls"),
	.reason = "starttls-not-supported"},
    {.name = "alias",
	.what = "mail to a domain that a CNAME leads to another one waits",
	.domain = DOMAIN("elsewhere"),
	.reason = "mx-mismatch",
	.tls = true,
	.alias = DOMAIN("alias")},
    {.name = "live",
	.what = "mail to a domain that only mtastsd can tell about is delivered",
	.domain = DOMAIN("live")},
    {.name = "away",
	.what = "mail to a domain that is not known waits while mtastsd does not answer",
	.domain = DOMAIN("away"),
	.reason = "mtastsd does not answer",
	.away = true},
};

static const size_t n_steps = sizeof(steps) / sizeof(steps[0]);
_Static_assert(sizeof(steps) / sizeof(steps[0]) <= (size_t)SELFTEST_HOSTS_MAX, "too many steps");
_Static_assert(sizeof(struct selftest_result) <= PIPE_BUF, "each is written whole");

size_t
selftest_steps(void)
{
	return n_steps;
}

const char *
selftest_step_name(size_t step)
{
	return step < n_steps ? steps[step].name : "stage";
}

const char *
selftest_step_what(size_t step)
{
	return step < n_steps ? steps[step].what : "a private network for the test can be made";
}

/* ---- one message ---- */

struct run {
	const struct selftest_site *site;
	int results, taken, log;
	char lookup[256];   /* the live lookup's unix socket; empty: TCP, out of reach here */
	char text[LOG_MAX]; /* what Sendmail logged, a line each */
	char output[OUTPUT_MAX];
};

/* The child of fork(2) becomes Sendmail with the message as its input, and writes to out. */
static void
exec_sendmail(const struct run *r, const char *rcpt, int in, int out)
{
	const char *const argv[] = {r->site->sendmail, r->site->cf_path != NULL ? "-C" : "-Am",
	    r->site->cf_path != NULL ? r->site->cf_path : "-i", "-i", "-odi", "-OLogLevel=12",
	    "-OQueueLA=100000", "-OHoldExpensive=False", "-N", "never", "-f", sender, rcpt, NULL};

	if (dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2)
		execv(r->site->sendmail, (char *const *)argv);
	_exit(127);
}

/* A pipe that holds a whole message. */
static int
message_input(const char *rcpt)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC) != 0)
		return -1;
	dprintf(fd[1], "From: %s\nTo: %s\nSubject: mtastsctl selftest\n\nselftest\n", sender, rcpt);
	close(fd[1]);
	return fd[0];
}

/* Syslog's "<22>Nov 25 09:00:00 sendmail[1]: text", each as a line of its text. */
static void
read_log(struct run *r, size_t *len)
{
	char packet[4096];
	ssize_t n;

	while ((n = recv(r->log, packet, sizeof(packet) - 1, 0)) > 0) {
		const char *text;

		packet[n] = '\0';
		text = strstr(packet, "]: ");
		text = text != NULL ? text + 3 : packet;
		if (*len + strlen(text) + 2 > sizeof(r->text))
			continue;
		*len = (size_t)(stpcpy(stpcpy(r->text + *len, text), "\n") - r->text);
	}
}

/* Waits for the end of a process and reads what it writes and logs; false: it took too long. */
static bool
watch(struct run *r, pid_t pid, int out)
{
	struct pollfd fds[] = {{.fd = out, .events = POLLIN}, {.fd = r->log, .events = POLLIN}};
	long end = when_monotonic_ms() + DELIVERY_MS;
	size_t len = 0, log_len = 0;
	bool open = true;

	r->text[0] = r->output[0] = '\0';
	while (open && when_monotonic_ms() < end) {
		char bytes[512];
		ssize_t n;

		if (poll(fds, 2, 1000) <= 0)
			continue;
		read_log(r, &log_len);
		if (fds[0].revents == 0)
			continue;
		open = (n = read(out, bytes, sizeof(bytes))) > 0;
		if (open && len + (size_t)n < sizeof(r->output)) {
			memcpy(r->output + len, bytes, (size_t)n);
			len += (size_t)n;
			r->output[len] = '\0';
		}
	}
	if (open)
		kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	read_log(r, &log_len);
	return !open;
}

static bool
send_mail(struct run *r, const char *domain)
{
	char rcpt[128];
	int in, out[2];
	pid_t pid;
	bool ended;

	snprintf(rcpt, sizeof(rcpt), "recipient@%s", domain);
	if ((in = message_input(rcpt)) < 0 || pipe2(out, O_CLOEXEC) != 0)
		return false;
	if ((pid = fork()) == 0)
		exec_sendmail(r, rcpt, in, out[1]);
	close(in);
	close(out[1]);
	ended = pid > 0 && watch(r, pid, out[0]);
	close(out[0]);
	return ended;
}

/* ---- what came of it ---- */

/* The line of the log that has both words, "" without one; cut to what follows from. */
static const char *
log_line_with(const struct run *r, const char *word, const char *from, char out[SELFTEST_FOUND_MAX])
{
	out[0] = '\0';
	for (const char *line = r->text; *line != '\0'; line += strcspn(line, "\n") + 1) {
		size_t len = strcspn(line, "\n");
		const char *hit = memmem(line, len, word, strlen(word));
		const char *at = hit == NULL ? NULL : memmem(line, len, from, strlen(from));

		if (at != NULL)
			snprintf(out, SELFTEST_FOUND_MAX, "%.*s", (int)(line + len - at), at);
	}
	return out;
}

/* Is the mail of all domains sent elsewhere? Sendmail cuts long names in their middle. */
static bool
routed_away(const struct run *r, char out[SELFTEST_FOUND_MAX])
{
	char relay[SELFTEST_FOUND_MAX];

	log_line_with(r, "mailer=", "relay=", relay);
	relay[strcspn(relay, ",")] = '\0';
	if (relay[0] == '\0' || strstr(relay, "selftest.invalid") != NULL)
		return false;
	snprintf(out, SELFTEST_FOUND_MAX,
	    "%.200s: a smart host or a mailertable takes the mail of other domains, so the test "
	    "proves nothing here",
	    relay);
	return true;
}

/* The best that Sendmail said of it: its refusal, else the end of the delivery, else anything. */
static void
tell_reason(const struct run *r, bool ended, bool delivered, char out[SELFTEST_FOUND_MAX])
{
	if (!ended)
		snprintf(out, SELFTEST_FOUND_MAX, "Sendmail was not done after %d s",
		    DELIVERY_MS / 1000);
	else if (delivered && *log_line_with(r, "STARTTLS=client", "verify=", out) != '\0')
		snprintf(out + strlen(out), SELFTEST_FOUND_MAX - strlen(out), "; delivered");
	else if (delivered)
		snprintf(out, SELFTEST_FOUND_MAX, "delivered");
	else if (!delivered && routed_away(r, out))
		;
	else if (*log_line_with(r, "reject=", "reject=", out) == '\0' &&
		 *log_line_with(r, "SYSERR", "SYSERR", out) == '\0' &&
		 *log_line_with(r, "mailer=", "mailer=", out) == '\0')
		snprintf(out, SELFTEST_FOUND_MAX, "%.*s", (int)strcspn(r->output, "\n"),
		    r->output[0] != '\0' ? r->output : "Sendmail logged nothing");
}

/* The byte of selftest_hosts_smtp() for this step; -1: no message came. */
static int
taken_by(const struct run *r, size_t step)
{
	unsigned char byte;
	int found = -1;

	while (read(r->taken, &byte, 1) == 1)
		if ((byte & ~SELFTEST_TLS) == (int)step)
			found = byte;
	return found;
}

static enum selftest_outcome
judge_delivery(const struct run *r, const struct step *step, int taken, char *found)
{
	/* policy = require, of domains that have none */
	if (*log_line_with(r, "this site requires", "reject=", found) != '\0')
		return step->tls ? SELFTEST_WRONG : SELFTEST_NOTED;
	if (taken < 0 || (step->tls && (taken & SELFTEST_TLS) == 0))
		return SELFTEST_WRONG;
	if (step->tls && *log_line_with(r, "verify=", "verify=", found) != '\0' &&
	    strncmp(found, "verify=OK", 9) != 0)
		return SELFTEST_WRONG;
	found[0] = '\0';
	return SELFTEST_DONE;
}

static enum selftest_outcome
judge_refusal(const struct run *r, const struct step *step, int taken, char *found)
{
	char would[SELFTEST_FOUND_MAX];

	if (r->site->observes) {
		log_line_with(r, step->reason, "would=", would);
		if (taken >= 0 && would[0] != '\0') {
			snprintf(found, SELFTEST_FOUND_MAX, "%s", would);
			return SELFTEST_WOULD;
		}
		return SELFTEST_WRONG;
	}
	if (step->away && taken >= 0 && strstr(r->text, "policy=unchecked") != NULL) {
		snprintf(found, SELFTEST_FOUND_MAX,
		    "delivered: this site delivers what it cannot check (away=deliver, or mtastsd "
		    "was away for longer than away_limit)");
		return SELFTEST_NOTED;
	}
	log_line_with(r, step->reason, "reject=4", found);
	if (taken >= 0 || found[0] == '\0' || strstr(r->text, ", dsn=4.") == NULL)
		return SELFTEST_WRONG;
	return SELFTEST_DONE;
}

/* The live lookup cannot be tried where there is none, or none within reach. */
static bool
skip_lookup(const struct run *r, const struct step *step, struct selftest_result *result)
{
	bool there = cf_map(r->site->cf, "mtastsq") != NULL;

	if (strcmp(step->name, "live") != 0 || r->lookup[0] != '\0')
		return false;
	result->outcome = there ? SELFTEST_NOTED : SELFTEST_WRONG;
	snprintf(result->found, sizeof(result->found), "%s",
	    there ? "not tried: Kmtastsq is a TCP address, which is out of reach of the test"
		  : "sendmail.cf has no line Kmtastsq");
	return true;
}

static void
try_mail(struct run *r, size_t i, struct selftest_result *result)
{
	const struct step *step = &steps[i];
	bool ended = send_mail(r, step->alias != NULL ? step->alias : step->domain);
	int taken = taken_by(r, i);

	if (!ended)
		result->outcome = SELFTEST_WRONG;
	else if (step->reason == NULL)
		result->outcome = judge_delivery(r, step, taken, result->found);
	else
		result->outcome = judge_refusal(r, step, taken, result->found);
	if (result->outcome == SELFTEST_WRONG)
		tell_reason(r, ended, taken >= 0, result->found);
}

static void
run_step(struct run *r, size_t i)
{
	struct selftest_result result = {.step = (unsigned char)i};
	struct errmsg em = {""};

	if (steps[i].away && r->lookup[0] != '\0' && !stage_replace(r->lookup, "", 0, &em)) {
		result.outcome = SELFTEST_WRONG;
		snprintf(result.found, sizeof(result.found), "%s", em.text);
	} else if (!skip_lookup(r, &steps[i], &result)) {
		try_mail(r, i, &result);
	}
	(void)!write(r->results, &result, sizeof(result));
}

/* ---- the stage ---- */

static bool
make_hosts(struct selftest_hosts *h, const struct selftest_certs *certs, struct errmsg *em)
{
	char name[128];

	h->n = n_steps;
	for (size_t i = 0; i < n_steps; i++) {
		const struct step *step = &steps[i];
		const char *label = step->label != NULL ? step->label : "mx";

		h->host[i] = (struct selftest_host){step->domain, label, step->alias, NULL};
		if (!step->tls)
			continue;
		snprintf(name, sizeof(name), "%s.%s", label, step->domain);
		h->host[i].tls = selftest_certs_server(
		    certs, step->certified != NULL ? step->certified : name, step->self_signed);
		if (h->host[i].tls == NULL) {
			errmsg_set(em, "no certificate for %s", name);
			return false;
		}
	}
	return selftest_hosts_listen(h, em);
}

/* The site's CA file with one authority more. */
static bool
trust(const struct cf *cf, const struct selftest_certs *certs, struct errmsg *em)
{
	const char *path = cf_option(cf, "CACertFile");
	struct input input = {NULL, 0};
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	bool ok;

	if (path == NULL || input_read(path, stdin, CA_FILE_MAX, &input, em) != INPUT_OK)
		return true; /* Sendmail trusts nobody then, and the first step shows it */
	f = open_memstream(&text, &len);
	ok = f != NULL && fwrite(input.bytes, 1, input.len, f) == input.len &&
	     fputc('\n', f) != EOF && selftest_certs_print(certs, f);
	if (f != NULL)
		ok = fclose(f) == 0 && ok;
	ok = ok && stage_replace(path, text, len, em);
	free(text);
	input_clear(&input);
	return ok;
}

static void
find_lookup(struct run *r)
{
	const char *map = cf_map(r->site->cf, "mtastsq"), *path = NULL;
	char address[256];

	if (map != NULL && strncmp(map, "program ", strlen("program ")) == 0)
		path = r->site->lookup != NULL ? strchr(r->site->lookup, '/') : NULL;
	else if (map != NULL && cf_map_file(map, address, sizeof(address)))
		path = strchr(address, '/');
	snprintf(r->lookup, sizeof(r->lookup), "%s", path != NULL ? path : "");
}

/* Servers of the hosts end with us: we are the first process of their namespace. */
static bool
serve_hosts(const struct selftest_hosts *h, struct run *r, struct errmsg *em)
{
	int taken[2];

	if (pipe2(taken, O_CLOEXEC | O_NONBLOCK) != 0) {
		errmsg_set(em, "pipe: %s", strerror(errno));
		return false;
	}
	if (fork() == 0)
		selftest_hosts_dns(h);
	if (fork() == 0)
		selftest_hosts_smtp(h, taken[1]);
	r->taken = taken[0];
	return true;
}

static bool
set_stage(struct run *r, const struct ifaddrs *host, struct errmsg *em)
{
	static struct selftest_hosts hosts;
	struct selftest_certs *certs;

	if (!stage_open(&r->log, em) || !stage_network(host, em) ||
	    !stage_queues(r->site->cf, em) || (certs = selftest_certs_new(em)) == NULL)
		return false;
	find_lookup(r);
	return trust(r->site->cf, certs, em) && make_hosts(&hosts, certs, em) &&
	       serve_hosts(&hosts, r, em);
}

static void
run_all(const struct selftest_site *site, const struct ifaddrs *host, int results)
{
	static struct run r;
	struct errmsg em = {""};

	signal(SIGPIPE, SIG_IGN);
	r.site = site;
	r.results = results;
	if (!set_stage(&r, host, &em)) {
		struct selftest_result result = {SELFTEST_STEPS_MAX, SELFTEST_WRONG, ""};

		snprintf(result.found, sizeof(result.found), "%s", em.text);
		(void)!write(results, &result, sizeof(result));
		return;
	}
	for (size_t i = 0; i < n_steps; i++)
		run_step(&r, i);
}

pid_t
selftest_start(const struct selftest_site *site, int *results, struct errmsg *em)
{
	struct ifaddrs *host = NULL;
	int fd[2];
	pid_t pid;

	if (getifaddrs(&host) != 0 || pipe2(fd, O_CLOEXEC) != 0) {
		errmsg_set(em, "network: %s", strerror(errno));
		freeifaddrs(host);
		return -1;
	}
	if ((pid = stage_fork(em)) == 0) {
		run_all(site, host, fd[1]);
		_exit(0);
	}
	freeifaddrs(host);
	close(fd[1]);
	*results = fd[0];
	return pid;
}
