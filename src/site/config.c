#include "site/config.h"

#include <arpa/inet.h>
#include <confuse.h>
#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "site/privs.h"
#include "site/sock.h"
#include "util/when.h"

enum { STORE_MIB_MAX = 16777216 }; /* 16 TiB; address spaces end at 128 */

/*
 * libconfuse has no argument for its error function: where the first error of the file being read
 * goes.
 */
static _Thread_local struct errmsg *parse_em;
static _Thread_local const char *parse_path;    /* a section may not know its file */
static _Thread_local struct rules *parse_rules; /* all files together */
static _Thread_local struct config_list parse_includes;
static _Thread_local struct rules *parse_set;    /* of the `rules` section that is being read */
static _Thread_local struct rules *parse_chosen; /* of all of them, for each who chooses one */

static void
note_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	char what[ERRMSG_MAX];

	if (parse_em == NULL || parse_em->text[0] != '\0')
		return;
	vsnprintf(what, sizeof(what), fmt, ap);
	if (cfg != NULL && cfg->line > 0)
		errmsg_set(parse_em, "%s:%d: %s%s", parse_path, cfg->line, what,
		    strncmp(what, "no such option", 14) == 0 ? "; mtasts.conf(5) lists them" : "");
	else
		errmsg_set(parse_em, "%s", what);
}

static char *
own(const char *s)
{
	char *copy = strdup(s);

	if (copy == NULL)
		abort(); /* start-up only: nothing to save yet */
	return copy;
}

static void
list_add(struct config_list *list, const char *item)
{
	char **grown = realloc(list->item, (list->n + 1) * sizeof(*grown));

	if (grown == NULL)
		abort();
	list->item = grown;
	list->item[list->n++] = own(item);
}

static void
list_free(struct config_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->item[i]);
	free(list->item);
	*list = (struct config_list){0, NULL};
}

static const char *
last_string(cfg_opt_t *opt)
{
	const char *s = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);

	return s == NULL ? "" : s;
}

static const struct {
	const char *section, *option;
	const char *min, *max;
} durations[] = {
    {"root", "hold_max", "0s", "30d"}, {"root", "failed_check", "1s", "1d"},
    {"root", "away_limit", "0s", "365d"}, {"dns", "timeout", "1s", "30s"},
    {"https", "timeout", "1s", "10m"},
    {"milter", "wait", "0s", "45s"}, /* few SMTP clients wait for longer at end-of-message */
};

static int
check_duration(cfg_t *cfg, cfg_opt_t *opt)
{
	time_t t, min, max;
	size_t i = 0;

	while (strcmp(durations[i].section, cfg_name(cfg)) != 0 ||
	       strcmp(durations[i].option, opt->name) != 0)
		i++;
	if (when_parse_duration(durations[i].min, &min) &&
	    when_parse_duration(durations[i].max, &max) &&
	    when_parse_duration(last_string(opt), &t) && t >= min && t <= max)
		return 0;
	cfg_error(cfg, "%s = \"%s\": want a duration from %s to %s: a number and s, m, h, d or w",
	    opt->name, last_string(opt), durations[i].min, durations[i].max);
	return -1;
}

static int
check_away(cfg_t *cfg, cfg_opt_t *opt)
{
	return strcmp(last_string(opt), "never") == 0 ? 0 : check_duration(cfg, opt);
}

static int
check_word(cfg_t *cfg, cfg_opt_t *opt, const char *a, const char *b)
{
	if (strcmp(last_string(opt), a) == 0 || strcmp(last_string(opt), b) == 0)
		return 0;
	cfg_error(cfg, "%s = \"%s\": want %s or %s", opt->name, last_string(opt), a, b);
	return -1;
}

static int
check_enforcement(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_word(cfg, opt, "on", "observe");
}

static bool
hold_of(const char *word, enum config_hold *hold)
{
	static const char *const words[] = {
	    [HOLD_QUEUE] = "queue", [HOLD_TEMPFAIL] = "tempfail", [HOLD_QUARANTINE] = "quarantine"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(word, words[i]) == 0) {
			*hold = (enum config_hold)i;
			return true;
		}
	return false;
}

