#include "ctl/doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "site/sock.h"

enum { ADDRESS_MAX = 256, MAP_FILE_MAX = 4096 }; /* bytes */

typedef bool check_fn(const struct doctor_facts *facts, struct errmsg *found);

/* ---- what is compared ---- */

bool
doctor_map_file(const char *map_path, char *out, size_t size)
{
	size_t len = strlen(map_path);
	bool has = len >= 3 && strcmp(map_path + len - 3, ".db") == 0;
	int n = snprintf(out, size, "%s%s", map_path, has ? "" : ".db");

	return n > 0 && (size_t)n < size;
}

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

static bool
cf_readable(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->cf_error.text);
	return f->cf != NULL;
}

static bool
submit_readable(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->submit_error.text);
	return f->submit != NULL;
}

static bool
rules_whole(const struct doctor_facts *f, struct errmsg *found)
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

static bool
maps_whole(const struct doctor_facts *f, struct errmsg *found)
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

static bool
map_agrees(const struct doctor_facts *f, struct errmsg *found)
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

static bool
live_agrees(const struct doctor_facts *f, struct errmsg *found)
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

static bool
milter_agrees(const struct doctor_facts *f, struct errmsg *found)
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

static bool
macros_sent(const struct doctor_facts *f, struct errmsg *found)
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

static bool
compat_first(const struct doctor_facts *f, struct errmsg *found)
{
	return first_rule_calls(f, "check_compat", "$>mtasts_begin", found);
}

static bool
rcpt_first(const struct doctor_facts *f, struct errmsg *found)
{
	return first_rule_calls(f, "tls_server", "Local_tls_server", found) &&
	       first_rule_calls(f, "tls_rcpt", "Local_tls_rcpt", found) &&
	       first_rule_calls(f, "Local_tls_server", "$>mtasts_server", found) &&
	       first_rule_calls(f, "Local_tls_rcpt", "$>mtasts_rcpt", found);
}

/* The first rule that ends the ruleset with a value must give the server name. */
static bool
sni_sent(const struct doctor_facts *f, struct errmsg *found)
{
	const char *rule;

	for (size_t at = 0; (rule = cf_next_rule(f->cf, "tls_clt_features", &at)) != NULL;)
		if (strstr(rule, "$@") != NULL)
			break;
	errmsg_set(found, "%s: ruleset tls_clt_features %s%s", f->cf_path,
	    rule == NULL ? "gives nothing" : "gives first R", rule == NULL ? "" : rule);
	return rule != NULL && strstr(rule, "servername=hostname") != NULL;
}

static bool
ca_is(const struct doctor_facts *f, const char *option, const struct doctor_file *file, bool is_dir,
    struct errmsg *found)
{
	const char *path = cf_option(f->cf, option);

	if (path == NULL || *path == '\0')
		errmsg_set(found, "%s: O %s is not set", f->cf_path, option);
	else if (file->error != 0)
		errmsg_set(
		    found, "%s: O %s=%s: %s", f->cf_path, option, path, strerror(file->error));
	else if ((S_ISDIR(file->mode) != 0) != is_dir)
		errmsg_set(found, "%s: O %s=%s is %s directory", f->cf_path, option, path,
		    is_dir ? "no" : "a");
	else
		return true;
	return false;
}

static bool
ca_set(const struct doctor_facts *f, struct errmsg *found)
{
	return ca_is(f, "CACertFile", &f->ca_file, false, found) &&
	       ca_is(f, "CACertPath", &f->ca_path, true, found);
}

static bool
cache_off(const struct doctor_facts *f, struct errmsg *found)
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

static bool
cnames_kept(const struct doctor_facts *f, struct errmsg *found)
{
	return option_true(f->cf, f->cf_path, "DontExpandCnames", found);
}

static bool
submit_cnames_kept(const struct doctor_facts *f, struct errmsg *found)
{
	return option_true(f->submit, f->submit_path, "DontExpandCnames", found);
}

static bool
altnames_read(const struct doctor_facts *f, struct errmsg *found)
{
	return option_true(f->cf, f->cf_path, "SetCertAltnames", found);
}

