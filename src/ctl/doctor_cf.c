#include "ctl/doctor_checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/feature.h"
#include "site/sock.h"

enum { NAMES_ROOM = 95 };

/* What FEATURE(`mtasts') has one letter for. */
#define FEATURE_LETTERS "DEGIJKNPQT"

#define SENDMAIL_NAMES \
	"addr_type", "alg_bits", "auth_authen", "auth_author", "auth_ssf", "auth_type", \
	    "bodytype", "cert_altnames", "cert_fp", "cert_issuer", "cert_md5", "cert_subject", \
	    "cipher_bits", "cipher", "client_addr", "client_connections", "client_flags", \
	    "client_name", "client_port", "client_ptr", "client_rate", "client_resolve", \
	    "cn_issuer", "cn_subject", "currHeader", "daemon_addr", "daemon_family", \
	    "daemon_flags", "daemon_info", "daemon_name", "daemon_port", "deliveryMode", \
	    "dsn_envid", "dsn_notify", "dsn_ret", "envid", "hdr_name", "hdrlen", "if_addr_out", \
	    "if_addr", "if_family_out", "if_family", "if_name_out", "if_name", "load_avg", \
	    "mail_addr", "mail_from", "mail_host", "mail_mailer", "msg_id", "msg_size", \
	    "nbadrcpts", "nrcpts", "ntries", "persistentMacros", "quarantine", "queue_interval", \
	    "rcpt_addr", "rcpt_host", "rcpt_mailer", "sendmailMTACluster", "server_addr", \
	    "server_name", "sts_sni", "time", "tls_version", "total_rate", "verify"

enum { ADDRESS_MAX = 256, MAP_FILE_MAX = 4096, NAME_MAX_LEN = 64 }; /* bytes */

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

bool
doctor_without_daemon(const struct doctor_facts *f)
{
	return f->cf != NULL && first_rule(f->cf, "mtasts_rcpt") != NULL &&
	       cf_map(f->cf, "mtastsq") == NULL;
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

/* The name at p, as in "mtasts_ask $1" or "\"mtasts_ask\" $1"; false: no name of ours. */
static bool
take_name(const char *p, char out[NAME_MAX_LEN])
{
	size_t n;

	p += strspn(p, "\" ");
	n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
	if (n >= NAME_MAX_LEN || strncmp(p, "mtasts", strlen("mtasts")) != 0)
		return false;
	memcpy(out, p, n);
	out[n] = '\0';
	return true;
}

/*
 * Is each ruleset ("$>") or map ("$(") of ours that a rule names there? So nobody keeps a list of
 * them here.
 */
static bool
all_there(const struct doctor_facts *f, const char *mark, enum cf_kind kind, struct errmsg *found)
{
	const char *rule, *ruleset;
	char name[NAME_MAX_LEN];

	for (size_t at = 0; (rule = cf_next_rule_of_any(f->cf, &ruleset, &at)) != NULL;)
		for (const char *p = rule; (p = strstr(p, mark)) != NULL;) {
			p += strlen(mark);
			if (!take_name(p, name) || cf_count(f->cf, kind, name) > 0)
				continue;
			errmsg_set(found, "%s: ruleset %s wants %c%s, which is not there",
			    f->cf_path, ruleset, (int)kind, name);
			return false;
		}
	return true;
}

bool
check_rules_whole(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s: no ruleset mtasts_rcpt", f->cf_path);
	return first_rule(f->cf, "mtasts_rcpt") != NULL && all_there(f, "$>", CF_RULESET, found);
}

bool
check_maps_whole(const struct doctor_facts *f, struct errmsg *found)
{
	return all_there(f, "$(", CF_MAP, found);
}

static bool
none_twice(const struct doctor_facts *f, enum cf_kind kind, struct errmsg *found)
{
	const char *name;

	for (size_t at = 0; (name = cf_next_name(f->cf, kind, &at)) != NULL;)
		if (strncmp(name, "mtasts", strlen("mtasts")) == 0 &&
		    cf_count(f->cf, kind, name) > 1) {
			errmsg_set(found, "%s: %c%s is there twice; %s", f->cf_path, (int)kind,
			    name,
			    kind == CF_RULESET ? "the rules of both are run"
					       : "the last one counts");
			return false;
		}
	return true;
}

bool
check_defined_once(const struct doctor_facts *f, struct errmsg *found)
{
	return none_twice(f, CF_MAP, found) && none_twice(f, CF_MILTER, found) &&
	       none_twice(f, CF_RULESET, found);
}

/* Those of Sendmail 8.17 and 8.18 themselves: some are made when they are first needed, in the
 * middle of a delivery. */
static bool
is_sendmails(const char *name)
{
	static const char *const own[] = {SENDMAIL_NAMES};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strcasecmp(own[i], name) == 0)
			return true;
	return false;
}

