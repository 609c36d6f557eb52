/*
 * maps/repair.h: makes the Sendmail policy map agree with the truth, whatever became of its file.
 */
#ifndef MAPS_REPAIR_H
#define MAPS_REPAIR_H

#include "maps/batch.h"
#include "maps/mapfile.h"

/*
 * Compares, deletes, puts in short commits; a map that cannot be read or was left not ready is
 * emptied first, after what it still has was offered to import. See sink.h.
 *   ready  the state when all is done: MAPVALUE_YES or _OBSERVE; until then a map that was ready
 *          stays as it was, any other is `not` ready
 */
MUST_USE enum sink_result repair_map(struct batch_map *map, const struct sink_truth *truth,
    const char *ready, time_t alive_until, struct errmsg *em);

/* DAMAGED: the map's state is not that of a finished commit; em says so. ready: what it says. */
MUST_USE enum sink_result repair_needed(
    struct mapfile *m, const char *path, char ready[MAPVALUE_MAX], struct errmsg *em);

#endif
