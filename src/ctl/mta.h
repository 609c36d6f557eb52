/* ctl/mta.h: this host's Sendmail: where it is, and what it was built with. */
#ifndef CTL_MTA_H
#define CTL_MTA_H

#include <sys/types.h>
#include <time.h>

#include "ctl/cf.h"
#include "util/errmsg.h"

#define MTA_CF "/etc/mail/sendmail.cf"
#define MTA_SUBMIT_CF "/etc/mail/submit.cf"

/* The program; NULL: not where it is usually installed. */
const char *mta_program(void);

/* Reads a configuration file; NULL with a reason. */
MUST_USE struct cf *mta_read_cf(const char *path, struct errmsg *em);

struct mta_daemon {
	pid_t pid;
	time_t started; /* to the second or two */
};

/* The daemon that runs by this configuration, by its PidFile. False with a reason: none is found. */
MUST_USE bool mta_daemon(const struct cf *cf, struct mta_daemon *out, struct errmsg *em);

/*
 * True when the file was written after the daemon was started, which still goes by the old one: em
 * says so.
 */
bool mta_daemon_is_older(
    const struct mta_daemon *daemon, const char *cf_path, time_t written, struct errmsg *em);

#endif
