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

#include "util/ascii.h"

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

/* 1 to 5 digits; 0: they are no port. */
static in_port_t
port_of(const char *text, size_t len)
{
	unsigned long port = 0;

	for (size_t i = 0; i < len; i++) {
		if (!ascii_digit((unsigned char)text[i]) || i >= 5)
			return 0;
		port = port * 10 + (unsigned long)(text[i] - '0');
	}
	return port <= 65535 ? (in_port_t)port : 0;
}

static bool
set_loopback(const char *host, int family, in_port_t port, struct sock_address *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&out->ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->ss;
	bool name = strcmp(host, "localhost") == 0;

	if (family == AF_INET6) {
		*in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
		out->len = sizeof(*in6);
		return inet_pton(AF_INET6, name ? "::1" : host, &in6->sin6_addr) == 1 &&
		       IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	}
	*in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	out->len = sizeof(*in);
	return inet_pton(AF_INET, name ? "127.0.0.1" : host, &in->sin_addr) == 1 &&
	       (ntohl(in->sin_addr.s_addr) >> 24) == 127;
}

/* HOST:PORT, or PORT@HOST as Sendmail has it; rest is what follows "inet:" or "inet6:". */
static bool
parse_inet(const char *rest, bool six, struct sock_address *out)
{
	const char *at = strchr(rest, '@'), *colon = strrchr(rest, ':');
	const char *host = at != NULL ? at + 1 : rest, *port = at != NULL ? rest : colon + 1;
	size_t host_len, port_len;
	char name[64];

	if (at == NULL && (six || colon == NULL)) /* inet6:HOST:PORT is nobody's form */
		return false;
	host_len = at != NULL ? strlen(host) : (size_t)(colon - rest);
	port_len = at != NULL ? (size_t)(at - rest) : strlen(port);
	if (at == NULL)
		six = host[0] == '[';
	if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
		host++;
		host_len -= 2;
	}
	return port_of(port, port_len) != 0 &&
	       (size_t)snprintf(name, sizeof(name), "%.*s", (int)host_len, host) < sizeof(name) &&
	       set_loopback(name, six ? AF_INET6 : AF_INET, port_of(port, port_len), out);
}

bool
sock_parse(const char *text, struct sock_address *out, struct errmsg *em)
{
	memset(out, 0, sizeof(*out));
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, out, em);
	if (strncmp(text, "local:", 6) == 0)
		return parse_unix(text + 6, out, em);
	if ((strncmp(text, "inet:", 5) == 0 && parse_inet(text + 5, false, out)) ||
	    (strncmp(text, "inet6:", 6) == 0 && parse_inet(text + 6, true, out)))
		return true;
	errmsg_set(em,
	    "socket \"%s\": want unix:/path or, on loopback, inet:127.0.0.1:PORT or "
	    "inet:PORT@127.0.0.1",
	    text);
	return false;
}

void
sock_print(const struct sock_address *a, char out[SOCK_TEXT_MAX])
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&a->ss;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->ss;
	char host[INET6_ADDRSTRLEN] = "";

	if (a->ss.ss_family == AF_UNIX) {
		snprintf(out, SOCK_TEXT_MAX, "local:%s", sock_unix_path(a));
	} else if (a->ss.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(out, SOCK_TEXT_MAX, "inet6:%u@%s", ntohs(in6->sin6_port), host);
	} else {
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(out, SOCK_TEXT_MAX, "inet:%u@%s", ntohs(in->sin_port), host);
	}
}

const char *
sock_unix_path(const struct sock_address *a)
{
	return a->ss.ss_family == AF_UNIX ? ((const struct sockaddr_un *)&a->ss)->sun_path : NULL;
}

bool
sock_clear_stale(const struct sock_address *a, struct errmsg *em)
{
	const char *path = sock_unix_path(a);
	struct stat st;
	int fd, rc;

	if (path == NULL || lstat(path, &st) != 0)
		return true;
	if (!S_ISSOCK(st.st_mode)) {
		errmsg_set(em,
		    "%s is in the way and is no socket; remove it or change the configuration",
		    path);
		return false;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	rc = fd < 0 || connect(fd, (const struct sockaddr *)&a->ss, a->len) != 0 ? errno : 0;
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

bool
sock_set_access(
    const char *path, mode_t mode, const char *owner, const char *group, struct errmsg *em)
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

	if (!sock_parse(text, &a, em) || !sock_clear_stale(&a, em))
		return -1;
	fd = socket(a.ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto failed;
	if (a.ss.ss_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	old_umask = umask(0177); /* nobody connects before sock_set_access() */
	bound = bind(fd, (struct sockaddr *)&a.ss, a.len) == 0;
	umask(old_umask);
	if (!bound)
		goto failed;
	if (sock_unix_path(&a) != NULL &&
	    !sock_set_access(sock_unix_path(&a), mode, owner, group, em))
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
	/* a stopped daemon must not stop us */
	static const struct timeval patience = {.tv_sec = 2};
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
