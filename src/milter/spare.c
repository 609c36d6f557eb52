#include "milter/spare.h"

#include <sys/socket.h>
#include <unistd.h>

static struct sock_address own;

void
spare_init(const struct sock_address *milter_socket)
{
	own = *milter_socket;
}

void
spare_worker(void)
{
	int fd = socket(own.ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return;
	(void)!connect(fd, (struct sockaddr *)&own.ss, own.len);
	close(fd);
}