/* All that Sendmail does as root it does as this user instead, with this group and no other. */
static bool
run_as_reads(const struct doctor_facts *f, struct errmsg *found)
{
	const char *value = cf_option(f->cf, "RunAsUser");

	if (value == NULL || *value == '\0')
		return true;
	errmsg_set(found, "%s: O RunAsUser=%s: that user cannot read the map, so mail would wait",
	    f->cf_path, value);
	return f->run_as_uid == 0 ||
	       (f->map.error == 0 && (f->run_as_uid == f->map.uid || f->run_as_gid == f->map.gid));
}

static bool
no_stock_sts(const struct doctor_facts *f, struct errmsg *found)
{
	const char *value = cf_map(f->cf, "sts");

	errmsg_set(found, "%s: Ksts %s", f->cf_path, value != NULL ? value : "");
	return value == NULL;
}

static bool
user_exists(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "no user %s", f->config->user);
	return f->map_uid != (uid_t)-1;
}

/* Any local user who can open the map can lock it, and Sendmail refuses what others may write. */
static bool
closed_to_others(const struct doctor_facts *f, const char *what, const struct doctor_file *file,
    mode_t mode, struct errmsg *found)
{
	const char *path = f->config->map_path != NULL ? f->config->map_path : "(off)";

	if (file->error != 0) {
		errmsg_set(found, "%s of %s: %s", what, path, strerror(file->error));
		return false;
	}
	errmsg_set(found, "%s of %s: mode %o, uid %lu, gid %lu", what, path,
	    (unsigned)(file->mode & 07777), (unsigned long)file->uid, (unsigned long)file->gid);
	return (file->mode & 0777) == mode && file->gid == 0 && file->uid == f->map_uid;
}

static bool
map_dir_closed(const struct doctor_facts *f, struct errmsg *found)
{
	return closed_to_others(f, "directory", &f->map_dir, 0750, found);
}

static bool
map_closed(const struct doctor_facts *f, struct errmsg *found)
{
	return closed_to_others(f, "file", &f->map, 0640, found);
}

static bool
daemon_there(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->daemon_error.text);
	return f->daemon_answers;
}

static bool
maps_in_step(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->maps_error.text);
	return f->maps_agree;
}

static bool
enforcing(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s",
	    f->config->observe
		? "enforcement = observe in mtasts.conf: no mail is refused, the log tells what would be"
		: "mtastsd still observes and refuses nothing; mtasts.conf has enforcement = on");
	return !f->config->observe && !(f->daemon_answers && f->daemon_observes);
}

static bool
lookup_there(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->lookup_error.text);
	return f->lookup_answers;
}

static bool
milter_there(const struct doctor_facts *f, struct errmsg *found)
{
	errmsg_set(found, "%s", f->milter_error.text);
	return f->milter_answers;
}

/* ---- the table ---- */

#define SUBMIT_LINE "FEATURE(`mtasts', `msp')dnl"

/* ONLY_NOTED: the administrator's choice; told, but nothing to mend. */
enum needs { NEEDS_NOTHING, NEEDS_CF, NEEDS_MILTER, NEEDS_SUBMIT, NEEDS_DAEMON, ONLY_NOTED };

