#include "daemon/writer.h"
#include "policy/ruling.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/truth.h"
#include "maps/mapkey.h"
#include "util/log.h"
#include "util/tree.h"
#include "util/when.h"

enum {
	PACE_MS = 1000,    /* between map commits: the map's mtime moves a whole second with each */
	HEARTBEAT_S = 600, /* the heartbeat record is renewed so often */
	VERIFY_S = 60,     /* the maps are looked at so often: mail waits for one that is damaged */
	RETRY_MIN_S = 5,   /* after a map could not be written */
	RETRY_MAX_S = 60,
	FORGET_AGAIN_S = 60, /* what could not be forgotten at once */
	USED_STEP_S = 3600,  /* `used` is kept to the hour */
	BATCH_MAX = 2000,    /* writes of one commit: the map stays locked for some 20 ms at most */
	BATCH_KEYS = 8000    /* a policy of 64 KiB has as many MX patterns, each a key of the map */
};

static const time_t never_away = 9999999999; /* :alive: of a site that never delivers unchecked */

enum write_kind {
	WRITE_SAVE,
	WRITE_TOUCH,
	WRITE_FORGET,
	WRITE_REPUSH,
	WRITE_OVERRIDE, /* the configuration says something else of the domain than before */
	WRITE_REPAIR,
	WRITE_FLUSH,
	WRITE_CONFIGURE,
	WRITE_KINDS
};

struct write {
	char domain[DOMAIN_MAX + 1]; /* first: util/tree.h; empty when the write is about none */
	TAILQ_ENTRY(write) link;
	enum write_kind kind;
	bool once;                   /* stands in a tree of writer.waiting */
	struct entry entry;          /* SAVE */
	bool over_live;              /* SAVE */
	time_t used;                 /* TOUCH */
	const struct config *config; /* CONFIGURE */
	bool was_there;              /* an old entry was, perhaps damaged */
	bool was_known;              /* old holds it */
	struct entry old;
	struct writer_result result;
	writer_cb *cb;
	void *arg;
};
TAILQ_HEAD(write_list, write);

struct pushed_sink {
	struct sink *sink;
	bool in_step;
	time_t committed, retry;
	int retry_s;
	struct errmsg error;
};

struct writer {
	struct event *completed;
	void (*ready)(void *);
	void *ready_arg;
	void *waiting[WRITE_KINDS]; /* trees of writes of which one a domain is enough */
	pthread_t thread;

	pthread_mutex_t lock; /* guards what follows, down to `own` */
	pthread_cond_t wake;
	struct write_list queue, done;
	bool stopping, was_ready, tell_ready;
	struct writer_status status;

	/* own: the writer thread's */
	struct truth truth;
	struct pushed_sink sinks[WRITER_SINKS_MAX];
	size_t n_sinks;
	struct sink_state state;
	long last_commit_ms;           /* when_monotonic_ms() */
	unsigned long commits;         /* of maps, that went well */
	time_t alive_until;            /* as the last of them wrote it */
	time_t heartbeat, verify;      /* the next */
	char store_error[ERRMSG_MAX];  /* logged last; empty: the last commit went well */
	const struct rules *old_rules; /* while others are pushed in their place */
	atomic_bool in_step, imported, store_works;
};

/* ---- the loop's side ---- */

