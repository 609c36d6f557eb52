#include "milter/message.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "site/client.h"
#include "util/ascii.h"
#include "util/log.h"
#include "util/when.h"

enum {
	ADDR_LOG_MAX = 320,    /* bytes of an address in the log */
	WANT_ANSWERS_MS = 500, /* answers to want come at once; this is for a busy machine */
	GRACE_MS = 250,        /* mtastsd keeps the time of an await itself; for its answer's way */
	MOMENT_MS = 20,        /* an answer that takes longer is one to wait for */
	SLICE_MS = 500,        /* how soon a stop is noticed */
	AWAY_LOG_EVERY_S = 60  /* one line a minute says that mtastsd is away, not one a message */
};

/* LINK_BROKEN: was up, and may be so again by end-of-message. LINK_AWAY: tried in vain. */
enum link { LINK_NEW, LINK_UP, LINK_BROKEN, LINK_AWAY };

struct domain {
	char *name;
	enum tag verdict;
	bool pushed, shown;
	bool heard;     /* mtastsd has answered, and enforces */
	bool doubtful;  /* none, but DNS has not confirmed it */
	enum rule rule; /* of the site, for this message */
};

struct rcpt {
	char *addr;
	size_t domain;
};

enum { FROM = 3 };

struct message {
	const char *control, *header;
	char *from[FROM]; /* user, sender, listener */
	char queue_id[MESSAGE_QID_MAX + 1];
	struct domain *domains; /* in the order of the want requests */
	size_t *sorted;         /* indices of domains, by name */
	size_t ndomains, domains_room;
	struct rcpt *rcpts;
	size_t nrcpts, rcpts_room;
	size_t left_out; /* recipients beyond the limits, or for whom there was no memory */
	struct client *client;
	enum link link;
	size_t asked, answered; /* the answer to come next is that of domains[answered] */
	size_t budget, cut;     /* bytes of To and Cc: yet to look at, left out */
	size_t not_awaited;
	int forged;
	long waited_ms;
};

static atomic_bool stopping;

void
message_stop(void)
{
	atomic_store(&stopping, true);
}

struct message *
message_new(const char *control, const char *header)
{
	struct message *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	m->control = control;
	m->header = header;
	m->budget = TAG_HEADERS_MAX;
	return m;
}

void
message_free(struct message **m)
{
	if (*m == NULL)
		return;
	client_close(&(*m)->client);
	for (size_t i = 0; i < (*m)->ndomains; i++)
		free((*m)->domains[i].name);
	for (size_t i = 0; i < (*m)->nrcpts; i++)
		free((*m)->rcpts[i].addr);
	for (size_t i = 0; i < FROM; i++)
		free((*m)->from[i]);
	free((*m)->domains);
	free((*m)->sorted);
	free((*m)->rcpts);
	free(*m);
	*m = NULL;
}

void
message_from(struct message *m, const char *user, const char *sender, const char *listener)
{
	const char *const from[FROM] = {user, sender, listener};

	for (size_t i = 0; i < FROM; i++)
		if (from[i] != NULL && m->from[i] == NULL)
			m->from[i] = strndup(from[i], ADDR_LOG_MAX);
}

/* Letters and digits only, so that it can stand in a log line and in JSON as it is. */
void
message_queue_id(struct message *m, const char *queue_id)
{
	size_t n = 0;

	if (queue_id == NULL || m->queue_id[0] != '\0')
		return;
	for (; n < MESSAGE_QID_MAX && ascii_alnum((unsigned char)queue_id[n]); n++)
		m->queue_id[n] = queue_id[n];
	m->queue_id[n] = '\0';
}

const char *
message_qid(const struct message *m)
{
	return m->queue_id;
}

bool
message_outbound(const struct message *m)
{
	return m->ndomains > 0;
}

/* --- domains and recipients --- */

