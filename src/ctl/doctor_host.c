#include "ctl/doctor_checks.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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
	return ca_is(f, "CACertFile", &f->ca_file, false, found) &&
	       ca_is(f, "CACertPath", &f->ca_path, true, found);
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
	return (file->mode & 0777) == mode && file->gid == 0 && file->uid == f->map_uid;
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
