#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/doctor.h"
#include "ctl/feature.h"

/* What FEATURE(`mtasts') generates, as far as it is looked at: one line a string, so that a test
 * can change one. */
static const char *const good_cf[] = {
    "V10/Berkeley",
    "Kmtasts_feature null " FEATURE_MARK,
    "Sall\nR$*\t$: $>mtasts_route $>mtasts_known $>mtasts_refuse $>mtasts_temp $>mtasts_ask $>mtasts_begin "
    "$>mtasts_doubt $>mtasts_session $>mtasts_server $>mtasts_each $>mtasts_compat $>mtasts_san "
    "$>mtasts_fail $>mtasts_wait $>mtasts_note $>\"mtasts_beside\" $1 $(mtastsq $1 $) "
    "$(mtasts_mac x $) $(mtasts_cmp x $) $(mtasts_log x $) $(mtasts_len x $) $(mtasts_odd x $) "
    "$(mtasts_esc x $)",
    "O SetCertAltnames=true",
    "Kmtasts hash -T<TMPF> /var/lib/mtasts/map/policy",
    "Kmtastsq socket -f -d5 -T<TMPF> local:/run/mtasts/socketmap.sock",
    "Kmtasts_mac macro",
    "Kmtasts_cmp arith",
    "Kmtasts_log syslog -LNOTICE",
    "Kmtasts_len regex -a<LONG> .{255}",
    "Kmtasts_odd regex -a<ODD> [^0-9]",
    "Kmtasts_esc regex -q -a<ESCAPED> [\\]",
    "O ConnectionCacheSize=0",
    "O DontExpandCnames=True",
    "O InputMailFilters=mtasts",
    "O Milter.macros.envfrom=i, {auth_type}",
    "O Milter.macros.envrcpt={rcpt_mailer}, {rcpt_host}, {rcpt_addr}",
    "O CACertPath=/etc/ssl/certs",
    "O CACertFile=/etc/ssl/certs/ca-certificates.crt",
    "O DaemonPortOptions=Name=MTA",
    "O DaemonPortOptions=Port=587, Name=MSA, M=E",
    "Stls_server\nR$*\t$: $1 $| $>\"Local_tls_server\" $1",
    "Stls_rcpt\nR$*\t$: $1 $| $>\"Local_tls_rcpt\" $1",
    "Smtasts_route\nR$*\t$@",
    "Smtasts_known\nR$*\t$@",
    "Smtasts_refuse\nR$*\t$@",
    "Smtasts_temp\nR$*\t$@",
    "Smtasts_ask\nR$*\t$@",
    "Smtasts_begin\nR$*\t$@",
    "Smtasts_doubt\nR$*\t$@",
    "Smtasts_session\nR$*\t$@",
    "Smtasts_server\nR$*\t$@",
    "Smtasts_each\nR$*\t$@",
    "Smtasts_compat\nR$*\t$@",
    "Smtasts_rcpt\nR$*\t$@",
    "Smtasts_san\nR$*\t$@",
    "Smtasts_fail\nR$*\t$@",
    "Smtasts_wait\nR$*\t$@",
    "Smtasts_note\nR$*\t$@",
    "Smtasts_beside\nR$*\t$@",
    "Scheck_compat\nR$* $| $*\t$: $1 $| $2 $| $>mtasts_begin $2",
    "SLocal_tls_server\nR$*\t$: $1 $| $>mtasts_server $1",
    "SLocal_tls_rcpt\nR$*\t$: $1 $| $>mtasts_rcpt $1",
    "Stls_clt_features\nR$*\t$@ servername=hostname",
    "Xmtasts, S=local:/run/mtasts/milter.sock, T=C:10s;S:10s;R:20s;E:2m",
};

enum { GOOD_LINES = sizeof(good_cf) / sizeof(good_cf[0]), UID = 990, NOW = 1800000000 };

static struct build *build;

/* Without one of the features, or (NULL) with all of them. */
static struct build *
build_without(const char *feature)
{
	static const char *const features[] = {"STARTTLS", "NAMED_BIND", "NEWDB=5.3", "MAP_REGEX",
	    "SOCKETMAP", "MILTER", "_FFR_TLS_ALTNAMES", "_FFR_MTA_STS"};
	char text[512] = "Version 8.17.1\n Compiled with:";
	struct errmsg em;

	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (feature == NULL || strncmp(features[i], feature, strlen(feature)) != 0)
			strcat(strcat(text, " "), features[i]);
	return build_parse(cursor_of(text, strlen(text)), &em);
}

