#include "daemon/resolve.h"
#include "policy/ruling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "policy/decide.h"
#include "policy/selftest.h"
#include "util/log.h"
#include "util/tree.h"
#include "util/when.h"

enum {
	WATCH_S = 4 * 3600, /* after the last failed check: the MTA's queue runs report again */
	CHECKS_MAX = 4096,  /* domains watched at once; when full, the oldest are forgotten */
	USED_STEP_S = 3600,
	QUEUED_MAX = 20000,  /* discoveries that wait for their turn, some 2 KiB each */
	BACKGROUND_SHARE = 4 /* the background gets one in so many of discoveries_max */
};

struct resolve_wait {
	TAILQ_ENTRY(resolve_wait) link;
	struct job *job;
	resolve_cb *cb;
	void *arg;
};
TAILQ_HEAD(wait_list, resolve_wait);

/* One discovery. The domain comes first: util/tree.h. */
struct job {
	char domain[DOMAIN_MAX + 1];
	TAILQ_ENTRY(job) link; /* in a queue, until it runs */
	struct resolver *resolver;
	struct wait_list waits;
	long began_ms; /* when_monotonic_ms() */
	bool background, running, fetch;
	bool compared; /* with the maps: what they know of it, the store has */
	bool saving;   /* the writer has it: the store may say what the maps do not yet */
	bool changed;  /* the MTA's requirement: its kind or its MX patterns */
	bool held;     /* stored as undecided: mail waits, perhaps since before a restart */
	enum verdict was;
	struct evidence evidence;
	struct entry next;
	const char *why;
};
TAILQ_HEAD(job_list, job);

/* Mail of this domain waits because a connection failed its check. */
struct failed_check {
	char domain[DOMAIN_MAX + 1];
	TAILQ_ENTRY(failed_check) link; /* by the time of the last look */
	time_t looked;                  /* at TXT, because of it */
	time_t reported;                /* by the MTA, last; 0: the policy has changed since */
};
TAILQ_HEAD(check_list, failed_check);

struct resolver {
	struct resolver_parts parts;
	void *jobs;   /* tree of struct job */
	void *checks; /* tree of struct failed_check */
	struct check_list checks_by_age;
	size_t n_checks;
	struct event *check_timer;
	struct job_list asked, background; /* not running yet */
	struct job_list to_fetch; /* TXT is known; too many others wait for their policy hosts */
	size_t n_to_fetch, n_fetching;
	size_t n_background; /* running */
	bool stopping;
	time_t full_logged;
	struct resolver_status status;
};

static void run_more(struct resolver *r);
static void look_at_txt(struct job *job);

static struct job *
job_find(const struct resolver *r, const char *domain)
{
	return tree_find(&r->jobs, domain);
}

/* A number that spreads the refetches of different domains (FNV-1a). */
static uint32_t
spread_of(const char *domain)
{
	uint32_t h = 2166136261U;

	for (; *domain != '\0'; domain++)
		h = (h ^ (unsigned char)*domain) * 16777619U;
	return h;
}

static struct decide_limits
limits_for(const struct job *job)
{
	return (struct decide_limits){.hold_max_s = job->resolver->parts.config->hold_max_s,
	    .spread = spread_of(job->domain)};
}

/* ---- the life of a job ---- */

static void
job_log(const struct job *job, const struct resolution *res)
{
	const struct evidence *ev = &job->evidence;
	bool failed = ev->fetch == FETCH_FAILED;
	bool dns_failed = ev->txt == TXT_TEMPFAIL || ev->txt == TXT_INVALID;
	char trouble[FAILURE_REASON_MAX + 64];
	int priority = failed || res->verdict == VERDICT_UNDECIDED ? LOG_NOTICE
		       : res->verdict != job->was                  ? LOG_INFO
								   : LOG_DEBUG;

	snprintf(trouble, sizeof(trouble), " failure=%s reason=\"%s\"",
	    failed ? sts_type_name(ev->type) : "-", failed ? ev->reason : ev->txt_reason);
	log_line(priority, "domain=%s verdict=%s was=%s pushed=%s id=%s why=\"%s\"%s", job->domain,
	    verdict_name(res->verdict), verdict_name(job->was), res->pushed ? "yes" : "no",
	    job->next.id[0] == '\0' ? "-" : job->next.id, job->why == NULL ? "" : job->why,
	    failed || dns_failed ? trouble : "");
}

