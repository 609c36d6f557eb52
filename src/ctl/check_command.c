#include "ctl/check_command.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "ctl/ask.h"
#include "ctl/check.h"
#include "ctl/check_show.h"
#include "ctl/survey.h"
#include "site/client.h"
#include "site/config.h"
#include "site/privs.h"
#include "store/store.h"
#include "util/ascii.h"

enum { EX_WARNING = 1, STORE_PAGE = 1000, BAR_WIDTH = 24, COLUMNS = 78 };

struct names {
	size_t n, size;
	char **name;
};

struct run {
	const struct invocation *inv;
	const struct config *config; /* NULL: none that can be read */
	const struct names *names;
	bool colour, told, drawn; /* drawn: a line of progress is on the terminal */
	enum check_result worst;
	size_t count[CHECK_MX_FAILS + 1];
	size_t without_policy;
	int failed; /* an exit code that ends all; EX_OK: none */
};

/* --- which domains --- */

static bool
names_add(struct names *names, const char *name)
{
	if (names->n == names->size) {
		size_t size = names->size == 0 ? 16 : 2 * names->size;
		char **more = realloc(names->name, size * sizeof(*more));

		if (more == NULL)
			return false;
		names->name = more;
		names->size = size;
	}
	if ((names->name[names->n] = strdup(name)) == NULL)
		return false;
	names->n++;
	return true;
}

static void
names_clear(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->name[i]);
	free(names->name);
}

static int
names_from_operands(const struct invocation *inv, struct names *names)
{
	char name[DOMAIN_MAX + 1];
	struct errmsg em;

	for (int i = 0; i < inv->n; i++) {
		const char *text = inv->operand[i];

		if (domain_normalize(text, strlen(text), name, &em) != DOMAIN_OK)
			return command_fail(inv, EX_DATAERR, "%s: %s", text, em.text);
		if (!names_add(names, name))
			return command_fail(inv, EX_OSERR, "out of memory");
	}
	return EX_OK;
}

/* Those with a policy, or with one that could not be had; the rest has nothing to be checked. */
static void
add_page(const struct invocation *inv UNUSED, const json_t *entries, bool first UNUSED, void *arg)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (entries, i, entry) {
		const char *name = json_string_value(json_object_get(entry, "domain"));

		if (name == NULL || strlen(name) > DOMAIN_MAX ||
		    (!json_is_string(json_object_get(entry, "mode")) &&
			!json_is_object(json_object_get(entry, "failure"))))
			continue;
		if (!names_add(arg, name))
			abort(); /* out of memory */
	}
}

struct stored {
	struct names *names;
	char after[DOMAIN_MAX + 1];
	size_t n;
};

static bool
add_stored(const char *domain, const struct entry *e, void *arg)
{
	struct stored *stored = arg;

	snprintf(stored->after, sizeof(stored->after), "%s", domain);
	stored->n++;
	if ((e->state == ENTRY_POLICY || e->failure.type != STS_OK) &&
	    !names_add(stored->names, domain))
		abort(); /* out of memory */
	return true;
}

static int
names_from_store(const struct invocation *inv, const struct config *config, struct names *names)
{
	const struct store_config at = {
	    .dir = config->store_dir, .max_bytes = config->store_max_bytes};
	struct stored stored = {.names = names};
	enum store_result result;
	struct store *store;
	struct errmsg em;

	result = store_open_to_read(&at, &store, &em);
	if (result != STORE_OK)
		return command_fail(inv, EX_UNAVAILABLE,
		    "mtastsd does not answer, nor can its store be read: %s", em.text);
	do {
		stored.n = 0;
		result = store_each(store, stored.after[0] != '\0' ? stored.after : NULL,
		    STORE_PAGE, add_stored, &stored, NULL, &em);
	} while (result == STORE_OK && stored.n == STORE_PAGE);
	store_close(&store);
	return result == STORE_OK ? EX_OK : command_fail(inv, EX_UNAVAILABLE, "%s", em.text);
}

