#include "ctl/explain.h"

#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "ctl/cause.h"
#include "ctl/qf.h"
#include "ctl/queuedir.h"
#include "ctl/show.h"
#include "site/client.h"
#include "site/config.h"
#include "site/describe.h"
#include "site/privs.h"
#include "store/store.h"
#include "util/ascii.h"
#include "util/when.h"

enum { ANSWER_WAIT_MS = 30 * 1000 };

/* ---- what is known: by the daemon, or in its store when it does not run ---- */

struct knowledge {
	struct config *config;
	struct client *client; /* NULL: nobody answers */
	struct store *store;   /* NULL: not needed, or none */
};

static int
knowledge_open(const struct invocation *inv, struct knowledge *k)
{
	struct errmsg em = {""};
	struct store_config store = {
	    .dir = k->config->store_dir, .max_bytes = k->config->store_max_bytes};
	enum store_result rc;

	if ((k->client = client_open(k->config->control.listen.item[0], &em)) != NULL)
		return EX_OK;
	rc = store_open_to_read(&store, &k->store, &em);
	if (rc == STORE_OK || rc == STORE_ABSENT)
		return EX_OK;
	return command_fail(inv, rc == STORE_BUSY ? EX_TEMPFAIL : EX_UNAVAILABLE,
	    "mtastsd does not answer, and its store cannot be read: %s", em.text);
}

static void
knowledge_close(struct knowledge *k)
{
	client_close(&k->client);
	store_close(&k->store);
	config_free(&k->config);
}

/* NULL: the daemon failed in the middle, and the user knows. Consumes the request. */
static json_t *
ask(const struct invocation *inv, struct knowledge *k, json_t *request)
{
	struct errmsg em = {"no answer in time"};
	json_t *answer = NULL;
	enum client_result rc = client_send(k->client, request, &em);

	json_decref(request);
	if (rc == CLIENT_OK)
		rc = client_wait(k->client, ANSWER_WAIT_MS, &answer, &em);
	if (rc != CLIENT_OK)
		command_fail(inv, EX_UNAVAILABLE, "mtastsd: %s", em.text);
	return answer;
}

static json_t *
entry_of(const struct invocation *inv, struct knowledge *k, const char *domain)
{
	struct entry e = {0};
	json_t *o;
	bool known;

	if (k->client != NULL)
		return ask(inv, k, json_pack("{s:s,s:s}", "cmd", "query", "domain", domain));
	known = k->store != NULL && store_get(k->store, domain, &e, NULL) == STORE_OK;
	o = describe_entry(domain, known ? &e : NULL, k->config->rules, false, time(NULL));
	json_object_set_new(o, "enforcement", json_string(k->config->observe ? "observe" : "on"));
	json_object_set_new(o, "pushed", json_null()); /* the daemon knows, the store does not */
	entry_clear(&e);
	return o;
}

/* ---- a domain ---- */

static const char *
text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

static json_t *
domain_advice(const json_t *entry, const struct knowledge *k)
{
	const char *domain = text_of(entry, "domain"), *verdict = text_of(entry, "verdict");
	const struct cause_facts f = {
	    .reason = "", .entry = entry, .daemon = k->client != NULL, .gives_up = ""};

	if (strcmp(verdict, "undecided") == 0 && *text_of(entry, "wanted") != '\0')
		return cause_advice(CAUSE_UNKNOWN, &f);
	if (strcmp(verdict, "enforce") == 0)
		return json_sprintf(
		    "Whether its MX hosts meet the policy: mtastsctl check %s. Of a message that waits: mtastsctl explain QUEUE-ID.",
		    domain);
	if (json_is_object(json_object_get(entry, "failure")))
		return json_sprintf(
		    "Try again now: mtastsctl refresh %s. Whether it can be had from here: mtastsctl check %s.",
		    domain, domain);
	return json_null();
}

/* A line of two texts, the second one only when there is one. */
static void
show_both(FILE *out, const char *label, const char *text, const char *between, const char *more)
{
	char value[1024];

	snprintf(value, sizeof(value), "%s%s%s", text, *more != '\0' ? between : "", more);
	show_field(out, label, value);
}