/* The policy that mail failed against rules no more; true when mail waits because of it. */
static bool
end_watch(struct resolver *r, const char *domain)
{
	struct failed_check *check = tree_find(&r->checks, domain);
	bool watched = check != NULL && check->reported != 0;

	if (watched)
		check->reported = 0;
	return watched;
}

/* The end: everybody who waited hears, then the next job runs. */
static void
job_finish(struct job *job, const struct resolution *res)
{
	struct resolver *r = job->resolver;
	struct resolve_wait *wait;

	job_log(job, res);
	tree_remove(&r->jobs, job);
	r->status.running--;
	r->n_background -= job->background;
	while ((wait = TAILQ_FIRST(&job->waits)) != NULL) {
		TAILQ_REMOVE(&job->waits, wait, link);
		wait->job = NULL;
		wait->cb(res, wait->arg);
		free(wait);
	}
	if (res->verdict != VERDICT_UNDECIDED && !r->stopping) {
		bool mended = job->changed && end_watch(r, job->domain);

		r->parts.settled(
		    job->domain, res->verdict, res->pushed, mended || job->held, r->parts.arg);
	}
	entry_clear(&job->next);
	free(job);
	if (!r->stopping)
		run_more(r);
}

static void
job_end_undecided(struct job *job, const char *why)
{
	struct resolution res = {VERDICT_UNDECIDED, false};

	job->why = why;
	job_finish(job, &res);
}

/* We are stopping: what the parts say now is about us, not about the domain, and must not be
 * judged. */
static void
job_abandon(struct job *job)
{
	job_end_undecided(job, "mtastsd is stopping");
}

/* What was seen before is old, or was seen without a policy that the store has now. */
static void
look_again(struct job *job)
{
	if (job->resolver->stopping)
		job_abandon(job);
	else
		look_at_txt(job);
}

enum rule
resolve_rule(const struct resolver *r, const char *domain)
{
	return rules_find(r->parts.config->rules, domain, NULL);
}

bool
resolve_doubtful(const struct resolver *r, const char *domain)
{
	struct entry e = {0};
	bool doubtful;

	if (rules_count(r->parts.config->chosen) == 0)
		return false;
	doubtful = store_get(r->parts.store, domain, &e, NULL) != STORE_OK ||
		   ruling_verdict(RULE_HOLD, &e, time(NULL)) == VERDICT_UNDECIDED;
	entry_clear(&e);
	return doubtful;
}

static enum verdict
verdict_of(const struct resolver *r, const char *domain, const struct entry *e)
{
	return ruling_verdict(resolve_rule(r, domain), e, time(NULL));
}

static void
on_written(const struct writer_result *result, void *arg)
{
	struct job *job = arg;
	struct resolution res = {
	    verdict_of(job->resolver, job->domain, &job->next), result->pushed};

	if (result->refused) {
		job->saving = false;
		entry_clear(&job->next);
		look_again(job);
		return;
	}
	/* What could not be stored is no settled enforce: mail waits. A none needs no disk to be
	 * true. */
	if (!result->stored && res.verdict == VERDICT_ENFORCE)
		res.verdict = VERDICT_UNDECIDED;
	res.pushed = res.pushed && res.verdict != VERDICT_UNDECIDED;
	job_finish(job, &res);
}

static void
job_kept(struct job *job, struct entry *cached)
{
	struct resolution res = {verdict_of(job->resolver, job->domain, cached),
	    writer_in_step(job->resolver->parts.writer)};

	entry_clear(&job->next);
	job->next = *cached;
	*cached = (struct entry){0};
	job_finish(job, &res);
}

/* An entry whose time is over still stands in the map, hence the clock of 0. */
static bool
requirements_differ(const struct job *job, const struct entry *a, const struct entry *b)
{
	enum rule rule = resolve_rule(job->resolver, job->domain);
	struct requirement was = ruling_requirement(rule, a, 0),
			   is = ruling_requirement(rule, b, 0);

	was.until = is.until;
	return !requirement_equal(&was, &is);
}

