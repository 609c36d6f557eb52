#include "maps/bdb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "maps/batch.h"
#include "maps/evict.h"
#include "maps/mapfile.h"
#include "maps/repair.h"

enum { CHECK_BUCKETS = 1024 }; /* looked at by each verify, in turn: milliseconds */

struct bdb {
	struct sink sink;
	struct batch_map map;
	uint32_t next_bucket; /* where the next verify goes on */
	struct changes changes;
};

static struct bdb *
of(struct sink *s)
{
	return (struct bdb *)s;
}

static const char *
ready_value(const struct sink_state *state)
{
	return state->observe ? MAPVALUE_OBSERVE : MAPVALUE_YES;
}

/* --- begin, set, commit --- */

static enum sink_result
bdb_begin(struct sink *s, struct errmsg *em UNUSED)
{
	changes_clear(&of(s)->changes);
	return SINK_OK;
}

static enum sink_result
bdb_set(struct sink *s, const char *domain, const struct requirement *old,
    const struct requirement *now, struct errmsg *em)
{
	return changes_require(&of(s)->changes, domain, old, now, em);
}

static enum sink_result
bdb_commit(struct sink *s, const struct sink_state *state, struct errmsg *em)
{
	struct bdb *b = of(s);
	struct batch batch = batch_of(&b->map, ready_value(state), state->alive_until);
	enum sink_result r = batch_commit(&b->map, &b->changes, batch.ready, batch.alive_until, em);

	changes_clear(&b->changes);
	if (r != SINK_OK)
		return r;
	r = evict_oldest(&batch, em);
	changes_clear(&batch.changes);
	/* a few too many do no harm until the next commit */
	return r == SINK_DAMAGED ? r : SINK_OK;
}

/* --- verify, repair --- */

static enum sink_result
bdb_verify(struct sink *s, struct errmsg *em)
{
	struct bdb *b = of(s);
	struct mapfile *m = NULL;
	struct stat st;
	char ready[MAPVALUE_MAX];
	enum sink_result r;

	if (lstat(b->map.path, &st) != 0 && errno == ENOENT) {
		errmsg_set(em, "%s: the map is gone; mtastsd makes it anew by itself", b->map.path);
		return SINK_DAMAGED;
	}
	if ((r = mapfile_prepare(b->map.path, em)) != SINK_OK ||
	    (r = mapfile_open(b->map.path, MAPFILE_READ, 0, &m, em)) != SINK_OK)
		return r;
	r = repair_needed(m, b->map.path, ready, em);
	if (r == SINK_OK)
		r = mapfile_check(m, &b->next_bucket, CHECK_BUCKETS, em);
	mapfile_close(&m);
	return r;
}

static enum sink_result
bdb_repair(struct sink *s, const struct sink_truth *truth, const struct sink_state *state,
    struct errmsg *em)
{
	return repair_map(&of(s)->map, truth, ready_value(state), state->alive_until, em);
}

/* --- open, close --- */

static void
bdb_close(struct sink *s)
{
	struct bdb *b = of(s);

	changes_clear(&b->changes);
	free(b->map.path);
	free(b);
}

static const struct sink_ops bdb_ops = {
    .kind = "sendmail",
    .begin = bdb_begin,
    .set = bdb_set,
    .commit = bdb_commit,
    .verify = bdb_verify,
    .repair = bdb_repair,
    .close = bdb_close,
};

struct sink *
bdb_open(const struct bdb_config *config, struct errmsg *em)
{
	struct bdb *b = calloc(1, sizeof(*b));

	if (b == NULL || (b->map.path = strdup(config->path)) == NULL) {
		errmsg_set(em, "%s: cannot open the map: out of memory; free some", config->path);
		free(b);
		return NULL;
	}
	b->sink.ops = &bdb_ops;
	b->map.none_max = config->none_max;
	b->map.n_none = BATCH_UNCOUNTED;
	if (mapfile_prepare(b->map.path, em) != SINK_OK) {
		bdb_close(&b->sink);
		return NULL;
	}
	return &b->sink;
}
