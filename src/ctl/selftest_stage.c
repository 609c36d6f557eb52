#include "ctl/selftest_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/input.h"
#include "policy/selftest.h"

enum { FILE_MAX = 1024 * 1024, QUEUE_DEPTH = 3 };

static const char *const devices[] = {
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
enum { N_DEVICES = sizeof(devices) / sizeof(devices[0]) };

static bool
failed(struct errmsg *em, const char *what)
{
	errmsg_set(em, "%s: %s", what, strerror(errno));
	return false;
}

pid_t
stage_fork(struct errmsg *em)
{
	unsigned long flags =
	    CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
	pid_t pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);

	if (pid < 0)
		failed(em,
		    "namespaces for a private network cannot be made (in a container, it must "
		    "have CAP_SYS_ADMIN)");
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static bool
bind_over(const char *from, const char *to)
{
	return mount(from, to, NULL, MS_BIND, NULL) == 0;
}

static bool
open_log(int *log_fd)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};

	*log_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return *log_fd >= 0 && bind(*log_fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
	       chmod(at.sun_path, 0666) == 0;
}

bool
stage_open(int *log_fd, struct errmsg *em)
{
	struct mount_attr all = {.attr_set = MOUNT_ATTR_RDONLY, .propagation = MS_PRIVATE};
	int device[N_DEVICES];
	char from[64];
	bool ok = true;

	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &all, sizeof(all)) != 0)
		return failed(em, "/ cannot be made read-only");
	/* processes by the numbers that they have here; where that is not permitted, it is no loss */
	(void)!mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
	for (size_t i = 0; i < N_DEVICES; i++)
		device[i] = open(devices[i], O_PATH | O_CLOEXEC);
	if (mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64m") != 0)
		return failed(em, "/dev");
	for (size_t i = 0; i < N_DEVICES; i++) {
		int fd = open(devices[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0666);

		snprintf(from, sizeof(from), "/proc/self/fd/%d", device[i]);
		ok = ok && fd >= 0 && (device[i] < 0 || bind_over(from, devices[i]));
		if (fd >= 0)
			close(fd);
		if (device[i] >= 0)
			close(device[i]);
	}
	if (!ok || !open_log(log_fd))
		return failed(em, "/dev");
	return true;
}

bool
stage_replace(const char *path, const char *text, size_t len, struct errmsg *em)
{
	static unsigned n;
	char own[64];
	struct stat st;
	int fd;
	bool ok;

	if (path == NULL || stat(path, &st) != 0)
		return true;
	snprintf(own, sizeof(own), "/dev/file%u", n++);
	fd = open(own, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	ok = fd >= 0 && write(fd, text, len) == (ssize_t)len &&
	     fchmod(fd, st.st_mode & 07777) == 0 && fchown(fd, st.st_uid, st.st_gid) == 0 &&
	     bind_over(own, path);
	if (fd >= 0)
		close(fd);
	return ok || failed(em, path);
}

/* ---- the network ---- */

static bool
loopback_up(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* As another address of loopback; one that cannot be had is only missed by who is told to use it. */
static void
add_address(const struct sockaddr *address, unsigned number)
{
	struct ifreq lo = {.ifr_flags = 0};
	struct {
		struct in6_addr address;
		uint32_t prefix_len;
		int index;
	} lo6 = {.prefix_len = 128, .index = (int)if_nametoindex("lo")}; /* struct in6_ifreq */
	int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	snprintf(lo.ifr_name, sizeof(lo.ifr_name), "lo:%u", number);
	if (address->sa_family == AF_INET) {
		memcpy(&lo.ifr_addr, address, sizeof(struct sockaddr_in));
		(void)!ioctl(fd, SIOCSIFADDR, &lo);
	} else {
		memcpy(&lo6.address,
		    &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr,
		    sizeof(lo6.address));
		(void)!ioctl(fd, SIOCSIFADDR, &lo6);
	}
	close(fd);
}

static void
add_addresses(const struct ifaddrs *host)
{
	unsigned n = 0;

	for (; host != NULL; host = host->ifa_next)
		if (host->ifa_addr != NULL && (host->ifa_flags & IFF_LOOPBACK) == 0 &&
		    (host->ifa_addr->sa_family == AF_INET || host->ifa_addr->sa_family == AF_INET6))
			add_address(host->ifa_addr, n++);
}

/* Names come from files and DNS; other services ask over sockets that lead out of here. */
static bool
replace_nsswitch(struct errmsg *em)
{
	static const char path[] = "/etc/nsswitch.conf", hosts[] = "hosts: files dns\n";
	struct input input;
	char *text, *out;
	bool ok;

	if (input_read(path, stdin, FILE_MAX, &input, NULL) != INPUT_OK)
		return true; /* the default is dns and files */
	out = text = malloc(input.len + sizeof(hosts));
	if (text == NULL)
		abort();
	for (struct cursor c = input_cursor(&input); cursor_len(&c) > 0;) {
		const unsigned char *end = memchr(c.p, '\n', cursor_len(&c));
		size_t n = end != NULL ? (size_t)(end + 1 - c.p) : cursor_len(&c);

		if (n < 6 || memcmp(c.p, "hosts:", 6) != 0)
			out = mempcpy(out, c.p, n);
		c.p += n;
	}
	out = mempcpy(out, hosts, sizeof(hosts) - 1);
	ok = stage_replace(path, text, (size_t)(out - text), em);
	free(text);
	input_clear(&input);
	return ok;
}

bool
stage_network(const struct ifaddrs *host_addresses, struct errmsg *em)
{
	static const char resolver[] = "nameserver 127.0.0.1\n";
	char host[HOST_NAME_MAX + 1] = "", longer[HOST_NAME_MAX + sizeof(SELFTEST_ZONE) + 2];

	if (!loopback_up())
		return failed(em, "loopback");
	add_addresses(host_addresses);
	/* nscd would answer for the host */
	if (access("/run/nscd", F_OK) == 0 && mount("tmpfs", "/run/nscd", "tmpfs", 0, NULL) != 0)
		return failed(em, "/run/nscd");
	/* Sendmail sleeps for a minute when its host has no name with a dot. */
	gethostname(host, sizeof(host) - 1);
	snprintf(longer, sizeof(longer), "%s.%s", host, SELFTEST_ZONE);
	if (strchr(host, '.') == NULL && sethostname(longer, strnlen(longer, HOST_NAME_MAX)) != 0)
		return failed(em, "host name");
	return replace_nsswitch(em) &&
	       stage_replace("/etc/resolv.conf", resolver, sizeof(resolver) - 1, em);
}

/* ---- queues ---- */

/* Makes an empty copy of a directory and of those in it. */
static bool
copy_dirs(const char *from, const char *to, int depth)
{
	char pattern[PATH_MAX], copy[PATH_MAX];
	struct stat st;
	glob_t found;
	bool ok;

	if (stat(from, &st) != 0 || mkdir(to, 0700) != 0 || chown(to, st.st_uid, st.st_gid) != 0 ||
	    chmod(to, st.st_mode & 07777) != 0)
		return false;
	if (depth == 0 || snprintf(pattern, sizeof(pattern), "%s/*/", from) >= PATH_MAX)
		return true;
	ok = true;
	if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
		for (size_t i = 0; ok && i < found.gl_pathc; i++) {
			char *dir = found.gl_pathv[i];
			const char *name;

			dir[strlen(dir) - 1] = '\0';
			name = strrchr(dir, '/') + 1;
			ok = snprintf(copy, sizeof(copy), "%s/%s", to, name) < PATH_MAX &&
			     copy_dirs(dir, copy, depth - 1);
		}
		globfree(&found);
	}
	return ok;
}

/* "/var/spool/mqueue" or "/var/spool/mqueue/q*": the part before the wildcard. */
static bool
replace_queue(const char *value, struct errmsg *em)
{
	static unsigned n;
	char dir[PATH_MAX], copy[64], *star;
	struct stat st;

	snprintf(dir, sizeof(dir), "%s", value);
	if ((star = strchr(dir, '*')) != NULL) {
		*star = '\0';
		if ((star = strrchr(dir, '/')) != NULL)
			*star = '\0';
	}
	if (dir[0] != '/' || stat(dir, &st) != 0)
		return true; /* Sendmail says so itself */
	snprintf(copy, sizeof(copy), "/dev/queue%u", n++);
	return (copy_dirs(dir, copy, QUEUE_DEPTH) && bind_over(copy, dir)) || failed(em, dir);
}

bool
stage_queues(const struct cf *cf, struct errmsg *em)
{
	const char *dir = cf_option(cf, "QueueDirectory"), *group;
	char path[PATH_MAX];

	if (!replace_queue(dir != NULL ? dir : "/var/spool/mqueue", em))
		return false;
	for (size_t at = 0; (group = cf_next_queue_group(cf, &at)) != NULL;)
		if (cf_equate(group, 'P', path, sizeof(path)) && !replace_queue(path, em))
			return false;
	return true;
}
