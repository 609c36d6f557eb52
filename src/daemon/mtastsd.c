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
#include "daemon/schedule.h"
#include "daemon/socketmap.h"
#include "maps/access.h"
#include "maps/bdb.h"
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
	struct event *sigterm, *sigint, *sighup, *held_tick, *ready_late;
};

static const char usage[] = "usage: mtastsd [-dt] [-c FILE]\n"
			    "       mtastsd -h | -V\n";
static const char help[] =
    "The MTA-STS helper daemon: discovers, caches and refreshes policies and pushes them into the MTA's maps.\n\n"
    "  -c, --config=FILE   read FILE (default: " CONFIG_FILE ")\n"
    "  -d, --debug         log every decision\n"
    "  -t, --test          test the configuration and exit\n"
    "  -h, --help          print this and exit\n"
    "  -V, --version       print the version and exit\n\n"
    "It stays in the foreground. SIGHUP reads the configuration again, SIGTERM ends it. See mtastsd(8).\n";

/* ---- events ---- */

static void
on_settled(const char *domain, enum verdict verdict, bool pushed, bool mail_waits, void *arg)
{
	struct daemon *d = arg;

	if ((verdict != VERDICT_ENFORCE || pushed) && (held_release(d->held, domain) || mail_waits))
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

	if (r->n < sizeof(r->domain) / sizeof(r->domain[0]) && res.verdict != VERDICT_UNDECIDED &&
	    (res.verdict != VERDICT_ENFORCE || res.pushed))
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
		on_settled(r.domain[i], VERDICT_NONE, true, false, d);
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
	       (c->map_path == NULL || own_parent(c->map_path, c->user, "root", 02750, em)) &&
	       own_socket_dirs(c, &c->control, em) && own_socket_dirs(c, &c->socketmap, em);
}

/* The map file is made while we are root, so that it can have root's group. */
static bool
open_sinks(
    const struct config *c, struct sink *sinks[WRITER_SINKS_MAX], size_t *n, struct errmsg *em)
{
	struct bdb_config bdb = {.path = c->map_path, .none_max = c->map_none_max};
	struct access_config access = {.path = c->access_path};

	*n = 0;
	if (c->map_path != NULL && (sinks[(*n)++] = bdb_open(&bdb, em)) == NULL)
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

static bool
open_store(struct daemon *d, struct errmsg *em)
{
	struct store_config config = {
	    .dir = d->config->store_dir, .max_bytes = d->config->store_max_bytes};
	bool recovered = false;

	if (store_open(&config, &d->store, &recovered, em) != STORE_OK)
		return false;
	if (recovered)
		log_line(LOG_ERR, "store: %s", em->text);
	return true;
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
	if (!privs_drop(d->config->user, em))
		return EX_NOPERM;
	if (!open_store(d, em))
		return EX_CANTCREAT;
	if (evthread_use_pthreads() != 0 || (d->base = event_base_new()) == NULL ||
	    !open_discovery(d, em))
		return EX_CONFIG;
	return EX_OK;
}

/*
 * Returns an exit code; EX_OK: all is open. The store's lock comes before the first write to a map
 * and before the sockets: a second daemon changes nothing of the first one's.
 */
static int
daemon_open(struct daemon *d, struct errmsg *em)
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
	if (rc != EX_OK) {
		close_sinks(sinks);
		return rc;
	}
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
	if (d->resolver != NULL)
		resolver_stop(d->resolver);
	https_free(&d->https);
	dns_free(&d->dns);
	writer_free(&d->writer);
	resolver_free(&d->resolver);
	nudge_free(&d->nudge);
	held_free(&d->held);
	store_close(&d->store);
	if (d->base != NULL)
		event_base_free(d->base);
	config_free(&d->config);
}

static int
run(const char *config_path, bool debug, bool test)
{
	struct daemon d = {.config_path = config_path};
	struct errmsg em = {""};
	int rc;

	d.config = config_read(config_path, &em);
	if (d.config == NULL) {
		fprintf(stderr, "mtastsd: %s\n", em.text);
		return EX_CONFIG;
	}
	if (test) {
		printf("%s: correct\n", config_path);
		config_free(&d.config);
		return EX_OK;
	}
	log_open("mtastsd", isatty(STDERR_FILENO), debug || d.config->debug);
	signal(SIGPIPE, SIG_IGN);
	rc = daemon_open(&d, &em);
	if (rc == EX_OK) {
		log_line(LOG_INFO, "started version=%s enforcement=%s", PACKAGE_VERSION,
		    d.config->observe ? "observe" : "on");
		notify("STATUS=Making the maps agree with the store.");
		event_base_dispatch(d.base);
	} else {
		log_line(LOG_ERR, "cannot start: %s", em.text);
		if (!isatty(STDERR_FILENO))
			fprintf(stderr, "mtastsd: cannot start: %s\n", em.text);
	}
	daemon_close(&d);
	if (rc == EX_OK)
		log_line(LOG_INFO, "stopped");
	return rc;
}

int
main(int argc, char **argv)
{
	static const struct option longopts[] = {{"config", required_argument, NULL, 'c'},
	    {"debug", no_argument, NULL, 'd'}, {"test", no_argument, NULL, 't'},
	    {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0}};
	const char *config_path = CONFIG_FILE;
	bool debug = false, test = false;
	int ch;

	while ((ch = getopt_long(argc, argv, "c:dhtV", longopts, NULL)) != -1)
		switch (ch) {
		case 'c':
			config_path = optarg;
			break;
		case 'd':
			debug = true;
			break;
		case 't':
			test = true;
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
	if (optind < argc) {
		fputs(usage, stderr);
		return EX_USAGE;
	}
	return run(config_path, debug, test);
}