/* Sendmail's MAXMACROID leaves so many names for macros and classes; one more, and a delivery that
 * needs it ends as "Internal error", which is a bounce. */
bool
check_names_fit(const struct doctor_facts *f, struct errmsg *found)
{
	static const char letters[] = FEATURE_LETTERS;
	size_t n = sizeof((const char *const[]){SENDMAIL_NAMES}) / sizeof(char *);
	const char *name;

	for (size_t at = 0; (name = cf_next_macro_name(f->cf, &at)) != NULL;)
		n += !is_sendmails(name);
	if (n > NAMES_ROOM) {
		errmsg_set(found,
		    "%s: %zu names in braces, Sendmail's own with them; it has room for %d",
		    f->cf_path, n, NAMES_ROOM);
		return false;
	}
	for (size_t i = 0; i < sizeof(letters) - 1; i++) {
		char letter[] = {letters[i], '\0'};

		if (cf_macro(f->cf, letter) == NULL)
			continue;
		errmsg_set(found, "%s: D%s: our rules use that letter", f->cf_path, letter);
		return false;
	}
	return true;
}

/* The file that m4 read is known by its checksum: other versions have other rules. */
bool
check_same_version(const struct doctor_facts *f, struct errmsg *found)
{
	const char *map = cf_map(f->cf, "mtasts_feature");
	const char *theirs = map == NULL || strncmp(map, "null ", 5) != 0 ? NULL : map + 5;

	if (theirs == NULL)
		errmsg_set(
		    found, "%s: made by a version of FEATURE(`mtasts') without a mark", f->cf_path);
	else
		errmsg_set(found, "%s: made by version %s of FEATURE(`mtasts'); installed is %s",
		    f->cf_path, theirs, FEATURE_MARK);
	return theirs != NULL && strcmp(theirs, FEATURE_MARK) == 0;
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
	return first_word_is(value, f->config->map_type) &&
	       first_word_is(cf_map_flag(value, 'T'), "<TMPF>") &&
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

	if (value == NULL) { /* nothing asks, or check_maps_whole() tells */
		errmsg_set(found, "%s: no line Kmtastsq", f->cf_path);
		return doctor_without_daemon(f);
	}
	errmsg_set(found, "%s: Kmtastsq %s; mtasts.conf has %s", f->cf_path, value,
	    listen->n > 0 ? listen->item[0] : "no socketmap socket");
	if (first_word_is(value, "program")) /* of a Sendmail without SOCKETMAP */
		return first_word_is(cf_map_flag(value, 'T'), "<TMPF>") && listen->n > 0 &&
		       strstr(value, " lookup") != NULL;
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
		return doctor_without_daemon(f);
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

	if (f->build != NULL && !build_has(f->build, "_FFR_MTA_STS"))
		return true; /* check_build_enough() tells */
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
	if (f->build != NULL && !build_has(f->build, "_FFR_TLS_ALTNAMES"))
		return true; /* check_build_enough() tells */
	return option_true(f->cf, f->cf_path, "SetCertAltnames", found);
}

bool
check_no_stock_sts(const struct doctor_facts *f, struct errmsg *found)
{
	const char *value = cf_map(f->cf, "sts");

	errmsg_set(found, "%s: Ksts %s", f->cf_path, value != NULL ? value : "");
	return value == NULL;
}