/* The cache: as the daemon tells it, or from its store when none runs. */
static int
names_from_cache(const struct invocation *inv, const struct config *config, struct names *names)
{
	struct client *client = NULL;
	struct errmsg em;

	if (config != NULL && (client = client_open(config->control.listen.item[0], &em)) == NULL)
		return names_from_store(inv, config, names);
	client_close(&client); /* NULL-safe */
	return ask_list(inv, add_page, names);
}

/* --- progress and colour --- */

static bool
is_terminal(FILE *f)
{
	const char *term = getenv("TERM");

	return isatty(fileno(f)) && (term == NULL || strcmp(term, "dumb") != 0);
}

/* https://no-color.org */
static bool
wants_colour(const struct invocation *inv)
{
	const char *no = getenv("NO_COLOR");

	return !inv->json && is_terminal(inv->out) && (no == NULL || *no == '\0');
}

static void
erase_progress(struct run *run)
{
	if (run->drawn)
		fputs("\r\033[K", run->inv->err);
	run->drawn = false;
	fflush(run->inv->err);
}

static void
draw_progress(size_t done, const char *waits_for, void *arg)
{
	struct run *run = arg;
	size_t n = run->names->n, filled = done * BAR_WIDTH / n;
	char line[COLUMNS + 1], bar[BAR_WIDTH + 1];

	memset(bar, '#', filled);
	memset(bar + filled, '.', BAR_WIDTH - filled);
	bar[BAR_WIDTH] = '\0';
	if (n == 1)
		snprintf(line, sizeof(line), "%s: waiting for %s", run->names->name[0], waits_for);
	else
		snprintf(
		    line, sizeof(line), "[%s] %zu/%zu waiting for %s", bar, done, n, waits_for);
	fprintf(run->inv->err, "\r\033[K%s", line);
	fflush(run->inv->err);
	run->drawn = true;
}

/* --- telling --- */

static void
on_done(const struct survey_domain *d, void *arg)
{
	struct run *run = arg;
	const struct invocation *inv = run->inv;
	const struct check_site site = {
	    .rule =
		run->config != NULL ? rules_find(run->config->rules, d->name, NULL) : RULE_OPTIONAL,
	    .observe = run->config != NULL && run->config->observe,
	};
	time_t now = time(NULL);
	struct check *c = malloc(sizeof(*c));

	if (c == NULL)
		abort(); /* out of memory */
	check_judge(d, &site, now, c);
	run->count[c->result]++;
	run->without_policy += c->verdict == VERDICT_NONE;
	if (run->worst < c->result)
		run->worst = c->result;
	erase_progress(run);
	if (inv->json) {
		if (command_print_json(inv, check_json(d, c, &site, now)) != EX_OK)
			run->failed = EX_OSERR;
	} else if (inv->all) {
		check_show_line(inv->out, run->colour, d, c);
	} else {
		if (run->told)
			fputc('\n', inv->out);
		check_show(inv->out, run->colour, d, c, &site, now);
	}
	run->told = true;
	fflush(inv->out);
	free(c);
}

static void
print_summary(const struct run *run)
{
	const char *before = "domains: ";

	fprintf(run->inv->out, "%zu ", run->names->n);
	for (size_t i = 0; i <= CHECK_MX_FAILS; i++) {
		if (run->count[i] == 0)
			continue;
		fprintf(run->inv->out, "%s%zu %s", before, run->count[i],
		    check_result_name((enum check_result)i));
		before = ", ";
	}
	fputc('\n', run->inv->out);
}

