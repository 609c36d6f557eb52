#include "servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static bool
find_program(const char *name, char path[128])
{
	static const char *const dirs[] = {"/usr/sbin", "/usr/bin", "/sbin", "/bin"};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(path, 128, "%s/%s", dirs[i], name);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

bool
have_program(const char *name)
{
	char path[128];

	return find_program(name, path);
}

void
make_dir(char dir[64])
{
	snprintf(dir, 64, "/tmp/mtasts-test-XXXXXX");
	if (mkdtemp(dir) == NULL) {
		perror(dir);
		exit(1);
	}
	chmod(dir, 0755); /* servers that give up root read it too */
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void
remove_dir(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static pid_t
spawn(const char *out, const char *const argv[])
{
	pid_t parent = getpid(), pid = fork();
	char path[128];
	int fd;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent || !find_program(argv[0], path))
		_exit(127);
	if ((fd = open(out, O_WRONLY | O_CREAT | O_APPEND, 0644)) >= 0) {
		dup2(fd, 1);
		dup2(fd, 2);
	}
	signal(SIGPIPE, SIG_DFL);
	unsetenv("LD_PRELOAD");
	execv(path, (char *const *)argv);
	_exit(127);
}

bool
prepare(const char *what, const char *dir, int dns_port)
{
	char port[16], out[128];
	const char *argv[] = {"sh", SERVERS_SH, what, dir, port, NULL};
	int status;

	snprintf(port, sizeof(port), "%d", dns_port);
	snprintf(out, sizeof(out), "%s/prepare.out", dir);
	return waitpid(spawn(out, argv), &status, 0) > 0 && status == 0;
}

pid_t
start(const char *dir, const char *name, const char *const argv[])
{
	char out[128];

	snprintf(out, sizeof(out), "%s/%s.out", dir, name);
	return spawn(out, argv);
}

void
stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int
bound_socket(int type, struct sockaddr_in *at)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*at);

	at->sin_family = AF_INET;
	at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)at, len) != 0 ||
	    getsockname(fd, (struct sockaddr *)at, &len) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

int
free_port(void)
{
	for (int tries = 0; tries < 100; tries++) {
		struct sockaddr_in at = {.sin_port = 0};
		int udp = bound_socket(SOCK_DGRAM, &at), tcp = bound_socket(SOCK_STREAM, &at);

		if (udp >= 0)
			close(udp);
		if (tcp >= 0)
			close(tcp);
		if (udp >= 0 && tcp >= 0)
			return ntohs(at.sin_port);
	}
	return -1;
}

bool
wait_tcp(int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int ms = 0; ms < 10000; ms += 20) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bool up = connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0;

		close(fd);
		if (up)
			return true;
		usleep(20000);
	}
	return false;
}

static bool
write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Root in a user namespace of its own: this user, and nobody else, is 0 there. */
static bool
own_user_and_network(void)
{
	char uids[64], gids[64];

	snprintf(uids, sizeof(uids), "0 %u 1", (unsigned)getuid());
	snprintf(gids, sizeof(gids), "0 %u 1", (unsigned)getgid());
	return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
	       write_file("/proc/self/setgroups", "deny") &&
	       write_file("/proc/self/uid_map", uids) && write_file("/proc/self/gid_map", gids);
}

bool
own_network(void)
{
	struct ifreq lo = {.ifr_name = "lo"};
	int fd;
	bool up;

	if (unshare(CLONE_NEWNET) != 0 && !own_user_and_network())
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	lo.ifr_flags = IFF_UP | IFF_RUNNING;
	up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
	if (fd >= 0)
		close(fd);
	return up;
}