/* The good .cf with its line `old` (by its beginning; NULL: none) replaced by `new` and `more`
 * added at the end. */
static struct cf *
cf_with(const char *old, const char *new, const char *more)
{
	char text[8192];
	size_t len = 0;
	bool replaced = old == NULL;
	struct errmsg em = {""};
	struct cf *cf;

	for (size_t i = 0; i < GOOD_LINES; i++) {
		bool hit = old != NULL && strncmp(good_cf[i], old, strlen(old)) == 0;

		replaced |= hit;
		len += (size_t)snprintf(
		    text + len, sizeof(text) - len, "%s\n", hit ? new : good_cf[i]);
	}
	len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n", more);
	assert_true(replaced && len < sizeof(text));
	cf = cf_parse(cursor_of(text, len), &em);
	assert_non_null(cf);
	return cf;
}

/* struct config owns its strings: a literal needs a home that is not const. */
#define TEXT(s) ((char[]){s})

static char socketmap_socket[] = "unix:/run/mtasts/socketmap.sock";
static char *socketmap_sockets[] = {socketmap_socket};
static char user[] = "mtasts", map_type[] = "hash", map_group[] = "root",
	    map_path[] = "/var/lib/mtasts/map/policy.db",
	    milter_socket[] = "unix:/run/mtasts/milter.sock";

static struct config
good_config(void)
{
	return (struct config){.user = user,
	    .map_path = map_path,
	    .map_type = map_type,
	    .map_group = map_group,
	    .socketmap = {.listen = {1, socketmap_sockets}},
	    .milter_socket = milter_socket,
	    .hold_max_s = 1800,
	    .milter_wait_s = 5};
}

static struct doctor_facts
good_facts(const struct config *config, struct cf *cf, struct cf *submit)
{
	return (struct doctor_facts){.config = config,
	    .cf_path = "sendmail.cf",
	    .submit_path = "submit.cf",
	    .cf = cf,
	    .submit = submit,
	    .now = NOW,
	    .cf_file = {0, S_IFREG | 0644, 0, 0, 1, NOW - 100},
	    .mc_file = {0, S_IFREG | 0644, 0, 0, 1, NOW - 101},
	    .submit_file = {0, S_IFREG | 0644, 0, 0, 1, NOW - 100},
	    .submit_mc_file = {0, S_IFREG | 0644, 0, 0, 1, NOW - 100},
	    .ca_has_certificates = true,
	    .build = build,
	    .mta_runs = true,
	    .mta = {77, NOW - 50},
	    .clock_synchronized = true,
	    .resolver_answers = true,
	    .resolver_validates = true,
	    .resolver_is_local = true,
	    .map_dir = {0, S_IFDIR | 0750, UID, 0, 1, NOW},
	    .map = {0, S_IFREG | 0640, UID, 0, 1, NOW},
	    .map_uid = UID,
	    .ca_file = {0, S_IFREG | 0644, 0, 0, 1, NOW},
	    .ca_path = {0, S_IFDIR | 0755, 0, 0, 1, NOW},
	    .run_as_uid = (uid_t)-1,
	    .run_as_gid = (gid_t)-1,
	    .daemon_answers = true,
	    .maps_agree = true,
	    .lookup_answers = true,
	    .milter_answers = true};
}

/* The names of the checks that failed, "a b c"; each must say what it found and how to mend it. */
static const char *
failed(const struct doctor_facts *facts)
{
	static char names[512];
	struct doctor_finding f[DOCTOR_MAX];
	size_t n = doctor_examine(facts, f);

	names[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (f[i].ok)
			continue;
		if (f[i].found.text[0] == '\0' || f[i].remedy[0] == '\0')
			fail_msg("%s: nothing found or no remedy", f[i].check);
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
		    names[0] == '\0' ? "" : " ", f[i].check);
	}
	return names;
}

static const char *
failed_with(const char *old, const char *new, const char *more)
{
	struct config config = good_config();
	struct cf *cf = cf_with(old, new, more);
	struct cf *submit = cf_with(NULL, NULL, "");
	struct doctor_facts facts = good_facts(&config, cf, submit);
	const char *names = failed(&facts);

	cf_free(&cf);
	cf_free(&submit);
	return names;
}

static void
what_the_feature_generates_is_found_in_order(void **state UNUSED)
{
	assert_string_equal(failed_with(NULL, NULL, ""), "");
}

