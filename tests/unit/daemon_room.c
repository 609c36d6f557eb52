#include "daemon_room.h"

#include <db.h>
#include <event2/thread.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "maps/bdb.h"
#include "servers.h"

enum { PATIENCE_S = 30 };

struct config *
room_config(struct room *r, const char *more)
{
	char path[128];
	struct errmsg em = {""};
	struct config *config;
	FILE *f;

	snprintf(path, sizeof(path), "%s/mtasts.conf", r->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f,
	    "store { dir = \"%s/store\" }\nsendmail_map { path = \"%s\" }\n"
	    "control { listen = \"unix:%s\" }\nsocketmap { listen = {\"unix:%s\"} }\n"
	    "nudge { address = \"\" }\n%s\n",
	    r->dir, r->map, r->control, r->socketmap, more);
	fclose(f);
	config = config_read(path, &em);
	if (config == NULL)
		fail_msg("%s", em.text);
	return config;
}

void
room_open(struct room *r, const char *more)
{
	signal(SIGPIPE, SIG_IGN); /* as mtastsd does */
	memset(r, 0, sizeof(*r));
	make_dir(r->dir);
	snprintf(r->map, sizeof(r->map), "%s/policy.db", r->dir);
	snprintf(r->control, sizeof(r->control), "%s/control.sock", r->dir);
	snprintf(r->socketmap, sizeof(r->socketmap), "%s/socketmap.sock", r->dir);
	room_reopen(r, more);
}

void
room_reopen(struct room *r, const char *more)
{
	struct errmsg em = {""};
	bool recovered;
	struct store_config store;
	struct bdb_config map;

	r->config = room_config(r, more);
	store = (struct store_config){
	    .dir = r->config->store_dir, .max_bytes = r->config->store_max_bytes};
	map = (struct bdb_config){.path = r->map, .none_max = r->config->map_none_max};
	assert_int_equal(evthread_use_pthreads(), 0);
	r->base = event_base_new();
	assert_non_null(r->base);
	if (store_open(&store, &r->store, &recovered, &em) != STORE_OK ||
	    (r->sink = bdb_open(&map, &em)) == NULL)
		fail_msg("%s", em.text);
}

static void
on_ready(void *arg)
{
	((struct room *)arg)->n_ready++;
}

static bool
is_ready(void *arg)
{
	return ((struct room *)arg)->n_ready > 0;
}

void
room_begin_writer(struct room *r)
{
	struct errmsg em = {""};

	r->n_ready = 0;
	r->writer = writer_new(r->base, r->store, r->config, &r->sink, 1, on_ready, r, &em);
	if (r->writer == NULL)
		fail_msg("%s", em.text);
	r->sink = NULL;
}

void
room_start_writer(struct room *r)
{
	room_begin_writer(r);
	room_run(r, is_ready, r);
}

static void
on_settled(const char *domain UNUSED, enum verdict verdict UNUSED, bool pushed UNUSED,
    bool mail_waits UNUSED, void *arg)
{
	((struct room *)arg)->n_settled++;
}

void
room_start_resolver(struct room *r)
{
	struct errmsg em = {""};
	struct dns_config dns = {.n_servers = r->config->dns_servers.n,
	    .servers = (const char *const *)r->config->dns_servers.item,
	    .timeout_ms = (int)r->config->dns_timeout_s * 1000,
	    .tries = 2};
	struct https_config https = {.timeout_s = 5, .user_agent = "test"};
	struct resolver_parts parts = {.base = r->base,
	    .store = r->store,
	    .writer = r->writer,
	    .config = r->config,
	    .settled = on_settled,
	    .arg = r};

	r->dns = parts.dns = dns_new(r->base, &dns, &em);
	r->https = parts.https = r->dns == NULL ? NULL : https_new(r->base, r->dns, &https, &em);
	r->resolver = r->https == NULL ? NULL : resolver_new(&parts, &em);
	r->nudge = nudge_new(r->base, r->config->nudge_address, r->config->nudge_per_minute, &em);
	r->held = held_new();
	r->schedule =
	    r->resolver == NULL ? NULL : schedule_new(r->base, r->store, r->writer, r->resolver);
	if (r->schedule == NULL || r->nudge == NULL || r->held == NULL)
		fail_msg("%s", em.text);
}

void
room_stop(struct room *r)
{
	schedule_free(&r->schedule);
	if (r->resolver != NULL)
		resolver_stop(r->resolver);
	https_free(&r->https);
	dns_free(&r->dns);
	writer_free(&r->writer);
	resolver_free(&r->resolver);
	nudge_free(&r->nudge);
	held_free(&r->held);
	if (r->sink != NULL)
		r->sink->ops->close(r->sink);
	r->sink = NULL;
	store_close(&r->store);
	if (r->base != NULL) {
		/* a bufferevent freed with a callback of its own pending is let go of by the loop */
		event_base_loop(r->base, EVLOOP_NONBLOCK);
		event_base_free(r->base);
	}
	r->base = NULL;
	config_free(&r->config);
}