/* What DNS and the policy host said. */
static void
show_evidence(FILE *out, const json_t *look)
{
	const char *txt = text_of(look, "txt"), *fetch = text_of(look, "fetch");

	if (strcmp(txt, "record") == 0)
		show_both(out, "TXT", "a record with id", " ", text_of(look, "id"));
	else
		show_both(out, "TXT",
		    strcmp(txt, "absent") == 0    ? "no record"
		    : strcmp(txt, "invalid") == 0 ? "not valid"
						  : "DNS did not say",
		    ": ", text_of(look, "reason"));
	show_field(out, "policy",
	    strcmp(fetch, "policy") == 0   ? "fetched, valid"
	    : strcmp(fetch, "failed") == 0 ? "could not be had"
					   : "not asked for, as nothing called for it");
}

static void
show_look(FILE *out, const json_t *look)
{
	show_time(out, "looked at", look, "at");
	show_evidence(out, look);
	show_both(
	    out, "row", text_of(look, "row"), ", RFC 8461 section ", text_of(look, "section"));
	show_text(out, text_of(look, "text"));
}

static void
show_story(FILE *out, const json_t *entry)
{
	const json_t *look = json_object_get(entry, "look"),
		     *failure = json_object_get(entry, "failure");

	if (!json_is_object(look) && *text_of(entry, "wanted") == '\0')
		return;
	fputs("\nhow it came to this\n", out);
	show_time(out, "first wanted", entry, "first");
	show_time(out, "waits since", entry, "wanted");
	if (json_is_object(look))
		show_look(out, look);
	if (json_is_object(failure)) {
		show_time(out, "failed", failure, "at");
		show_field(out, "", text_of(failure, "reason"));
		show_time(out, "tried again", failure, "retry");
	}
	show_time(out, "TXT again", entry, "recheck");
	show_time(out, "fetch again", entry, "refetch");
}

static void
show_told(FILE *out, const json_t *entry)
{
	const json_t *mx, *pushed = json_object_get(entry, "pushed"),
			  *map = json_object_get(entry, "map");
	size_t i;

	fputs("\nwhat the MTA is told\n", out);
	show_field(
	    out, "map", json_is_object(map) ? text_of(map, "says") : "nothing: it asks mtastsd");
	json_array_foreach (json_object_get(entry, "mx"), i, mx)
		if (strcmp(text_of(map, "says"), "enforce") == 0)
			show_field(out, i == 0 ? "mx" : "",
			    json_string_value(mx) != NULL ? json_string_value(mx) : "");
	show_time(out, "until", map, "until");
	show_field(out, "pushed",
	    json_is_null(pushed)   ? "not known: only mtastsd can tell"
	    : json_is_true(pushed) ? "yes"
				   : "no");
	show_both(
	    out, "this site", text_of(entry, "override"), ", for ", text_of(entry, "pattern"));
	show_field(out, "without policy", text_of(entry, "unmet"));
	if (strcmp(text_of(entry, "enforcement"), "observe") == 0)
		show_field(out, "enforcement", "observe: nothing is refused, only logged");
}

static void
show_source(FILE *out, const struct knowledge *k)
{
	if (k->client == NULL)
		show_text(
		    out, k->store != NULL
			     ? "mtastsd does not run; this is what its store has."
			     : "mtastsd does not run, and there is no store: nothing is known.");
}

static const char *
source_name(const struct knowledge *k)
{
	return k->client != NULL ? "daemon" : k->store != NULL ? "store" : "nothing";
}

static void
show_domain(FILE *out, const json_t *entry, const json_t *advice, const struct knowledge *k)
{
	fprintf(out, "%s: %s\n\n", text_of(entry, "domain"), text_of(entry, "verdict"));
	show_text(out, show_consequence(entry));
	show_both(out, "why", text_of(entry, "why"), "", "");
	show_source(out, k);
	show_story(out, entry);
	show_told(out, entry);
	if (json_is_string(advice)) {
		fputs("\nwhat you can do\n", out);
		show_text(out, json_string_value(advice));
	}
}

static int
explain_domain(const struct invocation *inv, struct knowledge *k, const char *domain)
{
	json_t *entry = entry_of(inv, k, domain), *advice;

	if (entry == NULL)
		return EX_UNAVAILABLE;
	advice = domain_advice(entry, k);
	if (inv->json)
		command_print_json(inv, json_pack("{s:s,s:s,s:s,s:O,s:O}", "domain", domain,
					    "answer", show_consequence(entry), "source",
					    source_name(k), "entry", entry, "advice", advice));
	else
		show_domain(inv->out, entry, advice, k);
	json_decref(entry);
	json_decref(advice);
	return EX_OK;
}

/* ---- a message ---- */

struct message {
	const struct queuefile *file;
	struct qf qf;
	char gives_up[WHEN_RFC3339_MAX];
};

