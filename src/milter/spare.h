/*
 * milter/spare.h: a worker for every session, however many of them wait.
 *
 * libmilter as Debian builds it serves sessions with a pool of workers. When several commands come
 * at once it signals the one idle worker for each of them and starts no other; the rest lie until
 * some worker is done. That goes unseen in filters that answer at once. A worker that waits here
 * for seconds would hold up other people's mail, so whoever begins to wait calls for a spare one: a
 * connection to our own socket, closed at once, makes libmilter start or wake a worker, which then
 * looks for what lies ready. As each worker that comes to wait does so, no command lies for long.
 */
#ifndef MILTER_SPARE_H
#define MILTER_SPARE_H

#include "site/sock.h"

/* Notes our own socket; once, before there are threads. */
void spare_init(const struct sock_address *milter_socket);

/* Calls for a spare worker; thread-safe, does not block. A failure costs delay only. */
void spare_worker(void);

#endif