static int
exit_code(const struct run *run)
{
	static const int codes[] = {
	    [CHECK_OK] = EX_OK,
	    [CHECK_NO_POLICY] = EX_OK,
	    [CHECK_WARNING] = EX_WARNING,
	    [CHECK_DNS_TROUBLE] = EX_TEMPFAIL,
	    [CHECK_NO_MAIL] = EX_NOHOST,
	    [CHECK_UNREACHABLE] = EX_UNAVAILABLE,
	    [CHECK_POLICY_UNUSABLE] = EX_DATAERR,
	    [CHECK_MX_FAILS] = EX_PROTOCOL,
	};

	if (run->failed != EX_OK)
		return run->failed;
	if (run->inv->require && run->without_policy > 0 && run->worst < CHECK_POLICY_UNUSABLE)
		return EX_DATAERR;
	return codes[run->worst];
}

/* --- the command --- */

/* What EHLO says: the name of this host, as far as SMTP can carry it. */
static void
own_name(char out[HOST_MAX + 1])
{
	size_t i;

	if (gethostname(out, HOST_MAX) != 0)
		out[0] = '\0';
	out[HOST_MAX] = '\0';
	for (i = 0; ascii_alnum((unsigned char)out[i]) || out[i] == '-' || out[i] == '.'; i++)
		;
	if (i == 0 || out[i] != '\0')
		strcpy(out, "localhost");
}

static int
run_survey(struct run *run)
{
	const struct config *config = run->config;
	char helo[HOST_MAX + 1];
	struct survey_config survey = {
	    .dns = {.timeout_ms = 3000, .tries = 3}, .timeout_s = 60, .helo = helo};
	struct survey_callbacks callbacks = {.done = on_done, .arg = run};
	struct errmsg em;

	own_name(helo);
	if (config != NULL) {
		survey.dns.n_servers = config->dns_servers.n;
		survey.dns.servers = (const char *const *)config->dns_servers.item;
		survey.dns.timeout_ms = (int)config->dns_timeout_s * 1000;
		survey.ca_file = config->ca_file;
		survey.timeout_s = (int)config->fetch_timeout_s;
	}
	if (is_terminal(run->inv->err))
		callbacks.progress = draw_progress;
	if (run->inv->all && !run->inv->json)
		check_show_head(run->inv->out);
	if (!survey_run(
		&survey, run->names->n, (const char *const *)run->names->name, &callbacks, &em))
		return command_fail(run->inv, EX_CONFIG, "%s", em.text);
	if (run->inv->all && !run->inv->json)
		print_summary(run);
	return exit_code(run);
}

/* Nothing of the configuration is needed, so it may be absent; but not wrong. */
static int
read_config(const struct invocation *inv, struct config **config)
{
	struct errmsg em;

	if (strcmp(inv->conf, CONFIG_FILE) == 0 && access(inv->conf, R_OK) != 0)
		return EX_OK;
	if ((*config = config_read(inv->conf, &em)) == NULL)
		return command_fail(inv, EX_CONFIG, "%s", em.text);
	return EX_OK;
}

/*
 * What the network sends is not parsed by root; whoever that leaves can read the store and ask the
 * daemon.
 */
static int
give_up_root(const struct invocation *inv, const struct config *config)
{
	bool ours = config != NULL && privs_user_exists(config->user, NULL);
	struct errmsg em;

	if (privs_drop(ours ? config->user : "nobody", &em))
		return EX_OK;
	return command_fail(inv, EX_OSERR, "%s", em.text);
}

int
command_check(const struct invocation *inv)
{
	struct names names = {0};
	struct config *config = NULL;
	struct run run = {.inv = inv, .names = &names, .colour = wants_colour(inv)};
	int code = read_config(inv, &config);

	signal(SIGPIPE, SIG_IGN); /* survey.h */
	run.config = config;
	if (code == EX_OK)
		code = give_up_root(inv, config);
	if (code == EX_OK)
		code = inv->all ? names_from_cache(inv, config, &names)
				: names_from_operands(inv, &names);
	if (code == EX_OK)
		code = run_survey(&run);
	names_clear(&names);
	config_free(&config);
	return code;
}