/* A remedy's lines for a .mc file stand alone: what follows dnl on a line is lost to m4. */
static const struct check {
	const char *name;
	const char *what;
	check_fn *holds;
	enum needs needs;
	const char *remedy; /* expand_remedy() fills in @ and % */
} checks[] = {
    {"cf", "sendmail.cf can be read", cf_readable, NEEDS_NOTHING,
	"name the file that sendmail -bd uses: --cf FILE"},
    {"rules", "our rulesets are there", rules_whole, NEEDS_CF, "sendmail.mc:\n@"},
    {"helper-maps", "the maps that our rules need are there", maps_whole, NEEDS_CF,
	"sendmail.mc:\n@"},
    {"map", "the policy map is Kmtasts hash -T<TMPF>, without -o, and the file that mtastsd writes",
	map_agrees, NEEDS_CF, "sendmail.mc:\n@"},
    {"live", "live lookups go to mtastsd: Kmtastsq socket -T<TMPF>, on its socket", live_agrees,
	NEEDS_CF, "sendmail.mc:\n@"},
    {"compat", "check_compat asks us first, before any connection", compat_first, NEEDS_CF,
	"put a site's own check_compat rules into LOCAL_RULESETS, not LOCAL_CONFIG; sendmail.mc:\n@"},
    {"rcpt", "tls_server and tls_rcpt ask us first, in the session", rcpt_first, NEEDS_CF,
	"put a site's own rules after ours, by LOCAL_TLS_SERVER and LOCAL_TLS_RCPT, not into "
	"LOCAL_CONFIG; sendmail.mc:\n@"},
    {"sni", "the server name is sent (SNI)", sni_sent, NEEDS_CF,
	"remove a site's own ruleset tls_clt_features; sendmail.mc:\n@"},
    {"ca", "CACertFile and CACertPath are both set and there", ca_set, NEEDS_CF,
	"apt-get install ca-certificates; sendmail.mc:\n"
	"define(`confCACERT', `/etc/ssl/certs/ca-certificates.crt')dnl\n"
	"define(`confCACERT_PATH', `/etc/ssl/certs')dnl"},
    {"cache", "connections are not cached: ConnectionCacheSize=0", cache_off, NEEDS_CF,
	"sendmail.mc:\ndefine(`confMCI_CACHE_SIZE', `0')dnl"},
    {"cnames", "a CNAME does not change a recipient: DontExpandCnames", cnames_kept, NEEDS_CF,
	"sendmail.mc:\ndefine(`confDONT_EXPAND_CNAMES', `True')dnl"},
    {"altnames", "certificate names are read: SetCertAltnames", altnames_read, NEEDS_CF,
	"remove a later O SetCertAltnames; sendmail.mc:\n@"},
    {"sts", "the stock FEATURE(`sts') is not there beside ours", no_stock_sts, NEEDS_CF,
	"sendmail.mc: remove FEATURE(`sts', ...)"},
    {"run-as", "the user that Sendmail runs as can read the map", run_as_reads, NEEDS_CF,
	"sendmail.mc: remove confRUN_AS_USER"},
    {"milter", "mtasts-milter is there, on its socket, and among the filters of every port",
	milter_agrees, NEEDS_CF,
	"where a port has filters of its own (I= in DAEMON_OPTIONS), add mtasts; sendmail.mc:\n@"},
    {"macros", "the macros that mtasts-milter reads are sent to it", macros_sent, NEEDS_MILTER,
	"keep {rcpt_mailer}, {rcpt_host}, {rcpt_addr} in confMILTER_MACROS_ENVRCPT and i in "
	"confMILTER_MACROS_ENVFROM; sendmail.mc:\n@"},
    {"submit", "submit.cf can be read", submit_readable, NEEDS_NOTHING,
	"name the file that the submission program uses: --submit-cf FILE"},
    {"submit-cnames", "a CNAME does not change a recipient in submit.cf either: DontExpandCnames",
	submit_cnames_kept, NEEDS_SUBMIT, "submit.mc, before FEATURE(`msp'):\n" SUBMIT_LINE},
    {"user", "the user that mtastsd runs as exists", user_exists, NEEDS_NOTHING,
	"adduser --system --group --no-create-home %u; or set another user in mtasts.conf"},
    {"map-dir", "the map's directory is mode 750, of that user, group root", map_dir_closed,
	NEEDS_NOTHING, "start mtastsd once as root, or: chown %u:root %d; chmod 750 %d"},
    {"map-file", "the map's file is mode 640, of that user, group root", map_closed, NEEDS_NOTHING,
	"start mtastsd once as root, or: chown %u:root %f; chmod 640 %f"},
    {"daemon", "mtastsd answers on its control socket", daemon_there, NEEDS_NOTHING,
	"start mtastsd; its log tells what keeps it from running"},
    {"maps", "mtastsd has all its maps up to date", maps_in_step, NEEDS_DAEMON,
	"mend what is named here or in mtastsd's log; mtastsd then catches up by itself"},
    {"lookup", "mtastsd takes connections on its socketmap socket", lookup_there, NEEDS_NOTHING,
	"start mtastsd; its log tells what keeps it from running"},
    {"filter", "mtasts-milter takes connections on its socket", milter_there, NEEDS_NOTHING,
	"start mtasts-milter; its log tells what keeps it from running"},
    {"enforcement", "policies are enforced, not only observed", enforcing, ONLY_NOTED,
	"when the log shows nothing amiss: enforcement = on in mtasts.conf, then send mtastsd SIGHUP"},
};

