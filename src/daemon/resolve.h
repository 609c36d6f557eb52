/*
 * daemon/resolve.h: from a policy domain to a settled verdict: store, else discovery, single-flight
 * however many ask. RFC 8461 section 5. All calls belong to the loop's thread.
 */
#ifndef DAEMON_RESOLVE_H
#define DAEMON_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <event2/event.h>

#include "daemon/writer.h"
#include "discover/dns.h"
#include "discover/https.h"
#include "policy/entry.h"
#include "site/config.h"
#include "store/store.h"

struct resolver;
struct resolve_wait; /* somebody who waits for one domain */

struct resolver_parts {
	struct event_base *base;
	struct store *store;
	struct writer *writer;
	struct dns *dns;
	struct https *https;
	const struct config *config; /* until resolver_configure() */
	/*
	 * A domain has settled: it is stored, and pushed if it can be. mail_waits: for this answer,
	 * whether it was told so since our start or not: the store had it as undecided, or mail
	 * failed its check against another policy.
	 */
	void (*settled)(
	    const char *domain, enum verdict verdict, bool pushed, bool mail_waits, void *arg);
	void *arg;
};

MUST_USE struct resolver *resolver_new(const struct resolver_parts *parts, struct errmsg *em);

/*
 * No discovery begins any more, and those under way end undecided: then https_free(), dns_free()
 * and writer_free() may call back without harm, and resolver_free() comes last.
 */
void resolver_stop(struct resolver *r);
void resolver_free(struct resolver **r); /* NULL-safe */
void resolver_configure(struct resolver *r, const struct config *config);

struct resolution {
	enum verdict verdict; /* VERDICT_UNDECIDED: not settled */
	bool pushed;
};

/*
 * What is known of a normalised domain, at once. Somebody wants it: an unsettled domain is
 * discovered from now on, a stale one is looked at again in the background, and its last use is
 * noted.
 */
struct resolution resolve_want(struct resolver *r, const char *domain);

/* The same without any effect: nothing is begun, nothing noted. */
struct resolution resolve_peek(struct resolver *r, const char *domain);

/* The site's rule for a normalised domain, in force now. */
enum rule resolve_rule(const struct resolver *r, const char *domain);

/*
 * DNS has not told whether a normalised domain has a policy, so where a set of rules requires one
 * mail waits, though other mail goes. Always false when the site has no sets.
 */
bool resolve_doubtful(const struct resolver *r, const char *domain);

typedef void resolve_cb(const struct resolution *resolution, void *arg);

/*
 * As resolve_want(), but when the domain is not settled, or settled and not pushed yet, cb is
 * called once as soon as its discovery has ended (settled or not). Returns NULL and sets *now when
 * there is nothing to wait for (then cb is not called).
 */
struct resolve_wait *resolve_await(
    struct resolver *r, const char *domain, resolve_cb *cb, void *arg, struct resolution *now);
void resolve_cancel(struct resolve_wait **wait); /* NULL-safe */

/* Milliseconds since the discovery of this domain began; -1 when none is under way. */
long resolve_age_ms(const struct resolver *r, const char *domain);

enum resolve_force {
	RESOLVE_TXT,  /* look at TXT now; fetch if the table asks for it */
	RESOLVE_DUE,  /* the same, in the background whoever waits: it is not wanted by mail */
	RESOLVE_FETCH /* fetch the body whatever TXT says and whatever failed before */
};

/*
 * Discovers a domain now, in the background (cb may be NULL) or for somebody who waits. NULL with a
 * cb: too many discoveries wait for their turn, and cb is not called.
 */
struct resolve_wait *resolve_force(
    struct resolver *r, const char *domain, enum resolve_force force, resolve_cb *cb, void *arg);

/*
 * A delivery failed its check: TXT is looked at now, and again every failed_check_s until the
 * policy changes or the last report is hours old. RFC 8461 section 5. False: it is being watched
 * already.
 */
bool resolve_failed_check(struct resolver *r, const char *domain);

struct resolver_status {
	size_t running, queued;
	unsigned long txt_lookups, fetches;
};

void resolver_status(const struct resolver *r, struct resolver_status *out);

#endif
