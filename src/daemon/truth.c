#include "daemon/truth.h"

#include <string.h>

#include "util/log.h"

enum {
	IMPORT_BATCH = 1000, /* entries of one store commit */
	WALK_BATCH = 1000,
	OVERRIDE_GOOD_S =
	    7 * 86400 /* of the `none` of a disabled domain; renewed with half of it left */
};

struct requirement
truth_requirement(const struct truth *t, const char *domain, const struct entry *e, time_t now)
{
	struct requirement r = {.kind = REQUIRE_NONE};

	if (!config_disabled(t->config, domain))
		return e == NULL ? (struct requirement){.kind = REQUIRE_UNKNOWN}
				 : entry_requirement(e, now);
	/* Rounded, so that the value is the same for days and the map is not written again and
	 * again. */
	r.until = (now / OVERRIDE_GOOD_S + 2) * OVERRIDE_GOOD_S;
	return r;
}

static bool
lookup(const char *domain, struct requirement *r, void *arg)
{
	struct truth *t = arg;
	bool known;

	entry_clear(&t->entry);
	known = store_get(t->store, domain, &t->entry, NULL) == STORE_OK;
	*r = truth_requirement(t, domain, known ? &t->entry : NULL, time(NULL));
	return known || r->kind != REQUIRE_UNKNOWN;
}

/* ---- walking all of it ---- */

struct walk_state {
	const struct truth *truth;
	bool (*each)(const char *, const struct requirement *, void *);
	void *each_arg;
	char last[DOMAIN_MAX + 1];
	size_t n;
	bool stopped;
};

static bool
walk_entry(const char *domain, const struct entry *e, void *arg)
{
	struct walk_state *w = arg;
	struct requirement r = truth_requirement(w->truth, domain, e, time(NULL));

	memcpy(w->last, domain, strlen(domain) + 1);
	w->n++;
	if (r.kind != REQUIRE_UNKNOWN && !w->each(domain, &r, w->each_arg))
		w->stopped = true;
	return !w->stopped;
}

static bool
walk(bool (*each)(const char *, const struct requirement *, void *), void *each_arg, void *arg)
{
	struct truth *t = arg;
	struct walk_state w = {.truth = t, .each = each, .each_arg = each_arg};
	const struct config_list *disabled = &t->config->disabled;

	do {
		w.n = 0;
		if (store_each(t->store, w.last[0] == '\0' ? NULL : w.last, WALK_BATCH, walk_entry,
			&w, NULL, NULL) != STORE_OK)
			return false;
	} while (w.n == WALK_BATCH && !w.stopped);
	for (size_t i = 0; i < disabled->n && !w.stopped; i++) {
		struct requirement r = truth_requirement(t, disabled->item[i], NULL, time(NULL));

		w.stopped = !each(disabled->item[i], &r, each_arg);
	}
	return true;
}

/* ---- what only a map knows ---- */

/* An unexpired requirement that only the map knows becomes an entry: in force until its time,
 * looked at again soon. */
static bool
import_one(struct truth *t, const char *domain, const struct requirement *r)
{
	time_t now = time(NULL);
	struct entry e = {.state = ENTRY_POLICY,
	    .expires = r->until,
	    .recheck = now,
	    .refetch = now,
	    .used = now};
	struct errmsg em = {""};
	bool ok = false;

	e.policy = policy_new(
	    MODE_ENFORCE, (uint32_t)(r->until - now), r->n_mx, (const char *const *)r->mx);
	if (e.policy != NULL &&
	    (t->importing != NULL || store_begin(t->store, &t->importing, &em) == STORE_OK) &&
	    store_put(t->importing, domain, &e, now, &em) == STORE_OK) {
		ok = true;
		log_line(LOG_NOTICE,
		    "domain=%s imported from the map: enforce mx=%zu; the store did not know it",
		    domain, r->n_mx);
		if (++t->imported % IMPORT_BATCH == 0)
			ok = store_commit(&t->importing, &em) == STORE_OK;
	}
	if (!ok)
		log_line(LOG_ERR, "domain=%s not imported from the map: %s", domain, em.text);
	entry_clear(&e);
	return true; /* it stays in the map even when the store is full: never weaker */
}

/* The map changes next, so what was imported must be on disk first. */
static bool
import_commit(struct truth *t)
{
	struct errmsg em = {""};

	if (t->importing == NULL || store_commit(&t->importing, &em) == STORE_OK)
		return true;
	log_line(LOG_ERR, "imported requirements not saved: %s", em.text);
	return false;
}

static bool
import(const char *domain, const struct requirement *r, void *arg)
{
	return domain == NULL ? import_commit(arg) : import_one(arg, domain, r);
}

struct sink_truth
truth_begin(struct truth *t)
{
	t->imported = 0;
	return (struct sink_truth){lookup, walk, import, t};
}

bool
truth_end(struct truth *t, struct errmsg *em)
{
	entry_clear(&t->entry);
	if (import_commit(t))
		return true;
	errmsg_set(em, "imported requirements are not in the store yet");
	return false;
}
