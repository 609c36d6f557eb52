/* daemon/mtastsd.c: puts the parts together, and takes them apart again. */
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/once.h"
#include "daemon/schedule.h"
#include "daemon/socketmap.h"
#include "maps/access.h"
#include "maps/bdb.h"
#include "maps/makemap.h"
#include "site/domains.h"
#include "site/notify.h"
#include "site/privs.h"
#include "site/sock.h"
#include "util/log.h"

enum {
	SPARE_FDS = 4500, /* connections of the two servers, the store, the maps */
	FDS_PER_DISCOVERY = 3,
	READY_LATEST_S = 10, /* systemd ends who says nothing for 90 s */
	HELD_TICK_S = 30,
	HELD_MAX_S = 86400 /* after the last try; queue runs are hours apart at most */
};

struct daemon {
	const char *config_path;
	struct config *config;
	struct event_base *base;
	struct store *store;
	struct writer *writer;
	struct dns *dns;
	struct https *https;
	struct resolver *resolver;
	struct held *held;
	struct nudge *nudge;
	struct socketmap *socketmap;
	struct control *control;
	struct schedule *schedule;
	struct once *once;
	struct event *sigterm, *sigint, *sighup, *held_tick, *ready_late;
};

enum { OPT_DOMAINS = 256, OPT_HEARTBEAT, OPT_JSON };

/* What the command line says. */
struct options {
	const char *config_path;
	bool debug, test, once;
	const char *domains_path; /* NULL: no list; "-": standard input */
	bool heartbeat, json;
};

static const char usage[] =
    "usage: mtastsd [-dt] [-c FILE]\n"
    "       mtastsd -1 [-d] [-c FILE] [--domains=FILE] [--heartbeat] [--json]\n"
    "       mtastsd -h | -V\n";
static const char help[] =
    "The MTA-STS helper daemon: discovers, caches and refreshes policies and pushes them into the MTA's maps.\n\n"
    "  -c, --config=FILE   read FILE (default: " CONFIG_FILE ")\n"
    "  -d, --debug         log every decision\n"
    "  -t, --test          test the configuration and exit\n"
    "  -1, --once          look at what is due, push it, print a summary and exit\n"
    "      --domains=FILE  with -1: look at these too, one a line; - is standard input\n"
    "      --heartbeat     with -1: mail for unknown domains waits for the next run\n"
    "      --json          with -1: print JSON\n"
    "  -h, --help          print this and exit\n"
    "  -V, --version       print the version and exit\n\n"
    "It stays in the foreground. SIGHUP reads the configuration again, SIGTERM ends it. See mtastsd(8).\n";

/* ---- events ---- */

/* Is there anything left to wait for? A site that requires a policy goes on waiting for one. */
static bool
can_go(const struct daemon *d, const char *domain, const struct resolution *res)
{
	switch (res->verdict) {
	case VERDICT_UNDECIDED:
		return false;
	case VERDICT_ENFORCE:
		return res->pushed;
	default:
		return resolve_rule(d->resolver, domain) != RULE_HOLD;
	}
}

static void
on_settled(const char *domain, enum verdict verdict, bool pushed, bool mail_waits, void *arg)
{
	struct daemon *d = arg;
	struct resolution res = {verdict, pushed};

	if (can_go(d, domain, &res) && (held_release(d->held, domain) || mail_waits))
		nudge_domain(d->nudge, domain);
}

struct release {
	struct daemon *daemon;
	char domain[256][DOMAIN_MAX + 1];
	size_t n;
};

static void
collect_settled(const struct held_domain *held, void *arg)
{
	struct release *r = arg;
	struct resolution res = resolve_peek(r->daemon->resolver, held->domain);

	if (r->n < sizeof(r->domain) / sizeof(r->domain[0]) &&
	    can_go(r->daemon, held->domain, &res))
		memcpy(r->domain[r->n++], held->domain, sizeof(held->domain));
}

/* Domains that settled while the maps were behind: nobody calls on_settled() again when the maps
 * have caught up. */
