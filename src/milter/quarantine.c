#include "milter/quarantine.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "milter/releaser.h"
#include "site/client.h"
#include "util/log.h"
#include "util/when.h"

enum {
	KEPT_MAX = 20000,      /* messages; others are found when these are gone */
	QID_MAX = 63,          /* bytes of a queue id */
	LIST_EVERY_MS = 60000, /* between two looks for messages that we do not know */
	ROUND_S = 1,           /* between two rounds over those that we know */
	/* A message is asked about again after an eighth of its age, within these limits. The upper one
	 * is less than the minute for which mtastsd repeats its requests for a run of the queue. */
	AGAIN_MIN_MS = 1000,
	AGAIN_MAX_MS = 30000,
	POSSIBLE_MS = 1000, /* mtasts-release answers at once unless Sendmail is slow */
	RELEASE_MS = 70000, /* it gives Sendmail a minute */
	VERDICT_MS = 2000,  /* mtastsd answers at once */
	/* After end-of-message other filters may take their time before the MTA writes the file. */
	APPEAR_MS = 600000
};

struct kept {
	char qid[QID_MAX + 1];
	char domains[REASON_DOMAINS_MAX][DOMAIN_MAX + 1];
	size_t n;
	long since, next; /* when_monotonic_ms() */
	TAILQ_ENTRY(kept) link;
};
TAILQ_HEAD(kept_list, kept);

static const struct config *cf;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Under lock. Only the thread takes one away, so it may look at one without the lock. */
static struct kept_list all = TAILQ_HEAD_INITIALIZER(all);
static size_t n_all;

/* --- the list --- */

static bool
is_known(const char *qid)
{
	const struct kept *k;

	TAILQ_FOREACH (k, &all, link)
		if (strcmp(k->qid, qid) == 0)
			return true;
	return false;
}

/* Consumes k. */
static void
add(struct kept *k)
{
	pthread_mutex_lock(&lock);
	if (n_all < KEPT_MAX && !is_known(k->qid)) {
		TAILQ_INSERT_TAIL(&all, k, link);
		n_all++;
		k = NULL;
	}
	pthread_mutex_unlock(&lock);
	free(k);
}

static struct kept *
kept_new(const char *qid)
{
	struct kept *k = strlen(qid) > QID_MAX ? NULL : calloc(1, sizeof(*k));

	if (k == NULL)
		return NULL; /* mtasts-release lists it again, and releases what is too old */
	strcpy(k->qid, qid);
	k->since = when_monotonic_ms();
	k->next = k->since + AGAIN_MIN_MS;
	return k;
}

void
quarantine_add(const char *queue_id, const char *const *domains, size_t n)
{
	struct kept *k = kept_new(queue_id);

	if (k == NULL)
		return;
	for (; k->n < n && k->n < REASON_DOMAINS_MAX; k->n++)
		strcpy(k->domains[k->n], domains[k->n]);
	add(k);
}

static void
listed(const char *queue_id, struct cursor reason, void *arg UNUSED)
{
	struct kept *k = kept_new(queue_id);

	if (k != NULL && (k->n = reason_parse(reason, k->domains)) > 0)
		add(k);
	else
		free(k);
}

static void
forget(struct kept *k)
{
	pthread_mutex_lock(&lock);
	TAILQ_REMOVE(&all, k, link);
	n_all--;
	pthread_mutex_unlock(&lock);
	free(k);
}

/* --- the thread --- */

static json_t *
request_for(const struct kept *k)
{
	json_t *names = json_array();

	for (size_t i = 0; i < k->n; i++)
		json_array_append_new(names, json_string(k->domains[i]));
	return json_pack(
	    "{ss so si ss}", "cmd", "await", "domains", names, "wait_ms", 0, "queue_id", k->qid);
}

/* Would check_compat let mail for this domain pass? */
static bool
passes(const json_t *verdict)
{
	const char *word = json_string_value(json_object_get(verdict, "verdict"));
	const char *mode = json_string_value(json_object_get(verdict, "enforcement"));

	if (word == NULL || mode == NULL)
		return false;
	if (strcmp(mode, "observe") == 0 || strcmp(word, "none") == 0 ||
	    strcmp(word, "testing") == 0)
		return true;
	return strcmp(word, "enforce") == 0 && json_is_true(json_object_get(verdict, "pushed"));
}

