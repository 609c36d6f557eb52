#include "maps/repair.h"

#include <stdlib.h>
#include <string.h>

#include "maps/batch.h"
#include "maps/evict.h"
#include "maps/mapfile.h"

enum sink_result
repair_needed(struct mapfile *m, const char *path, char ready[MAPVALUE_MAX], struct errmsg *em)
{
	char alive[MAPVALUE_MAX];
	enum sink_result r;

	if ((r = mapfile_get(m, MAPKEY_READY, ready, em)) != SINK_OK ||
	    (r = mapfile_get(m, MAPKEY_ALIVE, alive, em)) != SINK_OK)
		return r;
	if (strcmp(ready, MAPVALUE_YES) != 0 && strcmp(ready, MAPVALUE_OBSERVE) != 0)
		errmsg_set(em,
		    "%s: a commit was not finished (:ready: is \"%s\"); mtastsd repairs it by itself",
		    path, ready);
	else if (*alive == '\0' || strspn(alive, "0123456789") != strlen(alive))
		errmsg_set(em, "%s: no heartbeat (:alive: is \"%s\"); mtastsd repairs it by itself",
		    path, alive);
	else
		return SINK_OK;
	return SINK_DAMAGED;
}

/* An enforce requirement that only the map knows. */
struct lost {
	char *domain;
	time_t until;
	char **mx;
	size_t n_mx;
	bool imported;
};

struct repair {
	struct batch batch;
	const struct sink_truth *truth;
	struct lost *lost; /* sorted by domain once gathered */
	size_t n_lost, room;
	bool strange; /* a key that cannot be deleted one by one */
	struct mapfile *reader;
	enum sink_result result;
	struct errmsg *em;
};

static int
compare_lost(const void *a, const void *b)
{
	return strcmp(((const struct lost *)a)->domain, ((const struct lost *)b)->domain);
}

static struct lost *
find_lost(struct repair *rp, char *domain)
{
	struct lost key = {.domain = domain};

	return rp->n_lost == 0 ? NULL
			       : bsearch(&key, rp->lost, rp->n_lost, sizeof(key), compare_lost);
}

static bool
no_memory(struct repair *rp)
{
	errmsg_set(rp->em, "%s: not repaired: out of memory; free some", rp->batch.map->path);
	rp->result = SINK_FAILED;
	return false;
}

static bool
gather_domain(struct cursor key, struct cursor value, void *arg)
{
	struct repair *rp = arg;
	struct requirement r = mapvalue_parse(value), truth;
	struct mapkey k;
	enum mapkey_kind kind = mapkey_parse(key, &k);

	rp->strange |= !batch_can_delete(key);
	if (kind != MAPKEY_DOMAIN || r.kind != REQUIRE_ENFORCE || r.until <= time(NULL) ||
	    rp->truth->lookup(k.domain, &truth, rp->truth->arg))
		return true;
	if (rp->n_lost == rp->room) {
		size_t room = rp->room == 0 ? 64 : rp->room * 2;
		struct lost *lost = realloc(rp->lost, room * sizeof(*lost));

		if (lost == NULL)
			return no_memory(rp);
		rp->lost = lost;
		rp->room = room;
	}
	rp->lost[rp->n_lost] = (struct lost){.domain = strdup(k.domain), .until = r.until};
	if (rp->lost[rp->n_lost].domain == NULL)
		return no_memory(rp);
	rp->n_lost++;
	return true;
}

static bool
gather_pattern(struct cursor key, struct cursor value UNUSED, void *arg)
{
	struct repair *rp = arg;
	struct mapkey k;
	struct lost *lost;
	char **mx;

	if (mapkey_parse(key, &k) != MAPKEY_PATTERN || (lost = find_lost(rp, k.domain)) == NULL)
		return true;
	if ((mx = realloc(lost->mx, (lost->n_mx + 1) * sizeof(*mx))) == NULL)
		return no_memory(rp);
	lost->mx = mx;
	if ((mx[lost->n_mx] = strdup(k.pattern)) == NULL)
		return no_memory(rp);
	lost->n_mx++;
	return true;
}

static void
forget_lost(struct repair *rp)
{
	for (size_t i = 0; i < rp->n_lost; i++) {
		for (size_t j = 0; j < rp->lost[i].n_mx; j++)
			free(rp->lost[i].mx[j]);
		free(rp->lost[i].mx);
		free(rp->lost[i].domain);
	}
	free(rp->lost);
	rp->lost = NULL;
	rp->n_lost = rp->room = 0;
}

