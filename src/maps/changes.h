/* maps/changes.h: the keys of the Sendmail policy map that a commit will change. No I/O. */
#ifndef MAPS_CHANGES_H
#define MAPS_CHANGES_H

#include "maps/mapkey.h"
#include "maps/sink.h"

struct change {
	char *key;
	char value[MAPVALUE_MAX]; /* empty: delete the key */
};

struct changes { /* in the order in which they are to be made; all zeros: none */
	struct change *v;
	size_t n, room;
};

/* FAILED: no memory, and em says so. */
MUST_USE enum sink_result changes_add(
    struct changes *c, const char *key, const char *value, struct errmsg *em);

/* Adds what makes `now` of `old` for one domain: its patterns before its own key, so that no prefix
 * of it lets mail through. */
MUST_USE enum sink_result changes_require(struct changes *c, const char *domain,
    const struct requirement *old, const struct requirement *now, struct errmsg *em);

/* Is the pattern one of an enforce requirement? */
bool changes_lists(const struct requirement *r, const char *pattern);

void changes_clear(struct changes *c); /* frees all; it is empty then */

#endif
