#include "maps/batch.h"

#include <stdlib.h>
#include <string.h>

#include "maps/mapfile.h"

enum {
	LOCK_GOAL_MS = 20, /* at half of it the batches get smaller: the next one may be slower */
	APPLY_MS = 15,     /* no change is begun later than this, less what the last syncs took */
	APPLY_MIN_MS = 2,
	SIZE_MIN = 16,
	SIZE_FIRST = 256, /* keys, until the first are measured */
	SIZE_MAX_KEYS = 512
};

/* --- one hold of the lock --- */

static bool
is_none(const char *value)
{
	return mapvalue_parse(cursor_of(value, strlen(value))).kind == REQUIRE_NONE;
}

static enum sink_result
apply(struct mapfile *m, const struct change *c, size_t *n_none, struct errmsg *em)
{
	char old[MAPVALUE_MAX];
	enum sink_result r;

	if (strchr(c->key, ':') == NULL) { /* a domain: keep count */
		if ((r = mapfile_get(m, c->key, old, em)) != SINK_OK)
			return r;
		*n_none += (size_t)is_none(c->value) - (size_t)is_none(old);
	}
	return *c->value == '\0' ? mapfile_del(m, c->key, em)
				 : mapfile_put(m, c->key, c->value, em);
}

/* The changes from *done on: all of them, or for at most limit_ms; *done is where it stopped. */
static enum sink_result
apply_some(struct mapfile *m, const struct changes *c, long limit_ms, size_t *done, size_t *n_none,
    struct errmsg *em)
{
	enum sink_result r = SINK_OK;

	while (*done < c->n && r == SINK_OK) {
		r = apply(m, &c->v[*done], n_none, em);
		(*done)++;
		if (limit_ms > 0 && mapfile_held_ms(m) >= limit_ms)
			break;
	}
	return r;
}

struct hold {
	const char *ready;
	time_t alive_until;
	long limit_ms;           /* 0: none */
	long held_ms, finish_ms; /* set: the whole of it, and what came after the changes */
};

/* On failure the map is not ready. */
static enum sink_result
push(
    struct batch_map *map, const struct changes *c, struct hold *h, size_t *done, struct errmsg *em)
{
	struct mapfile *m = NULL;
	size_t n_none = map->n_none;
	bool filling = strcmp(h->ready, MAPVALUE_NOT) == 0;
	enum sink_result r =
	    mapfile_open(map->path, filling ? MAPFILE_FILL : MAPFILE_WRITE, c->n - *done, &m, em);

	if (r == SINK_OK)
		r = mapfile_unready(m, em);
	if (r == SINK_OK)
		r = apply_some(m, c, h->limit_ms, done, &n_none, em);
	if (r == SINK_OK) {
		long applied_ms = mapfile_held_ms(m);

		r = mapfile_ready(m, h->ready, h->alive_until, em);
		h->held_ms = mapfile_held_ms(m);
		h->finish_ms = h->held_ms - applied_ms;
	}
	mapfile_close(&m);
	if (map->n_none != BATCH_UNCOUNTED)
		map->n_none = r == SINK_OK ? n_none : BATCH_UNCOUNTED;
	return r;
}

/* A put into a page that was lost would make it look whole. Lookups go on meanwhile. */
static enum sink_result
look_before(const struct batch_map *map, const struct changes *c, struct errmsg *em)
{
	struct mapfile *m = NULL;
	enum sink_result r = mapfile_open(map->path, MAPFILE_READ, 0, &m, em);

	if (r == SINK_OK)
		r = mapfile_check_free(m, c->n, em);
	for (size_t i = 0; i < c->n && r == SINK_OK; i++)
		r = mapfile_check_key(m, c->v[i].key, em);
	mapfile_close(&m);
	return r;
}

enum sink_result
batch_commit(struct batch_map *map, const struct changes *c, const char *ready, time_t alive_until,
    struct errmsg *em)
{
	struct hold h = {.ready = ready, .alive_until = alive_until};
	size_t done = 0;
	enum sink_result r = look_before(map, c, em);

	return r == SINK_OK ? push(map, c, &h, &done, em) : r;
}

/* --- many of them --- */

struct batch
batch_of(struct batch_map *map, const char *ready, time_t alive_until)
{
	return (struct batch){
	    .map = map, .ready = ready, .alive_until = alive_until, .size = SIZE_FIRST};
}

bool
batch_full(const struct batch *b)
{
	return b->changes.n >= b->size;
}

static void
measure(struct batch *b, const struct hold *h)
{
	b->finish_ms = h->finish_ms;
	if (h->held_ms > LOCK_GOAL_MS / 2 && b->size > SIZE_MIN)
		b->size /= 2;
	else if (h->held_ms < LOCK_GOAL_MS / 4 && b->size < SIZE_MAX_KEYS)
		b->size *= 2;
}

enum sink_result
batch_flush(struct batch *b, struct errmsg *em)
{
	struct hold h = {.ready = b->ready, .alive_until = b->alive_until};
	size_t done = 0;
	enum sink_result r = SINK_OK;

	while (done < b->changes.n && r == SINK_OK) {
		h.limit_ms = APPLY_MS - b->finish_ms;
		if (h.limit_ms < APPLY_MIN_MS)
			h.limit_ms = APPLY_MIN_MS;
		if ((r = push(b->map, &b->changes, &h, &done, em)) == SINK_OK)
			measure(b, &h);
	}
	changes_clear(&b->changes);
	return r;
}

bool
batch_can_delete(struct cursor key)
{
	return cursor_len(&key) <= MAPKEY_MAX && memchr(key.p, '\0', cursor_len(&key)) == NULL;
}

struct deletion {
	struct batch *batch;
	batch_doomed *doomed;
	void *arg;
	char kept[MAPKEY_MAX + 1]; /* where to go on: a key that stays */
	bool full;
	enum sink_result result;
	struct errmsg *em;
};

static bool
delete_each(struct cursor key, struct cursor value, void *arg)
{
	struct deletion *d = arg;
	struct mapkey k;
	enum mapkey_kind kind = mapkey_parse(key, &k);
	char text[MAPKEY_MAX + 1];

	if (!batch_can_delete(key))
		return true; /* the next repair sees it, and rebuilds */
	memcpy(text, key.p, cursor_len(&key));
	text[cursor_len(&key)] = '\0';
	if (kind == MAPKEY_STATE || !d->doomed(&k, kind, value, d->arg)) {
		strcpy(d->kept, text);
		return true;
	}
	d->result = changes_add(&d->batch->changes, text, "", d->em);
	d->full = batch_full(d->batch);
	return d->result == SINK_OK && !d->full;
}

enum sink_result
batch_delete(struct batch *b, batch_doomed *doomed, void *arg, struct errmsg *em)
{
	struct deletion d = {.batch = b, .doomed = doomed, .arg = arg, .em = em};
	struct mapfile *m = NULL;
	enum sink_result r;

	do {
		d.full = false;
		if ((r = mapfile_open(b->map->path, MAPFILE_READ, 0, &m, em)) == SINK_OK)
			r = mapfile_walk(m, *d.kept == '\0' ? NULL : d.kept, delete_each, &d, em);
		mapfile_close(&m);
		if (r == SINK_OK)
			r = d.result;
		if (r == SINK_OK)
			r = batch_flush(b, em);
	} while (r == SINK_OK && d.full);
	return r;
}