static int
check_hold(cfg_t *cfg, cfg_opt_t *opt)
{
	enum config_hold hold;

	if (hold_of(last_string(opt), &hold))
		return 0;
	cfg_error(
	    cfg, "%s = \"%s\": want queue, tempfail or quarantine", opt->name, last_string(opt));
	return -1;
}

static int
check_domain_policy(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *policy = last_string(opt);

	if (strcmp(policy, "optional") == 0 || strcmp(policy, "require") == 0 ||
	    strcmp(policy, "disable") == 0)
		return 0;
	cfg_error(cfg, "policy = \"%s\": want optional, require or disable", policy);
	return -1;
}

static int
check_unmet(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_word(cfg, opt, "hold", "refuse");
}

static enum rule
rule_of(cfg_t *sec)
{
	const char *policy = cfg_getstr(sec, "policy");

	if (strcmp(policy, "require") == 0)
		return strcmp(cfg_getstr(sec, "unmet"), "refuse") == 0 ? RULE_REFUSE : RULE_HOLD;
	return strcmp(policy, "disable") == 0 ? RULE_DISABLE : RULE_OPTIONAL;
}

static int
check_socket(cfg_t *cfg, cfg_opt_t *opt)
{
	struct sock_address a;
	struct errmsg em = {""};

	if (sock_parse(last_string(opt), &a, &em))
		return 0;
	cfg_error(cfg, "%s: %s", opt->name, em.text);
	return -1;
}

static int
check_control(cfg_t *cfg, cfg_opt_t *opt)
{
	struct sock_address a;

	if (check_socket(cfg, opt) != 0)
		return -1;
	if (sock_parse(last_string(opt), &a, NULL) && sock_unix_path(&a) != NULL)
		return 0;
	cfg_error(cfg, "%s = \"%s\": want unix:/path; TCP is open to every local user", opt->name,
	    last_string(opt));
	return -1;
}

static bool
is_port(const char *text)
{
	char *end;
	long port = strtol(text, &end, 10);

	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && port >= 1 && port <= 65535;
}

/* An IP address: 192.0.2.1:25, [2001:db8::1]:25; where the port may be missing, without brackets
 * as well. */
static bool
is_address(const char *text, bool needs_port)
{
	unsigned char in[sizeof(struct in6_addr)];
	char host[INET6_ADDRSTRLEN];
	bool brackets = text[0] == '[';
	const char *end = strchr(text, brackets ? ']' : ':');
	size_t len = end == NULL ? strlen(text) : (size_t)(end - text) - brackets;

	if (!needs_port && inet_pton(AF_INET6, text, in) == 1)
		return true;
	if ((brackets && end == NULL) || len >= sizeof(host))
		return false;
	memcpy(host, text + brackets, len);
	host[len] = '\0';
	if (inet_pton(brackets ? AF_INET6 : AF_INET, host, in) != 1)
		return false;
	end = end == NULL ? "" : end + brackets;
	return end[0] == ':' ? is_port(end + 1) : end[0] == '\0' && !needs_port;
}

static int
check_nudge(cfg_t *cfg, cfg_opt_t *opt)
{
	if (last_string(opt)[0] == '\0' || is_address(last_string(opt), true))
		return 0;
	cfg_error(cfg, "nudge %s = \"%s\": want an address and port such as 127.0.0.1:25",
	    opt->name, last_string(opt));
	return -1;
}

static int
check_server(cfg_t *cfg, cfg_opt_t *opt)
{
	if (is_address(last_string(opt), false))
		return 0;
	cfg_error(cfg,
	    "dns %s: \"%s\": want an address, with or without a port: 192.0.2.1:53, [2001:db8::1]:53",
	    opt->name, last_string(opt));
	return -1;
}

static int
check_user(cfg_t *cfg, cfg_opt_t *opt)
{
	struct errmsg em = {""};

	if (privs_user_exists(last_string(opt), &em))
		return 0;
	cfg_error(cfg, "%s: %s", opt->name, em.text);
	return -1;
}

static int
check_owner(cfg_t *cfg, cfg_opt_t *opt)
{
	return last_string(opt)[0] == '\0' ? 0 : check_user(cfg, opt);
}

