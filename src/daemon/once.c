#include "daemon/once.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "site/describe.h"
#include "util/log.h"

enum {
	FLIGHT_MAX = 5000,  /* discoveries given to the resolver, which has its own limit */
	FAILURES_MAX = 1000 /* told one by one */
};

struct task {
	char *domain;
	bool listed;
};

/* A domain that is being looked at. */
struct flight {
	struct once *once;
	const char *domain;
	bool known; /* before holds it */
	struct entry before;
	LIST_ENTRY(flight) link;
};

struct once {
	struct once_parts parts;
	struct config_list *list;
	struct task *tasks;
	size_t n_tasks, room, next;
	LIST_HEAD(, flight) flights;
	size_t n_flights;
	bool ended, stopping, out_of_memory;
	size_t looked, changed, failed, expired, dropped, pushed;
	json_t *failures;
	struct errmsg store_error;
};

/* ---- what to look at ---- */

static bool
add_task(struct once *o, const char *domain, bool listed)
{
	if (o->n_tasks == o->room) {
		size_t room = o->room == 0 ? 256 : o->room * 2;
		struct task *grown = realloc(o->tasks, room * sizeof(*grown));

		if (grown == NULL)
			return false;
		o->tasks = grown;
		o->room = room;
	}
	o->tasks[o->n_tasks] = (struct task){strdup(domain), listed};
	return o->tasks[o->n_tasks].domain != NULL && ++o->n_tasks > 0;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
add_listed(struct once *o)
{
	struct config_list *list = o->list;
	bool ok = true;

	if (list->n > 0)
		qsort(list->item, list->n, sizeof(*list->item), compare_names);
	for (size_t i = 0; i < list->n && ok; i++)
		if (i == 0 || strcmp(list->item[i], list->item[i - 1]) != 0)
			ok = add_task(o, list->item[i], true);
	return ok;
}

static bool
add_due(const char *domain, time_t due UNUSED, void *arg)
{
	struct once *o = arg;
	const struct config_list *list = o->list;

	if (list->n > 0 &&
	    bsearch(&domain, list->item, list->n, sizeof(*list->item), compare_names) != NULL)
		return true;
	o->out_of_memory = o->out_of_memory || !add_task(o, domain, false);
	return !o->out_of_memory;
}

/* ---- what has come of it ---- */

static void
note_failure(struct once *o, const char *domain, const char *reason)
{
	o->failed++;
	if (o->failed <= FAILURES_MAX)
		json_array_append_new(
		    o->failures, json_pack("{s:s,s:s}", "domain", domain, "reason", reason));
}

/* An entry whose time is over may still stand in the map, hence the clock of 0. */
static bool
rules_differ(const struct entry *a, const struct entry *b)
{
	struct requirement was = entry_requirement(a, 0), is = entry_requirement(b, 0);

	was.until = is.until;
	return !requirement_equal(&was, &is);
}

static void
judge(struct once *o, const struct flight *f, const struct resolution *res)
{
	struct entry after = {0};
	struct errmsg em = {""};
	const struct entry *before = f->known ? &f->before : NULL;
	time_t now = time(NULL);
	enum store_result rc = store_get(o->parts.store, f->domain, &after, &em);

	o->looked++;
	o->pushed += res->pushed;
	if (rc != STORE_OK)
		note_failure(o, f->domain,
		    rc == STORE_ABSENT ? "nothing was found out, or it could not be saved"
				       : em.text);
	else if (after.state == ENTRY_UNDECIDED)
		note_failure(o, f->domain,
		    "DNS does not say whether there is a policy; mail is held meanwhile");
	else if (after.failure.type != STS_OK)
		note_failure(o, f->domain, after.failure.reason);
	else if (!res->pushed)
		note_failure(o, f->domain, "not in the MTA's maps yet");
	if (rc == STORE_OK) {
		o->changed += rules_differ(before, &after);
		o->expired += f->known && f->before.state == ENTRY_POLICY &&
			      now >= f->before.expires && after.state != ENTRY_POLICY;
	}
	entry_clear(&after);
}

static void start_more(struct once *o);

static void
end_flight(struct flight *f)
{
	LIST_REMOVE(f, link);
	f->once->n_flights--;
	entry_clear(&f->before);
	free(f);
}

static void
on_looked(const struct resolution *res, void *arg)
{
	struct flight *f = arg;
	struct once *o = f->once;

	if (!o->stopping)
		judge(o, f, res);
	end_flight(f);
	if (!o->stopping)
		start_more(o);
}

/* The writer has done all that was asked. */
static void
on_written(const struct writer_result *result UNUSED, void *arg)
{
	struct once *o = arg;

	o->ended = true;
	if (!o->stopping)
		event_base_loopbreak(o->parts.base);
}

/* ---- looking ---- */

static void
look(struct once *o, const struct task *task)
{
	struct flight *f;
	struct entry e = {0};
	bool known = store_get(o->parts.store, task->domain, &e, NULL) == STORE_OK;

	if (resolve_rule(o->parts.resolver, task->domain) == RULE_DISABLE) {
		entry_clear(&e);
		return;
	}
	if (known && !task->listed && entry_forgettable(&e, time(NULL))) {
		o->dropped++;
		entry_clear(&e);
		writer_drop(o->parts.writer, task->domain);
		return;
	}
	if ((f = calloc(1, sizeof(*f))) == NULL)
		abort();
	*f = (struct flight){.once = o, .domain = task->domain, .known = known, .before = e};
	LIST_INSERT_HEAD(&o->flights, f, link);
	o->n_flights++;
	if (resolve_force(o->parts.resolver, task->domain, task->listed ? RESOLVE_TXT : RESOLVE_DUE,
		on_looked, f) == NULL) {
		note_failure(o, f->domain, "too many discoveries wait for their turn");
		end_flight(f);
	} else if (task->listed) { /* what is listed is in use, also when nothing has changed */
		(void)resolve_want(o->parts.resolver, task->domain);
	}
}

static void
start_more(struct once *o)
{
	while (o->next < o->n_tasks && o->n_flights < FLIGHT_MAX)
		look(o, &o->tasks[o->next++]);
	if (o->next == o->n_tasks && o->n_flights == 0)
		writer_flush(o->parts.writer, on_written, o);
}

/* The maps have been compared with the store: what only they knew is known, and may be due. */
static void
on_compared(const struct writer_result *result UNUSED, void *arg)
{
	struct once *o = arg;

	if (o->stopping)
		return;
	if (store_due(o->parts.store, time(NULL), SIZE_MAX, add_due, o, &o->store_error) !=
	    STORE_OK)
		log_line(LOG_ERR, "store: %s", o->store_error.text);
	start_more(o);
}

struct once *
once_new(const struct once_parts *parts, struct config_list *list)
{
	struct once *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->parts = *parts;
	o->list = list;
	LIST_INIT(&o->flights);
	o->failures = json_array();
	if (o->failures == NULL || !add_listed(o)) {
		once_free(&o);
		return NULL;
	}
	writer_flush(parts->writer, on_compared, o);
	return o;
}

void
once_stop(struct once *o)
{
	o->stopping = true;
}

void
once_free(struct once **once)
{
	struct once *o = *once;

	if (o == NULL)
		return;
	for (size_t i = 0; i < o->n_tasks; i++)
		free(o->tasks[i].domain);
	free(o->tasks);
	json_decref(o->failures);
	free(o);
	*once = NULL;
}

bool
once_again(const struct once *o)
{
	return !o->ended || o->failed > 0 || o->out_of_memory || o->store_error.text[0] != '\0' ||
	       !writer_in_step(o->parts.writer) || !writer_store_works(o->parts.writer);
}

json_t *
once_report(const struct once *o)
{
	struct writer_status status;

	writer_status(o->parts.writer, &status);
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:o,s:O}", "looked_at",
	    (json_int_t)o->looked, "changed", (json_int_t)o->changed, "failed",
	    (json_int_t)o->failed, "expired", (json_int_t)o->expired, "dropped",
	    (json_int_t)o->dropped, "pushed", (json_int_t)o->pushed, "in_step",
	    (int)writer_in_step(o->parts.writer), "again", (int)once_again(o), "alive_until",
	    status.alive_until > 0 ? describe_time(status.alive_until) : json_null(), "failures",
	    o->failures);
}
