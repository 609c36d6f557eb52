/*
 * maps/sink.h: a place that the MTA reads and we write: "push". One small struct of functions, one
 * file for each kind of map. A commit is: begin, any number of set, commit. All calls belong to the
 * writer thread.
 */
#ifndef MAPS_SINK_H
#define MAPS_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "policy/entry.h"
#include "util/errmsg.h"

struct sink;

enum { SINK_ALIVE_KEEP = -1 };

enum sink_result {
	SINK_OK,
	SINK_DAMAGED, /* the map cannot be read or does not agree: repair it */
	SINK_FAILED   /* the disk, permissions, ...: the old map stays whole and ready; try later */
};

/* What the map as a whole says besides the domains. */
struct sink_state {
	bool observe; /* `enforcement = observe` */
	/* the heartbeat's value; 0: unknown domains need no live lookup; SINK_ALIVE_KEEP: what is
	 * there stays, and nothing counts as 0 */
	time_t alive_until;
};

/* The truth that a repair compares with: the requirement of each domain. */
struct sink_truth {
	/* True and *r set (borrowed until the next call) when the domain has a requirement;
	 * REQUIRE_UNKNOWN: it must not be in the map. */
	bool (*lookup)(const char *domain, struct requirement *r, void *arg);
	/* Calls each for every domain that must be in the map, in any order; false when the truth
	 * could not be read. */
	bool (*walk)(bool (*each)(const char *domain, const struct requirement *r, void *each_arg),
	    void *each_arg, void *arg);
	/*
	 * An unexpired enforce requirement that lookup() does not know: true when it was taken over
	 * (then it stays), false: remove it. After the last of them it is called with NULL, NULL:
	 * make them durable now, as the map changes next; false: leave the map alone.
	 */
	bool (*import)(const char *domain, const struct requirement *r, void *arg);
	void *arg;
};

struct sink_ops {
	const char *kind; /* "sendmail", "access" */
	enum sink_result (*begin)(struct sink *s, struct errmsg *em);
	/* Changes one domain, or key of a rule (maps/mapkey.h), from what the map is believed to hold (old, REQUIRE_UNKNOWN for
	 * nothing) to what it shall hold. */
	enum sink_result (*set)(struct sink *s, const char *domain, const struct requirement *old,
	    const struct requirement *now, struct errmsg *em);
	/* Makes the changes and the state visible in one step; on failure the MTA sees the old map,
	 * or one that fails closed. Ends the commit either way. */
	enum sink_result (*commit)(
	    struct sink *s, const struct sink_state *state, struct errmsg *em);
	/* Is the map there, whole and ready? Cheap: done at start and with every heartbeat. */
	enum sink_result (*verify)(struct sink *s, struct errmsg *em);
	/*
	 * Makes the map agree with the truth, in commits that hold its lock for at most 20 ms each;
	 * requirements that only the map knows are offered to import first. A map that cannot be
	 * read, or that a commit left unfinished, is rebuilt whole. The map is ready when it
	 * returns SINK_OK.
	 */
	enum sink_result (*repair)(struct sink *s, const struct sink_truth *truth,
	    const struct sink_state *state, struct errmsg *em);
	void (*close)(struct sink *s);
};

/* Each kind embeds this first in its own struct. */
struct sink {
	const struct sink_ops *ops;
};

#endif