static int
check_group(cfg_t *cfg, cfg_opt_t *opt)
{
	if (last_string(opt)[0] == '\0' || getgrnam(last_string(opt)) != NULL)
		return 0;
	cfg_error(cfg, "%s: no group \"%s\"", opt->name, last_string(opt));
	return -1;
}

static int
check_map_group(cfg_t *cfg, cfg_opt_t *opt)
{
	if (last_string(opt)[0] != '\0')
		return check_group(cfg, opt);
	cfg_error(cfg, "group = \"\": want a group, root where Sendmail runs as root");
	return -1;
}

static int
check_path(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *path = last_string(opt);

	if (path[0] == '\0' || path[0] == '/')
		return 0;
	cfg_error(cfg, "%s = \"%s\": want a path that begins with /", opt->name, path);
	return -1;
}

static int
check_ca_file(cfg_t *cfg, cfg_opt_t *opt)
{
	struct stat st;

	if (check_path(cfg, opt) != 0)
		return -1;
	/* Another user of the file need not be able to read it. */
	if (last_string(opt)[0] == '\0' || stat(last_string(opt), &st) == 0 || errno == EACCES)
		return 0;
	cfg_error(cfg, "%s = \"%s\": %s; name a file of CA certificates, or none for the system's",
	    opt->name, last_string(opt), strerror(errno));
	return -1;
}

static int
check_map_type(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_word(cfg, opt, "hash", "btree");
}

static int
check_map(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);

	if (*cfg_getstr(sec, "makemap") != '\0' || strcmp(cfg_getstr(sec, "type"), "hash") == 0)
		return 0;
	cfg_error(cfg, "type = \"%s\" wants makemap = \"/usr/sbin/makemap\" beside it",
	    cfg_getstr(sec, "type"));
	return -1;
}

static int
check_max_mib(cfg_t *cfg, cfg_opt_t *opt)
{
	long mib = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);

	if (mib > 0 && mib <= STORE_MIB_MAX)
		return 0;
	cfg_error(cfg, "%s = %ld: want 1 to %d", opt->name, mib, STORE_MIB_MAX);
	return -1;
}

static int
check_positive(cfg_t *cfg, cfg_opt_t *opt)
{
	if (cfg_opt_getnint(opt, cfg_opt_size(opt) - 1) > 0)
		return 0;
	cfg_error(cfg, "%s must be greater than 0", opt->name);
	return -1;
}

static int
check_mode(cfg_t *cfg, cfg_opt_t *opt)
{
	long mode = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);

	if (mode >= 0 && mode <= 0777)
		return 0;
	cfg_error(cfg, "mode %lo: want an octal file mode such as 0660", (unsigned long)mode);
	return -1;
}

static int
check_header(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *name = last_string(opt);
	/* Copies that a message came with are removed: no header that means something to others. */
	bool good = strncasecmp(name, "X-", 2) == 0 || strncasecmp(name, "MTA-STS", 7) == 0;

	/* field-name, RFC 5322 section 3.6.8: printable, no colon; a length that any MTA takes. */
	for (const char *p = name; *p != '\0'; p++)
		good = good && *p > ' ' && *p <= '~' && *p != ':' && p - name < 64;
	if (good || name[0] == '\0')
		return 0;
	cfg_error(cfg,
	    "header = \"%s\": want a header field name of at most 64 bytes that begins with X- or "
	    "MTA-STS",
	    name);
	return -1;
}

/* Called with each section as it ends, so the last one is new. */
static int
add_rule(struct rules *rules, cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	struct errmsg em = {""};

	if (cfg_getstr(sec, "unmet")[0] != '\0' &&
	    strcmp(cfg_getstr(sec, "policy"), "require") != 0) {
		cfg_error(cfg, "domain \"%s\": unmet goes with policy = require", cfg_title(sec));
		return -1;
	}
	if (rules_add(rules, cfg_title(sec), rule_of(sec), &em))
		return 0;
	cfg_error(cfg, "domain \"%s\": %s", cfg_title(sec), em.text);
	return -1;
}

static int
add_domain(cfg_t *cfg, cfg_opt_t *opt)
{
	return add_rule(parse_rules, cfg, opt);
}

