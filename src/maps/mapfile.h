/*
 * maps/mapfile.h: the policy map's file for as long as one lock is held: Berkeley DB 5.3 hash. Only
 * mapfile.c includes db.h.
 *
 * Sendmail's processes keep the file open, take LOCK_SH by flock for each lookup, and read it again
 * only when its mtime is a whole second later than when they opened it. So it is changed in place
 * and never replaced, all between our LOCK_EX and its end, and each change moves the mtime one
 * whole second forward: with its first page and again with every other, so that no reader keeps
 * pages of before when the writer is killed. A put may split a bucket, and a writer killed then
 * loses keys that it never named: hence not ready + sync before the first change and ready + sync
 * after the last. What such a writer leaves is not changed further, since libdb trusts the list of
 * free pages, which may be torn: it is emptied and filled again. Of a map that is being filled
 * readers see only that it is not ready, so there neither each change is synced nor the mtime moved.
 */
#ifndef MAPS_MAPFILE_H
#define MAPS_MAPFILE_H

#include <stdint.h>

#include "maps/mapkey.h"
#include "maps/sink.h"

struct mapfile; /* the lock and the open database */

enum mapfile_mode {
	MAPFILE_READ,    /* LOCK_SH: lookups go on meanwhile */
	MAPFILE_WRITE,   /* LOCK_EX: lookups wait */
	MAPFILE_REBUILD, /* LOCK_EX, and everything that was in the file is gone: it says `not` */
	MAPFILE_FILL     /* LOCK_EX: after MAPFILE_REBUILD, changes until MAPFILE_WRITE ends it */
};

/*
 * Makes the file when it is absent: mode 640, owner and group of its directory, holding only
 * `:ready:` = `not`. Checks that it and its directory are ours and closed to others (a group or
 * world right that should not be is taken from the file, not from the directory). FAILED with the
 * remedy in em; DAMAGED never.
 */
MUST_USE enum sink_result mapfile_prepare(const char *path, struct errmsg *em);

/*
 * Locks and opens. Waits for the lock at most 5 s, then FAILED; em names the process that holds it
 * where that can be found out. n_changes  WRITE: how many keys will change, so that a full disk is
 * found out (FAILED) while nothing has changed
 */
MUST_USE enum sink_result mapfile_open(const char *path, enum mapfile_mode mode, size_t n_changes,
    struct mapfile **out, struct errmsg *em);

/* How long the lock has been held. */
long mapfile_held_ms(const struct mapfile *m);

/* Syncs nothing. Moves the mtime when anything was written, closes, unlocks. NULL-safe; leaves NULL
 * behind. */
void mapfile_close(struct mapfile **m);

/*
 * value: set to the text, or to "" when the key is absent or its value is longer than any of ours.
 */
MUST_USE enum sink_result mapfile_get(
    struct mapfile *m, const char *key, char value[MAPVALUE_MAX], struct errmsg *em);

/* Are the pages of n buckets from *bucket on there? See hashfile.h; *bucket is where the next call
 * goes on. */
MUST_USE enum sink_result mapfile_check(
    struct mapfile *m, uint32_t *bucket, uint32_t n, struct errmsg *em);

/* May libdb put or delete the key, and make n_changes such changes? As above. */
MUST_USE enum sink_result mapfile_check_key(struct mapfile *m, const char *key, struct errmsg *em);
MUST_USE enum sink_result mapfile_check_free(
    struct mapfile *m, size_t n_changes, struct errmsg *em);

/*
 * Changes: only between unready() and ready(). After a failure the map is `not` ready, and DAMAGED
 * is the result; but of unready() as found, and DAMAGED also when `:ready:` is not what the mode
 * wants: WRITE a finished commit, FILL the contrary.
 */
MUST_USE enum sink_result mapfile_unready(struct mapfile *m, struct errmsg *em);
MUST_USE enum sink_result mapfile_put(
    struct mapfile *m, const char *key, const char *value, struct errmsg *em);
MUST_USE enum sink_result mapfile_del(
    struct mapfile *m, const char *key, struct errmsg *em); /* an absent key is fine */
/* Syncs the changes, then writes and syncs the state. FILL: only hands the changes to the system. A
 * WRITE without unready() ends the filling. */
MUST_USE enum sink_result mapfile_ready(
    struct mapfile *m, const char *ready, time_t alive_until, struct errmsg *em);
/* READ: what was filled in is on disk now, so that the next WRITE need not wait for it. */
MUST_USE enum sink_result mapfile_settle(struct mapfile *m, struct errmsg *em);

/*
 * Calls each for every key of the file, beginning after the key `after` (NULL: with the first). The
 * order is the file's own; it stays the same while keys are only deleted or their values replaced
 * by some of the same length. each returns false to stop: that is SINK_OK too.
 */
MUST_USE enum sink_result mapfile_walk(struct mapfile *m, const char *after,
    bool (*each)(struct cursor key, struct cursor value, void *arg), void *arg, struct errmsg *em);

/*
 * The same of what a damaged file still has, without libdb, which stops at the first bad page: each
 * pair of any page that can be taken apart, so some may be twice or not as they were written.
 * SINK_OK at the end, FAILED: not even that.
 */
MUST_USE enum sink_result mapfile_salvage(const char *path,
    bool (*each)(struct cursor key, struct cursor value, void *arg), void *arg, struct errmsg *em);

#endif
