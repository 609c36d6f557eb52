/*
 * maps/makemap.h: the policy map in a format that libdb 5.3 does not write: Sendmail's own makemap
 * makes it from ours. The bdb sink keeps a map beside it, PATH.source.db, which has its safety,
 * repair and limits; after each of its commits all of it goes through makemap, into the file that
 * Sendmail reads. Keys, values and the rules are the same.
 *
 * makemap's own way of writing, to empty the file first, would leave a map that looks whole to
 * Sendmail and lacks domains when it is killed; so it makes a file of its own, which is then copied
 * over the one that Sendmail reads, in place, under flock(LOCK_EX), its first block last: without
 * that block no format can be opened, and mail waits. The mtime goes one whole second forward.
 */
#ifndef MAPS_MAKEMAP_H
#define MAPS_MAKEMAP_H

#include "maps/sink.h"

struct makemap_config {
	const char *program; /* makemap, of the Sendmail that reads the map; run as we are */
	const char *type;    /* as makemap and Sendmail call it: "hash", "btree" */
	const char *path;    /* the file that Sendmail reads, with its .db */
	size_t none_max;
};

/* As bdb_open(), of both files. */
MUST_USE struct sink *makemap_open(const struct makemap_config *config, struct errmsg *em);

#endif