/* A section ends before the one that it stands in. */
static int
add_set_domain(cfg_t *cfg, cfg_opt_t *opt)
{
	if (parse_set == NULL && (parse_set = rules_new()) == NULL)
		abort();
	return add_rule(parse_set, cfg, opt);
}

static int
add_set(cfg_t *cfg, cfg_opt_t *opt)
{
	static const char *const who[] = {
	    [CHOICE_USER] = "user", [CHOICE_SENDER] = "sender", [CHOICE_LISTENER] = "listener"};
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	struct errmsg em = {""};
	int result = 0;

	for (int i = 0; i < CHOICES; i++)
		for (unsigned j = 0; j < cfg_size(sec, who[i]) && result == 0; j++) {
			const char *text = cfg_getnstr(sec, who[i], j);

			if (choice_add(parse_chosen, (enum choice)i, text, parse_set, &em))
				continue;
			cfg_error(cfg, "rules \"%s\": %s \"%s\": %s", cfg_title(sec), who[i], text,
			    em.text);
			result = -1;
		}
	rules_free(&parse_set);
	return result;
}

/* NULL with a reason. A directory opens well, but libconfuse's scanner ends the process over it. */
static FILE *
open_file(const char *path, struct errmsg *em)
{
	FILE *f = fopen(path, "re");
	int error = errno;
	struct stat st;

	if (f != NULL && fstat(fileno(f), &st) == 0 && !S_ISDIR(st.st_mode))
		return f;
	if (f != NULL) {
		errmsg_set(
		    em, "%s is a directory; name the file in it, as in %s/mtasts.conf", path, path);
		fclose(f);
	} else
		errmsg_set(em, "%s: cannot be read: %s; %s", path, strerror(error),
		    error == EACCES
			? "let its user read it: chgrp and chmod it, and the directories above"
			: "an empty file means all defaults");
	return NULL;
}

/*
 * include("/path"): read when the file that names it has been. Not cfg_include(), whose stack of
 * files survives an error in one of them, and whose scanner ends the process over a directory.
 */
static int
include(cfg_t *cfg, cfg_opt_t *opt UNUSED, int argc, const char **argv)
{
	struct errmsg em = {"want one path that begins with /"};
	FILE *f = argc == 1 && argv[0][0] == '/' ? open_file(argv[0], &em) : NULL;

	if (f == NULL) {
		cfg_error(cfg, "include: %s", em.text);
		return -1;
	}
	fclose(f);
	list_add(&parse_includes, argv[0]);
	return 0;
}

/* Not const: libconfuse wants it so. */
static char socketmap_default[] = "{unix:" RUNDIR "/mtasts/socketmap.sock}", no_servers[] = "{}",
	    queue_default[] = "{/var/spool/mqueue}", nobody[] = "{}";

static cfg_opt_t store_options[] = {CFG_STR("dir", LOCALSTATEDIR "/lib/mtasts/store", CFGF_NONE),
    CFG_INT("max_mib", 8192, CFGF_NONE), CFG_END()};
static cfg_opt_t control_options[] = {
    CFG_STR("listen", "unix:" RUNDIR "/mtasts/control.sock", CFGF_NONE),
    CFG_INT("mode", 0660, CFGF_NONE), CFG_STR("owner", "", CFGF_NONE),
    CFG_STR("group", "", CFGF_NONE), CFG_END()};
static cfg_opt_t socketmap_options[] = {CFG_STR_LIST("listen", socketmap_default, CFGF_NONE),
    CFG_INT("mode", 0660, CFGF_NONE), CFG_STR("owner", "", CFGF_NONE),
    CFG_STR("group", "", CFGF_NONE), CFG_END()};
static cfg_opt_t dns_options[] = {
    CFG_STR_LIST("servers", no_servers, CFGF_NONE), CFG_STR("timeout", "3s", CFGF_NONE), CFG_END()};
static cfg_opt_t https_options[] = {
    CFG_STR("ca_file", "", CFGF_NONE), CFG_STR("timeout", "60s", CFGF_NONE), CFG_END()};