static void
each_missing_line_is_named(void **state UNUSED)
{
	static const struct {
		const char *line, *check;
	} t[] = {{"O SetCert", "altnames"}, {"Kmtasts hash", "map"}, {"Kmtastsq", "helper-maps"},
	    {"Kmtasts_mac", "helper-maps"}, {"Kmtasts_cmp", "helper-maps"},
	    {"Kmtasts_log", "helper-maps"}, {"Kmtasts_len", "helper-maps"},
	    {"Kmtasts_odd", "helper-maps"}, {"Kmtasts_esc", "helper-maps"},
	    {"O ConnectionCache", "cache"}, {"O DontExpand", "cnames"}, {"O InputMail", "milter"},
	    {"Xmtasts", "milter"}, {"O Milter.macros.envfrom", "macros"},
	    {"O Milter.macros.envrcpt", "macros"}, {"O CACertPath", "ca"}, {"O CACertFile", "ca"},
	    {"Stls_rcpt", "rcpt"}, {"Stls_server", "rcpt"}, {"SLocal_tls_rcpt", "rcpt"},
	    {"SLocal_tls_server", "rcpt"}, {"Scheck_compat", "compat"},
	    {"Stls_clt_features", "sni"}, {"Smtasts_route", "rules"}, {"Smtasts_known", "rules"},
	    {"Smtasts_refuse", "rules"}, {"Smtasts_temp", "rules"}, {"Smtasts_ask", "rules"},
	    {"Smtasts_begin", "rules"}, {"Smtasts_doubt", "rules"}, {"Smtasts_session", "rules"},
	    {"Smtasts_server", "rules"}, {"Smtasts_each", "rules"}, {"Smtasts_wait", "rules"},
	    {"Smtasts_note", "rules"}, {"Smtasts_beside", "rules"}, {"Smtasts_compat", "rules"},
	    {"Smtasts_rcpt", "rules"}, {"Smtasts_san", "rules"}, {"Smtasts_fail", "rules"}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		const char *names = failed_with(t[i].line, "", "");

		if (strcmp(names, t[i].check) != 0)
			fail_msg("without %s: \"%s\", want \"%s\"", t[i].line, names, t[i].check);
	}
}