/* Where name stands in sorted, or belongs. */
static size_t
place_of(const struct message *m, const char *name, bool *found)
{
	size_t low = 0, high = m->ndomains;

	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(name, m->domains[m->sorted[mid]].name);

		if (c == 0)
			*found = true;
		if (c <= 0)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static bool
domains_grow(struct message *m)
{
	size_t room = m->domains_room == 0 ? 4 : m->domains_room * 2;
	struct domain *domains;
	size_t *sorted;

	if (m->ndomains < m->domains_room)
		return true;
	if (m->ndomains >= MESSAGE_DOMAINS_MAX)
		return false;
	if ((domains = realloc(m->domains, room * sizeof(*domains))) == NULL)
		return false;
	m->domains = domains;
	if ((sorted = realloc(m->sorted, room * sizeof(*sorted))) == NULL)
		return false;
	m->sorted = sorted;
	m->domains_room = room;
	return true;
}

static bool
domain_add(struct message *m, const char *name, size_t at)
{
	char *own;

	if (!domains_grow(m) || (own = strdup(name)) == NULL)
		return false;
	memmove(m->sorted + at + 1, m->sorted + at, (m->ndomains - at) * sizeof(*m->sorted));
	m->sorted[at] = m->ndomains;
	m->domains[m->ndomains++] = (struct domain){.name = own, .verdict = TAG_PENDING};
	return true;
}

static bool
rcpt_add(struct message *m, size_t domain, const char *addr)
{
	size_t room = m->rcpts_room == 0 ? 4 : m->rcpts_room * 2;
	struct rcpt *grown;
	char *own;

	if (m->nrcpts >= MESSAGE_RCPTS_MAX)
		return false;
	if (m->nrcpts == m->rcpts_room) {
		if ((grown = realloc(m->rcpts, room * sizeof(*grown))) == NULL)
			return false;
		m->rcpts = grown;
		m->rcpts_room = room;
	}
	if ((own = strndup(addr, ADDR_LOG_MAX)) == NULL)
		return false;
	m->rcpts[m->nrcpts++] = (struct rcpt){own, domain};
	return true;
}

/* --- the talk with mtastsd --- */

static void
log_away(const char *reason)
{
	static atomic_long next; /* seconds of the monotonic clock */
	long now = when_monotonic_ms() / 1000, due = atomic_load(&next);

	if (now >= due && atomic_compare_exchange_strong(&next, &due, now + AWAY_LOG_EVERY_S))
		log_line(LOG_WARNING,
		    "control=away reason=\"%s\" mail is accepted as pending; the check at delivery "
		    "holds what must be held",
		    reason);
}

static void
hang_up(struct message *m, enum link link, const struct errmsg *em)
{
	client_close(&m->client);
	m->link = link;
	log_away(em->text);
}

static bool
dial(struct message *m)
{
	struct errmsg em = {""};

	m->asked = m->answered = m->ndomains; /* nothing is on its way on a new connection */
	m->client = client_open(m->control, &em);
	if (m->client == NULL)
		hang_up(m, LINK_AWAY, &em);
	else
		m->link = LINK_UP;
	return m->client != NULL;
}

static enum rule
rule_of(const char *name)
{
	for (enum rule rule = RULE_OPTIONAL; rule <= RULE_DISABLE; rule++)
		if (strcmp(name, rule_name(rule)) == 0)
			return rule;
	return RULE_OPTIONAL;
}

static void
note_answer(struct domain *d, const json_t *answer)
{
	const char *mode = json_string_value(json_object_get(answer, "enforcement"));
	const char *rule = json_string_value(json_object_get(answer, "rule"));

	d->verdict = tag_of_verdict(json_string_value(json_object_get(answer, "verdict")));
	d->pushed = json_is_true(json_object_get(answer, "pushed"));
	if (rule != NULL)
		d->rule = rule_of(rule);
	d->doubtful = json_is_true(json_object_get(answer, "doubtful"));
	d->heard = mode != NULL && strcmp(mode, "on") == 0;
}

static bool
send_request(struct message *m, json_t *request)
{
	struct errmsg em = {"out of memory"};
	bool sent = request != NULL &&
		    (m->queue_id[0] == '\0' ||
			json_object_set_new(request, "queue_id", json_string(m->queue_id)) == 0) &&
		    client_send(m->client, request, &em) == CLIENT_OK;

	json_decref(request); /* NULL-safe */
	if (!sent)
		hang_up(m, LINK_BROKEN, &em);
	return sent;
}

/* Takes the answers to want that are there. */
static void
drain(struct message *m)
{
	struct errmsg em = {""};
	enum client_result r = CLIENT_OK;
	json_t *answer;

	while (
	    m->answered < m->asked && (r = client_wait(m->client, 0, &answer, &em)) == CLIENT_OK) {
		note_answer(&m->domains[m->answered++], answer);
		json_decref(answer);
	}
	if (r == CLIENT_AWAY)
		hang_up(m, LINK_BROKEN, &em);
}

static json_t *
want_request(const struct message *m, const char *name)
{
	static const char *const members[] = {"user", "sender", "listener"};
	json_t *request = json_pack("{ss ss}", "cmd", "want", "domain", name);

	for (size_t i = 0; request != NULL && i < FROM; i++)
		if (m->from[i] != NULL) /* what is not UTF-8 chooses no set */
			(void)json_object_set_new(request, members[i], json_string(m->from[i]));
	return request;
}

/* Asks for the domain just added, and takes earlier answers, so that neither's buffer fills. */
static void
want(struct message *m)
{
	const char *name = m->domains[m->ndomains - 1].name;

	if (m->link == LINK_NEW) {
		if (!dial(m))
			return;
		m->asked = m->answered = m->ndomains - 1;
	}
	if (m->link != LINK_UP || !send_request(m, want_request(m, name)))
		return;
	m->asked++;
	drain(m);
}

void
message_rcpt(struct message *m, const char *domain, const char *addr)
{
	bool found;
	size_t at = place_of(m, domain, &found);

	if (!found && !domain_add(m, domain, at)) {
		m->left_out++;
		return;
	}
	if (!rcpt_add(m, m->sorted[at], addr))
		m->left_out++;
	if (!found)
		want(m);
}

/* Takes answers to want until that of domains[i] is there, or the time is over. */
static void
collect_until(struct message *m, size_t i, long until)
{
	struct errmsg em = {""};
	enum client_result r = CLIENT_OK;
	json_t *answer;

	while (m->link == LINK_UP && m->answered <= i && r == CLIENT_OK) {
		long left = until - when_monotonic_ms();

		r = client_wait(m->client, left > 0 ? (int)left : 0, &answer, &em);
		if (r == CLIENT_OK) {
			note_answer(&m->domains[m->answered++], answer);
			json_decref(answer);
		}
	}
	if (r == CLIENT_AWAY)
		hang_up(m, LINK_BROKEN, &em);
}

bool
message_unmet(struct message *m, const char *domain, long wait_ms, enum rule *rule)
{
	bool found;
	size_t at = place_of(m, domain, &found);
	const struct domain *d;

	if (!found)
		return false;
	collect_until(m, m->sorted[at], when_monotonic_ms() + wait_ms);
	d = &m->domains[m->sorted[at]];
	*rule = d->rule;
	return d->heard && rule_requires(d->rule) && !d->doubtful &&
	       (d->verdict == TAG_NONE || d->verdict == TAG_TESTING);
}

void
message_refused(struct message *m)
{
	if (m->nrcpts > 0)
		free(m->rcpts[--m->nrcpts].addr);
}

/* --- headers --- */

static void
mark_shown(const char *domain, void *arg)
{
	struct message *m = arg;
	bool found;
	size_t at = place_of(m, domain, &found);

	if (found)
		m->domains[m->sorted[at]].shown = true;
}

/* White space before the colon is obsolete syntax and no part of the name, RFC 5322 section 4.5. */
static bool
is_named(const char *name, const char *want)
{
	size_t len = strlen(name);

	while (len > 0 && (name[len - 1] == ' ' || name[len - 1] == '\t'))
		len--;
	return len == strlen(want) && strncasecmp(name, want, len) == 0;
}

void
message_header(struct message *m, const char *name, const char *value)
{
	if (m->header == NULL || m->ndomains == 0)
		return;
	if (is_named(name, m->header))
		m->forged++;
	else if (is_named(name, "To") || is_named(name, "Cc"))
		m->cut += tag_addresses(cursor_of(value, strlen(value)), &m->budget, mark_shown, m);
}

enum tag
message_tag(const struct message *m)
{
	enum tag tag = TAG_ABSENT;

	for (size_t i = 0; i < m->ndomains; i++)
		if (m->domains[i].shown && m->domains[i].verdict > tag)
			tag = m->domains[i].verdict;
	return tag;
}

int
message_forged(const struct message *m)
{
	return message_tag(m) == TAG_ABSENT ? 0 : m->forged;
}

/* --- end of message --- */

struct waiting {
	message_waiting_fn *tell;
	void *arg;
};

/* Waits for the next answer until then; NULL: none, and the link may be broken. */
static json_t *
next_answer(struct message *m, long until, const struct waiting *w)
{
	struct errmsg em = {""};
	json_t *answer = NULL;
	enum client_result r = client_wait(m->client, MOMENT_MS, &answer, &em);

	while (r == CLIENT_AGAIN && !atomic_load(&stopping)) {
		long left = until - when_monotonic_ms();

		if (left <= 0 || !w->tell(w->arg))
			break;
		r = client_wait(m->client, left < SLICE_MS ? (int)left : SLICE_MS, &answer, &em);
	}
	if (r == CLIENT_AWAY)
		hang_up(m, LINK_BROKEN, &em);
	return r == CLIENT_OK ? answer : NULL;
}

static bool
collect_wants(struct message *m, long until, const struct waiting *w)
{
	json_t *answer;

	while (m->answered < m->asked && (answer = next_answer(m, until, w)) != NULL) {
		note_answer(&m->domains[m->answered++], answer);
		json_decref(answer);
	}
	return m->link == LINK_UP && m->answered == m->asked;
}

/* Picks the domains not settled among those that are shown or not, max at most. */
static size_t
pick_unsettled(struct message *m, bool shown, size_t max, size_t pick[MESSAGE_AWAIT_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < m->ndomains; i++) {
		const struct domain *d = &m->domains[i];

		if (d->shown != shown || d->rule == RULE_DISABLE ||
		    (d->verdict != TAG_PENDING && d->pushed))
			continue;
		if (n < max)
			pick[n++] = i;
		else
			m->not_awaited++;
	}
	return n;
}

static bool
send_await(struct message *m, const size_t *pick, size_t n, long wait_ms)
{
	json_t *names = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(names, json_string(m->domains[pick[i]].name));
	if (json_array_size(names) != n) { /* the memory is out: NULL has size 0 */
		json_decref(names);
		names = NULL;
	}
	return send_request(m, json_pack("{ss so sI}", "cmd", "await", "domains", names, "wait_ms",
				   (json_int_t)wait_ms));
}

/* Awaits n domains. False: no answer came; the next one on this connection may be this one's. */
static bool
await(struct message *m, const size_t *pick, size_t n, long deadline, const struct waiting *w)
{
	long left = deadline - when_monotonic_ms();
	json_t *answer, *verdicts;

	if (!send_await(m, pick, n, left > 0 ? left : 0) ||
	    (answer = next_answer(m, deadline + GRACE_MS, w)) == NULL)
		return false;
	verdicts = json_object_get(answer, "verdicts");
	if (json_array_size(verdicts) != n) {
		const char *error = json_string_value(json_object_get(answer, "error"));

		log_line(LOG_ERR, "qid=%s control=confused to=await answer=\"%s\"", m->queue_id,
		    error == NULL ? "not the verdicts asked for" : error);
	}
	for (size_t i = 0; i < n && json_array_size(verdicts) == n; i++)
		note_answer(&m->domains[pick[i]], json_array_get(verdicts, i));
	json_decref(answer);
	return true;
}

/*
 * Domains that are shown by themselves first: what is heard of them, and with it the tag, does not
 * depend on others. All discoveries are under way, so nobody waits for longer.
 */
static void
await_all(struct message *m, long deadline, const struct waiting *w)
{
	size_t pick[MESSAGE_AWAIT_MAX], max = MESSAGE_AWAIT_MAX;
	bool answered = true;

	for (int shown = 1; shown >= 0; shown--) {
		size_t n = pick_unsettled(m, shown == 1, max, pick);

		if (n > 0 && answered)
			answered = await(m, pick, n, deadline, w);
		max -= n;
	}
}

void
message_settle(struct message *m, long wait_ms, message_waiting_fn *waiting, void *arg)
{
	long start = when_monotonic_ms();
	const struct waiting w = {waiting, arg};
	long collect_ms = wait_ms > WANT_ANSWERS_MS ? wait_ms : WANT_ANSWERS_MS;

	if (m->link == LINK_BROKEN) /* mtastsd may be back: the body can have taken minutes */
		dial(m);
	if (m->link == LINK_UP && collect_wants(m, start + collect_ms, &w) && wait_ms > 0)
		await_all(m, start + wait_ms, &w);
	m->waited_ms = when_monotonic_ms() - start;
}

size_t
message_unsettled(const struct message *m, const char **domains, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < m->ndomains && n < max; i++) {
		const struct domain *d = &m->domains[i];

		if (d->heard && d->rule != RULE_DISABLE &&
		    (d->verdict == TAG_PENDING || (d->verdict == TAG_ENFORCE && !d->pushed)))
			domains[n++] = d->name;
	}
	return n;
}

void
message_log(const struct message *m)
{
	for (size_t i = 0; i < m->nrcpts; i++) {
		const struct domain *d = &m->domains[m->rcpts[i].domain];

		/* The address comes last: a quoted local part may hold anything. */
		log_line(LOG_INFO, "qid=%s domain=%s verdict=%s pushed=%s waited_ms=%ld rcpt=<%s>",
		    m->queue_id, d->name, tag_value(d->verdict), d->pushed ? "yes" : "no",
		    m->waited_ms, m->rcpts[i].addr);
	}
	if (m->not_awaited > 0)
		log_line(LOG_NOTICE,
		    "qid=%s domains=%zu not_awaited=%zu limit=%d, left to the queue", m->queue_id,
		    m->ndomains, m->not_awaited, MESSAGE_AWAIT_MAX);
	if (m->left_out > 0)
		log_line(LOG_NOTICE, "qid=%s rcpts_left_out=%zu, left to the check at delivery",
		    m->queue_id, m->left_out);
	if (m->cut > 0)
		log_line(LOG_NOTICE, "qid=%s tag ignores %zu bytes of To and Cc beyond %d",
		    m->queue_id, m->cut, TAG_HEADERS_MAX);
}