static void
on_held_tick(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct daemon *d = arg;
	struct release r = {.daemon = d};

	held_expire(d->held, time(NULL) - HELD_MAX_S);
	held_each(d->held, collect_settled, &r);
	for (size_t i = 0; i < r.n; i++)
		if (held_release(d->held, r.domain[i]))
			nudge_domain(d->nudge, r.domain[i]);
}

static void
on_ready(void *arg)
{
	struct daemon *d = arg;

	log_line(LOG_INFO, "ready: the maps agree with the store");
	if (d->nudge == NULL) /* we could not start, and the writer ends its work */
		return;
	nudge_queue(d->nudge);
	notify("READY=1\nSTATUS=The maps agree with the store.");
}

/* A map that cannot be written is no reason for systemd to keep the MTA waiting, and to end us: live
 * lookups are answered, and what needs the map waits in the MTA's queue. */
static void
on_ready_late(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct daemon *d = arg;
	struct writer_status status;

	writer_status(d->writer, &status);
	if (!status.ready)
		notify("READY=1\nSTATUS=The maps do not agree with the store yet.");
}

static void
on_stop(evutil_socket_t sig UNUSED, short what UNUSED, void *arg)
{
	struct daemon *d = arg;

	notify("STOPPING=1");
	event_base_loopbreak(d->base);
}

static void
on_configured(const struct writer_result *result UNUSED, void *arg)
{
	struct config *old = arg;

	config_free(&old);
	notify("READY=1");
}

/* Each discovery holds a few descriptors: take what the system gives, and do no more at once than
 * that allows. */
static void
fit_descriptors(struct config *config)
{
	struct rlimit limit, had;
	rlim_t want = SPARE_FDS + (rlim_t)config->discoveries_max * FDS_PER_DISCOVERY;
	size_t fit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
		return;
	had = limit;
	limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		limit = had;
	/* Root may raise both, but not in every container. */
	if (limit.rlim_cur < want && setrlimit(RLIMIT_NOFILE, &(struct rlimit){want, want}) == 0)
		return;
	if (limit.rlim_cur >= want)
		return;
	fit = limit.rlim_cur > 256 ? ((size_t)limit.rlim_cur - 128) / FDS_PER_DISCOVERY / 2 : 16;
	if (fit < config->discoveries_max) {
		log_line(LOG_WARNING,
		    "discoveries_max = %zu needs %lu open files, the limit is %lu: %zu at once",
		    config->discoveries_max, (unsigned long)want, (unsigned long)limit.rlim_cur,
		    fit);
		config->discoveries_max = fit;
	}
}

/* What a running daemon can change: overrides, enforcement, limits. Sockets, paths and servers take
 * a restart. */
static void
on_reload(evutil_socket_t sig UNUSED, short what UNUSED, void *arg)
{
	struct daemon *d = arg;
	struct errmsg em = {""};
	struct config *fresh, *old = d->config;

	notify("RELOADING=1");
	fresh = config_read(d->config_path, &em);
	if (fresh == NULL) {
		log_line(LOG_ERR, "%s; the old configuration stays in force", em.text);
		notify("READY=1");
		return;
	}
	log_line(LOG_NOTICE,
	    "configuration read again: enforcement=%s rules=%zu; sockets, paths and servers change with a restart",
	    fresh->observe ? "observe" : "on", rules_count(fresh->rules));
	fit_descriptors(fresh);
	d->config = fresh;
	resolver_configure(d->resolver, fresh);
	control_configure(d->control, fresh);
	writer_configure(d->writer, fresh, on_configured, old);
}

/* ---- start and stop ---- */

/* The directory of a path of the configuration: the part that must exist and be ours. */
static bool
own_parent(const char *path, const char *user, const char *group, mode_t mode, struct errmsg *em)
{
	char *copy = strdup(path);
	bool ok = copy != NULL && privs_own_dir(dirname(copy), user, group, mode, em);

	free(copy);
	return ok;
}

