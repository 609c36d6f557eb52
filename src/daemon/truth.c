#include "daemon/truth.h"
#include "policy/ruling.h"

#include <stdlib.h>
#include <string.h>

#include "maps/mapkey.h"
#include "util/log.h"
#include "util/tree.h"

enum {
	IMPORT_BATCH = 1000, /* entries of one store commit */
	WALK_BATCH = 1000,
	LONG_MX = 32,         /* MX patterns; fewer are read again as fast */
	PATTERNS_MAX = 500000 /* of the policies kept, some 50 bytes each */
};

struct requirement
truth_requirement(const struct truth *t, const char *domain, const struct entry *e, time_t now)
{
	const struct rules *rules = t->config->rules;
	const char *pattern = mapkey_rule_pattern(domain);

	if (pattern != NULL)
		return ruling_pattern(rules, pattern);
	return mapkey_is_rule(domain) ? ruling_pattern(t->config->chosen, domain)
				      : ruling_requirement(rules_find(rules, domain, NULL), e, now);
}

/*
 * A repair asks once for each MX pattern in the map, in any order: a policy of thousands would be
 * read, and decoded whole, thousands of times.
 */
struct long_policy {
	char domain[DOMAIN_MAX + 1]; /* first: util/tree.h */
	SLIST_ENTRY(long_policy) link;
	struct entry entry;
};

static void
forget_long(struct truth *t)
{
	struct long_policy *p;

	tree_clear(&t->longs);
	while ((p = SLIST_FIRST(&t->long_list)) != NULL) {
		SLIST_REMOVE_HEAD(&t->long_list, link);
		entry_clear(&p->entry);
		free(p);
	}
	t->n_patterns = 0;
}

/* Takes the entry of the last lookup over. */
static const struct entry *
keep_long(struct truth *t, const char *domain)
{
	struct long_policy *p = malloc(sizeof(*p));

	if (p == NULL)
		return &t->entry;
	if (t->n_patterns > PATTERNS_MAX)
		forget_long(t);
	memcpy(p->domain, domain, strlen(domain) + 1);
	p->entry = t->entry;
	t->entry = (struct entry){0};
	t->n_patterns += p->entry.policy->n_mx;
	SLIST_INSERT_HEAD(&t->long_list, p, link);
	(void)tree_insert(&t->longs, p);
	return &p->entry;
}

/* NULL: not known. */
static const struct entry *
find_entry(struct truth *t, const char *domain)
{
	const struct long_policy *p = tree_find(&t->longs, domain);

	if (p != NULL)
		return &p->entry;
	entry_clear(&t->entry);
	if (store_get(t->store, domain, &t->entry, NULL) != STORE_OK)
		return NULL;
	if (t->entry.policy != NULL && t->entry.policy->n_mx >= LONG_MX)
		return keep_long(t, domain);
	return &t->entry;
}

static bool
lookup(const char *domain, struct requirement *r, void *arg)
{
	struct truth *t = arg;
	const struct entry *e = mapkey_is_rule(domain) ? NULL : find_entry(t, domain);

	*r = truth_requirement(t, domain, e, time(NULL));
	return e != NULL || r->kind != REQUIRE_UNKNOWN;
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
walk_rule(struct walk_state *w, const char *pattern)
{
	char key[MAPKEY_MAX + 1];
	struct requirement r = ruling_pattern(w->truth->config->rules, pattern);

	mapkey_rule(pattern, key);
	return w->each(key, &r, w->each_arg);
}

static bool
walk_chosen(struct walk_state *w, const char *key)
{
	struct requirement r = ruling_pattern(w->truth->config->chosen, key);

	return w->each(key, &r, w->each_arg);
}

static bool
walk(bool (*each)(const char *, const struct requirement *, void *), void *each_arg, void *arg)
{
	struct truth *t = arg;
	struct walk_state w = {.truth = t, .each = each, .each_arg = each_arg};
	const struct rules *rules = t->config->rules;
	struct errmsg em = {""};

	do {
		w.n = 0;
		if (store_each(t->store, w.last[0] == '\0' ? NULL : w.last, WALK_BATCH, walk_entry,
			&w, NULL, &em) != STORE_OK) {
			log_line(LOG_ERR, "store: %s", em.text);
			return false;
		}
	} while (w.n == WALK_BATCH && !w.stopped);
	if (rules_count(rules) > 0)
		w.stopped = w.stopped || !walk_rule(&w, "*");
	for (size_t i = 0; i < rules_count(rules) && !w.stopped; i++)
		w.stopped = !walk_rule(&w, rules_pattern(rules, i, NULL));
	for (size_t i = 0; i < rules_count(t->config->chosen) && !w.stopped; i++)
		w.stopped = !walk_chosen(&w, rules_pattern(t->config->chosen, i, NULL));
	return true;
}

/* ---- what only a map knows ---- */

/* An unexpired requirement that only the map knows becomes an entry: in force until its time,
 * looked at again soon. */
static bool
import_one(struct truth *t, const char *domain, const struct requirement *r)
{
	time_t now = time(NULL);
	time_t life_s = r->until - now < POLICY_MAX_AGE_MAX ? r->until - now : POLICY_MAX_AGE_MAX;
	struct entry e = {.state = ENTRY_POLICY,
	    .expires = now + life_s,
	    .recheck = now,
	    .refetch = now,
	    .used = now,
	    .first = now,
	    .look = {.row = ROW_IMPORTED, .at = now, .txt = TXT_TEMPFAIL}};
	struct errmsg em = {""};
	bool ok = false;

	e.policy = policy_new(MODE_ENFORCE, (uint32_t)life_s, r->n_mx, (const char *const *)r->mx);
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
	t->import_failed = t->import_failed || !ok;
	entry_clear(&e);
	return true; /* it stays in the map even when the store is full: never weaker */
}

/* The map changes next, so what was imported must be on disk first. */
static bool
import_commit(struct truth *t)
{
	struct errmsg em = {""};

	if (t->importing != NULL && store_commit(&t->importing, &em) != STORE_OK) {
		log_line(LOG_ERR, "imported requirements not saved: %s", em.text);
		t->import_failed = true;
	}
	return !t->import_failed;
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
	t->import_failed = false;
	return (struct sink_truth){lookup, walk, import, t};
}

bool
truth_end(struct truth *t, struct errmsg *em)
{
	entry_clear(&t->entry);
	forget_long(t);
	if (import_commit(t))
		return true;
	errmsg_set(em, "imported requirements are not in the store yet");
	return false;
}