static void
what_was_undone_later_is_named(void **state UNUSED)
{
	static const struct {
		const char *old, *new, *more, *check;
	} t[] = {
	    {NULL, NULL, "O ConnectionCacheSize=2", "cache"},
	    {NULL, NULL, "Ok2", "cache"},
	    {NULL, NULL, "O ConnectionCacheS=2", "cache"},
	    {NULL, NULL, "O DontExpandCnames=False", "cnames"},
	    {NULL, NULL, "O SetCertAltnames=false", "altnames"},
	    {NULL, NULL, "O InputMailFilters=opendkim", "milter"},
	    {NULL, NULL, "Ksts hash -T<TMPF> /etc/mail/sts", "sts"},
	    {"Kmtasts hash", "Kmtasts hash -o -T<TMPF> /var/lib/mtasts/map/policy", "", "map"},
	    {"Kmtasts hash", "Kmtasts hash -optional -T<TMPF> /var/lib/mtasts/map/policy", "",
		"map"},
	    {"Kmtasts hash", "Kmtasts hash -T<TMPF> -Tx /var/lib/mtasts/map/policy", "", "map"},
	    {"Kmtasts hash", "Kmtasts hash /var/lib/mtasts/map/policy", "", "map"},
	    {"Kmtasts hash", "Kmtasts btree -T<TMPF> /var/lib/mtasts/map/policy", "", "map"},
	    {"Kmtasts hash", "Kmtasts hash -T<TMPF> /elsewhere/policy", "", "map"},
	    {"Kmtastsq", "Kmtastsq socket local:/run/mtasts/socketmap.sock", "", "live"},
	    {"Kmtastsq", "Kmtastsq socket -T<TMPF> local:/run/other.sock", "", "live"},
	    {"Xmtasts", "Xmtasts, S=local:/run/other.sock", "", "milter"},
	    {NULL, NULL, "O DaemonPortOptions=Port=587, Name=MSA, InputMailFilters=opendkim;x",
		"milter"},
	    {NULL, NULL, "OOName=MSA, i=opendkim", "milter"},
	    {NULL, NULL, "Kmtasts_mac macro", "once"},
	    {NULL, NULL, "Smtasts_ask\nR$*\t$@ ok", "once"},
	    {"Xmtasts",
		"Xmtasts, S=local:/run/mtasts/milter.sock\nXmtasts, "
		"S=local:/run/mtasts/milter.sock",
		"", "once"},
	    {"Kmtasts_feature", "Kmtasts_feature null 1", "", "version"},
	    {"Kmtasts_feature", "", "", "version"},
	    {NULL, NULL, "DJsomething", "names"},
	    {NULL, NULL, "O ClientPortOptions=Family=inet, M=hS", "client-tls"},
	    {NULL, NULL, "O Timeout.queuereturn=20m", "queue-time"},
	    {NULL, NULL, "O Timeout.queuereturn.urgent=1800s", "queue-time"},
	    {"Xmtasts", "Xmtasts, S=local:/run/mtasts/milter.sock, T=R:20s;E:10s", "",
		"filter-time"},
	    {NULL, NULL, "O RunAsUser=mail", "run-as"},
	    {"Stls_server", "Stls_server\nR$*\t$@ ok\nR$*\t$: $1 $| $>\"Local_tls_server\" $1", "",
		"rcpt"},
	    {"Scheck_compat",
		"Scheck_compat\nR$*\t$@ ok\nR$* $| $*\t$: $1 $| $2 $| $>mtasts_begin $2", "",
		"compat"},
	    {"SLocal_tls_server", "SLocal_tls_server\nR$*\t$@ ok", "", "rcpt"},
	    {"SLocal_tls_rcpt", "SLocal_tls_rcpt\nR$*\t$@ ok\nR$*\t$: $1 $| $>mtasts_rcpt $1", "",
		"rcpt"},
	    {"Stls_clt_features", "Stls_clt_features\nR$*\t$@ \"\"\nR$*\t$@ servername=hostname",
		"", "sni"},
	    {"O Milter.macros.envrcpt", "O Milter.macros.envrcpt={rcpt_mailer}, {rcpt_addr}", "",
		"macros"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		const char *names = failed_with(t[i].old, t[i].new, t[i].more);

		if (strcmp(names, t[i].check) != 0)
			fail_msg("row %zu: \"%s\", want \"%s\"", i, names, t[i].check);
	}
}

static void
what_a_site_may_add_is_no_fault(void **state UNUSED)
{
	static const char *const t[] = {"O DaemonPortOptions=Name=MSA, I=opendkim;mtasts",
	    "O RunAsUser=", "SLocal_tls_rcpt\nR$*\t$@ ok", "O InputMailFilters=opendkim, mtasts",
	    "# O ConnectionCacheSize=2", "O Timeout.queuereturn=5", "O Timeout.queuereturn=1h",
	    "O ClientPortOptions=Addr=S, M=h", "O ConnectionCacheTimeout=5m"};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		const char *names = failed_with(NULL, NULL, t[i]);

		if (names[0] != '\0')
			fail_msg("%s: \"%s\"", t[i], names);
	}
}

/* With FEATURE(`mtasts', `milter=none'). */
static void
without_the_filter_its_macros_are_not_asked_for(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with("O Milter.macros.envrcpt", "", ""), *none;
	struct doctor_facts facts = good_facts(&config, cf, cf);

	assert_string_equal(failed(&facts), "macros");
	none = cf_with("Xmtasts", "", "O Milter.macros.envrcpt=i");
	facts = good_facts(&config, none, none);
	assert_string_equal(failed(&facts), "milter");
	cf_free(&cf);
	cf_free(&none);
}

static void
who_sendmail_runs_as_must_be_able_to_read_the_map(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, "O RunAsUser=x");
	struct doctor_facts f = good_facts(&config, cf, cf);

	f.run_as_uid = 8, f.run_as_gid = 8;
	assert_string_equal(failed(&f), "run-as");
	f.run_as_gid = 0;
	assert_string_equal(failed(&f), "");
	f.run_as_uid = UID, f.run_as_gid = 8;
	assert_string_equal(failed(&f), "");
	f.run_as_uid = 0;
	assert_string_equal(failed(&f), "");
	cf_free(&cf);
}

