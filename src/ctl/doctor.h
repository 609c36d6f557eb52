/*
 * ctl/doctor.h: is this host's Sendmail set up so that policies are enforced? Judges what
 * doctor_command.c has gathered; no I/O. What must hold is what FEATURE(`mtasts') generates; each
 * check says how to mend what it finds.
 */
#ifndef CTL_DOCTOR_H
#define CTL_DOCTOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "ctl/build.h"
#include "ctl/cf.h"
#include "ctl/mta.h"
#include "site/config.h"
#include "util/errmsg.h"

/* What stat(2) said. */
struct doctor_file {
	int error; /* errno, 0: the rest holds */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	off_t size;
	time_t mtime;
};

enum { DOCTOR_MAX = 64, DOCTOR_REMEDY_MAX = 1024, DOCTOR_SERVER_MAX = 64 };

struct doctor_facts {
	const struct config *config;
	time_t now;
	const char *cf_path, *submit_path;
	struct cf *cf, *submit; /* NULL: not readable, the reason is in: */
	struct errmsg cf_error, submit_error;
	struct doctor_file map_dir, map;     /* of config->map_path */
	gid_t map_gid;                       /* of config->map_group */
	uid_t map_uid;                       /* of config->user; (uid_t)-1: no such user */
	struct doctor_file ca_file, ca_path; /* of cf's options, when it has them */
	uid_t run_as_uid;                    /* of cf's RunAsUser; (uid_t)-1: no such user */
	gid_t run_as_gid;
	struct doctor_file cf_file, mc_file, submit_file, submit_mc_file;
	bool ca_has_certificates;
	char *map_parent; /* a directory over the map that others can write to; NULL: none; owned */
	char *socket_parent; /* the same of the sockets */
	char *ca_parent;     /* the same of CACertFile */
	struct build *build; /* of the Sendmail program; NULL: none, the reason is in: */
	struct errmsg build_error;
	bool mta_runs;
	struct mta_daemon mta; /* when it runs */
	struct errmsg mta_error;
	bool clock_synchronized;
	bool resolver_answers, resolver_validates, resolver_is_local;
	char resolver[DOCTOR_SERVER_MAX]; /* the first that answers */
	struct errmsg resolver_error;
	struct errmsg unit;        /* a unit of systemd that is not as it should be; empty: none */
	time_t alive_until;        /* the heartbeat, when the daemon answers */
	struct errmsg fetch_error; /* why policies cannot be fetched; empty: not known to fail */
	bool daemon_answers, lookup_answers, milter_answers, release_answers;
	struct errmsg daemon_error, lookup_error, milter_error, release_error;
	bool daemon_observes, maps_agree; /* when it answers */
	struct errmsg maps_error;
};

struct doctor_finding {
	const char *check;   /* a short name, for scripts */
	const char *what;    /* what is wanted, a sentence */
	bool ok;             /* nothing to mend; a note is ok, and has found something */
	struct errmsg found; /* what there is instead; empty when there is nothing to say */
	char remedy[DOCTOR_REMEDY_MAX]; /* what to do, then the lines for a .mc file, each alone */
};

/*
 * Runs the checks in the order in which they should be mended. Returns their number, at most
 * DOCTOR_MAX.
 */
size_t doctor_examine(const struct doctor_facts *facts, struct doctor_finding out[DOCTOR_MAX]);

/*
 * The lines for sendmail.mc and submit.mc that fit mtasts.conf and the Sendmail program (NULL: one
 * with all features), each alone and whole.
 */
void doctor_snippet(const struct config *config, const struct build *build,
    char sendmail_mc[DOCTOR_REMEDY_MAX], char submit_mc[DOCTOR_REMEDY_MAX]);

/*
 * The file that Sendmail opens for a map of type hash: ".db" is added when it is not there. False:
 * too long.
 */
bool doctor_map_file(const char *map_path, char *out, size_t size);

#endif
