#include "maps/evict.h"

#include <stdlib.h>

#include "maps/mapfile.h"

enum { EVICT_FRACTION = 64 }; /* that part of none_max goes at once: to find the oldest is slow */

struct census {
	size_t n_none;
	time_t *until; /* of each none entry; NULL: only count */
	size_t room;
};

static bool
count_each(struct cursor key, struct cursor value, void *arg)
{
	struct census *c = arg;
	struct requirement r = mapvalue_parse(value);
	struct mapkey k;

	if (r.kind != REQUIRE_NONE || mapkey_parse(key, &k) != MAPKEY_DOMAIN)
		return true;
	if (c->until != NULL && c->n_none < c->room)
		c->until[c->n_none] = r.until;
	c->n_none++;
	return true;
}

static enum sink_result
count(struct batch_map *map, struct census *c, struct errmsg *em)
{
	struct mapfile *m = NULL;
	enum sink_result r = mapfile_open(map->path, MAPFILE_READ, 0, &m, em);

	c->n_none = 0;
	if (r == SINK_OK)
		r = mapfile_walk(m, NULL, count_each, c, em);
	mapfile_close(&m);
	if (r == SINK_OK)
		map->n_none = c->n_none;
	return r;
}

static int
compare_times(const void *a, const void *b)
{
	time_t x = *(const time_t *)a, y = *(const time_t *)b;

	return (x > y) - (x < y);
}

struct cutoff {
	time_t until;   /* older ones go */
	size_t n_equal; /* and so many of those that are just as old */
};

static bool
too_old(const struct mapkey *k UNUSED, enum mapkey_kind kind, struct cursor value, void *arg)
{
	struct cutoff *c = arg;
	struct requirement r = mapvalue_parse(value);

	if (kind != MAPKEY_DOMAIN || r.kind != REQUIRE_NONE || r.until > c->until)
		return false;
	if (r.until == c->until && c->n_equal == 0)
		return false;
	c->n_equal -= r.until == c->until;
	return true;
}

static struct cutoff
find_cutoff(time_t *until, size_t n, size_t n_evict)
{
	struct cutoff c = {0};

	qsort(until, n, sizeof(*until), compare_times);
	c.until = until[n_evict - 1];
	for (size_t i = n_evict; i > 0 && until[i - 1] == c.until; i--)
		c.n_equal++;
	return c;
}

enum sink_result
evict_oldest(struct batch *batch, struct errmsg *em)
{
	struct batch_map *map = batch->map;
	struct census census = {0};
	struct cutoff cutoff;
	enum sink_result r = SINK_OK;

	if (map->n_none == BATCH_UNCOUNTED && (r = count(map, &census, em)) != SINK_OK)
		return r;
	if (map->n_none <= map->none_max)
		return SINK_OK;
	census.room = map->n_none;
	if ((census.until = calloc(census.room, sizeof(*census.until))) == NULL) {
		errmsg_set(em,
		    "%s: too many `none` entries, and no memory to find the oldest; free some",
		    map->path);
		return SINK_FAILED;
	}
	r = count(map, &census, em);
	if (r == SINK_OK && census.n_none > map->none_max) {
		size_t keep = map->none_max - map->none_max / EVICT_FRACTION;

		cutoff = find_cutoff(census.until, census.n_none, census.n_none - keep);
		r = batch_delete(batch, too_old, &cutoff, em);
	}
	free(census.until);
	return r;
}