static cfg_opt_t map_options[] = {
    CFG_STR("path", LOCALSTATEDIR "/lib/mtasts/map/policy.db", CFGF_NONE),
    CFG_INT("none_max", 200000, CFGF_NONE), CFG_STR("group", "root", CFGF_NONE),
    CFG_STR("makemap", "", CFGF_NONE), CFG_STR("type", "hash", CFGF_NONE), CFG_END()};
static cfg_opt_t access_options[] = {CFG_STR("path", "", CFGF_NONE), CFG_END()};
static cfg_opt_t nudge_options[] = {
    CFG_STR("address", "127.0.0.1:25", CFGF_NONE), CFG_INT("per_minute", 10, CFGF_NONE), CFG_END()};
#define DOMAIN_SECTIONS \
	CFG_SEC("domain", domain_options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES)
static cfg_opt_t domain_options[] = {
    CFG_STR("policy", "optional", CFGF_NONE), CFG_STR("unmet", "", CFGF_NONE), CFG_END()};
static cfg_opt_t set_options[] = {CFG_STR_LIST("user", nobody, CFGF_NONE),
    CFG_STR_LIST("sender", nobody, CFGF_NONE), CFG_STR_LIST("listener", nobody, CFGF_NONE),
    DOMAIN_SECTIONS, CFG_END()};
static cfg_opt_t milter_options[] = {
    CFG_STR("socket", "unix:" RUNDIR "/mtasts/milter.sock", CFGF_NONE),
    CFG_INT("mode", 0660, CFGF_NONE), CFG_STR("owner", "", CFGF_NONE),
    CFG_STR("group", "", CFGF_NONE), CFG_STR("wait", "5s", CFGF_NONE),
    CFG_STR("hold", "queue", CFGF_NONE), CFG_STR("header", "X-MTA-STS", CFGF_NONE), CFG_END()};
static cfg_opt_t release_options[] = {
    CFG_STR("socket", "unix:" RUNDIR "/mtasts-release/release.sock", CFGF_NONE),
    CFG_STR_LIST("queue", queue_default, CFGF_NONE),
    CFG_STR("sendmail", "/usr/sbin/sendmail", CFGF_NONE), CFG_END()};
static cfg_opt_t options[] = {CFG_STR("user", "mtasts", CFGF_NONE),
    CFG_STR("enforcement", "on", CFGF_NONE), CFG_STR("hold_max", "30m", CFGF_NONE),
    CFG_STR("failed_check", "5m", CFGF_NONE), CFG_STR("away_limit", "2h", CFGF_NONE),
    CFG_INT("discoveries_max", 2000, CFGF_NONE), CFG_BOOL("debug", cfg_false, CFGF_NONE),
    CFG_SEC("store", store_options, CFGF_NONE), CFG_SEC("control", control_options, CFGF_NONE),
    CFG_SEC("socketmap", socketmap_options, CFGF_NONE), CFG_SEC("dns", dns_options, CFGF_NONE),
    CFG_SEC("https", https_options, CFGF_NONE), CFG_SEC("sendmail_map", map_options, CFGF_NONE),
    CFG_SEC("access_map", access_options, CFGF_NONE), CFG_SEC("nudge", nudge_options, CFGF_NONE),
    CFG_SEC("milter", milter_options, CFGF_NONE), CFG_SEC("release", release_options, CFGF_NONE),
    CFG_SEC("rules", set_options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES), DOMAIN_SECTIONS,
    CFG_FUNC("include", include), CFG_END()};
/* A file of its own, with many domains perhaps. */
static cfg_opt_t included_options[] = {DOMAIN_SECTIONS, CFG_END()};

static void
set_domain_checks(cfg_t *cfg)
{
	cfg_set_validate_func(cfg, "domain", add_domain);
	cfg_set_validate_func(cfg, "domain|policy", check_domain_policy);
	cfg_set_validate_func(cfg, "domain|unmet", check_unmet);
}