/* With FEATURE(`mtasts', `live=none', `milter=none'): cron does it. */
static void
a_site_without_daemon_is_not_asked_for_one(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, "");
	struct doctor_facts f = good_facts(&config, cf, cf);

	errmsg_set(&f.daemon_error, "away");
	errmsg_set(&f.lookup_error, "away");
	errmsg_set(&f.milter_error, "away");
	errmsg_set(&f.release_error, "away");
	f.daemon_answers = f.lookup_answers = f.milter_answers = false;
	assert_string_equal(failed(&f), "daemon lookup filter");
	config.milter_hold = HOLD_QUARANTINE;
	assert_string_equal(failed(&f), "daemon lookup filter release");
	cf_free(&cf);
	cf = cf_with("Kmtastsq", "", "");
	f.cf = f.submit = cf;
	assert_string_equal(failed(&f), "helper-maps"); /* a rule asks it */
	cf_free(&cf);
}

/* The finding of a check that is there, by its name. */
static const struct doctor_finding *
finding(const struct doctor_facts *facts, const char *check)
{
	static struct doctor_finding f[DOCTOR_MAX];
	size_t n = doctor_examine(facts, f), i = 0;

	while (i < n && strcmp(f[i].check, check) != 0)
		i++;
	assert_in_range(i, 0, n - 1);
	return &f[i];
}

static void
observing_is_noted_and_no_failure(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, "");
	struct doctor_facts facts = good_facts(&config, cf, cf);

	assert_string_equal(finding(&facts, "enforcement")->found.text, "");
	config.observe = true;
	assert_string_equal(failed(&facts), "");
	assert_non_null(strstr(finding(&facts, "enforcement")->found.text, "observe"));
	assert_non_null(strstr(finding(&facts, "enforcement")->remedy, "enforcement = on"));
	config.observe = false;
	facts.daemon_observes = true; /* not told yet that the file has changed */
	assert_non_null(strstr(finding(&facts, "enforcement")->found.text, "still observes"));
	cf_free(&cf);
}

/* It saves delay only, so a site may refuse it. */
/* Each row spoils the facts of a right host; what is a note (+) is no failure. */
static void
what_is_wrong_with_the_host_is_named(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, "");
	const struct doctor_facts good = good_facts(&config, cf, cf);
	struct doctor_facts f;

#define SPOILT(check, says, ...) \
	f = good; \
	__VA_ARGS__; \
	assert_string_equal(failed(&f), (check)[0] == '+' ? "" : (check)); \
	assert_non_null(strstr(finding(&f, &(check)[(check)[0] == '+'])->found.text, says))
	SPOILT("built", "sendmail.cf is older", f.mc_file.mtime = NOW - 99);
	SPOILT("built", "submit.cf is older", f.submit_mc_file.mtime = NOW - 99);
	SPOILT("running", "older", f.mta.started = NOW - 110);
	SPOILT("running", "no Sendmail", f.mta_runs = false);
	SPOILT("ca", "no certificate", f.ca_has_certificates = false);
	SPOILT("ca", "may write to it", f.ca_file.mode = S_IFREG | 0664);
	SPOILT("ca", "/etc/ssl", f.ca_parent = TEXT("/etc/ssl"));
	SPOILT("map-parents", "/srv", f.map_parent = TEXT("/srv"));
	SPOILT("socket-parents", "/run", f.socket_parent = TEXT("/run"));
	SPOILT("clock", "policy map", f.map.mtime = NOW + 3601);
	SPOILT("clock", "sendmail.cf", f.cf_file.mtime = NOW + 3601, f.mta.started = NOW + 3602);
	SPOILT("heartbeat", "ended", f.alive_until = NOW - 1);
	SPOILT("resolver", "silent", f.resolver_answers = false,
	    errmsg_set(&f.resolver_error, "silent"));
	SPOILT("https", "refused", errmsg_set(&f.fetch_error, "refused"));
	SPOILT("units", "x.service", errmsg_set(&f.unit, "x.service is not active"));
	SPOILT("+clock-kept", "time server", f.clock_synchronized = false);
	SPOILT("+dnssec", "no AD", f.resolver_validates = false);
	SPOILT("+dnssec", "not on this host", f.resolver_is_local = false);
	f = good;
	f.alive_until = NOW;
	f.cf = cf_with(NULL, NULL, "O DANE=true");
	assert_string_equal(failed(&f), "");
	f.resolver_validates = false;
	assert_string_equal(failed(&f), "dane");
	cf_free(&f.cf);
	f = good;
	f.alive_until = NOW;
	assert_string_equal(failed(&f), "");
	cf_free(&cf);
}