void
room_close(struct room *r)
{
	room_stop(r);
	remove_dir(r->dir);
}

/* EVLOOP_ONCE alone goes round once more, without our timer, when the last callback of a pass was
 * one of libevent's own. */
static void
on_turn(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	event_base_loopexit(arg, NULL);
}

void
room_turn(struct room *r)
{
	struct timeval ms = {.tv_usec = 2000};

	event_base_once(r->base, -1, EV_TIMEOUT, on_turn, r->base, &ms);
	event_base_loop(r->base, EVLOOP_ONCE);
}

void
room_run(struct room *r, bool (*done)(void *arg), void *arg)
{
	time_t end = time(NULL) + PATIENCE_S;

	while (!done(arg)) {
		if (time(NULL) > end)
			fail_msg("waited for %d s in vain", PATIENCE_S);
		room_turn(r);
	}
}

struct entry
room_enforce(const char *mx)
{
	time_t now = time(NULL);
	struct entry e = {.state = ENTRY_POLICY,
	    .policy = policy_new(MODE_ENFORCE, 864000, 1, &mx),
	    .id = "20260101",
	    .fetched = now,
	    .expires = now + 864000,
	    .confirmed = now,
	    .recheck = now + 3600,
	    .refetch = now + 80000,
	    .used = now};

	assert_non_null(e.policy);
	return e;
}

struct entry
room_none(void)
{
	time_t now = time(NULL);

	return (struct entry){.state = ENTRY_NONE,
	    .expires = now + 3600,
	    .confirmed = now,
	    .recheck = now + 3600,
	    .used = now};
}

static void
on_saved(const struct writer_result *result, void *arg)
{
	assert_true(result->stored);
	*(bool *)arg = true;
}

static void
on_flushed(const struct writer_result *result UNUSED, void *arg)
{
	*(bool *)arg = true;
}

static bool
is_true(void *arg)
{
	return *(bool *)arg;
}

void
room_flush(struct room *r)
{
	bool flushed = false;

	writer_flush(r->writer, on_flushed, &flushed);
	room_run(r, is_true, &flushed);
}

void
room_save(struct room *r, const char *domain, struct entry e)
{
	bool saved = false;

	writer_save(r->writer, domain, &e, true, on_saved, &saved);
	entry_clear(&e);
	room_run(r, is_true, &saved);
}

const char *
room_map(const struct room *r, const char *key)
{
	static char value[256];
	DB *db = NULL;
	DBT k = {.data = (void *)(uintptr_t)key, .size = (u_int32_t)strlen(key)};
	DBT v = {.data = value, .ulen = sizeof(value) - 1, .flags = DB_DBT_USERMEM};

	value[0] = '\0';
	assert_int_equal(db_create(&db, NULL, 0), 0);
	assert_int_equal(db->open(db, NULL, r->map, NULL, DB_HASH, DB_RDONLY, 0), 0);
	value[db->get(db, NULL, &k, &v, 0) == 0 ? v.size : 0] = '\0';
	db->close(db, 0);
	return value;
}

bool
room_stored(const struct room *r, const char *domain, struct entry *out)
{
	return store_get(r->store, domain, out, NULL) == STORE_OK;
}

/* ---- clients ---- */

int
room_connect(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

void
room_send(int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

static char received[1 << 20];

static const char *
receive(struct room *r, int fd, size_t n, bool line)
{
	time_t end = time(NULL) + PATIENCE_S;
	size_t have = 0;
	ssize_t got = -1;

	assert_true(n < sizeof(received));
	for (;;) {
		size_t want = line ? 1 : n > 0 ? n - have : sizeof(received) - 1 - have;

		got = recv(fd, received + have, want, MSG_DONTWAIT);
		have += got > 0 ? (size_t)got : 0;
		if (got == 0 || (n > 0 && have == n) ||
		    (line && have > 0 && received[have - 1] == '\n'))
			break;
		if (got < 0)
			room_turn(r);
		if (time(NULL) > end)
			fail_msg("waited for %d s in vain after %zu bytes", PATIENCE_S, have);
	}
	received[have] = '\0';
	return received;
}

const char *
room_receive(struct room *r, int fd, size_t n)
{
	return receive(r, fd, n, false);
}

const char *
room_receive_line(struct room *r, int fd)
{
	return receive(r, fd, 0, true);
}
