/*
 * maps/batch.h: commits to the Sendmail policy map. One that is to be seen in one step is one hold
 * of the lock, however long that takes; a repair's many changes are made in holds of at most 20 ms,
 * since Sendmail's lookups wait meanwhile.
 */
#ifndef MAPS_BATCH_H
#define MAPS_BATCH_H

#include <stdint.h>

#include "maps/changes.h"

#define BATCH_UNCOUNTED SIZE_MAX

/* The map, between two holds of its lock. */
struct batch_map {
	char *path;
	size_t none_max; /* most `none` entries kept */
	size_t n_none;   /* `none` entries in it, or BATCH_UNCOUNTED */
};

struct batch {
	struct batch_map *map;
	const char *ready; /* what the map says between its commits; `not`: it is being filled */
	time_t alive_until;
	size_t size;            /* so many changes make it full */
	long finish_ms;         /* what the last syncs took */
	struct changes changes; /* not made yet */
};

/* All of c in one hold of the lock; on failure the old map, or one that is not ready. */
MUST_USE enum sink_result batch_commit(struct batch_map *map, const struct changes *c,
    const char *ready, time_t alive_until, struct errmsg *em);

struct batch batch_of(struct batch_map *map, const char *ready, time_t alive_until);

/* Time to flush? The size follows what the last holds of the lock took. */
bool batch_full(const struct batch *b);

/* Makes the changes, in as many holds of the lock as the clock asks for, and empties them also on
 * failure. */
MUST_USE enum sink_result batch_flush(struct batch *b, struct errmsg *em);

/* Must the key go? Never asked for those of MAPKEY_STATE. */
typedef bool batch_doomed(
    const struct mapkey *k, enum mapkey_kind kind, struct cursor value, void *arg);

/* Deletes the doomed ones of all keys of the map, but for those that batch_can_delete() rules out.
 * b has no changes before and after. */
MUST_USE enum sink_result batch_delete(
    struct batch *b, batch_doomed *doomed, void *arg, struct errmsg *em);

/* Can it be written as a C string? Sendmail also looks up keys with a final NUL, so those that
 * cannot must go some other way. */
bool batch_can_delete(struct cursor key);

#endif