static void
what_sendmail_was_built_without_is_named_with_what_is_lost(void **state UNUSED)
{
	static const char *const t[] = {"STARTTLS", "NAMED_BIND", "NEWDB", "MAP_REGEX", "SOCKETMAP",
	    "MILTER", "_FFR_TLS_ALTNAMES", "_FFR_MTA_STS"};
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, "");
	struct doctor_facts f = good_facts(&config, cf, cf);
	char sendmail_mc[DOCTOR_REMEDY_MAX], submit_mc[DOCTOR_REMEDY_MAX];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		f.build = build_without(t[i]);
		assert_string_equal(failed(&f), "build");
		assert_non_null(strstr(finding(&f, "build")->found.text, t[i]));
		build_free(&f.build);
	}
	cf_free(&cf);
	/* with the arguments that are for it */
	f.build = build_without("_FFR_MTA_STS");
	f.cf = f.submit = cf = cf_with("Stls_clt_features", "", "");
	assert_string_equal(failed(&f), "");
	assert_non_null(strstr(finding(&f, "build-less")->found.text, "SNI"));
	doctor_snippet(&config, f.build, sendmail_mc, submit_mc);
	assert_string_equal(sendmail_mc, "FEATURE(`mtasts', `without=sni')dnl");
	build_free(&f.build);
	cf_free(&cf);
	f.build = build_without("_FFR_TLS_ALTNAMES");
	f.cf = f.submit = cf = cf_with("O SetCertAltnames", "", "");
	assert_string_equal(failed(&f), "");
	assert_non_null(strstr(finding(&f, "build-less")->found.text, "common name"));
	doctor_snippet(&config, f.build, sendmail_mc, submit_mc);
	assert_string_equal(sendmail_mc, "FEATURE(`mtasts', `without=altnames')dnl");
	build_free(&f.build);
	cf_free(&cf);
	f.build = build_without("SOCKETMAP");
	f.cf = f.submit = cf = cf_with(
	    "Kmtastsq", "Kmtastsq program -f -t -T<TMPF> /usr/sbin/mtastsctl lookup --", "");
	assert_string_equal(failed(&f), "");
	doctor_snippet(&config, f.build, sendmail_mc, submit_mc);
	assert_string_equal(sendmail_mc, "FEATURE(`mtasts', `live=program')dnl");
	config.map_type = TEXT("btree");
	assert_string_equal(failed(&f), "map");
	doctor_snippet(&config, f.build, sendmail_mc, submit_mc);
	assert_string_equal(sendmail_mc, "FEATURE(`mtasts', `type=btree', `live=program')dnl");
	config.map_type = map_type;
	build_free(&f.build);
	errmsg_set(&f.build_error, "no program");
	assert_string_equal(failed(&f), "build");
	cf_free(&cf);
}

static void
a_queue_run_that_would_be_refused_is_noted(void **state UNUSED)
{
	static const char *const t[] = {"O PrivacyOptions=needmailhelo,noetrn",
	    "O PrivacyOptions=goaway", "Scheck_etrn\nR$*\t$@ ok"};
	struct config config = good_config();

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct cf *cf = cf_with(NULL, NULL, t[i]);
		struct doctor_facts facts = good_facts(&config, cf, cf);

		config.nudge_address = NULL;
		assert_string_equal(finding(&facts, "nudge")->found.text, "");
		config.nudge_address = TEXT("127.0.0.1:25");
		assert_non_null(strstr(finding(&facts, "nudge")->found.text, "ETRN"));
		assert_string_equal(failed(&facts), "");
		cf_free(&cf);
	}
}

static void
a_daemon_whose_maps_are_behind_is_not_well(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, "");
	struct doctor_facts f = good_facts(&config, cf, cf);

	f.maps_agree = false;
	errmsg_set(&f.maps_error, "map /m is behind: disk full");
	assert_string_equal(failed(&f), "maps");
	f.daemon_answers = false; /* then nothing is known of them */
	errmsg_set(&f.daemon_error, "refused");
	assert_string_equal(failed(&f), "daemon");
	cf_free(&cf);
}

