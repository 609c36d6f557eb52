#include "site/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static bool
parse_unix(const char *path, struct sock_address *out, struct errmsg *em)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->ss;

	if (path[0] != '/' || strlen(path) >= sizeof(un->sun_path)) {
		errmsg_set(em, "socket path \"%s\" must begin with / and be shorter than %zu bytes",
		    path, sizeof(un->sun_path));
		return false;
	}
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	out->len = sizeof(*un);
	return true;
}

static bool
parse_inet(const char *text, struct sock_address *out, struct errmsg *em)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&out->ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->ss;
	const char *colon = strrchr(text, ':');
	char host[64], *end = NULL;
	long port = colon == NULL ? 0 : strtol(colon + 1, &end, 10);
	int n = colon == NULL ? 0 : (int)(colon - text);

	if (port < 1 || port > 65535 || end == NULL || *end != '\0' || n == 0 ||
	    (size_t)n >= sizeof(host))
		goto bad;
	if (text[0] == '[' && text[n - 1] == ']')
		snprintf(host, sizeof(host), "%.*s", n - 2, text + 1);
	else
		snprintf(host, sizeof(host), "%.*s", n, text);
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1 &&
	    (ntohl(in->sin_addr.s_addr) >> 24) == 127) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		out->len = sizeof(*in);
		return true;
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 &&
	    IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr)) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		out->len = sizeof(*in6);
		return true;
	}
bad:
	errmsg_set(
	    em, "\"inet:%s\" is no loopback address and port, as in inet:127.0.0.1:8461", text);
	return false;
}

bool
sock_parse(const char *text, struct sock_address *out, struct errmsg *em)
{
	memset(out, 0, sizeof(*out));
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, out, em);
	if (strncmp(text, "inet:", 5) == 0)
		return parse_inet(text + 5, out, em);
	errmsg_set(em, "socket \"%s\": want unix:/path or inet:127.0.0.1:PORT", text);
	return false;
}

static const char *
unix_path(const struct sock_address *a)
{
	return a->ss.ss_family == AF_UNIX ? ((const struct sockaddr_un *)&a->ss)->sun_path : NULL;
}

bool
sock_clear_stale(const char *text, struct errmsg *em)
{
	struct sock_address a;
	struct stat st;
	const char *path;
	int fd, rc;

	if (!sock_parse(text, &a, em))
		return false;
	path = unix_path(&a);
	if (path == NULL || lstat(path, &st) != 0)
		return true;
	if (!S_ISSOCK(st.st_mode)) {
		errmsg_set(em,
		    "%s is in the way and is no socket; remove it or change the configuration",
		    path);
		return false;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = fd < 0 || connect(fd, (struct sockaddr *)&a.ss, a.len) != 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (rc == 0) {
		errmsg_set(em, "%s: another process listens there already; stop it first", path);
		return false;
	}
	if (rc == ENOENT || (rc == ECONNREFUSED && (unlink(path) == 0 || errno == ENOENT)))
		return true;
	errmsg_set(em, "%s: cannot tell whether its process is dead: %s; remove it if so", path,
	    strerror(rc == ECONNREFUSED ? errno : rc));
	return false;
}

/* -1, or an id; *ok false when the name is unknown. */
static id_t
find_owner(const char *name, bool *ok)
{
	struct passwd *pw = name == NULL ? NULL : getpwnam(name);

	*ok = name == NULL || pw != NULL;
	return pw == NULL ? (id_t)-1 : pw->pw_uid;
}

static id_t
find_group(const char *name, bool *ok)
{
	struct group *gr = name == NULL ? NULL : getgrnam(name);

	*ok = name == NULL || gr != NULL;
	return gr == NULL ? (id_t)-1 : gr->gr_gid;
}

static bool
set_access(const char *path, mode_t mode, const char *owner, const char *group, struct errmsg *em)
{
	bool have_owner, have_group;
	id_t uid = find_owner(owner, &have_owner), gid = find_group(group, &have_group);

	if (!have_owner || !have_group) {
		errmsg_set(em, "%s: no such %s \"%s\"", path, have_owner ? "group" : "user",
		    have_owner ? group : owner);
		return false;
	}
	if ((uid != (id_t)-1 || gid != (id_t)-1) && lchown(path, uid, gid) != 0) {
		errmsg_set(em, "%s: cannot change owner: %s", path, strerror(errno));
		return false;
	}
	if (chmod(path, mode) != 0) {
		errmsg_set(em, "%s: cannot change mode: %s", path, strerror(errno));
		return false;
	}
	return true;
}

int
sock_listen(const char *text, mode_t mode, const char *owner, const char *group, struct errmsg *em)
{
	struct sock_address a;
	int fd = -1, one = 1;
	mode_t old_umask;
	bool bound;

	if (!sock_parse(text, &a, em) || !sock_clear_stale(text, em))
		return -1;
	fd = socket(a.ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto failed;
	if (a.ss.ss_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	old_umask = umask(0177); /* nobody connects before set_access() */
	bound = bind(fd, (struct sockaddr *)&a.ss, a.len) == 0;
	umask(old_umask);
	if (!bound)
		goto failed;
	if (unix_path(&a) != NULL && !set_access(unix_path(&a), mode, owner, group, em))
		goto out;
	if (listen(fd, BACKLOG) == 0)
		return fd;
failed:
	errmsg_set(em, "%s: cannot listen: %s", text, strerror(errno));
out:
	if (fd >= 0)
		close(fd);
	return -1;
}

int
sock_connect(const char *text, struct errmsg *em)
{
	static const struct timeval patience = {
	    .tv_sec = 2}; /* a stopped daemon must not stop us */
	struct sock_address a;
	int fd;

	if (!sock_parse(text, &a, em))
		return -1;
	fd = socket(a.ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a.ss, a.len) == 0)
		return fd;
	errmsg_set(em, "%s: cannot connect: %s; is it running, and may this user connect?", text,
	    strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}
