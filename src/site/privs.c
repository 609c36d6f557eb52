#include "site/privs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct passwd *
find_user(const char *user, struct errmsg *em)
{
	struct passwd *pw = getpwnam(user);

	if (pw == NULL)
		errmsg_set(em,
		    "no user \"%s\"; make it: adduser --system --group --no-create-home %s", user,
		    user);
	return pw;
}

bool
privs_user_exists(const char *user, struct errmsg *em)
{
	return find_user(user, em) != NULL;
}

bool
privs_drop(const char *user, struct errmsg *em)
{
	struct passwd *pw;

	if (geteuid() != 0)
		return true;
	pw = find_user(user, em);
	if (pw == NULL)
		return false;
	if (initgroups(user, pw->pw_gid) != 0 ||
	    setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0) {
		errmsg_set(em, "cannot become user %s: %s", user, strerror(errno));
		return false;
	}
	if (pw->pw_uid != 0 && setuid(0) == 0) {
		errmsg_set(em, "could become root again after becoming user %s", user);
		return false;
	}
	return true;
}

static bool
make_parents(const char *dir, struct errmsg *em)
{
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s", dir) >= sizeof(path)) {
		errmsg_set(em, "%s: path too long", dir);
		return false;
	}
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		/* whatever the umask: every user goes through it */
		if (mkdir(path, 0755) == 0 ? chmod(path, 0755) != 0 : errno != EEXIST) {
			errmsg_set(em, "%s: cannot be made: %s", path, strerror(errno));
			return false;
		}
		*slash = '/';
	}
	return true;
}

/* True when nobody else has anything in it: then nobody misses it. */
static bool
holds_only_files_of(const char *dir, uid_t uid)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	struct stat st;
	bool only = d != NULL;

	while (only && (entry = readdir(d)) != NULL)
		only = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		       (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			   st.st_uid == uid);
	if (d != NULL)
		closedir(d);
	return only;
}

/* A directory of somebody else that the configuration names, /etc/mail for one, stays as it is. */
static bool
take_over(const char *dir, const struct passwd *pw, gid_t gid, mode_t mode, struct errmsg *em)
{
	struct stat st;

	if (lstat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
		errmsg_set(em, "%s is no directory; remove what is there", dir);
		return false;
	}
	if (st.st_uid == pw->pw_uid && st.st_gid == gid && (st.st_mode & 07777) == mode)
		return true;
	if (st.st_uid != pw->pw_uid && !holds_only_files_of(dir, pw->pw_uid)) {
		errmsg_set(em,
		    "%s holds files of others; name a directory of its own, made by: install -d -o %s -g %s -m %o DIRECTORY",
		    dir, pw->pw_name, gid == pw->pw_gid ? pw->pw_name : "root", (unsigned)mode);
		return false;
	}
	if (lchown(dir, pw->pw_uid, gid) == 0 && chmod(dir, mode) == 0)
		return true;
	errmsg_set(em, "%s: cannot change owner and mode: %s", dir, strerror(errno));
	return false;
}

bool
privs_own_dir(const char *dir, const char *user, const char *group, mode_t mode, struct errmsg *em)
{
	struct passwd *pw;
	struct group *gr = NULL;
	struct stat st;

	if (geteuid() != 0 && stat(dir, &st) == 0)
		return true;
	if (!make_parents(dir, em))
		return false;
	if (mkdir(dir, mode) != 0 && errno != EEXIST) {
		errmsg_set(em, "%s: cannot be made: %s; as root: install -d -o %s -g %s -m %o %s",
		    dir, strerror(errno), user, group == NULL ? user : group, (unsigned)mode, dir);
		return false;
	}
	if (geteuid() != 0)
		return true;
	pw = find_user(user, em);
	if (pw == NULL)
		return false;
	if (group != NULL && (gr = getgrnam(group)) == NULL) {
		errmsg_set(em, "%s: no group \"%s\"", dir, group);
		return false;
	}
	return take_over(dir, pw, gr == NULL ? pw->pw_gid : gr->gr_gid, mode, em);
}