static void
sort_lost(struct repair *rp)
{
	if (rp->n_lost > 1)
		qsort(rp->lost, rp->n_lost, sizeof(*rp->lost), compare_lost);
}

/* What a damaged file still has. It is never whole, so the result is DAMAGED or FAILED. */
static enum sink_result
salvage(struct repair *rp, struct errmsg *em)
{
	const char *path = rp->batch.map->path;
	struct errmsg why = *em;
	enum sink_result r;

	forget_lost(rp);
	if ((r = mapfile_salvage(path, gather_domain, rp, em)) == SINK_OK) {
		sort_lost(rp);
		r = mapfile_salvage(path, gather_pattern, rp, em);
	}
	if (r != SINK_OK || rp->result != SINK_OK)
		return SINK_FAILED;
	*em = why;
	return SINK_DAMAGED;
}

/* Reads all that can be read. DAMAGED: the rest cannot. */
static enum sink_result
gather(struct repair *rp, struct errmsg *em)
{
	struct mapfile *m = NULL;
	uint32_t bucket = 0;
	enum sink_result r = mapfile_open(rp->batch.map->path, MAPFILE_READ, 0, &m, em);

	if (r == SINK_OK)
		r = mapfile_check(m, &bucket, UINT32_MAX, em);
	if (r == SINK_OK)
		r = mapfile_walk(m, NULL, gather_domain, rp, em);
	if (r == SINK_OK && rp->result == SINK_OK && rp->n_lost > 0) {
		sort_lost(rp);
		r = mapfile_walk(m, NULL, gather_pattern, rp, em);
	}
	mapfile_close(&m);
	if (r == SINK_DAMAGED)
		return salvage(rp, em);
	if (r != SINK_OK || rp->result != SINK_OK || !rp->strange)
		return r == SINK_OK ? rp->result : r;
	errmsg_set(em, "%s: holds keys that are not ours; mtastsd rebuilds it by itself",
	    rp->batch.map->path);
	return SINK_DAMAGED;
}

/* All of them, and durably, before the map changes: it may be the only copy. */
static enum sink_result
import_lost(struct repair *rp, struct errmsg *em)
{
	const struct sink_truth *t = rp->truth;

	for (size_t i = 0; i < rp->n_lost; i++) {
		struct lost *l = &rp->lost[i];
		struct requirement r = {REQUIRE_ENFORCE, l->until, l->n_mx, l->mx};

		l->imported = t->import(l->domain, &r, t->arg);
	}
	if (rp->n_lost == 0 || t->import(NULL, NULL, t->arg))
		return SINK_OK;
	errmsg_set(em,
	    "%s: requirements that only the map knows could not be saved; the store's own message says why",
	    rp->batch.map->path);
	return SINK_FAILED;
}

/* Must the key go? What is there with a wrong value stays: the truth is written over it later. */
static bool
not_true(const struct mapkey *k, enum mapkey_kind kind, struct cursor value UNUSED, void *arg)
{
	struct repair *rp = arg;
	struct requirement truth;
	struct lost *lost;

	if (kind == MAPKEY_STRANGE)
		return true;
	if (!rp->truth->lookup(k->domain, &truth, rp->truth->arg) ||
	    truth.kind == REQUIRE_UNKNOWN) {
		lost = find_lost(rp, (char *)(uintptr_t)k->domain);
		return lost == NULL || !lost->imported;
	}
	return kind == MAPKEY_PATTERN && !changes_lists(&truth, k->pattern);
}

/* Adds to the changes what the map does not hold as it should. */
static enum sink_result
compare(struct repair *rp, const char *domain, const struct requirement *want)
{
	static const struct requirement nothing = {.kind = REQUIRE_UNKNOWN};
	struct changes all = {0};
	char have[MAPVALUE_MAX];
	enum sink_result r = changes_require(&all, domain, &nothing, want, rp->em);

	if (r == SINK_OK && rp->reader == NULL)
		r = mapfile_open(rp->batch.map->path, MAPFILE_READ, 0, &rp->reader, rp->em);
	for (size_t i = 0; i < all.n && r == SINK_OK; i++) {
		r = mapfile_get(rp->reader, all.v[i].key, have, rp->em);
		if (r == SINK_OK && strcmp(have, all.v[i].value) != 0)
			r = changes_add(&rp->batch.changes, all.v[i].key, all.v[i].value, rp->em);
	}
	changes_clear(&all);
	return r;
}

