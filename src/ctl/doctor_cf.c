#include "ctl/doctor_checks.h"

#include <stdio.h>
#include <string.h>

#include "site/sock.h"

enum { ADDRESS_MAX = 256, MAP_FILE_MAX = 4096 }; /* bytes */

/* ---- what is compared ---- */

/* An address of the .cf: Sendmail takes a bare path as well, but of TCP only PORT@HOST. */
static bool
address_parse(const char *text, struct sock_address *out)
{
	char full[SOCK_TEXT_MAX + 8];

	snprintf(full, sizeof(full), "%s%s", text[0] == '/' ? "local:" : "", text);
	return sock_parse(full, out, NULL) &&
	       (sock_unix_path(out) != NULL || strchr(text, '@') != NULL);
}

static bool
address_equal(const char *theirs, const char *ours)
{
	struct sock_address a, b;

	return address_parse(theirs, &a) && sock_parse(ours, &b, NULL) && a.len == b.len &&
	       memcmp(&a.ss, &b.ss, sizeof(a.ss)) == 0;
}

static bool
first_word_is(const char *value, const char *word)
{
	size_t n = strlen(word);

	return value != NULL && strncmp(value, word, n) == 0 &&
	       (value[n] == ' ' || value[n] == '\0');
}

static const char *
first_rule(const struct cf *cf, const char *ruleset)
{
	size_t at = 0;

	return cf_next_rule(cf, ruleset, &at);
}

/* ---- the checks: true, or false and what was found instead ---- */

bool
check_cf_readable(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->cf_error.text);
	return f->cf != NULL;
}

bool
check_submit_readable(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->submit_error.text);
	return f->submit != NULL;
}

bool
check_rules_whole(const struct doctor_facts *f, struct errmsg *found)
{
	static const char *const rulesets[] = {"mtasts_route", "mtasts_known", "mtasts_refuse",
	    "mtasts_temp", "mtasts_ask", "mtasts_begin", "mtasts_doubt", "mtasts_compat",
	    "mtasts_rcpt", "mtasts_session", "mtasts_server", "mtasts_each", "mtasts_san",
	    "mtasts_fail", "mtasts_wait", "mtasts_note", "mtasts_beside"};

	for (size_t i = 0; i < sizeof(rulesets) / sizeof(rulesets[0]); i++)
		if (first_rule(f->cf, rulesets[i]) == NULL) {
			errmsg_set(found, "%s: no ruleset %s", f->cf_path, rulesets[i]);
			return false;
		}
	return true;
}

bool
check_maps_whole(const struct doctor_facts *f, struct errmsg *found)
{
	static const char *const maps[][2] = {{"mtasts_mac", "macro"}, {"mtasts_cmp", "arith"},
	    {"mtasts_log", "syslog"}, {"mtasts_len", "regex"}, {"mtasts_odd", "regex"},
	    {"mtasts_esc", "regex"}};

	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		const char *value = cf_map(f->cf, maps[i][0]);

		if (!first_word_is(value, maps[i][1])) {
			errmsg_set(found, "%s: no line K%s %s", f->cf_path, maps[i][0], maps[i][1]);
			return false;
		}
	}
	return true;
}

bool
check_map_agrees(const struct doctor_facts *f, struct errmsg *found)
{
	const char *value = cf_map(f->cf, "mtasts");
	char file[MAP_FILE_MAX], theirs[MAP_FILE_MAX], ours[MAP_FILE_MAX];

	if (value == NULL) {
		errmsg_set(found, "%s: no line Kmtasts", f->cf_path);
		return false;
	}
	if (f->config->map_path == NULL) {
		errmsg_set(found,
		    "the map is switched off by sendmail_map { path = \"\" } in mtasts.conf");
		return false;
	}
	errmsg_set(
	    found, "%s: Kmtasts %s; mtasts.conf has %s", f->cf_path, value, f->config->map_path);
	return first_word_is(value, "hash") && first_word_is(cf_map_flag(value, 'T'), "<TMPF>") &&
	       cf_map_flag(value, 'o') == NULL && cf_map_file(value, file, sizeof(file)) &&
	       doctor_map_file(file, theirs, sizeof(theirs)) &&
	       doctor_map_file(f->config->map_path, ours, sizeof(ours)) &&
	       strcmp(theirs, ours) == 0;
}

bool
check_live_agrees(const struct doctor_facts *f, struct errmsg *found)
{
	const char *value = cf_map(f->cf, "mtastsq");
	const struct config_list *listen = &f->config->socketmap.listen;
	char address[ADDRESS_MAX];

	if (value == NULL) {
		errmsg_set(found, "%s: no line Kmtastsq", f->cf_path);
		return false;
	}
	errmsg_set(found, "%s: Kmtastsq %s; mtasts.conf has %s", f->cf_path, value,
	    listen->n > 0 ? listen->item[0] : "no socketmap socket");
	if (!first_word_is(value, "socket") || !first_word_is(cf_map_flag(value, 'T'), "<TMPF>") ||
	    !cf_map_file(value, address, sizeof(address)))
		return false;
	for (size_t i = 0; i < listen->n; i++)
		if (address_equal(address, listen->item[i]))
			return true;
	return false;
}

