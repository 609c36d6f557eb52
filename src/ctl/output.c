#include "ctl/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/when.h"

static void
become(const char *const *argv, int out)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (dup2(null, 0) == 0 && dup2(out, 1) == 1 && dup2(null, 2) == 2)
		execvp(argv[0], (char *const *)argv);
	_exit(127);
}

/* Reads to the end, to max, or until it takes too long; false: the last. */
static bool
read_all(int fd, size_t max, int timeout_ms, struct input *out)
{
	long end = when_monotonic_ms() + timeout_ms;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	ssize_t n = 1;

	while (out->len < max && n > 0) {
		long left = end - when_monotonic_ms();

		if (left <= 0 || poll(&wait, 1, (int)left) == 0)
			return false;
		n = read(fd, out->bytes + out->len, max - out->len);
		out->len += n > 0 ? (size_t)n : 0;
	}
	return true;
}

bool
output_of(const char *const *argv, size_t max, int timeout_ms, struct input *out, struct errmsg *em)
{
	bool in_time;
	pid_t pid;
	int fd[2];

	*out = (struct input){malloc(max), 0};
	if (out->bytes == NULL || pipe2(fd, O_CLOEXEC) != 0) {
		errmsg_set(em, "%s: %s", argv[0], strerror(errno));
		input_clear(out);
		return false;
	}
	if ((pid = fork()) == 0)
		become(argv, fd[1]);
	close(fd[1]);
	in_time = pid > 0 && read_all(fd[0], max, timeout_ms, out);
	close(fd[0]);
	if (pid > 0) {
		kill(pid, SIGKILL); /* it has closed its output, or is too slow */
		waitpid(pid, NULL, 0);
	}
	if (!in_time) {
		errmsg_set(em, "%s did not end within %d s", argv[0], timeout_ms / 1000);
		input_clear(out);
	}
	return in_time;
}