static void on_policy(const struct https_answer *answer, void *arg);

static void
fetch_more(struct resolver *r)
{
	struct job *job;

	while (r->n_fetching < r->parts.config->discoveries_max &&
	       (job = TAILQ_FIRST(&r->to_fetch)) != NULL) {
		TAILQ_REMOVE(&r->to_fetch, job, link);
		r->n_to_fetch--;
		r->n_fetching++;
		r->status.fetches++;
		if (!https_fetch(r->parts.https, job->domain, on_policy, job))
			abort(); /* out of memory */
	}
}

/*
 * Its place goes to the next: most domains have no record, and must not wait for a minute behind
 * thousands of policy hosts that do not answer.
 */
static void
fetch(struct job *job)
{
	struct resolver *r = job->resolver;

	if (r->n_to_fetch >= QUEUED_MAX) {
		job_end_undecided(job, "too many policies are to be fetched before");
		return;
	}
	r->status.running--;
	TAILQ_INSERT_TAIL(&r->to_fetch, job, link);
	r->n_to_fetch++;
	run_more(r);
}

static void
on_compared(const struct writer_result *result, void *arg)
{
	struct job *job = arg;

	job->compared = result->imported;
	if (job->compared)
		look_again(job);
	else
		job_end_undecided(job, "the map may know a policy, and is behind");
}

/*
 * The map may still know a requirement that the store lost: it is taken over before anything weaker
 * is written. False: it has been.
 */
static bool
compare_first(struct job *job, enum store_result rc)
{
	struct writer *w = job->resolver->parts.writer;

	if (job->compared)
		return false;
	if (rc == STORE_DAMAGED)
		writer_repair(w, on_compared, job);
	else if (rc == STORE_ABSENT && !writer_imported(w))
		writer_flush(w, on_compared, job);
	else
		return false;
	return true;
}

/* Asks the table with what has been seen so far. The entry is read afresh: it may have changed
 * while we looked. */
static void
judge(struct job *job)
{
	struct resolver *r = job->resolver;
	struct entry cached = {0};
	struct decide_limits limits = limits_for(job);
	struct errmsg em = {""};
	time_t now = time(NULL);
	enum store_result rc = store_get(r->parts.store, job->domain, &cached, &em);
	enum decision decision;

	if (rc != STORE_OK && rc != STORE_ABSENT)
		log_line(LOG_ERR, "domain=%s store: %s", job->domain, em.text);
	if (rc != STORE_OK && rc != STORE_ABSENT && rc != STORE_DAMAGED) {
		/* There may be a policy in it: not being able to read is not knowing nothing. */
		job_end_undecided(job, "the store cannot be read");
		return;
	}
	job->was = verdict_of(r, job->domain, rc == STORE_OK ? &cached : NULL);
	job->held = rc == STORE_OK && cached.state == ENTRY_UNDECIDED;
	if (compare_first(job, rc))
		return;
	if (job->fetch && rc == STORE_OK) {
		cached.refetch = now;
		cached.failure.retry = 0;
	}
	decision = decide(
	    rc == STORE_OK ? &cached : NULL, &job->evidence, now, &limits, &job->next, &job->why);
	switch (decision) {
	case DECIDE_FETCH:
		fetch(job);
		break;
	case DECIDE_SAVE:
		job->changed =
		    requirements_differ(job, rc == STORE_OK ? &cached : NULL, &job->next);
		if (job->next.used == 0 || !job->background)
			job->next.used = now - now % USED_STEP_S;
		job->saving = true;
		writer_save(r->parts.writer, job->domain, &job->next,
		    rc == STORE_OK && entry_live(&cached, now), on_written, job);
		break;
	case DECIDE_KEEP:
		job_kept(job, &cached);
		break;
	}
	entry_clear(&cached);
}

