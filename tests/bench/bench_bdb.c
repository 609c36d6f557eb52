/*
 * What pushing into the Sendmail policy map costs, beside what the same disk can do in the same
 * run. usage: bench_bdb [DOMAINS [DIRECTORY]]   (default: 100000, under /tmp; "make bench" runs it)
 *
 * Read the ratios, as the times are the machine's:
 *   "x syncs"   a commit against as many writes of a page, each with its fdatasync, into a file
 * beside the map. 1 is the limit. "x rebuild" a repair against a whole rebuild as makemap does it:
 * all keys put by libdb into a new file, synced once. held        how long the exclusive lock was
 * held: Sendmail's lookups wait so long. 20 ms is the goal of a repair.
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <db.h>

#include "maps/bdb.h"
#include "maps/mapkey.h"

enum { COMMITS = 200, PAGE = 4096, ENFORCE_EVERY = 10 };

static char dir[256], path[280], beside[280];
static unsigned long n_domains = 100000;
static char mx[] = "mx.example.net";
static char *patterns[] = {mx};
static struct requirement enforce = {REQUIRE_ENFORCE, 2000000000, 1, patterns};
static struct requirement none = {REQUIRE_NONE, 2000000000, 0, NULL};
static const struct requirement unknown = {.kind = REQUIRE_UNKNOWN};
static const struct sink_state state = {false, 2000000000};

static double
since_s(const struct timespec *begin)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

/* --- locks and syncs pass through here: this program's own come before the C library's --- */

static struct {
	unsigned n_locks, n_syncs;
	double held_s, longest_s;
	struct timespec begin;
	int fd; /* of the lock, or -1 */
} seen = {.fd = -1};

static void
forget(void)
{
	memset(&seen, 0, sizeof(seen));
	seen.fd = -1;
}

int
flock(int fd, int operation)
{
	int rc = (int)syscall(SYS_flock, fd, operation);

	if (rc == 0 && (operation & LOCK_EX) != 0) {
		clock_gettime(CLOCK_MONOTONIC, &seen.begin);
		seen.fd = fd;
		seen.n_locks++;
	}
	return rc;
}

int
close(int fd)
{
	int rc = (int)syscall(SYS_close, fd);

	if (fd == seen.fd) {
		double s = since_s(&seen.begin);

		seen.fd = -1;
		seen.held_s += s;
		if (s > seen.longest_s)
			seen.longest_s = s;
	}
	return rc;
}

int
fdatasync(int fd)
{
	seen.n_syncs++;
	return (int)syscall(SYS_fdatasync, fd);
}

/* --- the truth --- */

static const struct requirement *
nth(unsigned long i, char domain[64])
{
	snprintf(domain, 64, "d%lu.example.test", i);
	return i % ENFORCE_EVERY == 0 ? &enforce : &none;
}

static bool
lookup(const char *domain, struct requirement *r, void *arg UNUSED)
{
	*r = strtoul(domain + 1, NULL, 10) % ENFORCE_EVERY == 0 ? enforce : none;
	return true;
}

static bool
walk(bool (*each)(const char *, const struct requirement *, void *), void *each_arg,
    void *arg UNUSED)
{
	char domain[64];

	for (unsigned long i = 0; i < n_domains; i++) {
		const struct requirement *r = nth(i, domain);

		if (!each(domain, r, each_arg))
			return false;
	}
	return true;
}

static bool
import(const char *domain UNUSED, const struct requirement *r UNUSED, void *arg UNUSED)
{
	return true;
}

static const struct sink_truth truth = {lookup, walk, import, NULL};

/* --- the limits --- */