static bool
own_socket_dirs(const struct config *c, const struct config_sockets *s, struct errmsg *em)
{
	static const char ours[] = RUNDIR "/mtasts/";
	struct sock_address a;

	for (size_t i = 0; i < s->listen.n; i++) {
		const char *path =
		    sock_parse(s->listen.item[i], &a, em) ? sock_unix_path(&a) : NULL;

		if (path != NULL && strncmp(path, ours, sizeof(ours) - 1) == 0 &&
		    !own_parent(path, c->user, NULL, 0755, em))
			return false;
	}
	return true;
}

/*
 * As root: the directories that the user will need. The group of the map's own directory is root,
 * so that other local users can neither read nor lock the map; its set-group-ID bit hands that
 * group on, also to a file that has to be made again when we are root no more.
 */
static bool
own_dirs(const struct config *c, struct errmsg *em)
{
	return privs_own_dir(c->store_dir, c->user, NULL, 0700, em) &&
	       (c->map_path == NULL || own_parent(c->map_path, c->user, c->map_group, 02750, em));
}

/* The map file is made while we are root, so that it can have root's group. */
static bool
open_sinks(
    const struct config *c, struct sink *sinks[WRITER_SINKS_MAX], size_t *n, struct errmsg *em)
{
	struct bdb_config bdb = {.path = c->map_path, .none_max = c->map_none_max};
	struct makemap_config makemap = {.program = c->map_makemap,
	    .type = c->map_type,
	    .path = c->map_path,
	    .none_max = c->map_none_max};
	struct access_config access = {.path = c->access_path};

	*n = 0;
	if (c->map_path != NULL &&
	    (sinks[(*n)++] = c->map_makemap != NULL ? makemap_open(&makemap, em)
						    : bdb_open(&bdb, em)) == NULL)
		return false;
	if (c->access_path != NULL && (sinks[(*n)++] = access_open(&access, em)) == NULL)
		return false;
	return true;
}

/* The writer has not taken them over. */
static void
close_sinks(struct sink *const sinks[WRITER_SINKS_MAX])
{
	for (size_t i = 0; i < WRITER_SINKS_MAX; i++)
		if (sinks[i] != NULL)
			sinks[i]->ops->close(sinks[i]);
}

/* Returns an exit code. */
static int
open_store(struct daemon *d, struct errmsg *em)
{
	struct store_config config = {
	    .dir = d->config->store_dir, .max_bytes = d->config->store_max_bytes};
	bool recovered = false;
	enum store_result rc = store_open(&config, &d->store, &recovered, em);

	if (rc != STORE_OK)
		return rc == STORE_BUSY ? EX_TEMPFAIL : EX_CANTCREAT;
	if (recovered)
		log_line(LOG_ERR, "store: %s", em->text);
	return EX_OK;
}

static bool
open_discovery(struct daemon *d, struct errmsg *em)
{
	const struct config *c = d->config;
	struct dns_config dns = {.n_servers = c->dns_servers.n,
	    .servers = (const char *const *)c->dns_servers.item,
	    .timeout_ms = (int)c->dns_timeout_s * 1000,
	    .tries = 3};
	struct https_config https = {.ca_file = c->ca_file,
	    .timeout_s = (int)c->fetch_timeout_s,
	    .user_agent = "mtasts/" PACKAGE_VERSION};

	d->dns = dns_new(d->base, &dns, em);
	if (d->dns == NULL)
		return false;
	d->https = https_new(d->base, d->dns, &https, em);
	return d->https != NULL;
}