static void
on_policy(const struct https_answer *answer, void *arg)
{
	struct job *job = arg;
	struct resolver *r = job->resolver;

	r->n_fetching--;
	r->status.running++; /* it is written now */
	if (r->stopping) {
		job_abandon(job);
		return;
	}
	fetch_more(r);
	job->evidence.fetch = answer->policy != NULL ? FETCH_POLICY : FETCH_FAILED;
	job->evidence.policy = answer->policy;
	job->evidence.type = answer->type;
	snprintf(job->evidence.reason, sizeof(job->evidence.reason), "%.*s", FAILURE_REASON_MAX - 1,
	    answer->why.text);
	judge(job); /* copies the policy; may end the job */
}

static void
on_txt(const struct dns_txt_answer *answer, void *arg)
{
	struct job *job = arg;

	if (job->resolver->stopping) {
		job_abandon(job);
		return;
	}
	job->evidence.txt = answer->result;
	memcpy(job->evidence.id, answer->id, sizeof(job->evidence.id));
	job->evidence.ttl_s = answer->ttl_s;
	snprintf(job->evidence.txt_reason, sizeof(job->evidence.txt_reason), "%.*s",
	    FAILURE_REASON_MAX - 1, answer->why.text);
	judge(job);
}

static void
look_at_txt(struct job *job)
{
	memset(&job->evidence, 0, sizeof(job->evidence));
	job->resolver->status.txt_lookups++;
	if (!dns_txt(job->resolver->parts.dns, job->domain, on_txt, job))
		abort(); /* out of memory */
}

static void
job_run(struct job *job, struct job_list *queue)
{
	struct resolver *r = job->resolver;

	TAILQ_REMOVE(queue, job, link);
	r->status.queued--;
	r->status.running++;
	r->n_background += job->background;
	job->running = true;
	look_at_txt(job);
}

/* Those who are waited for go first; the background never takes all places. */
static void
run_more(struct resolver *r)
{
	size_t max = r->parts.config->discoveries_max;

	fetch_more(r);
	while (r->status.running < max && !TAILQ_EMPTY(&r->asked))
		job_run(TAILQ_FIRST(&r->asked), &r->asked);
	while (r->status.running < max && r->n_background < max / BACKGROUND_SHARE + 1 &&
	       !TAILQ_EMPTY(&r->background))
		job_run(TAILQ_FIRST(&r->background), &r->background);
}

static void
note_full(struct resolver *r)
{
	time_t now = time(NULL);

	if (r->stopping || r->full_logged / 60 == now / 60)
		return;
	r->full_logged = now;
	log_line(LOG_WARNING,
	    "%d discoveries wait for their turn; further domains are not looked at yet",
	    QUEUED_MAX);
}

/*
 * Finds or makes the job of a domain; one in the background that is waited for now moves ahead.
 * NULL: too many wait for their turn, and whoever wants the domain asks again; or there is nothing
 * to discover.
 */
static struct job *
job_start(struct resolver *r, const char *domain, bool background)
{
	struct job *job = job_find(r, domain);

	if (job != NULL) {
		if (job->background && !background && !job->running) {
			TAILQ_REMOVE(&r->background, job, link);
			TAILQ_INSERT_TAIL(&r->asked, job, link);
			job->background = false;
			run_more(r);
		}
		return job;
	}
	if (selftest_reserved(domain))
		return NULL;
	if (r->status.queued >= QUEUED_MAX || r->stopping) {
		note_full(r);
		return NULL;
	}
	job = calloc(1, sizeof(*job));
	if (job == NULL)
		abort();
	memcpy(job->domain, domain, strlen(domain) + 1);
	job->resolver = r;
	job->background = background;
	TAILQ_INIT(&job->waits);
	job->began_ms = when_monotonic_ms();
	(void)tree_insert(&r->jobs, job);
	TAILQ_INSERT_TAIL(background ? &r->background : &r->asked, job, link);
	r->status.queued++;
	run_more(
	    r); /* the callbacks of dns_txt() come from the loop: job is alive when this returns */
	return job;
}

/* ---- what others call ---- */

/* Undecided, and the next look is not due: asking again at once would only ask the same broken
 * servers. */
static bool
resting(const struct entry *e, time_t now)
{
	return (e->state == ENTRY_UNDECIDED || !entry_ahead(e, now)) && entry_due(e, now) > now;
}

