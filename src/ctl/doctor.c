#include "ctl/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctl/doctor_checks.h"
#include "site/sock.h"

enum { MAP_FILE_MAX = 4096 }; /* bytes */

bool
doctor_map_file(const char *map_path, char *out, size_t size)
{
	size_t len = strlen(map_path);
	bool has = len >= 3 && strcmp(map_path + len - 3, ".db") == 0;
	int n = snprintf(out, size, "%s%s", map_path, has ? "" : ".db");

	return n > 0 && (size_t)n < size;
}

/* ---- the table ---- */

#define SUBMIT_LINE "FEATURE(`mtasts', `msp')dnl"

/*
 * ONLY_NOTED: the administrator's choice; told, but nothing to mend. NEEDS_LIVE: left out where no
 * mtastsd is wanted.
 */
enum needs {
	NEEDS_NOTHING,
	NEEDS_CF,
	NEEDS_MILTER,
	NEEDS_SUBMIT,
	NEEDS_DAEMON,
	ONLY_NOTED,
	ONLY_NOTED_CF,
	NEEDS_LIVE
};

/* A remedy's lines for a .mc file stand alone: what follows dnl on a line is lost to m4. */
static const struct check {
	const char *name;
	const char *what;
	doctor_check_fn *holds;
	enum needs needs;
	const char *remedy; /* expand_remedy() fills in @ and % */
} checks[] = {
    {"cf", "sendmail.cf can be read", check_cf_readable, NEEDS_NOTHING,
	"name the file that sendmail -bd uses: --cf FILE"},
    {"build", "the Sendmail program has all that FEATURE(`mtasts') needs", check_build,
	NEEDS_NOTHING,
	"a Sendmail built with it, such as that of Debian 12 or later; or, as far as arguments help, "
	"sendmail.mc:\n@"},
    {"rules", "our rulesets are there", check_rules_whole, NEEDS_CF, "sendmail.mc:\n@"},
    {"built", "both .cf files were built after the last change of their .mc files", check_built,
	NEEDS_NOTHING, "make -C /etc/mail, restart Sendmail"},
    {"running", "the Sendmail that runs was started with this sendmail.cf", check_running, NEEDS_CF,
	"restart Sendmail"},
    {"once", "nothing of ours is defined a second time", check_defined_once, NEEDS_CF,
	"take the second definition out of sendmail.mc, or the second FEATURE line"},
    {"names", "Sendmail has room for all macro names, and ours are ours alone", check_names_fit,
	NEEDS_CF, "take features out of sendmail.mc, or macros of the site's own"},
    {"version", "sendmail.cf was made by this version of FEATURE(`mtasts')", check_same_version,
	NEEDS_CF, "make -C /etc/mail, restart Sendmail; sendmail.mc:\n@"},
    {"helper-maps", "the maps that our rules need are there", check_maps_whole, NEEDS_CF,
	"sendmail.mc:\n@"},
    {"map", "the policy map is Kmtasts TYPE -T<TMPF>, without -o, and the file that mtastsd writes",
	check_map_agrees, NEEDS_CF, "sendmail.mc:\n@"},
    {"live", "live lookups go to mtastsd: Kmtastsq socket -T<TMPF>, on its socket",
	check_live_agrees, NEEDS_CF, "sendmail.mc:\n@"},
    {"compat", "check_compat asks us first, before any connection", check_compat_first, NEEDS_CF,
	"put a site's own check_compat rules into LOCAL_RULESETS, not LOCAL_CONFIG; sendmail.mc:\n@"},
    {"rcpt", "tls_server and tls_rcpt ask us first, in the session", check_rcpt_first, NEEDS_CF,
	"put a site's own rules after ours, by LOCAL_TLS_SERVER and LOCAL_TLS_RCPT, not into "
	"LOCAL_CONFIG; sendmail.mc:\n@"},
    {"sni", "the server name is sent (SNI)", check_sni_sent, NEEDS_CF,
	"remove a site's own ruleset tls_clt_features; sendmail.mc:\n@"},
    {"ca", "CACertFile and CACertPath are both set and there", check_ca_set, NEEDS_CF,
	"apt-get install ca-certificates, chmod go-w what others may write to; sendmail.mc:\n"
	"define(`confCACERT', `/etc/ssl/certs/ca-certificates.crt')dnl\n"
	"define(`confCACERT_PATH', `/etc/ssl/certs')dnl"},
    {"cache", "connections are not cached: ConnectionCacheSize=0", check_cache_off, NEEDS_CF,
	"sendmail.mc:\ndefine(`confMCI_CACHE_SIZE', `0')dnl"},
    {"cnames", "a CNAME does not change a recipient: DontExpandCnames", check_cnames_kept, NEEDS_CF,
	"sendmail.mc:\ndefine(`confDONT_EXPAND_CNAMES', `True')dnl"},
    {"altnames", "certificate names are read: SetCertAltnames", check_altnames_read, NEEDS_CF,
	"remove a later O SetCertAltnames; sendmail.mc:\n@"},
    {"sts", "the stock FEATURE(`sts') is not there beside ours", check_no_stock_sts, NEEDS_CF,
	"sendmail.mc: remove FEATURE(`sts', ...)"},
    {"client-tls", "STARTTLS is used where it is offered", check_client_tls, NEEDS_CF,
	"take S out of M= in CLIENT_OPTIONS in sendmail.mc"},
    {"queue-time", "waiting mail is not returned before the wait for a policy ends",
	check_queue_time, NEEDS_CF, "sendmail.mc:\ndefine(`confTO_QUEUERETURN', `5d')dnl"},
    {"run-as", "the user that Sendmail runs as can read the map", check_run_as_reads, NEEDS_CF,
	"mtasts.conf: group = GROUP in sendmail_map, socketmap and milter, with that user's group, or "
	"sendmail.mc: remove confRUN_AS_USER"},
    {"milter", "mtasts-milter is there, on its socket, and among the filters of every port",
	check_milter_agrees, NEEDS_CF,
	"where a port has filters of its own (I= in DAEMON_OPTIONS), add mtasts; sendmail.mc:\n@"},
    {"filter-time", "Sendmail waits long enough for the filter", check_filter_time, NEEDS_MILTER,
	"a shorter wait in milter { }, or: sendmail.mc:\n@"},
    {"macros", "the macros that mtasts-milter reads are sent to it", check_macros_sent,
	NEEDS_MILTER,
	"keep {rcpt_mailer}, {rcpt_host}, {rcpt_addr} in confMILTER_MACROS_ENVRCPT and i in "
	"confMILTER_MACROS_ENVFROM; sendmail.mc:\n@"},
    {"submit", "submit.cf can be read", check_submit_readable, NEEDS_NOTHING,
	"name the file that the submission program uses: --submit-cf FILE"},
    {"submit-cnames", "a CNAME does not change a recipient in submit.cf either: DontExpandCnames",
	check_submit_cnames_kept, NEEDS_SUBMIT, "submit.mc, before FEATURE(`msp'):\n" SUBMIT_LINE},
    {"user", "the user that mtastsd runs as exists", check_user_exists, NEEDS_NOTHING,
	"adduser --system --group --no-create-home %u; or set another user in mtasts.conf"},
    {"map-dir", "the map's directory is mode 750, of that user and sendmail_map's group",
	check_map_dir_closed, NEEDS_NOTHING,
	"start mtastsd once as root, or: chown %u:%g %d; chmod 750 %d"},
    {"map-file", "the map's file is mode 640, of that user and sendmail_map's group",
	check_map_closed, NEEDS_NOTHING,
	"start mtastsd once as root, or: chown %u:%g %f; chmod 640 %f"},
    {"map-parents", "no directory above the map can be written to by others", check_map_parents,
	NEEDS_NOTHING, "chmod go-w that directory"},
    {"socket-parents", "no directory above the sockets can be written to by others",
	check_socket_parents, NEEDS_LIVE, "chmod go-w that directory"},
    {"daemon", "mtastsd answers on its control socket", check_daemon_there, NEEDS_LIVE,
	"start mtastsd; its log tells what keeps it from running"},
    {"maps", "mtastsd has all its maps up to date", check_maps_in_step, NEEDS_DAEMON,
	"mend what is named here or in mtastsd's log; mtastsd then catches up by itself"},
    {"heartbeat", "mtastsd renews its heartbeat in the map", check_heartbeat, NEEDS_DAEMON,
	"mend what is named in mtastsd's log; unknown domains are delivered unchecked meanwhile"},
    {"lookup", "mtastsd answers live lookups on its socketmap socket", check_lookup_there,
	NEEDS_LIVE, "start mtastsd; its log tells what keeps it from running"},
    {"filter", "mtasts-milter answers on its socket", check_milter_there, NEEDS_LIVE,
	"start mtasts-milter; its log tells what keeps it from running"},
    {"release", "mtasts-release answers where milter { hold = quarantine } wants it",
	check_release_there, NEEDS_LIVE,
	"systemctl enable --now mtasts-release; until then messages wait in the queue, not in quarantine"},
    {"resolver", "DNS answers", check_resolver, NEEDS_NOTHING,
	"name a server in /etc/resolv.conf, or in dns { servers } of mtasts.conf"},
    {"dane", "DNS answers are validated where DANE is wanted", check_dane, NEEDS_CF,
	"a resolver on this host that validates, such as unbound, named in /etc/resolv.conf"},
    {"https", "policies can be fetched, as far as mtastsd knows", check_fetches, NEEDS_DAEMON,
	"let this host connect to TCP port 443 of all hosts"},
    {"clock", "the clock is not behind the files", check_clock, NEEDS_NOTHING,
	"set the clock, then restart Sendmail and mtastsd"},
    {"units", "systemd starts mtastsd and mtasts-milter with the host", check_units, NEEDS_LIVE,
	"systemctl enable --now mtastsd mtasts-milter"},
    {"build-less", "the Sendmail program can do all that RFC 8461 asks for", check_build_enough,
	ONLY_NOTED, "a Sendmail built with it, such as that of Debian 12 or later"},
    {"clock-kept", "a time server keeps the clock", check_clock_kept, ONLY_NOTED,
	"apt-get install systemd-timesyncd or chrony; policies expire by the clock"},
    {"dnssec", "DNS answers are validated on this host", check_validation, ONLY_NOTED,
	"a resolver on this host that validates, such as unbound; DANE needs it, MTA-STS does not"},
    {"nudge", "mtastsd may have the queue run (ETRN)", check_nudges, ONLY_NOTED_CF,
	"take noetrn or goaway out of confPRIVACY_FLAGS, and check_etrn; or nudge { address = \"\" } in mtasts.conf"},
    {"enforcement", "policies are enforced, not only observed", check_enforcing, ONLY_NOTED,
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

/* The one line for sendmail.mc that fits mtasts.conf and the program. */
static void
add_feature_line(struct text *t, const struct config *config, const struct build *build)
{
	char file[MAP_FILE_MAX];

	add(t, "FEATURE(`mtasts'");
	if (config->map_path != NULL && doctor_map_file(config->map_path, file, sizeof(file))) {
		file[strlen(file) - 3] = '\0'; /* Sendmail adds .db itself */
		add_argument(t, "map", file, "/var/lib/mtasts/map/policy");
		add_argument(t, "type", config->map_type, "hash");
	}
	if (build != NULL && !build_has(build, "SOCKETMAP"))
		add(t, ", `live=program'");
	else if (config->socketmap.listen.n > 0)
		add_socket(
		    t, "live", config->socketmap.listen.item[0], "/run/mtasts/socketmap.sock");
	add_socket(t, "milter", config->milter_socket, "/run/mtasts/milter.sock");
	if (build != NULL && !build_has(build, "_FFR_TLS_ALTNAMES"))
		add(t, ", `without=altnames'"); /* which is without SNI as well */
	else if (build != NULL && !build_has(build, "_FFR_MTA_STS"))
		add(t, ", `without=sni'");
	add(t, ")dnl");
}

void
doctor_snippet(const struct config *config, const struct build *build,
    char sendmail_mc[DOCTOR_REMEDY_MAX], char submit_mc[DOCTOR_REMEDY_MAX])
{
	add_feature_line(&(struct text){sendmail_mc, DOCTOR_REMEDY_MAX, 0}, config, build);
	snprintf(submit_mc, DOCTOR_REMEDY_MAX, "%s", SUBMIT_LINE);
}

/*
 * Fills in what the table leaves open: @ the FEATURE line, %u the user, %g the map's group, %f the map's file, %d its
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
			add_feature_line(t, facts->config, facts->build);
		else if (*p != '%')
			add(t, "%c", *p);
		else if (*++p == 'u')
			add(t, "%s", facts->config->user);
		else if (*p == 'g')
			add(t, "%s", facts->config->map_group);
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
	case ONLY_NOTED_CF:
		return facts->cf != NULL;
	case NEEDS_MILTER:
		return facts->cf != NULL && cf_milter(facts->cf, "mtasts") != NULL;
	case NEEDS_SUBMIT:
		return facts->submit != NULL;
	case NEEDS_LIVE:
		return !doctor_without_daemon(facts);
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
		f->ok = holds || checks[i].needs == ONLY_NOTED || checks[i].needs == ONLY_NOTED_CF;
		n++;
	}
	return n;
}