/* m4 drops what follows dnl on a line; a line that is copied must be whole and nothing else. */
static void
lines_for_a_mc_file_stand_alone(void **state UNUSED)
{
	static const char *const breakages[] = {"Smtasts_ask", "Kmtasts_log", "Kmtasts hash",
	    "Kmtastsq", "Scheck_compat", "Stls_rcpt", "Stls_clt_features", "O CACertFile",
	    "O ConnectionCache", "O DontExpand", "O SetCert", "Xmtasts", "O Milter.macros.envfrom"};
	size_t lines = 0;

	for (size_t i = 0; i < sizeof(breakages) / sizeof(breakages[0]); i++) {
		struct config config = good_config();
		struct cf *cf = cf_with(breakages[i], "", "");
		struct doctor_facts facts = good_facts(&config, cf, cf);
		struct doctor_finding f[DOCTOR_MAX];
		size_t n = doctor_examine(&facts, f);

		for (size_t j = 0; j < n; j++)
			for (char *line = strtok(f[j].remedy, "\n"); line != NULL;
			     line = strtok(NULL, "\n")) {
				if (strstr(line, "dnl") == NULL)
					continue;
				lines++;
				if (strcmp(line + strlen(line) - 4, ")dnl") != 0 ||
				    (strncmp(line, "define(`", 8) != 0 &&
					strncmp(line, "FEATURE(`", 9) != 0))
					fail_msg("%s: \"%s\"", f[j].check, line);
			}
		cf_free(&cf);
	}
	/* each has one, but for the CAs, which have two, and the CNAMEs, of submit.mc as well */
	assert_int_equal(lines, sizeof(breakages) / sizeof(breakages[0]) + 2);
}

static void
addresses_agree_in_either_notation(void **state UNUSED)
{
	static const struct {
		const char *cf, *ours;
		bool agree;
	} t[] = {{"/run/m.sock", "unix:/run/m.sock", true},
	    {"local:/run/m.sock", "unix:/run/m.sock", true},
	    {"unix:/run/m.sock", "local:/run/m.sock", true},
	    {"/run/m.sock", "unix:/run/other", false},
	    {"inet:8461@127.0.0.1", "inet:127.0.0.1:8461", true},
	    {"inet:8461@localhost", "inet:8461@127.0.0.1", true},
	    {"inet:8461@127.0.0.1", "inet:127.0.0.1:8462", false},
	    {"inet:8461@127.0.0.1", "unix:/run/m.sock", false},
	    {"inet6:8461@::1", "inet:[::1]:8461", true},
	    {"inet6:8461@[::1]", "inet:[::1]:8461", true},
	    {"inet6:8461@::1", "inet:127.0.0.1:8461", false},
	    {"inet:8461@[::1]", "inet:[::1]:8461",
		false}, /* AF_INET to Sendmail, which refuses it */
	    {"inet:[::1]:8461", "inet:[::1]:8461", false}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char live[128], milter[128], ours[64], *listen[] = {TEXT("unix:/x"), ours};
		struct config config = good_config();
		struct doctor_facts facts;
		struct cf *cf;
		const char *names;

		snprintf(ours, sizeof(ours), "%s", t[i].ours);
		snprintf(live, sizeof(live), "Kmtastsq socket -T<TMPF> %s", t[i].cf);
		snprintf(milter, sizeof(milter), "Xmtasts, S=%s", t[i].cf);
		cf = cf_with("Kmtastsq", live, milter);
		facts = good_facts(&config, cf, cf);
		config.socketmap.listen = (struct config_list){2, listen};
		config.milter_socket = ours;
		names = failed(&facts);
		if (strcmp(names, t[i].agree ? "once" : "once live milter") != 0)
			fail_msg("%s, %s: \"%s\"", t[i].cf, t[i].ours, names);
		cf_free(&cf);
	}
}

static void
submit_cf_is_judged_by_itself(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, ""), *submit = cf_with("O DontExpand", "", "");
	struct doctor_facts facts = good_facts(&config, cf, submit);

	assert_string_equal(failed(&facts), "submit-cnames");
	facts.submit = NULL;
	errmsg_set(&facts.submit_error, "submit.cf: no such file");
	assert_string_equal(failed(&facts), "submit");
	cf_free(&cf);
	cf_free(&submit);
}

static void
an_unreadable_cf_is_one_finding(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *submit = cf_with(NULL, NULL, "");
	struct doctor_facts facts = good_facts(&config, NULL, submit);

	errmsg_set(&facts.cf_error, "sendmail.cf: no such file");
	assert_string_equal(failed(&facts), "cf");
	cf_free(&submit);
}