static void
enqueue(struct writer *w, struct write *write)
{
	pthread_mutex_lock(&w->lock);
	TAILQ_INSERT_TAIL(&w->queue, write, link);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

static struct write *
write_new(enum write_kind kind, const char *domain, writer_cb *cb, void *arg)
{
	struct write *write = calloc(1, sizeof(*write));

	if (write == NULL)
		abort(); /* nothing that was answered is lost: answers follow commits */
	write->kind = kind;
	if (domain != NULL)
		memcpy(write->domain, domain, strlen(domain) + 1);
	write->cb = cb;
	write->arg = arg;
	return write;
}

void
writer_save(struct writer *w, const char *domain, const struct entry *e, bool over_live,
    writer_cb *cb, void *arg)
{
	struct write *write = write_new(WRITE_SAVE, domain, cb, arg);

	write->over_live = over_live;
	if (!entry_copy(&write->entry, e))
		abort();
	enqueue(w, write);
}

/* Thousands may ask for one domain before the first of these writes is done: one does for all. */
static bool
enqueue_once(struct writer *w, struct write *write)
{
	if (!tree_insert(&w->waiting[write->kind], write)) {
		free(write);
		return false;
	}
	write->once = true;
	enqueue(w, write);
	return true;
}

void
writer_touch(struct writer *w, const char *domain, time_t used)
{
	struct write *write = write_new(WRITE_TOUCH, domain, NULL, NULL);

	write->used = used;
	(void)enqueue_once(w, write);
}

void
writer_forget(struct writer *w, const char *domain, writer_cb *cb, void *arg)
{
	enqueue(w, write_new(WRITE_FORGET, domain, cb, arg));
}

void
writer_drop(struct writer *w, const char *domain)
{
	(void)enqueue_once(w, write_new(WRITE_FORGET, domain, NULL, NULL));
}

bool
writer_repush(struct writer *w, const char *domain, writer_cb *cb, void *arg)
{
	return enqueue_once(w, write_new(WRITE_REPUSH, domain, cb, arg));
}

void
writer_repair(struct writer *w, writer_cb *cb, void *arg)
{
	enqueue(w, write_new(WRITE_REPAIR, NULL, cb, arg));
}

void
writer_flush(struct writer *w, writer_cb *cb, void *arg)
{
	enqueue(w, write_new(WRITE_FLUSH, NULL, cb, arg));
}

void
writer_configure(struct writer *w, const struct config *config, writer_cb *cb, void *arg)
{
	struct write *write = write_new(WRITE_CONFIGURE, NULL, cb, arg);

	write->config = config;
	enqueue(w, write);
}

bool
writer_in_step(struct writer *w)
{
	return atomic_load(&w->in_step);
}

bool
writer_imported(struct writer *w)
{
	return atomic_load(&w->imported);
}

bool
writer_store_works(struct writer *w)
{
	return atomic_load(&w->store_works);
}

void
writer_status(struct writer *w, struct writer_status *out)
{
	pthread_mutex_lock(&w->lock);
	*out = w->status;
	out->ready = w->was_ready;
	pthread_mutex_unlock(&w->lock);
}

/* Runs in the loop: hands results to those who asked. */
static void
deliver_results(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct writer *w = arg;
	struct write_list done = TAILQ_HEAD_INITIALIZER(done);
	struct write *write;
	bool tell_ready;

	pthread_mutex_lock(&w->lock);
	TAILQ_CONCAT(&done, &w->done, link);
	tell_ready = w->tell_ready;
	w->tell_ready = false;
	pthread_mutex_unlock(&w->lock);
	while ((write = TAILQ_FIRST(&done)) != NULL) {
		TAILQ_REMOVE(&done, write, link);
		if (write->once)
			tree_remove(&w->waiting[write->kind], write);
		if (write->cb != NULL)
			write->cb(&write->result, write->arg);
		entry_clear(&write->entry);
		entry_clear(&write->old);
		free(write);
	}
	if (tell_ready && w->ready != NULL)
		w->ready(w->ready_arg);
}

/* ---- the writer thread ---- */

static void
sink_failed(struct writer *w, struct pushed_sink *p, const struct errmsg *em)
{
	time_t now = time(NULL);

	if (p->in_step || p->retry_s == 0 || strcmp(p->error.text, em->text) != 0)
		log_line(LOG_ERR, "map=%s state=behind error=\"%s\"", p->sink->ops->kind, em->text);
	p->in_step = false;
	p->error = *em;
	p->retry_s = p->retry_s == 0                ? RETRY_MIN_S
		     : p->retry_s * 2 > RETRY_MAX_S ? RETRY_MAX_S
						    : p->retry_s * 2;
	p->retry = now + p->retry_s;
	atomic_store(&w->in_step, false);
}

static void
sink_succeeded(struct writer *w, struct pushed_sink *p)
{
	bool all = true;

	if (!p->in_step)
		log_line(LOG_INFO, "map=%s state=ready", p->sink->ops->kind);
	p->in_step = true;
	p->retry_s = 0;
	p->committed = time(NULL);
	p->error.text[0] = '\0';
	for (size_t i = 0; i < w->n_sinks; i++)
		all = all && w->sinks[i].in_step;
	atomic_store(&w->in_step, all);
	if (w->sinks[0].in_step)
		atomic_store(&w->imported, true);
	w->commits++;
	w->alive_until = w->state.alive_until;
	w->last_commit_ms = when_monotonic_ms();
}

static void
publish_status(struct writer *w)
{
	pthread_mutex_lock(&w->lock);
	w->status.commits = w->commits;
	w->status.alive_until = w->alive_until;
	w->status.n = w->n_sinks;
	for (size_t i = 0; i < w->n_sinks; i++) {
		w->status.sink[i].kind = w->sinks[i].sink->ops->kind;
		w->status.sink[i].in_step = w->sinks[i].in_step;
		w->status.sink[i].committed = w->sinks[i].committed;
		w->status.sink[i].error = w->sinks[i].error;
	}
	if (!w->was_ready && atomic_load(&w->in_step)) {
		w->was_ready = w->tell_ready = true;
		event_active(w->completed, 0, 0);
	}
	pthread_mutex_unlock(&w->lock);
}

/* The state that goes with each commit: renewed heartbeat, observe mode. */
static void
renew_state(struct writer *w, time_t now)
{
	time_t limit = w->truth.config->away_limit_s;

	w->state.observe = w->truth.config->observe;
	w->state.alive_until = limit == AWAY_NEVER  ? never_away
			       : limit == AWAY_KEEP ? SINK_ALIVE_KEEP
			       : limit == 0         ? 0
						    : now + limit;
}

/* All maps that are in step have the heartbeat of now. */
static void
schedule_heartbeat(struct writer *w, time_t now)
{
	time_t limit = w->truth.config->away_limit_s;

	/* A limit shorter than a few heartbeats needs more of them. */
	w->heartbeat =
	    now + (limit > 0 && limit / 3 < HEARTBEAT_S ? limit / 3 + (limit < 3) : HEARTBEAT_S);
}

/* ---- repair: the store is the truth ---- */

static void
repair(struct writer *w, struct pushed_sink *p)
{
	struct sink_truth truth = truth_begin(&w->truth);
	struct errmsg em = {""}, end = {""};
	enum sink_result rc;

	renew_state(w, time(NULL));
	rc = p->sink->ops->repair(p->sink, &truth, &w->state, &em);
	if (!truth_end(&w->truth, &end) && rc == SINK_OK) {
		rc = SINK_FAILED;
		em = end;
	}
	if (rc == SINK_OK)
		sink_succeeded(w, p);
	else
		sink_failed(w, p, &em);
}

/* A time within max_s from now has come; one that is further away was set before the clock was set
 * back. */
static bool
come(time_t at, time_t max_s)
{
	time_t now = time(NULL);

	return at <= now || at > now + max_s;
}

static void
repair_all(struct writer *w, bool only_due)
{
	for (size_t i = 0; i < w->n_sinks; i++)
		if (!only_due || (!w->sinks[i].in_step && come(w->sinks[i].retry, RETRY_MAX_S)))
			repair(w, &w->sinks[i]);
	publish_status(w);
}

/* ---- one group commit ---- */

/*
 * The map still enforces what is forgotten, until its own commit, and may be behind: a repair would
 * take it for lost and import it. So an entry that requires nothing stands in the store until the
 * maps have followed; after a crash or a failure the schedule finds it and comes back.
 */
static enum store_result
forget(struct store_txn *txn, const struct write *write, time_t now, struct errmsg *em)
{
	const struct entry forgotten = {.state = ENTRY_NONE, .expires = now, .used = 1};

	return store_put(txn, write->domain, &forgotten, now + FORGET_AGAIN_S, em);
}

/* Applies one write to the transaction; remembers the old entry for the maps. */
static enum store_result
apply(struct store_txn *txn, struct write *write, struct errmsg *em)
{
	enum store_result rc;
	time_t now = time(NULL);

	if (write->domain[0] == '\0')
		return STORE_OK;
	rc = store_txn_get(txn, write->domain, &write->old, em);
	write->was_known = rc == STORE_OK;
	write->was_there = rc != STORE_ABSENT;
	if (rc != STORE_OK && rc != STORE_ABSENT && rc != STORE_DAMAGED)
		return rc;
	switch (write->kind) {
	case WRITE_SAVE:
		write->result.refused =
		    write->was_known && entry_live(&write->old, now) && !write->over_live;
		if (write->result.refused)
			return STORE_OK;
		return store_put(
		    txn, write->domain, &write->entry, entry_due(&write->entry, now), em);
	case WRITE_TOUCH:
		if (!write->was_known || write->old.used + USED_STEP_S > write->used)
			return STORE_OK;
		if (!entry_copy(&write->entry, &write->old))
			return STORE_FAILED;
		write->entry.used = write->used;
		return store_put(
		    txn, write->domain, &write->entry, entry_due(&write->entry, now), em);
	case WRITE_FORGET:
		return rc == STORE_ABSENT ? STORE_OK : forget(txn, write, now, em);
	default:
		return STORE_OK;
	}
}

static bool
commit_store(struct writer *w, struct write_list *batch, struct errmsg *em)
{
	struct store_txn *txn = NULL;
	struct write *write;

	if (store_begin(w->truth.store, &txn, em) != STORE_OK)
		return false;
	TAILQ_FOREACH (write, batch, link) {
		if (apply(txn, write, em) != STORE_OK) {
			store_abort(&txn);
			return false;
		}
	}
	return store_commit(&txn, em) == STORE_OK;
}

/*
 * The requirement before and after a write; false when the maps need no change. An old one whose
 * time is over is still in the map, with MX patterns that must not outlive it: hence the clock of
 * 0.
 */
static bool
requirement_change(const struct writer *w, const struct write *write, time_t now,
    struct requirement *before, struct requirement *after)
{
	const struct entry *old = write->was_known ? &write->old : NULL;
	const struct rules *was =
	    write->kind == WRITE_OVERRIDE ? w->old_rules : w->truth.config->rules;

	if (write->domain[0] == '\0' || write->kind == WRITE_TOUCH || write->result.refused)
		return false;
	/* The MTA missed it there: whatever the map should hold of it is put again. */
	*before = old == NULL || write->kind == WRITE_REPUSH
		      ? (struct requirement){.kind = REQUIRE_UNKNOWN}
		      : ruling_requirement(rules_find(was, write->domain, NULL), old, 0);
	*after = truth_requirement(&w->truth, write->domain,
	    write->kind == WRITE_SAVE     ? &write->entry
	    : write->kind == WRITE_FORGET ? NULL
					  : old,
	    now);
	return write->kind == WRITE_OVERRIDE || (write->kind == WRITE_FORGET && write->was_there) ||
	       !requirement_equal(before, after);
}

static bool
commit_sink(struct writer *w, struct pushed_sink *p, struct write_list *batch, time_t now)
{
	struct errmsg em = {""};
	struct write *write;
	struct requirement before, after;
	enum sink_result rc = p->sink->ops->begin(p->sink, &em);

	TAILQ_FOREACH (write, batch, link) {
		if (rc == SINK_OK && requirement_change(w, write, now, &before, &after))
			rc = p->sink->ops->set(p->sink, write->domain, &before, &after, &em);
	}
	if (rc == SINK_OK)
		rc = p->sink->ops->commit(p->sink, &w->state, &em);
	if (rc == SINK_OK)
		sink_succeeded(w, p);
	else
		sink_failed(w, p, &em);
	return rc == SINK_OK;
}

/* A map that is behind gets the change with its repair, which compares everything. */
static bool
push(struct writer *w, struct write_list *batch)
{
	time_t now = time(NULL);
	bool all = true;

	renew_state(w, now);
	schedule_heartbeat(w, now);
	for (size_t i = 0; i < w->n_sinks; i++)
		all = (w->sinks[i].in_step && commit_sink(w, &w->sinks[i], batch, now)) && all;
	publish_status(w);
	return all;
}

/* What a new configuration changes in the maps. */
struct overrides {
	struct write_list list;
	size_t n;
	bool all; /* they are all that changes */
};

static void
add_override(struct writer *w, const char *domain, struct overrides *o)
{
	struct write *write = write_new(WRITE_OVERRIDE, domain, NULL, NULL);

	write->was_known = !mapkey_is_rule(domain) &&
			   store_get(w->truth.store, domain, &write->old, NULL) == STORE_OK;
	TAILQ_INSERT_TAIL(&o->list, write, link);
	o->n++;
}

/* Adds the rules of a that b has not, or has otherwise, and the domains that they are about. */
static void
add_overrides(struct writer *w, const struct rules *a, const struct rules *b, bool otherwise,
    struct overrides *o)
{
	for (size_t i = 0; i < rules_count(a); i++) {
		enum rule rule, other;
		const char *pattern = rules_pattern(a, i, &rule);
		char key[MAPKEY_MAX + 1];

		if (rules_get(b, pattern, &other) && (rule == other || !otherwise))
			continue;
		mapkey_rule(pattern, key);
		add_override(w, key, o);
		if (rule_is_exact(pattern))
			add_override(w, pattern, o);
		else
			o->all = false;
	}
}

/* The same for the sets, which are about messages, not about domains. */
static void
add_choices(struct writer *w, const struct rules *a, const struct rules *b, bool otherwise,
    struct overrides *o)
{
	for (size_t i = 0; i < rules_count(a); i++) {
		enum rule rule, other;
		const char *key = rules_pattern(a, i, &rule);

		if (!rules_get(b, key, &other) || (rule != other && otherwise))
			add_override(w, key, o);
	}
}

/*
 * Only what differs is pushed, as all new domains wait meanwhile. A rule for many domains is pushed as
 * well, and counts from then on; then what the maps say of each of them is made to fit.
 */
static void
push_config(struct writer *w, const struct config *was)
{
	struct overrides o = {TAILQ_HEAD_INITIALIZER(o.list), 0, true};
	const struct rules *now = w->truth.config->rules;
	struct write *write;

	w->old_rules = was->rules;
	add_overrides(w, was->rules, now, false, &o);
	add_overrides(w, now, was->rules, true, &o);
	add_choices(w, was->chosen, w->truth.config->chosen, false, &o);
	add_choices(w, w->truth.config->chosen, was->chosen, true, &o);
	if ((rules_count(was->rules) == 0) != (rules_count(now) == 0))
		add_override(w, MAPKEY_RULE, &o);
	if (o.n <= BATCH_MAX)
		(void)push(w, &o.list);
	else
		schedule_heartbeat(w, time(NULL)); /* the limit may be shorter now */
	if (o.n > BATCH_MAX || !o.all)
		repair_all(w, false);
	while ((write = TAILQ_FIRST(&o.list)) != NULL) {
		TAILQ_REMOVE(&o.list, write, link);
		entry_clear(&write->old);
		free(write);
	}
}

static void
configure(struct writer *w, struct write_list *batch)
{
	const struct config *was = w->truth.config;
	struct write *write;
	bool asked = false;

	TAILQ_FOREACH (write, batch, link) {
		if (write->kind == WRITE_CONFIGURE)
			w->truth.config = write->config;
		asked = asked || write->kind == WRITE_REPAIR;
	}
	if (w->truth.config != was) {
		push_config(w, was);
		/* who reloads may have mended a map, or wants to know whether it is well */
		w->verify = 0;
		for (size_t i = 0; i < w->n_sinks; i++)
			w->sinks[i].retry = 0;
	}
	if (asked)
		repair_all(w, false);
}

/* The maps have followed. What cannot be dropped now is found by the schedule. */
static void
drop_forgotten(struct writer *w, struct write_list *batch)
{
	struct store_txn *txn = NULL;
	struct write *write;
	enum store_result rc = STORE_OK;

	TAILQ_FOREACH (write, batch, link) {
		if (write->kind == WRITE_FORGET && write->was_there && rc == STORE_OK &&
		    (txn != NULL || (rc = store_begin(w->truth.store, &txn, NULL)) == STORE_OK))
			rc = store_del(txn, write->domain, NULL);
	}
	if (txn != NULL)
		(void)!store_commit(&txn, NULL);
}

/* A full disk fails each commit in the same way: it is logged once. */
static void
note_store(struct writer *w, bool stored, const char *error)
{
	if (!stored && strcmp(error, w->store_error) != 0)
		log_line(LOG_ERR, "store: %s", error);
	else if (stored && w->store_error[0] != '\0')
		log_line(LOG_NOTICE, "store: entries are saved again");
	memcpy(w->store_error, stored ? "" : error, stored ? 1 : strlen(error) + 1);
	atomic_store(&w->store_works, stored);
	pthread_mutex_lock(&w->lock);
	memcpy(w->status.store_error.text, w->store_error, sizeof(w->store_error));
	pthread_mutex_unlock(&w->lock);
}

/* False: nothing in it for the store, and nothing that tells whether the store works. */
static bool
about_domains(const struct write_list *batch)
{
	const struct write *write;

	TAILQ_FOREACH (write, batch, link) {
		if (write->domain[0] != '\0')
			return true;
	}
	return false;
}

static void
handle(struct writer *w, struct write_list *batch)
{
	struct errmsg em = {""};
	struct write *write;
	struct requirement before, after;
	time_t now = time(NULL);
	bool stored = true, changes = false, pushed;

	if (about_domains(batch)) {
		stored = commit_store(w, batch, &em);
		note_store(w, stored, em.text);
	}
	TAILQ_FOREACH (write, batch, link) {
		changes = changes || (stored && requirement_change(w, write, now, &before, &after));
	}
	pushed = !changes || push(w, batch);
	if (stored && pushed && atomic_load(&w->in_step))
		drop_forgotten(w, batch);
	configure(w, batch);
	TAILQ_FOREACH (write, batch, link) {
		write->result.stored = stored && !write->result.refused;
		write->result.pushed = write->result.stored && pushed && atomic_load(&w->in_step);
		write->result.imported = w->n_sinks == 0 || w->sinks[0].in_step;
	}
	pthread_mutex_lock(&w->lock);
	TAILQ_CONCAT(&w->done, batch, link);
	pthread_mutex_unlock(&w->lock);
	event_active(w->completed, 0, 0);
}

/* ---- the thread ---- */

static void
verify_all(struct writer *w)
{
	struct errmsg em = {""};

	for (size_t i = 0; i < w->n_sinks; i++)
		if (w->sinks[i].in_step &&
		    w->sinks[i].sink->ops->verify(w->sinks[i].sink, &em) != SINK_OK) {
			log_line(LOG_ERR, "map=%s %s; repairing it", w->sinks[i].sink->ops->kind,
			    em.text);
			repair(w, &w->sinks[i]);
		}
	publish_status(w);
}

/* Heartbeats and repairs that are due, with nothing else to do. */
static void
housekeeping(struct writer *w)
{
	struct write_list nothing = TAILQ_HEAD_INITIALIZER(nothing);
	bool behind = false;

	for (size_t i = 0; i < w->n_sinks; i++)
		behind = behind || (!w->sinks[i].in_step && come(w->sinks[i].retry, RETRY_MAX_S));
	if (behind)
		repair_all(w, true);
	if (come(w->verify, VERIFY_S)) {
		w->verify = time(NULL) + VERIFY_S;
		verify_all(w);
	}
	if (come(w->heartbeat, HEARTBEAT_S))
		push(w, &nothing);
}

/* On the monotonic clock, as pthread_cond_timedwait() wants it: the next heartbeat or verify, or
 * the next try at a map that is behind. */
static struct timespec
next_housekeeping(const struct writer *w)
{
	time_t at = w->heartbeat < w->verify ? w->heartbeat : w->verify, now = time(NULL);
	struct timespec until;

	for (size_t i = 0; i < w->n_sinks; i++)
		if (!w->sinks[i].in_step && w->sinks[i].retry < at)
			at = w->sinks[i].retry;
	clock_gettime(CLOCK_MONOTONIC, &until);
	if (at > now)
		until.tv_sec += at - now < VERIFY_S ? at - now : VERIFY_S;
	return until;
}

/* Keeps map commits a second apart; what comes in meanwhile joins the group. */
static void
pace(const struct writer *w)
{
	long left = w->last_commit_ms + PACE_MS - when_monotonic_ms();

	if (left > 0)
		nanosleep(
		    &(struct timespec){.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000},
		    NULL);
}

/* Two writes of one domain in one batch would each see the other's old state: the second waits for
 * the next batch. Those about no domain go together: one repair does for all who ask. */
static void
move_batch(struct write_list *queue, struct write_list *batch)
{
	struct write *write, *next;
	void *seen = NULL;
	size_t n = 0, keys = 0;

	for (write = TAILQ_FIRST(queue); write != NULL && n < BATCH_MAX && keys < BATCH_KEYS;
	     write = next) {
		next = TAILQ_NEXT(write, link);
		if (write->domain[0] != '\0' && !tree_insert(&seen, write))
			continue;
		TAILQ_REMOVE(queue, write, link);
		TAILQ_INSERT_TAIL(batch, write, link);
		n++;
		keys += write->entry.policy == NULL ? 0 : write->entry.policy->n_mx;
	}
	tree_clear(&seen);
}

/* Takes what is queued, at most one write a domain; false when there is nothing and the wait is
 * over or we stop. */
static bool
take_batch(struct writer *w, struct write_list *batch, bool *stopping)
{
	struct timespec until = next_housekeeping(w);
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	while (TAILQ_EMPTY(&w->queue) && !w->stopping && rc == 0)
		rc = pthread_cond_timedwait(&w->wake, &w->lock, &until);
	*stopping = w->stopping && TAILQ_EMPTY(&w->queue);
	pthread_mutex_unlock(&w->lock);
	if (*stopping || rc != 0)
		return false;
	pace(w);
	pthread_mutex_lock(&w->lock);
	move_batch(&w->queue, batch);
	pthread_mutex_unlock(&w->lock);
	return true;
}

static void *
writer_main(void *arg)
{
	struct writer *w = arg;
	bool stopping = false;

	atomic_store(&w->in_step, w->n_sinks == 0);
	schedule_heartbeat(w, time(NULL));
	repair_all(w, false);
	while (!stopping) {
		struct write_list batch = TAILQ_HEAD_INITIALIZER(batch);

		if (take_batch(w, &batch, &stopping))
			handle(w, &batch);
		housekeeping(w);
	}
	return NULL;
}

struct writer *
writer_new(struct event_base *base, struct store *store, const struct config *config,
    struct sink *const *sinks, size_t n, void (*ready)(void *arg), void *arg, struct errmsg *em)
{
	struct writer *w = calloc(1, sizeof(*w));
	pthread_condattr_t monotonic;
	int rc = ENOMEM;

	if (w == NULL)
		goto failed;
	w->truth.store = store;
	w->truth.config = config;
	atomic_store(&w->store_works, true);
	atomic_store(&w->imported, n == 0);
	w->ready = ready;
	w->ready_arg = arg;
	w->n_sinks = n;
	for (size_t i = 0; i < n; i++)
		w->sinks[i].sink = sinks[i];
	TAILQ_INIT(&w->queue);
	TAILQ_INIT(&w->done);
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	w->completed = event_new(base, -1, 0, deliver_results, w);
	if (w->completed != NULL && (rc = pthread_create(&w->thread, NULL, writer_main, w)) == 0)
		return w;
	if (w->completed != NULL)
		event_free(w->completed);
	free(w);
failed:
	errmsg_set(em, "cannot start the writer thread: %s", strerror(rc));
	return NULL;
}

void
writer_free(struct writer **writer)
{
	struct writer *w = *writer;

	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	deliver_results(-1, 0, w);
	event_free(w->completed);
	for (size_t i = 0; i < w->n_sinks; i++)
		w->sinks[i].sink->ops->close(w->sinks[i].sink);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->wake);
	free(w);
	*writer = NULL;
}