_Static_assert(sizeof(checks) / sizeof(checks[0]) <= DOCTOR_MAX, "DOCTOR_MAX is too small");

/* Text that grows to the right; what does not fit is cut. */
struct text {
	char *out;
	size_t size, len;
};

static void PRINTF_LIKE(2, 3) add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->out + t->len, t->size - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len = (size_t)n < t->size - t->len ? t->len + (size_t)n : t->size - 1;
}

/* An argument of the FEATURE line, when this site's value is not the default. */
static void
add_argument(struct text *t, const char *name, const char *value, const char *usual)
{
	if (strcmp(value, usual) != 0)
		add(t, ", `%s=%s'", name, value);
}

static void
add_socket(struct text *t, const char *name, const char *ours, const char *usual)
{
	struct sock_address a;
	char printed[SOCK_TEXT_MAX];

	if (!sock_parse(ours, &a, NULL))
		return;
	sock_print(&a, printed);
	add_argument(t, name, sock_unix_path(&a) != NULL ? sock_unix_path(&a) : printed, usual);
}

/* The one line for sendmail.mc that fits mtasts.conf. */
static void
add_feature_line(struct text *t, const struct config *config)
{
	char file[MAP_FILE_MAX];

	add(t, "FEATURE(`mtasts'");
	if (config->map_path != NULL && doctor_map_file(config->map_path, file, sizeof(file))) {
		file[strlen(file) - 3] = '\0'; /* Sendmail adds .db itself */
		add_argument(t, "map", file, "/var/lib/mtasts/map/policy");
	}
	if (config->socketmap.listen.n > 0)
		add_socket(
		    t, "live", config->socketmap.listen.item[0], "/run/mtasts/socketmap.sock");
	add_socket(t, "milter", config->milter_socket, "/run/mtasts/milter.sock");
	add(t, ")dnl");
}

void
doctor_snippet(const struct config *config, char sendmail_mc[DOCTOR_REMEDY_MAX],
    char submit_mc[DOCTOR_REMEDY_MAX])
{
	add_feature_line(&(struct text){sendmail_mc, DOCTOR_REMEDY_MAX, 0}, config);
	snprintf(submit_mc, DOCTOR_REMEDY_MAX, "%s", SUBMIT_LINE);
}

/*
 * Fills in what the table leaves open: @ the FEATURE line, %u the user, %f the map's file, %d its
 * directory.
 */
static void
expand_remedy(const struct doctor_facts *facts, const char *remedy, struct text *t)
{
	char file[MAP_FILE_MAX] = "";
	const char *slash;

	if (facts->config->map_path != NULL)
		(void)!doctor_map_file(facts->config->map_path, file, sizeof(file));
	slash = strrchr(file, '/');
	for (const char *p = remedy; *p != '\0'; p++) {
		if (*p == '@')
			add_feature_line(t, facts->config);
		else if (*p != '%')
			add(t, "%c", *p);
		else if (*++p == 'u')
			add(t, "%s", facts->config->user);
		else
			add(t, "%.*s",
			    *p == 'd' && slash != NULL ? (int)(slash - file) : (int)strlen(file),
			    file);
	}
}

static bool
applies(const struct check *check, const struct doctor_facts *facts)
{
	switch (check->needs) {
	case NEEDS_CF:
		return facts->cf != NULL;
	case NEEDS_MILTER:
		return facts->cf != NULL && cf_milter(facts->cf, "mtasts") != NULL;
	case NEEDS_SUBMIT:
		return facts->submit != NULL;
	case NEEDS_DAEMON:
		return facts->daemon_answers;
	case NEEDS_NOTHING:
	case ONLY_NOTED:
		break;
	}
	return true;
}

size_t
doctor_examine(const struct doctor_facts *facts, struct doctor_finding out[DOCTOR_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		struct doctor_finding *f = &out[n];
		bool holds;

		if (!applies(&checks[i], facts))
			continue;
		*f = (struct doctor_finding){.check = checks[i].name, .what = checks[i].what};
		holds = checks[i].holds(facts, &f->found);
		if (holds)
			f->found.text[0] = '\0';
		else
			expand_remedy(facts, checks[i].remedy,
			    &(struct text){f->remedy, sizeof(f->remedy), 0});
		f->ok = holds || checks[i].needs == ONLY_NOTED;
		n++;
	}
	return n;
}
