/*
 * daemon/truth.h: what the maps should say, as store and configuration have it: for commits, and
 * for repairs, which also bring home what only a map knows. All calls belong to the writer thread.
 */
#ifndef DAEMON_TRUTH_H
#define DAEMON_TRUTH_H

#include <sys/queue.h>

#include "maps/sink.h"
#include "policy/entry.h"
#include "site/config.h"
#include "store/store.h"

/* Set store and config, the rest to zero. */
struct truth {
	struct store *store;         /* borrowed */
	const struct config *config; /* borrowed; may be changed between calls */
	struct store_txn *importing;
	size_t imported;
	bool import_failed; /* of one at least: nothing may be taken for safe in the store */
	struct entry entry; /* keeps what the last lookup's answer borrows from */
	void *longs;        /* tree of long policies already read in this repair */
	SLIST_HEAD(, long_policy) long_list;
	size_t n_patterns; /* of those */
};

/* By the site's rule and the entry (NULL: none known), or of the key of a rule. Borrows from e. */
struct requirement truth_requirement(
    const struct truth *t, const char *domain, const struct entry *e, time_t now);

/* For one repair; end it with truth_end() whatever came of it. */
struct sink_truth truth_begin(struct truth *t);

/* False with a reason: what was imported is not on disk. */
MUST_USE bool truth_end(struct truth *t, struct errmsg *em);

#endif