static bool
open_servers(struct daemon *d, struct errmsg *em)
{
	struct resolver_parts resolver = {.base = d->base,
	    .store = d->store,
	    .writer = d->writer,
	    .dns = d->dns,
	    .https = d->https,
	    .config = d->config,
	    .settled = on_settled,
	    .arg = d};
	struct socketmap_parts socketmap = {
	    .base = d->base, .writer = d->writer, .store = d->store};
	struct control_parts control = {
	    .base = d->base, .writer = d->writer, .store = d->store, .config = d->config};

	d->held = held_new();
	d->nudge = nudge_new(d->base, d->config->nudge_address, d->config->nudge_per_minute, em);
	d->resolver = d->nudge == NULL ? NULL : resolver_new(&resolver, em);
	if (d->held == NULL || d->resolver == NULL)
		return false;
	socketmap.resolver = control.resolver = d->resolver;
	socketmap.held = control.held = d->held;
	socketmap.nudge = d->nudge;
	d->socketmap = socketmap_new(&socketmap, &d->config->socketmap, em);
	d->schedule = schedule_new(d->base, d->store, d->writer, d->resolver);
	if (d->schedule == NULL)
		return false;
	control.schedule = d->schedule;
	d->control = d->socketmap == NULL ? NULL : control_new(&control, &d->config->control, em);
	return d->control != NULL;
}

static bool
open_events(struct daemon *d)
{
	struct timeval tick = {.tv_sec = HELD_TICK_S}, latest = {.tv_sec = READY_LATEST_S};

	d->sigterm = evsignal_new(d->base, SIGTERM, on_stop, d);
	d->sigint = evsignal_new(d->base, SIGINT, on_stop, d);
	d->sighup = evsignal_new(d->base, SIGHUP, on_reload, d);
	d->held_tick = event_new(d->base, -1, EV_PERSIST, on_held_tick, d);
	d->ready_late = evtimer_new(d->base, on_ready_late, d);
	return d->sigterm != NULL && d->sigint != NULL && d->sighup != NULL &&
	       d->held_tick != NULL && d->ready_late != NULL && event_add(d->sigterm, NULL) == 0 &&
	       event_add(d->sigint, NULL) == 0 && event_add(d->sighup, NULL) == 0 &&
	       event_add(d->held_tick, &tick) == 0 && event_add(d->ready_late, &latest) == 0;
}

/* Returns an exit code; EX_OK: store and discovery are open. */
static int
open_parts(struct daemon *d, struct errmsg *em)
{
	int rc;

	if (!privs_drop(d->config->user, em))
		return EX_NOPERM;
	if ((rc = open_store(d, em)) != EX_OK)
		return rc;
	if (evthread_use_pthreads() != 0 || (d->base = event_base_new()) == NULL ||
	    !open_discovery(d, em))
		return EX_CONFIG;
	return EX_OK;
}

/*
 * Returns an exit code; EX_OK: store, discovery and writer are open. The store's lock comes before
 * the first write to a map and before the sockets: a second daemon changes nothing of the first
 * one's.
 */
static int
open_core(struct daemon *d, struct errmsg *em)
{
	struct sink *sinks[WRITER_SINKS_MAX] = {NULL, NULL};
	size_t n = 0;
	int rc = EX_CANTCREAT;

	fit_descriptors(d->config);
	if (own_dirs(d->config, em) && open_sinks(d->config, sinks, &n, em))
		rc = open_parts(d, em);
	if (rc == EX_OK) {
		d->writer = writer_new(d->base, d->store, d->config, sinks, n, on_ready, d, em);
		rc = d->writer == NULL ? EX_UNAVAILABLE : EX_OK;
	}
	if (rc != EX_OK)
		close_sinks(sinks);
	return rc;
}

static int
daemon_open(struct daemon *d, struct errmsg *em)
{
	int rc = own_socket_dirs(d->config, &d->config->control, em) &&
			 own_socket_dirs(d->config, &d->config->socketmap, em)
		     ? open_core(d, em)
		     : EX_CANTCREAT;

	if (rc != EX_OK)
		return rc;
	if (!open_servers(d, em))
		return EX_UNAVAILABLE;
	return open_events(d) ? EX_OK : EX_OSERR;
}

/* Servers first, so that nobody new asks; then discovery, then the writer, which finishes what it
 * was given. */
