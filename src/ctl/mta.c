#include "ctl/mta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/input.h"
#include "util/when.h"

enum { PROC_MAX = 64 * 1024, SLACK_S = 2 /* /proc counts in ticks from a boot time in seconds */ };

/* Debian's own place comes first: /usr/sbin/sendmail may be another MTA's. */
const char *
mta_program(void)
{
	static const char *const places[] = {"/usr/libexec/sendmail/sendmail",
	    "/usr/lib/sm.bin/sendmail", "/usr/sbin/sendmail.sendmail", "/usr/sbin/sendmail",
	    "/usr/lib/sendmail"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

struct cf *
mta_read_cf(const char *path, struct errmsg *em)
{
	struct input input;
	struct errmsg why;
	struct cf *cf;

	if (input_read(path, stdin, CF_BYTES_MAX + 1, &input, em) != INPUT_OK)
		return NULL;
	if ((cf = cf_parse(input_cursor(&input), &why)) == NULL)
		errmsg_set(em, "%s: %s", path, why.text);
	input_clear(&input);
	return cf;
}

/* The text of a small file, NUL-terminated, for the caller to free; NULL: not readable. */
static char *
read_text(const char *path)
{
	struct input input;
	char *text;

	if (input_read(path, stdin, PROC_MAX, &input, NULL) != INPUT_OK)
		return NULL;
	if ((text = strndup((const char *)input.bytes, input.len)) == NULL)
		abort();
	input_clear(&input);
	return text;
}

/* Seconds since the epoch of the system's start, by /proc/stat; 0: not told. */
static time_t
boot_time(void)
{
	char *text = read_text("/proc/stat"), *at = text != NULL ? strstr(text, "\nbtime ") : NULL;
	time_t boot = at != NULL ? (time_t)strtoll(at + 7, NULL, 10) : 0;

	free(text);
	return boot;
}

/* Field 22 of /proc/PID/stat, proc(5): when it was started, in ticks since boot. */
static bool
start_time(const char *stat, time_t *out)
{
	enum { STATE_FIELD = 3, START_FIELD = 22 };
	const char *p = strrchr(stat, ')'); /* the name before it may hold anything */
	long ticks = sysconf(_SC_CLK_TCK);
	time_t boot = boot_time();

	if (p == NULL || ticks <= 0 || boot == 0)
		return false;
	p++;
	for (int field = STATE_FIELD; field < START_FIELD; field++) {
		p += strspn(p, " ");
		p += strcspn(p, " ");
	}
	*out = boot + (time_t)(strtoll(p, NULL, 10) / ticks);
	return true;
}

bool
mta_daemon(const struct cf *cf, struct mta_daemon *out, struct errmsg *em)
{
	const char *path = cf_option(cf, "PidFile");
	char proc[64], *text, *stat = NULL;
	bool ok;

	if (path == NULL || *path == '\0')
		path = "/var/run/sendmail.pid";
	text = read_text(path);
	out->pid = text != NULL ? (pid_t)strtol(text, NULL, 10) : 0;
	snprintf(proc, sizeof(proc), "/proc/%ld/stat", (long)out->pid);
	ok = out->pid > 1 && (stat = read_text(proc)) != NULL &&
	     (strstr(stat, "(sendmail") != NULL || strstr(stat, "(sm-mta") != NULL) &&
	     start_time(stat, &out->started);
	if (!ok)
		errmsg_set(em, "%s names no process of Sendmail", path);
	free(stat);
	free(text);
	return ok;
}

bool
mta_daemon_is_older(
    const struct mta_daemon *daemon, const char *cf_path, time_t written, struct errmsg *em)
{
	char file[WHEN_RFC3339_MAX], start[WHEN_RFC3339_MAX];

	if (written <= daemon->started + SLACK_S)
		return false;
	when_print(written, file);
	when_print(daemon->started, start);
	errmsg_set(em,
	    "%s was written at %s; the Sendmail that runs (pid %ld) was started at %s and goes by "
	    "an older one",
	    cf_path, file, (long)daemon->pid, start);
	return true;
}
