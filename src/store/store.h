/*
 * store/store.h: the policy cache on disk: one entry a policy domain, and an index by time. It is
 * the cache: nothing is kept in memory. One process opens it for writing (a lock file says so);
 * within it one thread writes, any thread reads and never waits for the writer.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "policy/entry.h"
#include "util/errmsg.h"

struct store;     /* opaque: only store.c includes lmdb.h */
struct store_txn; /* one group commit */

enum store_result {
	STORE_OK,
	STORE_ABSENT,
	STORE_FULL,  /* the map size or the disk; nothing was changed */
	STORE_BUSY,  /* another process has it open for writing */
	STORE_NEWER, /* its schema is newer than this program */
	STORE_DAMAGED, /* not to be trusted; em says where it was moved, or which record was dropped */
	STORE_FAILED
};

struct store_config {
	/* made with mode 700 when missing; holds data.mdb, lock.mdb and writer.lock */
	const char *dir;
	/* of the data file; default of the configuration: 8 GiB of address space */
	size_t max_bytes;
};

/*
 * Opens the store for reading and writing. LMDB believes its file, so the file is looked at first:
 *   closed well by the last writer and unchanged since
 *            its two meta pages and its size, whatever its length
 *   anything else (a crash, a restored copy, damage seen while running)
 *            every page and every record, in bounded memory
 * Damaged trees, or a file shorter than its trees: moved aside as data.mdb.damaged-TIME, and a new
 * store is begun. Whole trees with damaged records or a wrong index by time: the bad records are
 * dropped, the index is built anew. Either way *recovered is true and em tells; the caller imports
 * what the maps still require.
 *   BUSY     em names the pid
 *   NEWER    the file is untouched; em names the version that wrote it
 *   FULL     no room for a new store, or to finish a recovery
 */
MUST_USE enum store_result store_open(
    const struct store_config *config, struct store **out, bool *recovered, struct errmsg *em);

/*
 * Opens it for store_get() and store_each() alone, while no other process has it open for writing:
 * nothing is made, mended or moved.
 *   ABSENT   there is no store
 *   DAMAGED  whoever opens it for writing recovers it
 */
MUST_USE enum store_result store_open_to_read(
    const struct store_config *config, struct store **out, struct errmsg *em);

/* NULL-safe; leaves NULL behind. Every transaction has ended before. */
void store_close(struct store **st);

/*
 * Looks up a domain (A-labels, lower case, no final dot). A record whose checksum is wrong is
 * DAMAGED. Expired entries are returned too: decide() judges them.
 *   out  set on STORE_OK only, for the caller to entry_clear()
 */
MUST_USE enum store_result store_get(
    struct store *st, const char *domain, struct entry *out, struct errmsg *em);

/*
 * A group commit: begin, any number of get, put, del, then commit or abort, all in one thread. OK
 * from commit: all of it is on the disk; anything else: none of it. After a failed put or del a
 * commit fails with the same result. Del of an unknown domain is ABSENT and no failure.
 */
MUST_USE enum store_result store_begin(struct store *st, struct store_txn **txn, struct errmsg *em);
MUST_USE enum store_result store_txn_get(
    struct store_txn *txn, const char *domain, struct entry *out, struct errmsg *em);
MUST_USE enum store_result store_put(struct store_txn *txn, const char *domain,
    const struct entry *e, time_t due, struct errmsg *em);
MUST_USE enum store_result store_del(struct store_txn *txn, const char *domain, struct errmsg *em);
MUST_USE enum store_result store_commit(
    struct store_txn **txn, struct errmsg *em); /* frees it, even when it fails */
void store_abort(struct store_txn **txn);       /* NULL-safe */

/*
 * Calls cb for up to max domains due at or before now, earliest first; due is what store_put() was
 * given. False from cb ends the walk.
 */
typedef bool store_due_cb(const char *domain, time_t due, void *arg);
MUST_USE enum store_result store_due(
    struct store *st, time_t now, size_t max, store_due_cb *cb, void *arg, struct errmsg *em);

/* The earliest due time of all, 0 when the store is empty. */
time_t store_next_due(struct store *st);

/*
 * Calls cb for entries in order of domain, beginning after `after` (NULL: the first), at most max,
 * each call in a short read transaction of its own so that a long walk never pins old pages.
 * Damaged records are skipped, do not count as one of max, and are counted in *damaged (NULL: not
 * wanted).
 */
typedef bool store_each_cb(const char *domain, const struct entry *e, void *arg);
MUST_USE enum store_result store_each(struct store *st, const char *after, size_t max,
    store_each_cb *cb, void *arg, size_t *damaged, struct errmsg *em);

size_t store_count(struct store *st);

#endif
