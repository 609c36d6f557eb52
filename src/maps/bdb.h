/*
 * maps/bdb.h: the Sendmail policy map: Berkeley DB 5.3 hash, read by FEATURE(`mtasts'). Keys and
 * values: mtasts.conf(5). Changed in place under flock(LOCK_EX): not ready + sync, changes + sync,
 * ready + sync; the mtime one whole second forward from the first page written on.
 */
#ifndef MAPS_BDB_H
#define MAPS_BDB_H

#include "maps/sink.h"

struct bdb_config {
	const char *path; /* the .db file; its directory must exist */
	size_t none_max;  /* most `none` entries kept, the oldest go first; enforce entries stay */
};

/* Opens or creates the map file (mode 640). A file that is not ours to change is an error with the
 * remedy. */
MUST_USE struct sink *bdb_open(const struct bdb_config *config, struct errmsg *em);

#endif
