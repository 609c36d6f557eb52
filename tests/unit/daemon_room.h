/* tests/unit/daemon_room.h: the parts of mtastsd around a real store and a real map in a temporary
 * directory, for the tests of the daemon room. */
#ifndef TESTS_UNIT_DAEMON_ROOM_H
#define TESTS_UNIT_DAEMON_ROOM_H

#include <event2/event.h>

#include "daemon/held.h"
#include "daemon/nudge.h"
#include "daemon/resolve.h"
#include "daemon/schedule.h"
#include "daemon/writer.h"

struct room {
	char dir[64], map[96], control[96], socketmap[96];
	struct config *config;
	struct event_base *base;
	struct store *store;
	struct sink *sink; /* the writer's, once there is one */
	struct writer *writer;
	struct dns *dns;
	struct https *https;
	struct resolver *resolver;
	struct held *held;
	struct nudge *nudge;
	struct schedule *schedule;
	size_t n_ready, n_settled;
};

/* Directory, configuration (more: lines after ours), store and map; fails the test otherwise. */
void room_open(struct room *r, const char *more);
void room_reopen(struct room *r, const char *more); /* after room_stop() */
struct config *room_config(struct room *r, const char *more);
void room_begin_writer(struct room *r);
void room_start_writer(struct room *r); /* the same, and returns when it is ready */
void room_start_resolver(struct room *r);
void room_stop(struct room *r);  /* as mtastsd stops */
void room_close(struct room *r); /* the same, and the directory goes */

/* Runs the loop until done() is true, or fails the test after some seconds. */
void room_run(struct room *r, bool (*done)(void *arg), void *arg);
void room_turn(struct room *r); /* what is due now, at most a few milliseconds */

/* An enforced policy with one MX pattern, or what DNS called none; confirmed now. */
struct entry room_enforce(const char *mx);
struct entry room_none(void);
void room_save(struct room *r, const char *domain, struct entry e); /* waits; clears e */

void room_flush(struct room *r); /* what was asked of the writer before is done */

/* What the map file says of a key, "" when it is not there. */
const char *room_map(const struct room *r, const char *key);
bool room_stored(const struct room *r, const char *domain, struct entry *out);

/* A client's side of a unix socket. */
int room_connect(const char *path);
void room_send(int fd, const void *bytes, size_t len);
/* Turns the loop until n bytes or, with n 0, the end of the connection has come; returns text. */
const char *room_receive(struct room *r, int fd, size_t n);
const char *room_receive_line(struct room *r, int fd);

#endif
