/*
 * tests/unit/servers.h: real servers (nsd, nginx) for tests of the discover room: private
 * configurations in a temporary directory, high ports or a network namespace, ended by pid.
 */
#ifndef TESTS_UNIT_SERVERS_H
#define TESTS_UNIT_SERVERS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

/* False: the program is not installed, so a test that needs it is skipped. */
bool have_program(const char *name);

/* A directory of this process's own, removed with all that is in it by remove_dir(). */
void make_dir(char dir[64]);
void remove_dir(const char *dir);

/* Runs servers.sh, which writes what the servers read; true when it succeeds. */
bool prepare(const char *what, const char *dir, int dns_port);

/* Starts a program, its output in DIR/NAME.out; it ends with stop() or with this process. */
pid_t start(const char *dir, const char *name, const char *const argv[]);
void stop(pid_t pid);

int free_port(void);     /* free for UDP and TCP at 127.0.0.1 */
bool wait_tcp(int port); /* until somebody accepts there; false: 10 s are over */

/* At 127.0.0.1, any port; never answers by itself. */
int bound_socket(int type, struct sockaddr_in *at);

/* Moves this process into a network of its own, a loopback; false: not permitted here. */
bool own_network(void);

#endif