/* Client options with the modifier S: connections are made without STARTTLS. */
bool
check_client_tls(const struct doctor_facts *f, struct errmsg *found)
{
	const char *options;
	char modifiers[64];

	for (size_t at = 0; (options = cf_next_option(f->cf, "ClientPortOptions", &at)) != NULL;)
		if ((cf_equate(options, 'M', modifiers, sizeof(modifiers)) ||
			cf_equate(options, 'm', modifiers, sizeof(modifiers))) &&
		    strchr(modifiers, 'S') != NULL) {
			errmsg_set(found, "%s: O ClientPortOptions=%s: S switches STARTTLS off",
			    f->cf_path, options);
			return false;
		}
	return true;
}

/* Sendmail's way of writing a time, "1w2d3h4m5s", the last number without a unit in `unit`. */
static bool
parse_time(const char *text, time_t unit, time_t *out)
{
	static const struct {
		char letter;
		time_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
	time_t sum = 0;

	while (*text != '\0') {
		size_t digits = strspn(text, "0123456789");
		time_t n = (time_t)strtol(text, NULL, 10), seconds = unit;

		if (digits == 0 || digits > 8)
			return false;
		text += digits;
		for (size_t i = 0; *text != '\0' && i < sizeof(units) / sizeof(units[0]); i++)
			if (units[i].letter == *text)
				seconds = units[i].seconds;
		text += *text != '\0';
		sum += n * seconds;
	}
	*out = sum;
	return true;
}

/* Mail that waits for a policy must not be returned before the waiting has an end. */
bool
check_queue_time(const struct doctor_facts *f, struct errmsg *found)
{
	static const char *const options[] = {"Timeout.queuereturn", "Timeout.queuereturn.normal",
	    "Timeout.queuereturn.urgent", "Timeout.queuereturn.non-urgent"};
	time_t seconds;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const char *value = cf_option(f->cf, options[i]);

		if (value == NULL || !parse_time(value, 86400, &seconds) ||
		    seconds > f->config->hold_max_s)
			continue;
		errmsg_set(found, "%s: O %s=%s; hold_max in mtasts.conf is %ld s", f->cf_path,
		    options[i], value, (long)f->config->hold_max_s);
		return false;
	}
	return true;
}

/* The filter waits at end-of-message: with less patience Sendmail goes on without it, or refuses. */
bool
check_filter_time(const struct doctor_facts *f, struct errmsg *found)
{
	enum { MARGIN_S = 10 };
	const char *equates = cf_milter(f->cf, "mtasts"), *eom;
	char times[128];
	time_t seconds;

	if (!cf_equate(equates, 'T', times, sizeof(times)) || (eom = strstr(times, "E:")) == NULL)
		return true;
	eom += strlen("E:");
	memmove(times, eom, strlen(eom) + 1);
	times[strcspn(times, ";, ")] = '\0';
	errmsg_set(found, "%s: Xmtasts, %s: E is under the %ld s that milter { wait } needs",
	    f->cf_path, equates, (long)f->config->milter_wait_s + MARGIN_S);
	return !parse_time(times, 1, &seconds) || seconds >= f->config->milter_wait_s + MARGIN_S;
}

/* mtastsd has the queue run by ETRN; without it mail only waits for the next run of the queue. */
bool
check_nudges(const struct doctor_facts *f, struct errmsg *found)
{
	const char *privacy = cf_option(f->cf, "PrivacyOptions");

	if (f->config->nudge_address == NULL)
		return true;
	if (privacy != NULL && (cf_list_has(privacy, "noetrn") || cf_list_has(privacy, "goaway"))) {
		errmsg_set(found,
		    "%s: O PrivacyOptions=%s refuses ETRN, by which mtastsd has waiting mail "
		    "sent at once",
		    f->cf_path, privacy);
		return false;
	}
	errmsg_set(
	    found, "%s: a ruleset check_etrn of the site may refuse mtastsd's ETRN", f->cf_path);
	return first_rule(f->cf, "check_etrn") == NULL;
}