/* A port's own list, DaemonPortOptions=..., I=..., stands in the place of InputMailFilters. */
static bool
ports_filter(const struct doctor_facts *f, struct errmsg *found)
{
	const char *port;
	char filters[MAP_FILE_MAX];

	for (size_t at = 0; (port = cf_next_option(f->cf, "DaemonPortOptions", &at)) != NULL;)
		if ((cf_equate(port, 'I', filters, sizeof(filters)) ||
			cf_equate(port, 'i', filters, sizeof(filters))) &&
		    !cf_list_has(filters, "mtasts")) {
			errmsg_set(found, "%s: O DaemonPortOptions=%s: its own filters lack mtasts",
			    f->cf_path, port);
			return false;
		}
	return true;
}

bool
check_milter_agrees(const struct doctor_facts *f, struct errmsg *found)
{
	const char *equates = cf_milter(f->cf, "mtasts"),
		   *filters = cf_option(f->cf, "InputMailFilters");
	char address[ADDRESS_MAX];

	if (equates == NULL) {
		errmsg_set(found, "%s: no line Xmtasts", f->cf_path);
		return false;
	}
	if (filters == NULL || !cf_list_has(filters, "mtasts")) {
		errmsg_set(found, "%s: O InputMailFilters=%s lacks mtasts", f->cf_path,
		    filters != NULL ? filters : "");
		return false;
	}
	errmsg_set(found, "%s: Xmtasts, %s; mtasts.conf has %s", f->cf_path, equates,
	    f->config->milter_socket);
	return cf_equate(equates, 'S', address, sizeof(address)) &&
	       address_equal(address, f->config->milter_socket) && ports_filter(f, found);
}

bool
check_macros_sent(const struct doctor_facts *f, struct errmsg *found)
{
	static const char *const wanted[][2] = {{"Milter.macros.envfrom", "i"},
	    {"Milter.macros.envrcpt", "{rcpt_mailer}"}, {"Milter.macros.envrcpt", "{rcpt_host}"},
	    {"Milter.macros.envrcpt", "{rcpt_addr}"}};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		const char *macros = cf_option(f->cf, wanted[i][0]);

		if (macros == NULL || !cf_list_has(macros, wanted[i][1])) {
			errmsg_set(
			    found, "%s: O %s lacks %s", f->cf_path, wanted[i][0], wanted[i][1]);
			return false;
		}
	}
	return true;
}

/* The first rule decides: what a site's own rules do before ours may let mail pass unseen. */
static bool
first_rule_calls(
    const struct doctor_facts *f, const char *ruleset, const char *call, struct errmsg *found)
{
	const char *rule = first_rule(f->cf, ruleset);

	errmsg_set(found, "%s: ruleset %s %s%s", f->cf_path, ruleset,
	    rule == NULL ? "is not there" : "begins with R", rule == NULL ? "" : rule);
	return rule != NULL && strstr(rule, call) != NULL;
}

bool
check_compat_first(const struct doctor_facts *f, struct errmsg *found)
{
	return first_rule_calls(f, "check_compat", "$>mtasts_begin", found);
}

bool
check_rcpt_first(const struct doctor_facts *f, struct errmsg *found)
{
	return first_rule_calls(f, "tls_server", "Local_tls_server", found) &&
	       first_rule_calls(f, "tls_rcpt", "Local_tls_rcpt", found) &&
	       first_rule_calls(f, "Local_tls_server", "$>mtasts_server", found) &&
	       first_rule_calls(f, "Local_tls_rcpt", "$>mtasts_rcpt", found);
}

/* The first rule that ends the ruleset with a value must give the server name. */
bool
check_sni_sent(const struct doctor_facts *f, struct errmsg *found)
{
	const char *rule;

	for (size_t at = 0; (rule = cf_next_rule(f->cf, "tls_clt_features", &at)) != NULL;)
		if (strstr(rule, "$@") != NULL)
			break;
	errmsg_set(found, "%s: ruleset tls_clt_features %s%s", f->cf_path,
	    rule == NULL ? "gives nothing" : "gives first R", rule == NULL ? "" : rule);
	return rule != NULL && strstr(rule, "servername=hostname") != NULL;
}

bool
check_cache_off(const struct doctor_facts *f, struct errmsg *found)
{
	const char *value = cf_option(f->cf, "ConnectionCacheSize");

	errmsg_set(found, "%s: O ConnectionCacheSize%s%s", f->cf_path,
	    value != NULL ? "=" : " is not set", value != NULL ? value : "");
	return value != NULL && strcmp(value, "0") == 0;
}

static bool
option_true(const struct cf *cf, const char *path, const char *option, struct errmsg *found)
{
	const char *value = cf_option(cf, option);

	errmsg_set(found, "%s: O %s%s%s", path, option, value != NULL ? "=" : " is not set",
	    value != NULL ? value : "");
	return cf_option_true(cf, option);
}

bool
check_cnames_kept(const struct doctor_facts *f, struct errmsg *found)
{
	return option_true(f->cf, f->cf_path, "DontExpandCnames", found);
}

bool
check_submit_cnames_kept(const struct doctor_facts *f, struct errmsg *found)
{
	return option_true(f->submit, f->submit_path, "DontExpandCnames", found);
}

bool
check_altnames_read(const struct doctor_facts *f, struct errmsg *found)
{
	return option_true(f->cf, f->cf_path, "SetCertAltnames", found);
}

bool
check_no_stock_sts(const struct doctor_facts *f, struct errmsg *found)
{
	const char *value = cf_map(f->cf, "sts");

	errmsg_set(found, "%s: Ksts %s", f->cf_path, value != NULL ? value : "");
	return value == NULL;
}