static void
set_checks(cfg_t *cfg)
{
	static const struct {
		const char *option;
		cfg_validate_callback_t check;
	} checks[] = {{"enforcement", check_enforcement}, {"hold_max", check_duration},
	    {"failed_check", check_duration}, {"away_limit", check_away},
	    {"discoveries_max", check_positive}, {"store|dir", check_path},
	    {"store|max_mib", check_max_mib}, {"control|listen", check_control},
	    {"control|mode", check_mode}, {"socketmap|listen", check_socket},
	    {"socketmap|mode", check_mode}, {"control|owner", check_owner},
	    {"control|group", check_group}, {"socketmap|owner", check_owner},
	    {"socketmap|group", check_group}, {"milter|owner", check_owner},
	    {"milter|group", check_group}, {"user", check_user}, {"dns|servers", check_server},
	    {"nudge|address", check_nudge}, {"dns|timeout", check_duration},
	    {"https|ca_file", check_ca_file}, {"https|timeout", check_duration},
	    {"sendmail_map|path", check_path}, {"sendmail_map|none_max", check_positive},
	    {"sendmail_map|group", check_map_group}, {"sendmail_map|makemap", check_path},
	    {"sendmail_map|type", check_map_type}, {"sendmail_map", check_map},
	    {"access_map|path", check_path}, {"nudge|per_minute", check_positive},
	    {"milter|socket", check_socket}, {"milter|mode", check_mode},
	    {"milter|wait", check_duration}, {"milter|hold", check_hold},
	    {"release|socket", check_control}, {"release|queue", check_path},
	    {"release|sendmail", check_path}, {"milter|header", check_header}};

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		cfg_set_validate_func(cfg, checks[i].option, checks[i].check);
	set_domain_checks(cfg);
	cfg_set_validate_func(cfg, "rules", add_set);
	cfg_set_validate_func(cfg, "rules|domain", add_set_domain);
	cfg_set_validate_func(cfg, "rules|domain|policy", check_domain_policy);
	cfg_set_validate_func(cfg, "rules|domain|unmet", check_unmet);
}

static char *
own_or_null(cfg_t *cfg, const char *option)
{
	const char *s = cfg_getstr(cfg, option);

	return s == NULL || s[0] == '\0' ? NULL : own(s);
}

static time_t
seconds_of(cfg_t *cfg, const char *option)
{
	time_t t = 0;

	(void)!when_parse_duration(cfg_getstr(cfg, option), &t); /* checked while it was read */
	return t;
}

static struct config_list
list_of(cfg_t *cfg, const char *option)
{
	struct config_list list = {0, NULL};

	for (unsigned i = 0; i < cfg_size(cfg, option); i++)
		list_add(&list, cfg_getnstr(cfg, option, i));
	return list;
}

static struct config_sockets
sockets_of(cfg_t *sec)
{
	return (struct config_sockets){.listen = list_of(sec, "listen"),
	    .mode = (mode_t)cfg_getint(sec, "mode"),
	    .owner = own_or_null(sec, "owner"),
	    .group = own_or_null(sec, "group")};
}

static struct config *
config_of(cfg_t *cfg)
{
	struct config *c = calloc(1, sizeof(*c));
	cfg_t *milter = cfg_getsec(cfg, "milter");

	if (c == NULL)
		abort();
	c->user = own(cfg_getstr(cfg, "user"));
	c->observe = strcmp(cfg_getstr(cfg, "enforcement"), "observe") == 0;
	c->store_dir = own(cfg_getstr(cfg, "store|dir"));
	c->store_max_bytes = (size_t)cfg_getint(cfg, "store|max_mib") << 20;
	c->control = sockets_of(cfg_getsec(cfg, "control"));
	c->socketmap = sockets_of(cfg_getsec(cfg, "socketmap"));
	c->dns_servers = list_of(cfg, "dns|servers");
	c->dns_timeout_s = seconds_of(cfg, "dns|timeout");
	c->ca_file = own_or_null(cfg, "https|ca_file");
	c->fetch_timeout_s = seconds_of(cfg, "https|timeout");
	c->discoveries_max = (size_t)cfg_getint(cfg, "discoveries_max");
	c->map_path = own_or_null(cfg, "sendmail_map|path");
	c->map_none_max = (size_t)cfg_getint(cfg, "sendmail_map|none_max");
	c->map_group = own(cfg_getstr(cfg, "sendmail_map|group"));
	c->map_makemap = own_or_null(cfg, "sendmail_map|makemap");
	c->map_type = own(cfg_getstr(cfg, "sendmail_map|type"));
	c->access_path = own_or_null(cfg, "access_map|path");
	c->hold_max_s = seconds_of(cfg, "hold_max");
	c->failed_check_s = seconds_of(cfg, "failed_check");
	c->away_limit_s = strcmp(cfg_getstr(cfg, "away_limit"), "never") == 0
			      ? AWAY_NEVER
			      : seconds_of(cfg, "away_limit");
	c->nudge_address = own_or_null(cfg, "nudge|address");
	c->nudge_per_minute = (size_t)cfg_getint(cfg, "nudge|per_minute");
	c->milter_socket = own(cfg_getstr(milter, "socket"));
	c->milter_mode = (mode_t)cfg_getint(milter, "mode");
	c->milter_owner = own_or_null(milter, "owner");
	c->milter_group = own_or_null(milter, "group");
	c->milter_wait_s = seconds_of(milter, "wait");
	(void)hold_of(cfg_getstr(milter, "hold"), &c->milter_hold); /* checked while it was read */
	c->milter_header = own_or_null(milter, "header");
	c->release_socket = own(cfg_getstr(cfg, "release|socket"));
	c->release_queue = list_of(cfg, "release|queue");
	c->release_sendmail = own(cfg_getstr(cfg, "release|sendmail"));
	c->debug = cfg_getbool(cfg, "debug") == cfg_true;
	return c;
}

