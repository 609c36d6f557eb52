#include "ctl/doctor_checks.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util/when.h"

static bool
ca_is(const struct doctor_facts *f, const char *option, const struct doctor_file *file, bool is_dir,
    struct errmsg *found)
{
	const char *path = cf_option(f->cf, option);

	if (path == NULL || *path == '\0')
		errmsg_set(found, "%s: O %s is not set", f->cf_path, option);
	else if (file->error != 0)
		errmsg_set(
		    found, "%s: O %s=%s: %s", f->cf_path, option, path, strerror(file->error));
	else if ((S_ISDIR(file->mode) != 0) != is_dir)
		errmsg_set(found, "%s: O %s=%s is %s directory", f->cf_path, option, path,
		    is_dir ? "no" : "a");
	else
		return true;
	return false;
}

bool
check_ca_set(const struct doctor_facts *f, struct errmsg *found)
{
	if (!ca_is(f, "CACertFile", &f->ca_file, false, found) ||
	    !ca_is(f, "CACertPath", &f->ca_path, true, found))
		return false;
	errmsg_set(found,
	    "O CACertFile=%s: others than its owner may write to %s, so Sendmail does not read it",
	    cf_option(f->cf, "CACertFile"), f->ca_parent != NULL ? f->ca_parent : "it");
	if (f->ca_parent != NULL || (f->ca_file.mode & (S_IWGRP | S_IWOTH)) != 0)
		return false;
	errmsg_set(found, "%s: O CACertFile=%s: no certificate in it", f->cf_path,
	    cf_option(f->cf, "CACertFile"));
	return f->ca_has_certificates;
}

/* All that Sendmail does as root it does as this user instead, with this group and no other. */
bool
check_run_as_reads(const struct doctor_facts *f, struct errmsg *found)
{
	const char *value = cf_option(f->cf, "RunAsUser");

	if (value == NULL || *value == '\0')
		return true;
	errmsg_set(found, "%s: O RunAsUser=%s: that user cannot read the map, so mail would wait",
	    f->cf_path, value);
	return f->run_as_uid == 0 ||
	       (f->map.error == 0 && (f->run_as_uid == f->map.uid || f->run_as_gid == f->map.gid));
}

bool
check_user_exists(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "no user %s", f->config->user);
	return f->map_uid != (uid_t)-1;
}

/* Any local user who can open the map can lock it, and Sendmail refuses what others may write. */
static bool
closed_to_others(const struct doctor_facts *f, const char *what, const struct doctor_file *file,
    mode_t mode, struct errmsg *found)
{
	const char *path = f->config->map_path != NULL ? f->config->map_path : "(off)";

	if (file->error != 0) {
		errmsg_set(found, "%s of %s: %s", what, path, strerror(file->error));
		return false;
	}
	errmsg_set(found, "%s of %s: mode %o, uid %lu, gid %lu", what, path,
	    (unsigned)(file->mode & 07777), (unsigned long)file->uid, (unsigned long)file->gid);
	return (file->mode & 0777) == mode && file->gid == f->map_gid && file->uid == f->map_uid;
}

bool
check_map_dir_closed(const struct doctor_facts *f, struct errmsg *found)
{
	return closed_to_others(f, "directory", &f->map_dir, 0750, found);
}

bool
check_map_closed(const struct doctor_facts *f, struct errmsg *found)
{
	return closed_to_others(f, "file", &f->map, 0640, found);
}

bool
check_daemon_there(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->daemon_error.text);
	return f->daemon_answers;
}

bool
check_maps_in_step(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->maps_error.text);
	return f->maps_agree;
}

bool
check_enforcing(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s",
	    f->config->observe
		? "enforcement = observe in mtasts.conf: no mail is refused, the log tells what would be"
		: "mtastsd still observes and refuses nothing; mtasts.conf has enforcement = on");
	return !f->config->observe && !(f->daemon_answers && f->daemon_observes);
}

bool
check_lookup_there(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->lookup_error.text);
	return f->lookup_answers;
}

bool
check_milter_there(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->milter_error.text);
	return f->milter_answers;
}

bool
check_release_there(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->release_error.text);
	return f->config->milter_hold != HOLD_QUARANTINE || f->release_answers;
}

/* Does the .cf, with the arguments that are for it, do without this feature of the program? */
static bool
done_without(const struct doctor_facts *f, const char *feature)
{
	const char *lookup;

	if (f->cf == NULL)
		return false;
	lookup = cf_map(f->cf, "mtastsq");
	if (strcmp(feature, "SOCKETMAP") == 0)
		return lookup == NULL || strncmp(lookup, "socket ", strlen("socket ")) != 0;
	if (strcmp(feature, "_FFR_TLS_ALTNAMES") == 0)
		return cf_option(f->cf, "SetCertAltnames") == NULL;
	return strcmp(feature, "_FFR_MTA_STS") == 0 &&
	       cf_count(f->cf, CF_RULESET, "tls_clt_features") == 0;
}

