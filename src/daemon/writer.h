/*
 * daemon/writer.h: the one thread that changes the store and the maps. It commits in groups and
 * keeps one order: store commit, then map commit, then the answer. Calls belong to the loop's
 * thread but for those marked otherwise.
 */
#ifndef DAEMON_WRITER_H
#define DAEMON_WRITER_H

#include <event2/event.h>

#include "maps/sink.h"
#include "policy/entry.h"
#include "site/config.h"
#include "store/store.h"

struct writer;

enum { WRITER_SINKS_MAX = 2 };

struct writer_result {
	bool stored;
	bool refused;  /* a save: the store has a policy that was not known when it was decided */
	bool pushed;   /* the maps hold what follows from the entry */
	bool imported; /* the store has what only the maps knew */
};

/* Runs in the loop's thread once the write is on disk and in the maps, or has failed (which the
 * writer has logged). */
typedef void writer_cb(const struct writer_result *result, void *arg);

/*
 *   store, config  borrowed; config until writer_configure() gives another
 *   sinks, n       taken over: closed by writer_free(); the first is the one that the MTA's rules
 *                  read, and the only one that can know what a lost store knew
 *   ready          called in the loop's thread once the maps agree with the store for the first
 *                  time
 */
MUST_USE struct writer *writer_new(struct event_base *base, struct store *store,
    const struct config *config, struct sink *const *sinks, size_t n, void (*ready)(void *arg),
    void *arg, struct errmsg *em);

/* Finishes what was asked for and ends the thread; callbacks still run. NULL-safe. */
void writer_free(struct writer **w);

/*
 * Saves an entry (copied) and pushes what follows from it. cb NULL: nobody waits.
 *   over_live  it was decided with a live policy in view. False: a live policy that has come into
 *              the store since, from a map, is not replaced: the save is refused
 */
void writer_save(struct writer *w, const char *domain, const struct entry *e, bool over_live,
    writer_cb *cb, void *arg);

/* Notes that a domain was wanted at `used`; costs a write once an hour and domain at most. */
void writer_touch(struct writer *w, const char *domain, time_t used);

/* Removes an entry, and from the maps. */
void writer_forget(struct writer *w, const char *domain, writer_cb *cb, void *arg);

/* The same for whoever finds again and again that nobody needs the entry. */
void writer_drop(struct writer *w, const char *domain);

/*
 * Puts what the store has into the maps once more: the MTA missed it there. False: that is about to
 * happen anyway, and cb is not called.
 */
bool writer_repush(struct writer *w, const char *domain, writer_cb *cb, void *arg);

/* Compares store and maps whole: requirements that only the maps know are imported. */
void writer_repair(struct writer *w, writer_cb *cb, void *arg);

/* Calls back with the next commit, which comes behind the first repair, however that ended. */
void writer_flush(struct writer *w, writer_cb *cb, void *arg);

/*
 * A new configuration: the overrides that differ, observe mode and away limit are pushed. The old
 * one may be freed once cb has run.
 */
void writer_configure(struct writer *w, const struct config *config, writer_cb *cb, void *arg);

/* True while the maps agree with the store; any thread. */
bool writer_in_step(struct writer *w);

/* False until the first repair: until then a map may know a policy that the store does not; any
 * thread. */
bool writer_imported(struct writer *w);

/* False when the last commit to the store failed: a full disk, most likely; any thread. */
bool writer_store_works(struct writer *w);

struct writer_status {
	bool ready;            /* has been in step once */
	unsigned long commits; /* map commits */
	time_t alive_until;
	struct errmsg store_error; /* of the last commit to the store; empty: it went well */
	size_t n;
	struct {
		const char *kind;
		bool in_step;
		time_t committed;    /* 0: not yet */
		struct errmsg error; /* of the last failure while not in step */
	} sink[WRITER_SINKS_MAX];
};

void writer_status(struct writer *w, struct writer_status *out); /* any thread */

#endif
