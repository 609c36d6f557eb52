#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>

static const char *log_ident = "mtasts";
static bool log_tty = true;
static int log_max = LOG_INFO;

void
log_open(const char *ident, bool to_tty, bool debug)
{
	log_ident = ident;
	log_tty = to_tty;
	log_max = debug ? LOG_DEBUG : LOG_INFO;
	openlog(ident, LOG_PID | LOG_NDELAY, LOG_MAIL);
}

void
log_line(int priority, const char *fmt, ...)
{
	char line[2048];
	va_list ap;

	if (priority > log_max)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (char *p = line; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	syslog(priority, "%s", line);
	if (log_tty)
		fprintf(stderr, "%s: %s\n", log_ident, line);
}