static double
syncs_s(unsigned n)
{
	char page[PAGE] = {1};
	struct timespec begin;
	int fd = open(beside, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		err(EX_CANTCREAT, "%s", beside);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (unsigned i = 0; i < n; i++)
		if (pwrite(fd, page, sizeof(page), (off_t)(i % 64) * PAGE) != PAGE ||
		    syscall(SYS_fdatasync, fd) != 0)
			err(EX_IOERR, "%s", beside);
	close(fd);
	unlink(beside);
	return since_s(&begin);
}

static void
put(DB *db, const char *key, const char *value)
{
	DBT k = {0}, v = {0};

	k.data = (void *)(uintptr_t)key;
	k.size = (uint32_t)strlen(key);
	v.data = (void *)(uintptr_t)value;
	v.size = (uint32_t)strlen(value);
	if (db->put(db, NULL, &k, &v, 0) != 0)
		errx(EX_IOERR, "%s: cannot write", beside);
}

static double
rebuild_s(void)
{
	char domain[64], key[MAPKEY_MAX + 1], value[MAPVALUE_MAX];
	struct timespec begin;
	DB *db;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (db_create(&db, NULL, 0) != 0 || db->set_cachesize(db, 0, 16 << 20, 1) != 0 ||
	    db->open(db, NULL, beside, NULL, DB_HASH, DB_CREATE | DB_TRUNCATE, 0600) != 0)
		errx(EX_CANTCREAT, "%s: cannot make it", beside);
	for (unsigned long i = 0; i < n_domains; i++) {
		const struct requirement *r = nth(i, domain);

		mapvalue_print(r, value);
		put(db, domain, value);
		if (r == &enforce && mapkey_pattern(domain, mx, key))
			put(db, key, MAPVALUE_MX);
	}
	if (db->sync(db, 0) != 0 || db->close(db, 0) != 0)
		errx(EX_IOERR, "%s: cannot sync", beside);
	unlink(beside);
	return since_s(&begin);
}

/* --- what we do --- */

static void
repair(struct sink *s, const char *what, double limit_s)
{
	struct errmsg em = {""};
	struct timespec begin;
	double took_s;

	forget();
	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (s->ops->repair(s, &truth, &state, &em) != SINK_OK)
		errx(EX_IOERR, "%s", em.text);
	took_s = since_s(&begin);
	printf(
	    "repair, %-14s %9.0f ms  %6.2f x rebuild  %5u locks, held %6.2f ms each, at most %6.2f ms\n",
	    what, took_s * 1e3, took_s / limit_s, seen.n_locks, seen.held_s / seen.n_locks * 1e3,
	    seen.longest_s * 1e3);
}

static void
commits(struct sink *s, unsigned group)
{
	struct errmsg em = {""};
	char domain[64];
	double limit_s;

	forget();
	for (unsigned i = 0; i < COMMITS / group; i++) {
		if (s->ops->begin(s, &em) != SINK_OK)
			errx(EX_IOERR, "%s", em.text);
		for (unsigned j = 0; j < group; j++) {
			snprintf(domain, sizeof(domain), "x%u.g%u.test", i * group + j, group);
			if (s->ops->set(s, domain, &unknown, &enforce, &em) != SINK_OK)
				errx(EX_IOERR, "%s", em.text);
		}
		if (s->ops->commit(s, &state, &em) != SINK_OK)
			errx(EX_IOERR, "%s", em.text);
	}
	limit_s = syncs_s(seen.n_syncs);
	printf(
	    "commit of %3u domains  %9.2f ms  %6.2f x syncs (%u of them)  held at most %6.2f ms\n",
	    group, seen.held_s / seen.n_locks * 1e3, seen.held_s / limit_s,
	    seen.n_syncs / seen.n_locks, seen.longest_s * 1e3);
}

int
main(int argc, char **argv)
{
	struct bdb_config config = {path, SIZE_MAX};
	struct errmsg em = {""};
	struct sink *s;
	double limit_s;

	if (argc > 1 && (n_domains = strtoul(argv[1], NULL, 10)) == 0)
		errx(EX_USAGE, "usage: bench_bdb [DOMAINS [DIRECTORY]]");
	snprintf(dir, sizeof(dir), "%s/bench_bdb.XXXXXX", argc > 2 ? argv[2] : "/tmp");
	if (mkdtemp(dir) == NULL)
		err(EX_CANTCREAT, "%s", dir);
	snprintf(path, sizeof(path), "%s/policy.db", dir);
	snprintf(beside, sizeof(beside), "%s/beside", dir);
	if ((s = bdb_open(&config, &em)) == NULL)
		errx(EX_CANTCREAT, "%s", em.text);
	limit_s = rebuild_s();
	printf("%lu domains, one in %d enforced; a rebuild takes %.0f ms\n", n_domains,
	    ENFORCE_EVERY, limit_s * 1e3);
	repair(s, "an empty map", limit_s);
	repair(s, "nothing to do", limit_s);
	commits(s, 1);
	commits(s, 20);
	enforce.until++; /* one key in eleven differs */
	repair(s, "all enforced", limit_s);
	s->ops->close(s);
	unlink(path);
	return rmdir(dir) == 0 ? EX_OK : EX_IOERR;
}