/* NULL with "file:line: what; remedy". */
static cfg_t *
parse(const char *path, cfg_opt_t *known, void (*set)(cfg_t *), struct errmsg *em)
{
	struct errmsg first = {""};
	FILE *f = open_file(path, em);
	cfg_t *cfg;

	if (f == NULL)
		return NULL;
	if ((cfg = cfg_init(known, CFGF_NONE)) == NULL)
		abort();
	cfg_set_error_function(cfg, note_error);
	set(cfg);
	parse_em = &first;
	parse_path = path;
	if (cfg_parse_fp(cfg, f) != CFG_SUCCESS) {
		errmsg_set(em, "%s", first.text[0] != '\0' ? first.text : path);
		cfg_free(cfg);
		cfg = NULL;
	}
	parse_em = NULL;
	fclose(f);
	return cfg;
}

static bool
parse_included(struct errmsg *em)
{
	bool ok = true;

	for (size_t i = 0; i < parse_includes.n && ok; i++) {
		cfg_t *cfg = parse(parse_includes.item[i], included_options, set_domain_checks, em);

		ok = cfg != NULL;
		if (ok)
			cfg_free(cfg);
	}
	return ok;
}

struct config *
config_read(const char *path, struct errmsg *em)
{
	struct config *config = NULL;
	cfg_t *cfg;

	if ((parse_rules = rules_new()) == NULL || (parse_chosen = rules_new()) == NULL)
		abort();
	cfg = parse(path, options, set_checks, em);
	if (cfg != NULL && parse_included(em)) {
		config = config_of(cfg);
		config->rules = parse_rules;
		config->chosen = parse_chosen;
		parse_rules = parse_chosen = NULL;
	}
	if (cfg != NULL)
		cfg_free(cfg);
	rules_free(&parse_rules);
	rules_free(&parse_chosen);
	rules_free(&parse_set);
	list_free(&parse_includes);
	return config;
}

static void
sockets_free(struct config_sockets *s)
{
	list_free(&s->listen);
	free(s->owner);
	free(s->group);
}

void
config_free(struct config **config)
{
	struct config *c = *config;

	if (c == NULL)
		return;
	free(c->user);
	free(c->store_dir);
	sockets_free(&c->control);
	sockets_free(&c->socketmap);
	list_free(&c->dns_servers);
	free(c->ca_file);
	free(c->map_path);
	free(c->map_group);
	free(c->map_makemap);
	free(c->map_type);
	free(c->access_path);
	free(c->nudge_address);
	rules_free(&c->rules);
	rules_free(&c->chosen);
	free(c->milter_socket);
	free(c->milter_owner);
	free(c->milter_group);
	free(c->milter_header);
	free(c->release_socket);
	list_free(&c->release_queue);
	free(c->release_sendmail);
	free(c);
	*config = NULL;
}