/* What FEATURE(`mtasts') needs of the program, and what is lost without it. */
bool
check_build(const struct doctor_facts *f, struct errmsg *found)
{
	static const struct {
		const char *feature, *loss;
	} needed[] = {{"STARTTLS", "there is no TLS, and mail for enforced domains waits for ever"},
	    {"NAMED_BIND", "MX records are not looked up"},
	    {"NEWDB", "the policy map, a hash, cannot be read"},
	    {"MAP_REGEX", "our rules cannot judge names"},
	    {"SOCKETMAP", "Sendmail does not start with our socket map"},
	    {"_FFR_TLS_ALTNAMES", "Sendmail does not start with SetCertAltnames"},
	    {"_FFR_MTA_STS", "no session with servername= in tls_clt_features is made"},
	    {"MILTER", "mtasts-milter is not asked: first messages wait in the queue, untagged"}};

	errmsg_set(found, "%s", f->build_error.text);
	if (f->build == NULL)
		return false;
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (!build_has(f->build, needed[i].feature) &&
		    !done_without(f, needed[i].feature)) {
			errmsg_set(found, "Sendmail %s was built without %s: %s",
			    build_version(f->build), needed[i].feature, needed[i].loss);
			return false;
		}
	return true;
}

static bool
built_after(const char *cf_path, const struct doctor_file *cf, const struct doctor_file *mc,
    struct errmsg *found)
{
	errmsg_set(found, "%s is older than its .mc file: it was not built since that was changed",
	    cf_path);
	return cf->error != 0 || mc->error != 0 || cf->mtime >= mc->mtime;
}

bool
check_built(const struct doctor_facts *f, struct errmsg *found)
{
	return built_after(f->cf_path, &f->cf_file, &f->mc_file, found) &&
	       built_after(f->submit_path, &f->submit_file, &f->submit_mc_file, found);
}

bool
check_running(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "no Sendmail runs: %s", f->mta_error.text);
	return f->mta_runs && !mta_daemon_is_older(&f->mta, f->cf_path, f->cf_file.mtime, found);
}

static bool
none_open(const char *dir, const char *what, struct errmsg *found)
{
	errmsg_set(found, "others than its owner may write to %s: Sendmail uses no %s below it",
	    dir != NULL ? dir : "", what);
	return dir == NULL;
}

bool
check_map_parents(const struct doctor_facts *f, struct errmsg *found)
{
	return none_open(f->map_parent, "map", found);
}

bool
check_socket_parents(const struct doctor_facts *f, struct errmsg *found)
{
	return none_open(f->socket_parent, "socket", found);
}

/* Sendmail sees a change by a later time of the file. */
bool
check_clock(const struct doctor_facts *f, struct errmsg *found)
{
	enum { AHEAD_S = 3600 };
	const struct doctor_file *files[] = {&f->map, &f->cf_file, &f->ca_file};
	const char *const names[] = {"the policy map", "sendmail.cf", "CACertFile"};
	char now[WHEN_RFC3339_MAX], then[WHEN_RFC3339_MAX];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (files[i]->error == 0 && files[i]->mtime > f->now + AHEAD_S) {
			errmsg_set(found, "the clock says %s, but %s was written at %s",
			    when_print(f->now, now), names[i], when_print(files[i]->mtime, then));
			return false;
		}
	return true;
}

bool
check_clock_kept(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "the kernel does not know of a time server that keeps its clock");
	return f->clock_synchronized;
}

bool
check_heartbeat(const struct doctor_facts *f, struct errmsg *found)
{
	char then[WHEN_RFC3339_MAX];

	errmsg_set(found, "the heartbeat in the map ended at %s", when_print(f->alive_until, then));
	return f->alive_until == 0 || f->alive_until >= f->now;
}

bool
check_resolver(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->resolver_error.text);
	return f->resolver_answers;
}

/* MTA-STS does not need it, DANE does; so the administrator's choice. */
bool
check_validation(const struct doctor_facts *f, struct errmsg *found)
{
	if (!f->resolver_answers)
		return true;
	errmsg_set(found, "DNS server %s %s", f->resolver,
	    !f->resolver_validates
		? "does not say that it validates (no AD bit): answers are believed as they come"
		: "validates, but is not on this host: its answers can be changed on the way");
	return f->resolver_validates && f->resolver_is_local;
}

/* Sendmail asks the servers of the system; an answer that nobody validated is no TLSA record to it. */
bool
check_dane(const struct doctor_facts *f, struct errmsg *found)
{
	const char *dane = cf_option(f->cf, "DANE");

	if (dane == NULL || strchr("tTyY1aA", *dane) == NULL || f->config->dns_servers.n > 0)
		return true;
	errmsg_set(found,
	    "%s: O DANE=%s, but DNS server %s does not validate: no TLSA record counts", f->cf_path,
	    dane, f->resolver);
	return !f->resolver_answers || f->resolver_validates;
}

bool
check_fetches(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->fetch_error.text);
	return f->fetch_error.text[0] == '\0';
}

bool
check_units(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->unit.text);
	return f->unit.text[0] == '\0';
}

/* The arguments without= keep Sendmail going, and cannot do what it lacks. */
bool
check_build_enough(const struct doctor_facts *f, struct errmsg *found)
{
	if (f->build == NULL || build_has(f->build, "_FFR_TLS_ALTNAMES")) {
		errmsg_set(found,
		    "Sendmail was built without _FFR_MTA_STS: an MX host that needs the server name "
		    "(SNI) to show its certificate gets no mail under an enforced policy");
		return f->build == NULL || build_has(f->build, "_FFR_MTA_STS");
	}
	errmsg_set(found,
	    "Sendmail was built without _FFR_TLS_ALTNAMES: of a certificate the common name alone is "
	    "compared, which is less than RFC 8461 asks for");
	return false;
}