static void
daemon_close(struct daemon *d)
{
	struct event *events[] = {d->sigterm, d->sigint, d->sighup, d->held_tick, d->ready_late};

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (events[i] != NULL)
			event_free(events[i]);
	socketmap_free(&d->socketmap);
	control_free(&d->control);
	schedule_free(&d->schedule);
	if (d->once != NULL)
		once_stop(d->once);
	if (d->resolver != NULL)
		resolver_stop(d->resolver);
	https_free(&d->https);
	dns_free(&d->dns);
	writer_free(&d->writer);
	resolver_free(&d->resolver);
	once_free(&d->once);
	nudge_free(&d->nudge);
	held_free(&d->held);
	store_close(&d->store);
	if (d->base != NULL)
		event_base_free(d->base);
	config_free(&d->config);
}

static int
cannot_start(int rc, const struct errmsg *em, bool logs_to_tty)
{
	log_line(LOG_ERR, "cannot start: %s", em->text);
	if (!logs_to_tty)
		fprintf(stderr, "mtastsd: cannot start: %s\n", em->text);
	return rc;
}

static int
run_daemon(struct daemon *d)
{
	struct errmsg em = {""};
	int rc = daemon_open(d, &em);

	if (rc != EX_OK)
		return cannot_start(rc, &em, isatty(STDERR_FILENO));
	log_line(LOG_INFO, "started version=%s enforcement=%s", PACKAGE_VERSION,
	    d->config->observe ? "observe" : "on");
	notify("STATUS=Making the maps agree with the store.");
	event_base_dispatch(d->base);
	return EX_OK;
}

/* ---- one round, and no daemon ---- */

/* The MTA's queue is not ours to run, and nobody else was told to wait. */
static void
on_settled_once(const char *domain UNUSED, enum verdict verdict UNUSED, bool pushed UNUSED,
    bool mail_waits UNUSED, void *arg UNUSED)
{
}

static bool
open_once(struct daemon *d, struct config_list *list, struct errmsg *em)
{
	struct resolver_parts resolver = {.base = d->base,
	    .store = d->store,
	    .writer = d->writer,
	    .dns = d->dns,
	    .https = d->https,
	    .config = d->config,
	    .settled = on_settled_once};
	struct once_parts once = {
	    .base = d->base, .store = d->store, .writer = d->writer, .config = d->config};

	d->resolver = once.resolver = resolver_new(&resolver, em);
	d->sigterm = evsignal_new(d->base, SIGTERM, on_stop, d);
	d->sigint = evsignal_new(d->base, SIGINT, on_stop, d);
	if (d->resolver == NULL || d->sigterm == NULL || d->sigint == NULL ||
	    event_add(d->sigterm, NULL) != 0 || event_add(d->sigint, NULL) != 0 ||
	    (d->once = once_new(&once, list)) == NULL) {
		errmsg_set(em, "out of memory");
		return false;
	}
	return true;
}

static json_int_t
number(const json_t *report, const char *name)
{
	return json_integer_value(json_object_get(report, name));
}

static void
print_summary(const json_t *report)
{
	const char *alive = json_string_value(json_object_get(report, "alive_until"));

	printf(
	    "looked at %lld, changed %lld, failed %lld, expired %lld, dropped %lld, pushed %lld\n",
	    (long long)number(report, "looked_at"), (long long)number(report, "changed"),
	    (long long)number(report, "failed"), (long long)number(report, "expired"),
	    (long long)number(report, "dropped"), (long long)number(report, "pushed"));
	if (alive != NULL)
		printf("mail for unknown domains waits for the next run, until %s\n", alive);
	if (!json_is_true(json_object_get(report, "in_step")))
		puts("the maps do not agree with the store; the log tells why");
}