/*
 * The policy domain that a recipient waits for: its own, or the smart host or mailertable entry that
 * its reason names. A reason of the whole message may be another recipient's.
 */
static const char *
waits_for(const struct message *m, const struct qf_rcpt *rcpt, const char *reason,
    char named[DOMAIN_MAX + 1])
{
	if (!cause_domain(reason, named))
		return rcpt->domain;
	for (size_t i = 0; i < m->qf.n_rcpts; i++)
		if (strcmp(m->qf.rcpts[i].domain, named) == 0)
			return rcpt->domain;
	return named;
}

/* One recipient: why it waits. NULL: the daemon failed. */
static json_t *
explain_rcpt(const struct invocation *inv, struct knowledge *k, const struct message *m,
    const struct qf_rcpt *rcpt)
{
	const char *reason = *rcpt->reason != '\0' ? rcpt->reason : m->qf.reason;
	bool quarantined = *m->qf.quarantine != '\0';
	enum cause cause = quarantined ? cause_of_quarantine(m->qf.quarantine) : cause_of(reason);
	char named[DOMAIN_MAX + 1];
	const char *domain = waits_for(m, rcpt, reason, named);
	json_t *entry = *domain == '\0' ? json_null() : entry_of(inv, k, domain);
	struct cause_facts f = {.reason = quarantined ? m->qf.quarantine : reason,
	    .entry = entry,
	    .daemon = k->client != NULL,
	    .gives_up = m->gives_up};

	if (entry == NULL)
		return NULL;
	return json_pack("{s:s,s:s?,s:s?,s:s,s:b,s:o,s:o,s:o}", "address", rcpt->address, "domain",
	    *domain == '\0' ? NULL : domain, "reason", *f.reason == '\0' ? NULL : f.reason, "cause",
	    cause_name(cause), "ours", (int)cause_is_ours(cause), "answer", cause_answer(cause, &f),
	    "advice", cause_advice(cause, &f), "entry", entry);
}

static json_t *
explain_rcpts(const struct invocation *inv, struct knowledge *k, const struct message *m)
{
	json_t *all = json_array(), *one;

	for (size_t i = 0; i < m->qf.n_rcpts; i++) {
		if ((one = explain_rcpt(inv, k, m, &m->qf.rcpts[i])) == NULL) {
			json_decref(all);
			return NULL;
		}
		json_array_append_new(all, one);
	}
	return all;
}

static json_t *
message_object(const struct message *m, const struct knowledge *k, json_t *rcpts)
{
	size_t n = json_array_size(rcpts), ours = 0;

	for (size_t i = 0; i < n; i++)
		ours += json_is_true(json_object_get(json_array_get(rcpts, i), "ours"));
	return json_pack("{s:s,s:s,s:o,s:o,s:I,s:s,s:s?,s:s,s:I,s:I,s:I,s:o}", "queue_id",
	    m->file->id, "path", m->file->path, "queued", describe_time(m->qf.created), "tried",
	    describe_time(m->qf.tried), "tries", (json_int_t)m->qf.tries, "gives_up", m->gives_up,
	    "quarantine", *m->qf.quarantine == '\0' ? NULL : m->qf.quarantine, "source",
	    source_name(k), "waiting", (json_int_t)n + (json_int_t)m->qf.n_more, "ours",
	    (json_int_t)ours, "more", (json_int_t)m->qf.n_more, "recipients", rcpts);
}

static void
show_message(FILE *out, const json_t *message, const struct knowledge *k)
{
	const json_t *rcpt;
	size_t i;

	fprintf(out, "%s: %lld of %lld recipients wait for mtasts\n\n",
	    text_of(message, "queue_id"),
	    (long long)json_integer_value(json_object_get(message, "ours")),
	    (long long)json_integer_value(json_object_get(message, "waiting")));
	show_source(out, k);
	json_array_foreach (json_object_get(message, "recipients"), i, rcpt) {
		fprintf(out, "%s\n", text_of(rcpt, "address"));
		show_text(out, text_of(rcpt, "answer"));
		show_field(out, "noted", text_of(rcpt, "reason"));
		show_field(out, "policy", text_of(json_object_get(rcpt, "entry"), "verdict"));
		if (*text_of(rcpt, "advice") != '\0')
			show_text(out, text_of(rcpt, "advice"));
		fputc('\n', out);
	}
	show_time(out, "queued", message, "queued");
	show_time(out, "tried last", message, "tried");
	show_time(out, "sent back at", message, "gives_up");
	show_field(out, "file", text_of(message, "path"));
}