struct resolution
resolve_peek(struct resolver *r, const char *domain)
{
	struct entry e = {0};
	struct resolution res = {VERDICT_NONE, writer_in_step(r->parts.writer)};
	bool known;

	if (resolve_rule(r, domain) == RULE_DISABLE)
		return res;
	known = store_get(r->parts.store, domain, &e, NULL) == STORE_OK;
	res.verdict = verdict_of(r, domain, known ? &e : NULL);
	res.pushed = res.pushed && res.verdict != VERDICT_UNDECIDED;
	entry_clear(&e);
	return res;
}

struct resolution
resolve_want(struct resolver *r, const char *domain)
{
	const struct job *job = job_find(r, domain);
	struct entry e = {0};
	time_t now = time(NULL);
	struct resolution res = {VERDICT_NONE, writer_in_step(r->parts.writer)};
	bool known;

	if (resolve_rule(r, domain) == RULE_DISABLE)
		return res;
	known = store_get(r->parts.store, domain, &e, NULL) == STORE_OK;
	res.verdict = verdict_of(r, domain, known ? &e : NULL);
	if (res.verdict == VERDICT_UNDECIDED && selftest_reserved(domain)) {
		res.verdict = VERDICT_NONE;
	} else if (res.verdict == VERDICT_UNDECIDED) {
		res.pushed = false;
		if (!known || !resting(&e, now))
			(void)job_start(r, domain, false);
	} else if (entry_stale(&e, now)) {
		(void)job_start(r, domain, true);
	}
	if (job != NULL && job->saving)
		res.pushed = false;
	if (known && e.used + USED_STEP_S <= now && !selftest_reserved(domain))
		writer_touch(r->parts.writer, domain, now - now % USED_STEP_S);
	entry_clear(&e);
	return res;
}

static struct resolve_wait *
wait_for(struct job *job, resolve_cb *cb, void *arg)
{
	struct resolve_wait *wait = calloc(1, sizeof(*wait));

	if (wait == NULL)
		abort();
	wait->job = job;
	wait->cb = cb;
	wait->arg = arg;
	TAILQ_INSERT_TAIL(&job->waits, wait, link);
	return wait;
}

struct resolve_wait *
resolve_await(
    struct resolver *r, const char *domain, resolve_cb *cb, void *arg, struct resolution *now)
{
	struct job *job;

	*now = resolve_want(r, domain);
	job = job_find(r, domain);
	if ((now->verdict != VERDICT_UNDECIDED && now->pushed) || job == NULL)
		return NULL;
	return wait_for(job, cb, arg);
}

void
resolve_cancel(struct resolve_wait **wait)
{
	if (*wait == NULL)
		return;
	TAILQ_REMOVE(&(*wait)->job->waits, *wait, link);
	free(*wait);
	*wait = NULL;
}

long
resolve_age_ms(const struct resolver *r, const char *domain)
{
	const struct job *job = job_find(r, domain);

	return job == NULL ? -1 : when_monotonic_ms() - job->began_ms;
}

struct resolve_wait *
resolve_force(
    struct resolver *r, const char *domain, enum resolve_force force, resolve_cb *cb, void *arg)
{
	struct job *job = job_start(r, domain, cb == NULL || force == RESOLVE_DUE);

	if (job == NULL)
		return NULL;
	job->fetch = job->fetch || force == RESOLVE_FETCH;
	return cb == NULL ? NULL : wait_for(job, cb, arg);
}

static void
forget_check(struct resolver *r, struct failed_check *check)
{
	tree_remove(&r->checks, check);
	TAILQ_REMOVE(&r->checks_by_age, check, link);
	r->n_checks--;
	free(check);
}

/*
 * Seconds until the next look at TXT; a last look in the future was before the clock was set back.
 */
static time_t
next_look_in(const struct resolver *r, const struct failed_check *check, time_t now)
{
	time_t at = check->looked + r->parts.config->failed_check_s;

	return check->looked > now || at <= now ? 0 : at - now;
}

