#include "milter/spare.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_storage own;
static socklen_t own_len; /* 0: not known, no spare workers */

static void
init_unix(const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&own;

	if (strlen(path) >= sizeof(un->sun_path))
		return; /* libmilter has refused it as well */
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	own_len = sizeof(*un);
}

static void
init_inet(const char *port_at_host)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	size_t len = strcspn(port_at_host, "@");
	const char *host = port_at_host[len] == '@' ? port_at_host + len + 1 : NULL;
	char port[32];

	snprintf(port, sizeof(port), "%.*s", (int)len, port_at_host);
	if (getaddrinfo(host, port, &hints, &found) != 0)
		return;
	memcpy(&own, found->ai_addr, found->ai_addrlen);
	own_len = found->ai_addrlen;
	freeaddrinfo(found);
}

void
spare_init(const char *milter_socket)
{
	const char *rest = strchr(milter_socket, ':');

	if (strncmp(milter_socket, "inet", 4) == 0 && rest != NULL)
		init_inet(rest + 1);
	else
		init_unix(milter_socket + (strncmp(milter_socket, "unix:", 5) == 0 ? 5 : 0));
}

void
spare_worker(void)
{
	int fd;

	if (own_len == 0)
		return;
	fd = socket(own.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	(void)!connect(fd, (struct sockaddr *)&own, own_len);
	close(fd);
}
