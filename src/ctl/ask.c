#include "ctl/ask.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/cron.h"
#include "ctl/show.h"
#include "site/client.h"
#include "site/config.h"

enum {
	ANSWER_WAIT_MS = 30 * 1000,
	REFRESH_WAIT_MS = 150 * 1000, /* a discovery may take its whole DNS and HTTPS time-outs */
	LIST_PAGE = 1000              /* entries an answer: the most that the protocol allows */
};

/* Connects to the daemon that the configuration names; NULL: *code says why. */
static struct client *
connect_daemon(const struct invocation *inv, int *code)
{
	struct errmsg em;
	struct config *config = config_read(inv->conf, &em);
	struct client *client;

	if (config == NULL) {
		*code = command_fail(inv, EX_CONFIG, "%s", em.text);
		return NULL;
	}
	client = client_open(config->control.listen.item[0], &em);
	if (client == NULL)
		*code = command_fail(inv, EX_UNAVAILABLE, "mtastsd cannot be asked: %s", em.text);
	config_free(&config);
	return client;
}

/* An answer may be a refusal: {"error":S,"code":N}. */
static int
refusal(const struct invocation *inv, const json_t *answer)
{
	const char *error = json_string_value(json_object_get(answer, "error"));
	json_int_t code = json_integer_value(json_object_get(answer, "code"));

	if (error == NULL)
		return EX_OK;
	return command_fail(
	    inv, code >= EX__BASE && code <= EX__MAX ? (int)code : EX_PROTOCOL, "%s", error);
}

/* Sends a request, which is taken over, and waits. On EX_OK *answer is the caller's. */
static int
ask(const struct invocation *inv, struct client *client, json_t *request, int wait_ms,
    json_t **answer)
{
	struct errmsg em = {""};
	enum client_result result;
	int code;

	*answer = NULL;
	if (request == NULL)
		return command_fail(inv, EX_DATAERR, "the domain is not UTF-8 text");
	result = client_send(client, request, &em);
	json_decref(request);
	if (result == CLIENT_OK)
		result = client_wait(client, wait_ms, answer, &em);
	if (result == CLIENT_AGAIN)
		return command_fail(inv, EX_TEMPFAIL,
		    "mtastsd has not answered within %d s; try again later", wait_ms / 1000);
	if (result == CLIENT_AWAY)
		return command_fail(inv, EX_UNAVAILABLE, "%s", em.text);
	code = refusal(inv, *answer);
	if (code != EX_OK) {
		json_decref(*answer);
		*answer = NULL;
	}
	return code;
}

typedef void show_fn(FILE *out, const json_t *answer);

/* One request on a connection of its own; the answer is shown, or printed as it came. */
static int
ask_once(const struct invocation *inv, json_t *request, int wait_ms, show_fn *show)
{
	json_t *answer;
	int code;
	struct client *client = connect_daemon(inv, &code);

	if (client == NULL) {
		json_decref(request); /* NULL-safe */
		return code;
	}
	code = ask(inv, client, request, wait_ms, &answer);
	client_close(&client);
	if (code != EX_OK)
		return code;
	if (inv->json)
		return command_print_json(inv, answer);
	show(inv->out, answer);
	json_decref(answer);
	return EX_OK;
}

int
command_query(const struct invocation *inv)
{
	return ask_once(inv, json_pack("{s:s, s:s}", "cmd", "query", "domain", inv->operand[0]),
	    ANSWER_WAIT_MS, show_entry);
}

static void
show_scheduled(FILE *out, const json_t *answer)
{
	fprintf(out, "%" JSON_INTEGER_FORMAT " domains are refreshed in the background\n",
	    json_integer_value(json_object_get(answer, "scheduled")));
}

int
command_refresh(const struct invocation *inv)
{
	if (inv->once)
		return command_refresh_once(inv);
	if (inv->all)
		return ask_once(inv, json_pack("{s:s, s:b}", "cmd", "refresh", "all", 1),
		    REFRESH_WAIT_MS, show_scheduled);
	return ask_once(inv, json_pack("{s:s, s:s}", "cmd", "refresh", "domain", inv->operand[0]),
	    REFRESH_WAIT_MS, show_entry);
}

static void
show_forgotten(FILE *out, const json_t *answer)
{
	fputs(json_is_true(json_object_get(answer, "forgotten"))
		  ? "forgotten: the entry and its requirement in the maps are gone\n"
		  : "nothing was known of it\n",
	    out);
}

int
command_forget(const struct invocation *inv)
{
	return ask_once(inv, json_pack("{s:s, s:s}", "cmd", "forget", "domain", inv->operand[0]),
	    ANSWER_WAIT_MS, show_forgotten);
}

int
command_held(const struct invocation *inv)
{
	return ask_once(inv, json_pack("{s:s}", "cmd", "held"), ANSWER_WAIT_MS, show_held);
}

int
command_status(const struct invocation *inv)
{
	return ask_once(inv, json_pack("{s:s}", "cmd", "status"), ANSWER_WAIT_MS, show_status);
}

static void
print_page(const struct invocation *inv, const json_t *entries, bool first, void *arg UNUSED)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (entries, i, entry) {
		if (!inv->json) {
			show_list_line(inv->out, entry);
			continue;
		}
		if (!first || i > 0)
			fputs(",\n", inv->out);
		json_dumpf(entry, inv->out, JSON_COMPACT);
	}
}

static const char *
last_domain(const json_t *entries)
{
	size_t n = json_array_size(entries);

	return n == 0
		   ? NULL
		   : json_string_value(json_object_get(json_array_get(entries, n - 1), "domain"));
}

/* Page by page, so that neither side holds a million entries. */
static int
list_pages(const struct invocation *inv, struct client *client, ask_page_fn *page, void *arg)
{
	char after[DOMAIN_MAX + 1] = "";
	bool more = true;
	json_t *answer;

	for (bool first = true; more; first = false) {
		const char *last;
		json_t *entries,
		    *request = json_pack("{s:s, s:i}", "cmd", "list", "max", LIST_PAGE);
		int code;

		if (!first)
			json_object_set_new(request, "after", json_string(after));
		if ((code = ask(inv, client, request, ANSWER_WAIT_MS, &answer)) != EX_OK)
			return code;
		entries = json_object_get(answer, "entries");
		page(inv, entries, first, arg);
		last = last_domain(entries);
		more = json_is_true(json_object_get(answer, "more"));
		if (more &&
		    (last == NULL || strlen(last) > DOMAIN_MAX || strcmp(last, after) == 0)) {
			json_decref(answer);
			return command_fail(
			    inv, EX_PROTOCOL, "mtastsd promises more of the list but sends none");
		}
		if (last != NULL)
			snprintf(after, sizeof(after), "%s", last);
		json_decref(answer);
	}
	return EX_OK;
}

int
command_list(const struct invocation *inv)
{
	int code;
	struct client *client = connect_daemon(inv, &code);

	if (client == NULL)
		return code;
	if (inv->json)
		fputs("{\"entries\":[\n", inv->out);
	else
		show_list_head(inv->out);
	code = list_pages(inv, client, print_page, NULL);
	if (inv->json && code == EX_OK)
		fputs("\n]}\n", inv->out);
	client_close(&client);
	return code;
}

int
ask_list(const struct invocation *inv, ask_page_fn *page, void *arg)
{
	int code;
	struct client *client = connect_daemon(inv, &code);

	if (client == NULL)
		return code;
	code = list_pages(inv, client, page, arg);
	client_close(&client);
	return code;
}