static void
files_that_are_missing_open_or_foreign_are_named(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, "");
	struct doctor_facts good = good_facts(&config, cf, cf), f;

	f = good, f.ca_file.error = ENOENT;
	assert_string_equal(failed(&f), "ca");
	f = good, f.ca_path.mode = S_IFREG | 0644;
	assert_string_equal(failed(&f), "ca");
	f = good, f.map.mode = S_IFREG | 0644; /* any local user could lock it */
	assert_string_equal(failed(&f), "map-file");
	f = good, f.map.uid = 0;
	assert_string_equal(failed(&f), "map-file");
	f = good, f.map.error = ENOENT;
	assert_string_equal(failed(&f), "map-file");
	f = good, f.map_dir.mode = S_IFDIR | 0755;
	assert_string_equal(failed(&f), "map-dir");
	f = good, f.map_dir.gid = 5;
	assert_string_equal(failed(&f), "map-dir");
	f = good, f.map_uid = (uid_t)-1;
	assert_string_equal(failed(&f), "user map-dir map-file");
	cf_free(&cf);
}

static void
who_does_not_answer_is_named(void **state UNUSED)
{
	struct config config = good_config();
	struct cf *cf = cf_with(NULL, NULL, "");
	struct doctor_facts f = good_facts(&config, cf, cf);

	f.daemon_answers = f.lookup_answers = f.milter_answers = false;
	errmsg_set(&f.daemon_error, "refused");
	errmsg_set(&f.lookup_error, "refused");
	errmsg_set(&f.milter_error, "refused");
	assert_string_equal(failed(&f), "daemon lookup filter");
	cf_free(&cf);
}

static void
the_remedy_is_the_feature_line_that_fits_mtasts_conf(void **state UNUSED)
{
	char *live[] = {TEXT("inet:127.0.0.1:8461")};
	struct config config = good_config();
	struct cf *cf = cf_with("Kmtasts hash", "", "");
	struct doctor_facts facts = good_facts(&config, cf, cf);
	char sendmail_mc[DOCTOR_REMEDY_MAX], submit_mc[DOCTOR_REMEDY_MAX];

	assert_string_equal(finding(&facts, "map")->remedy, "sendmail.mc:\nFEATURE(`mtasts')dnl");
	config.map_path = TEXT("/m/p.db");
	config.socketmap.listen = (struct config_list){1, live};
	config.milter_socket = TEXT("unix:/m/f.sock");
	doctor_snippet(&config, NULL, sendmail_mc, submit_mc);
	assert_string_equal(sendmail_mc, "FEATURE(`mtasts', `map=/m/p', "
					 "`live=inet:8461@127.0.0.1', `milter=/m/f.sock')dnl");
	assert_string_equal(submit_mc, "FEATURE(`mtasts', `msp')dnl");
	assert_string_equal(finding(&facts, "map")->remedy,
	    "sendmail.mc:\nFEATURE(`mtasts', `map=/m/p', "
	    "`live=inet:8461@127.0.0.1', `milter=/m/f.sock')dnl");
	live[0] = TEXT("inet:[::1]:8461");
	assert_non_null(strstr(finding(&facts, "map")->remedy, "`live=inet6:8461@::1'"));
	cf_free(&cf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_the_feature_generates_is_found_in_order),
	    cmocka_unit_test(each_missing_line_is_named),
	    cmocka_unit_test(what_was_undone_later_is_named),
	    cmocka_unit_test(what_a_site_may_add_is_no_fault),
	    cmocka_unit_test(without_the_filter_its_macros_are_not_asked_for),
	    cmocka_unit_test(who_sendmail_runs_as_must_be_able_to_read_the_map),
	    cmocka_unit_test(a_site_without_daemon_is_not_asked_for_one),
	    cmocka_unit_test(observing_is_noted_and_no_failure),
	    cmocka_unit_test(what_is_wrong_with_the_host_is_named),
	    cmocka_unit_test(what_sendmail_was_built_without_is_named_with_what_is_lost),
	    cmocka_unit_test(a_queue_run_that_would_be_refused_is_noted),
	    cmocka_unit_test(a_daemon_whose_maps_are_behind_is_not_well),
	    cmocka_unit_test(lines_for_a_mc_file_stand_alone),
	    cmocka_unit_test(addresses_agree_in_either_notation),
	    cmocka_unit_test(submit_cf_is_judged_by_itself),
	    cmocka_unit_test(an_unreadable_cf_is_one_finding),
	    cmocka_unit_test(files_that_are_missing_open_or_foreign_are_named),
	    cmocka_unit_test(who_does_not_answer_is_named),
	    cmocka_unit_test(the_remedy_is_the_feature_line_that_fits_mtasts_conf),
	};
	int failures;

	build = build_without(NULL);
	failures = cmocka_run_group_tests(tests, NULL, NULL);
	build_free(&build);
	return failures;
}
