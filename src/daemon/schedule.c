#include "daemon/schedule.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/log.h"

enum {
	TICK_S = 1,
	STORE_RETRY_S = 60, /* what cannot be saved would be due, and fetched, again at once */
	TICK_MAX = 50       /* new domains a tick, beside those still running: four million a day */
};

struct schedule {
	struct store *store;
	struct writer *writer;
	struct resolver *resolver;
	struct event *tick;
	bool refreshing;                /* all entries, in order of domain */
	char refreshed[DOMAIN_MAX + 1]; /* the last one; empty: none yet */
	size_t batch;
	unsigned ticks, quiet_until;
};

static bool
on_due(const char *domain, time_t due UNUSED, void *arg)
{
	struct schedule *s = arg;
	struct entry e = {0};
	time_t now = time(NULL);

	if (store_get(s->store, domain, &e, NULL) == STORE_OK && entry_forgettable(&e, now)) {
		log_line(LOG_DEBUG, "domain=%s dropped: its time is over and nobody asks for it",
		    domain);
		writer_drop(s->writer, domain);
	} else {
		(void)resolve_force(s->resolver, domain, RESOLVE_TXT, NULL, NULL);
	}
	entry_clear(&e);
	return true;
}

static bool
refresh_one(const char *domain, const struct entry *e UNUSED, void *arg)
{
	struct schedule *s = arg;

	memcpy(s->refreshed, domain, strlen(domain) + 1);
	s->batch++;
	(void)resolve_force(s->resolver, domain, RESOLVE_FETCH, NULL, NULL);
	return true;
}

/* Once a minute, as the next tick will find the same. */
static void
note_error(struct schedule *s, enum store_result rc, const struct errmsg *em)
{
	if (rc == STORE_OK || s->ticks < s->quiet_until)
		return;
	log_line(LOG_ERR, "nothing is refreshed: store: %s", em->text);
	s->quiet_until = s->ticks + STORE_RETRY_S;
}

static void
refresh_more(struct schedule *s)
{
	struct errmsg em = {""};

	s->batch = 0;
	note_error(s,
	    store_each(s->store, s->refreshed[0] == '\0' ? NULL : s->refreshed, TICK_MAX,
		refresh_one, s, NULL, &em),
	    &em);
	s->refreshing = s->batch == TICK_MAX;
}

void
schedule_refresh_all(struct schedule *s)
{
	s->refreshing = true;
	s->refreshed[0] = '\0';
}

static void
on_tick(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct schedule *s = arg;
	struct resolver_status status;
	struct errmsg em = {""};

	resolver_status(s->resolver, &status);
	if (status.queued > 0) /* the last tick's have not all begun: no need for more */
		return;
	if (++s->ticks % STORE_RETRY_S != 0 && !writer_store_works(s->writer))
		return;
	if (s->refreshing)
		refresh_more(s);
	note_error(
	    s, store_due(s->store, time(NULL), TICK_MAX + status.running, on_due, s, &em), &em);
}

struct schedule *
schedule_new(
    struct event_base *base, struct store *store, struct writer *writer, struct resolver *r)
{
	struct schedule *s = calloc(1, sizeof(*s));
	struct timeval every = {.tv_sec = TICK_S};

	if (s == NULL)
		return NULL;
	s->store = store;
	s->writer = writer;
	s->resolver = r;
	s->tick = event_new(base, -1, EV_PERSIST, on_tick, s);
	if (s->tick == NULL || event_add(s->tick, &every) != 0)
		schedule_free(&s);
	return s;
}

void
schedule_free(struct schedule **s)
{
	if (*s == NULL)
		return;
	if ((*s)->tick != NULL)
		event_free((*s)->tick);
	free(*s);
	*s = NULL;
}