static int
explain_file(const struct invocation *inv, struct knowledge *k, const struct queuefile *file)
{
	struct message m = {.file = file};
	json_t *rcpts = NULL, *object;
	int code = EX_OK;

	if (!qf_parse(file->bytes, &m.qf)) {
		qf_clear(&m.qf);
		return command_fail(inv, EX_OSERR, "out of memory");
	}
	when_print(m.qf.created + file->gives_up_s, m.gives_up);
	if ((rcpts = explain_rcpts(inv, k, &m)) == NULL)
		code = EX_UNAVAILABLE;
	else if ((object = message_object(&m, k, rcpts)) != NULL && !inv->json) {
		show_message(inv->out, object, k);
		json_decref(object);
	} else
		code = command_print_json(inv, object);
	qf_clear(&m.qf);
	return code;
}

static bool
lists(const json_t *array, const char *text)
{
	const json_t *item;
	size_t i;

	json_array_foreach (array, i, item)
		if (json_string_value(item) != NULL && strcmp(json_string_value(item), text) == 0)
			return true;
	return false;
}

/* Who may not read the queue still hears what the daemon has told to wait. */
static int
explain_held(const struct invocation *inv, struct knowledge *k, const char *id, const char *why)
{
	json_t *answer = ask(inv, k, json_pack("{s:s}", "cmd", "held")), *held;
	bool found = false;
	size_t i;

	json_array_foreach (json_object_get(answer, "held"), i, held)
		if (lists(json_object_get(held, "queue_ids"), id)) {
			command_fail(inv, EX_OK, "%s; this is what mtastsd knows of %s", why, id);
			(void)explain_domain(inv, k, text_of(held, "domain"));
			found = true;
			break;
		}
	json_decref(answer);
	return found ? EX_OK : command_fail(inv, EX_NOINPUT, "%s", why);
}

static int
explain_message(const struct invocation *inv, struct knowledge *k, const struct queuefiles *files,
    const char *id, const struct errmsg *why)
{
	int code = EX_OK;

	for (size_t i = 0; i < files->n && code == EX_OK; i++)
		code = explain_file(inv, k, &files->item[i]);
	if (files->n > 0)
		return code;
	return k->client != NULL ? explain_held(inv, k, id, why->text)
				 : command_fail(inv, EX_NOINPUT, "%s", why->text);
}

/* ---- the command ---- */

static bool
is_queue_id(const char *text)
{
	size_t n = 0;

	while (ascii_alnum((unsigned char)text[n]))
		n++;
	return text[n] == '\0' && n >= 8 && n <= QUEUEDIR_ID_MAX;
}

/* With the rights that we were started with; em tells why there is nothing. */
static void
load_message(
    const struct invocation *inv, const char *id, struct queuefiles *files, struct errmsg *em)
{
	const char *const cf[] = {inv->cf_path != NULL ? inv->cf_path : "/etc/mail/sendmail.cf",
	    inv->submit_path != NULL ? inv->submit_path : "/etc/mail/submit.cf"};

	errmsg_set(
	    em, "%s is not in the queue: delivered, sent back, or never there; the log tells", id);
	for (size_t i = 0; i < 2; i++) {
		struct errmsg failed = {""};

		if (queuedir_load(cf[i], id, files, &failed) == QUEUEDIR_FAILED)
			*em = failed;
	}
}

int
command_explain(const struct invocation *inv)
{
	const char *text = inv->operand[0];
	struct knowledge k = {0};
	struct queuefiles files = {0};
	struct errmsg em = {""}, absent = {""};
	char domain[DOMAIN_MAX + 1];
	bool message = is_queue_id(text);
	int code = EX_OK;

	if (!message && domain_normalize(text, strlen(text), domain, &em) != DOMAIN_OK)
		return command_fail(inv, EX_DATAERR, "%s", em.text);
	if ((k.config = config_read(inv->conf, &em)) == NULL)
		return command_fail(inv, EX_CONFIG, "%s", em.text);
	if (message)
		load_message(inv, text, &files, &absent);
	/* what others wrote is looked into as nobody who matters */
	if (!privs_drop(k.config->user, &em))
		code = command_fail(inv, EX_NOPERM, "%s", em.text);
	if (code == EX_OK)
		code = knowledge_open(inv, &k);
	if (code == EX_OK)
		code = message ? explain_message(inv, &k, &files, text, &absent)
			       : explain_domain(inv, &k, domain);
	queuefiles_clear(&files);
	knowledge_close(&k);
	return code;
}