static bool
put_each(const char *domain, const struct requirement *want, void *arg)
{
	struct repair *rp = arg;

	if (want->kind == REQUIRE_UNKNOWN)
		return true;
	rp->result = compare(rp, domain, want);
	if (rp->result == SINK_OK && batch_full(&rp->batch)) {
		mapfile_close(&rp->reader);
		rp->result = batch_flush(&rp->batch, rp->em);
	}
	return rp->result == SINK_OK;
}

static enum sink_result
put_truth(struct repair *rp, struct errmsg *em)
{
	bool whole = rp->truth->walk(put_each, rp, rp->truth->arg);

	mapfile_close(&rp->reader);
	if (rp->result != SINK_OK)
		return rp->result;
	if (whole)
		return batch_flush(&rp->batch, em);
	errmsg_set(em, "%s: not repaired, as the store could not be read; its own message says why",
	    rp->batch.map->path);
	return SINK_FAILED;
}

static enum sink_result
amend(struct repair *rp, struct errmsg *em)
{
	enum sink_result r = batch_delete(&rp->batch, not_true, rp, em);

	if (r != SINK_OK || (r = put_truth(rp, em)) != SINK_OK)
		return r;
	return evict_oldest(&rp->batch, em);
}

/* Begins with an empty map that is not ready, so that the lock is held for a moment only and the
 * filling can take its time. */
static enum sink_result
rebuild(struct repair *rp, struct errmsg *em)
{
	struct mapfile *m = NULL;
	enum sink_result r = mapfile_open(rp->batch.map->path, MAPFILE_REBUILD, 0, &m, em);

	mapfile_close(&m);
	changes_clear(&rp->batch.changes);
	rp->batch.ready = MAPVALUE_NOT;
	rp->batch.map->n_none = BATCH_UNCOUNTED;
	rp->result = SINK_OK;
	if (r != SINK_OK || (r = put_truth(rp, em)) != SINK_OK)
		return r;
	return evict_oldest(&rp->batch, em);
}

static enum sink_result
look(const char *path, char ready[MAPVALUE_MAX], struct errmsg *em)
{
	struct mapfile *m = NULL;
	enum sink_result r = mapfile_open(path, MAPFILE_READ, 0, &m, em);

	if (r == SINK_OK && repair_needed(m, path, ready, NULL) != SINK_OK)
		strcpy(ready, MAPVALUE_NOT);
	mapfile_close(&m);
	return r;
}

/* A map that is ready stays so meanwhile. One that is not was left by a writer that did not come to
 * its end, so it is not written to as it is. */
static enum sink_result
mend(struct repair *rp, struct errmsg *em)
{
	enum sink_result r = gather(rp, em);

	if (r == SINK_FAILED || import_lost(rp, em) != SINK_OK)
		return SINK_FAILED;
	if (r == SINK_OK && strcmp(rp->batch.ready, MAPVALUE_NOT) != 0 &&
	    (r = amend(rp, em)) != SINK_DAMAGED)
		return r;
	return rebuild(rp, em);
}

static enum sink_result
end_filling(const char *path, const char *ready, time_t alive_until, struct errmsg *em)
{
	struct mapfile *m = NULL;
	enum sink_result r = mapfile_open(path, MAPFILE_READ, 0, &m, em);

	if (r == SINK_OK)
		r = mapfile_settle(m, em);
	mapfile_close(&m);
	if (r == SINK_OK && (r = mapfile_open(path, MAPFILE_WRITE, 0, &m, em)) == SINK_OK)
		r = mapfile_ready(m, ready, alive_until, em);
	mapfile_close(&m);
	return r;
}

enum sink_result
repair_map(struct batch_map *map, const struct sink_truth *truth, const char *ready,
    time_t alive_until, struct errmsg *em)
{
	static const struct changes none = {0};
	char meanwhile[MAPVALUE_MAX] = MAPVALUE_NOT;
	struct repair rp = {
	    .truth = truth, .em = em, .batch = batch_of(map, meanwhile, alive_until)};
	enum sink_result r = mapfile_prepare(map->path, em);

	if (r == SINK_OK && (r = look(map->path, meanwhile, em)) != SINK_FAILED)
		r = mend(&rp, em);
	if (r == SINK_OK)
		r = strcmp(rp.batch.ready, MAPVALUE_NOT) == 0
			? end_filling(map->path, ready, alive_until, em)
			: batch_commit(map, &none, ready, alive_until, em);
	forget_lost(&rp);
	changes_clear(&rp.batch.changes);
	return r;
}