/* The summary goes to standard output, what failed to standard error: cron mails the latter. */
static int
tell_once(const struct daemon *d, bool json)
{
	json_t *report = once_report(d->once), *failure;
	size_t i;

	json_array_foreach (json_object_get(report, "failures"), i, failure)
		fprintf(stderr, "mtastsd: %s: %s\n",
		    json_string_value(json_object_get(failure, "domain")),
		    json_string_value(json_object_get(failure, "reason")));
	if (json) {
		json_dumpf(report, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		print_summary(report);
	}
	json_decref(report);
	return once_again(d->once) ? EX_TEMPFAIL : EX_OK;
}

/* As root: only opened, for the user to read. NULL with a reason, or without a list. */
static FILE *
open_list(const char *path, struct errmsg *em)
{
	FILE *f = path == NULL ? NULL : strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

	if (f == NULL && path != NULL)
		errmsg_set(em, "%s: cannot be opened: %s", path, strerror(errno));
	return f;
}

static int
run_once(struct daemon *d, const struct options *opt)
{
	struct config_list list = {0};
	struct errmsg em = {""};
	FILE *f = open_list(opt->domains_path, &em);
	int rc = f == NULL && opt->domains_path != NULL ? EX_NOINPUT : EX_OK;

	/* mail must not wait for somebody who cannot find out what it waits for */
	if (!opt->heartbeat && d->config->away_limit_s > 0)
		d->config->away_limit_s = AWAY_KEEP;
	if (rc == EX_OK)
		rc = open_core(d, &em);
	if (rc == EX_OK && f != NULL && !domains_read(f, opt->domains_path, stderr, &list, &em))
		rc = EX_DATAERR;
	if (rc == EX_OK && !open_once(d, &list, &em))
		rc = EX_OSERR;
	if (rc == EX_OK) {
		event_base_dispatch(d->base);
		rc = tell_once(d, opt->json);
	} else {
		(void)cannot_start(rc, &em, false);
	}
	domains_clear(&list);
	if (f != NULL && f != stdin)
		fclose(f);
	return rc;
}

static int
run(const struct options *opt)
{
	struct daemon d = {.config_path = opt->config_path};
	struct errmsg em = {""};
	int rc;

	d.config = config_read(opt->config_path, &em);
	if (d.config == NULL) {
		fprintf(stderr, "mtastsd: %s\n", em.text);
		return EX_CONFIG;
	}
	if (opt->test) {
		printf("%s: correct\n", opt->config_path);
		config_free(&d.config);
		return EX_OK;
	}
	/* what a round has to say goes to its summary */
	log_open("mtastsd", !opt->once && isatty(STDERR_FILENO), opt->debug || d.config->debug);
	signal(SIGPIPE, SIG_IGN);
	rc = opt->once ? run_once(&d, opt) : run_daemon(&d);
	daemon_close(&d);
	if (rc == EX_OK && !opt->once)
		log_line(LOG_INFO, "stopped");
	return rc;
}

int
main(int argc, char **argv)
{
	static const struct option longopts[] = {{"config", required_argument, NULL, 'c'},
	    {"debug", no_argument, NULL, 'd'}, {"test", no_argument, NULL, 't'},
	    {"once", no_argument, NULL, '1'}, {"domains", required_argument, NULL, OPT_DOMAINS},
	    {"heartbeat", no_argument, NULL, OPT_HEARTBEAT}, {"json", no_argument, NULL, OPT_JSON},
	    {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0}};
	struct options opt = {.config_path = CONFIG_FILE};
	int ch;

	while ((ch = getopt_long(argc, argv, "1c:dhtV", longopts, NULL)) != -1)
		switch (ch) {
		case 'c':
			opt.config_path = optarg;
			break;
		case 'd':
			opt.debug = true;
			break;
		case 't':
			opt.test = true;
			break;
		case '1':
			opt.once = true;
			break;
		case OPT_DOMAINS:
			opt.domains_path = optarg;
			break;
		case OPT_HEARTBEAT:
			opt.heartbeat = true;
			break;
		case OPT_JSON:
			opt.json = true;
			break;
		case 'h':
			printf("%s\n%s", usage, help);
			return EX_OK;
		case 'V':
			puts("mtastsd " PACKAGE_VERSION);
			return EX_OK;
		default:
			fputs("try 'mtastsd --help'\n", stderr);
			return EX_USAGE;
		}
	if (optind < argc ||
	    (!opt.once && (opt.domains_path != NULL || opt.heartbeat || opt.json))) {
		fputs(usage, stderr);
		return EX_USAGE;
	}
	return run(&opt);
}
