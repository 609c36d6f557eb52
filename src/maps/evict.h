/* maps/evict.h: the cap on the policy map's `none` entries. */
#ifndef MAPS_EVICT_H
#define MAPS_EVICT_H

#include "maps/batch.h"

/* When there are more than none_max: deletes the oldest and some more, in short commits. b has no
 * changes before and after. */
MUST_USE enum sink_result evict_oldest(struct batch *b, struct errmsg *em);

#endif