static void
arm_check_timer(struct resolver *r)
{
	const struct failed_check *first = TAILQ_FIRST(&r->checks_by_age);
	struct timeval in = {0};

	if (first == NULL || r->stopping)
		return;
	in.tv_sec = next_look_in(r, first, time(NULL));
	event_add(r->check_timer, &in);
}

static void
look_because_of(struct resolver *r, struct failed_check *check)
{
	TAILQ_REMOVE(&r->checks_by_age, check, link);
	TAILQ_INSERT_TAIL(&r->checks_by_age, check, link);
	check->looked = time(NULL);
	(void)resolve_force(r, check->domain, RESOLVE_TXT, NULL, NULL);
}

/*
 * The far side may mend its policy while no mail but the one that waits is there to ask: TXT is
 * looked at again and again.
 */
static void
on_check_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct resolver *r = arg;
	struct failed_check *check;
	time_t now = time(NULL);

	while (
	    (check = TAILQ_FIRST(&r->checks_by_age)) != NULL && next_look_in(r, check, now) == 0) {
		if (check->reported + WATCH_S <= now)
			forget_check(r, check);
		else
			look_because_of(r, check);
	}
	arm_check_timer(r);
}

bool
resolve_failed_check(struct resolver *r, const char *domain)
{
	struct failed_check *check = tree_find(&r->checks, domain);
	time_t now = time(NULL);

	if (selftest_reserved(domain))
		return false;
	if (check != NULL) {
		check->reported = now;
		return false;
	}
	if (r->n_checks >= CHECKS_MAX)
		forget_check(r, TAILQ_FIRST(&r->checks_by_age));
	check = calloc(1, sizeof(*check));
	if (check == NULL)
		abort();
	memcpy(check->domain, domain, strlen(domain) + 1);
	check->reported = now;
	(void)tree_insert(&r->checks, check);
	TAILQ_INSERT_TAIL(&r->checks_by_age, check, link);
	r->n_checks++;
	look_because_of(r, check);
	arm_check_timer(r);
	return true;
}

void
resolver_status(const struct resolver *r, struct resolver_status *out)
{
	*out = r->status;
	out->running += r->n_fetching;
	out->queued += r->n_to_fetch;
}

struct resolver *
resolver_new(const struct resolver_parts *parts, struct errmsg *em)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (r == NULL) {
		errmsg_set(em, "out of memory");
		return NULL;
	}
	r->parts = *parts;
	TAILQ_INIT(&r->asked);
	TAILQ_INIT(&r->background);
	TAILQ_INIT(&r->to_fetch);
	TAILQ_INIT(&r->checks_by_age);
	r->check_timer = evtimer_new(parts->base, on_check_timer, r);
	if (r->check_timer == NULL) {
		errmsg_set(em, "out of memory");
		resolver_free(&r);
	}
	return r;
}

void
resolver_configure(struct resolver *r, const struct config *config)
{
	r->parts.config = config;
}

static void
abandon_queued(struct resolver *r, struct job_list *queue)
{
	struct job *job;

	while ((job = TAILQ_FIRST(queue)) != NULL) {
		TAILQ_REMOVE(queue, job, link);
		r->status.queued--;
		r->status.running++; /* job_finish() counts it down */
		r->n_background += job->background;
		job_abandon(job);
	}
}

static void
abandon_to_fetch(struct resolver *r)
{
	struct job *job;

	while ((job = TAILQ_FIRST(&r->to_fetch)) != NULL) {
		TAILQ_REMOVE(&r->to_fetch, job, link);
		r->n_to_fetch--;
		r->status.running++; /* job_finish() counts it down */
		job_abandon(job);
	}
}

void
resolver_stop(struct resolver *r)
{
	r->stopping = true;
	abandon_queued(r, &r->asked);
	abandon_queued(r, &r->background);
	abandon_to_fetch(r);
}

void
resolver_free(struct resolver **resolver)
{
	struct resolver *r = *resolver;

	if (r == NULL)
		return;
	while (!TAILQ_EMPTY(&r->checks_by_age))
		forget_check(r, TAILQ_FIRST(&r->checks_by_age));
	if (r->check_timer != NULL)
		event_free(r->check_timer);
	free(r);
	*resolver = NULL;
}