enum settled { SETTLED_YES, SETTLED_NO, SETTLED_UNKNOWN /* mtastsd does not answer */ };

/* The queue id goes along, so that mtastsd has the queue run once they are settled. */
static enum settled
ask(struct client *mtastsd, const struct kept *k)
{
	json_t *request = request_for(k), *answer = NULL, *verdicts;
	enum settled settled = SETTLED_UNKNOWN;

	if (request != NULL && client_send(mtastsd, request, NULL) == CLIENT_OK &&
	    client_wait(mtastsd, VERDICT_MS, &answer, NULL) == CLIENT_OK) {
		verdicts = json_object_get(answer, "verdicts");
		settled = json_array_size(verdicts) == k->n ? SETTLED_YES : SETTLED_NO;
		for (size_t i = 0; settled == SETTLED_YES && i < k->n; i++)
			if (!passes(json_array_get(verdicts, i)))
				settled = SETTLED_NO;
		json_decref(answer);
	}
	json_decref(request);
	return settled;
}

/* False: it is no longer kept. */
static bool
release(const struct kept *k, long age_ms)
{
	switch (releaser_release(cf->release_socket, k->qid, RELEASE_MS)) {
	case RELEASER_RELEASED:
	case RELEASER_OTHERS:
		return false;
	case RELEASER_ABSENT:
		return age_ms < APPEAR_MS;
	case RELEASER_LATER:
	case RELEASER_AWAY:
		break;
	}
	return true;
}

/* False: mtastsd does not answer, and may yet, so its connection is of no use to others. */
static bool
look_at(struct client *mtastsd, struct kept *k)
{
	long now = when_monotonic_ms(), again = (now - k->since) / 8;
	enum settled settled = ask(mtastsd, k);

	if (settled == SETTLED_YES && !release(k, now - k->since)) {
		forget(k);
		return true;
	}
	if (again < AGAIN_MIN_MS)
		again = AGAIN_MIN_MS;
	k->next = now + (again > AGAIN_MAX_MS ? AGAIN_MAX_MS : again);
	return settled != SETTLED_UNKNOWN;
}

/* Others only add at the end. */
static struct kept *
next_of(struct kept *k)
{
	pthread_mutex_lock(&lock);
	k = k == NULL ? TAILQ_FIRST(&all) : TAILQ_NEXT(k, link);
	pthread_mutex_unlock(&lock);
	return k;
}

static void
round_of(long now)
{
	struct client *mtastsd = NULL;
	struct kept *k, *next;
	bool answers = true;

	for (k = next_of(NULL); k != NULL && answers; k = next) {
		next = next_of(k);
		if (k->next > now)
			continue;
		if (mtastsd == NULL)
			mtastsd = client_open(cf->control.listen.item[0], NULL);
		answers = mtastsd != NULL && look_at(mtastsd, k);
	}
	client_close(&mtastsd);
}

static void *
watch(void *arg UNUSED)
{
	const struct timespec pause = {.tv_sec = ROUND_S};
	long next_list = when_monotonic_ms();

	for (;;) {
		long now = when_monotonic_ms();

		if (now >= next_list) {
			(void)releaser_list(cf->release_socket, listed, NULL);
			next_list = now + LIST_EVERY_MS;
		}
		round_of(now);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

bool
quarantine_start(const struct config *config, struct errmsg *em)
{
	sigset_t every, before;
	pthread_t thread;
	int rc;

	cf = config;
	sigfillset(&every); /* libmilter waits for signals in a thread of its own */
	pthread_sigmask(SIG_SETMASK, &every, &before);
	rc = pthread_create(&thread, NULL, watch, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0)
		errmsg_set(em, "no thread for the quarantine: %s", strerror(rc));
	return rc == 0 && pthread_detach(thread) == 0;
}

bool
quarantine_possible(const char *queue_id)
{
	return queue_id[0] != '\0' &&
	       releaser_release(cf->release_socket, queue_id, POSSIBLE_MS) == RELEASER_ABSENT;
}
