/*
 * What the store costs, beside what the machine itself can do in the same run.
 * usage: bench_store [DOMAINS [DIRECTORY]]   (default: 1000000, under /tmp)
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/store.h"

enum {
	FILL_GROUP = 10000, /* domains a commit, while filling */
	GETS = 200000,
	COMMITS = 300,
	SYNCS = 300,
	PAGE = 4096,
	READ_LEN = 1 << 20
};

static char dir[256], data_path[280], lock_path[280];
static unsigned long n_domains = 1000000;
static struct store_config config = {.dir = dir, .max_bytes = (size_t)8 << 30};

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The domains are as long as those of real mail, and do not come in the order of their names. */
static void
name_of(unsigned long i, char out[64])
{
	uint64_t mixed = (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15);

	snprintf(out, 64, "%04x-%lu.example-mail.test", (unsigned)(mixed >> 48), i);
}

/* One in five has a policy, the others have none. */
static void
put_domain(struct store_txn *txn, unsigned long i, time_t due)
{
	static const char *const mx[] = {
	    "mx1.example-mail.test", "mx2.example-mail.test", "*.mx.test"};
	struct entry e = {.state = ENTRY_NONE, .expires = due + 3600, .confirmed = due};
	struct errmsg em = {""};
	char domain[64];

	if (i % 5 == 0) {
		e.state = ENTRY_POLICY;
		e.policy = policy_new(MODE_ENFORCE, 604800, 3, mx);
		strcpy(e.id, "20260101T010101");
	}
	name_of(i, domain);
	if (store_put(txn, domain, &e, due, &em) != STORE_OK)
		errx(1, "%s", em.text);
	entry_clear(&e);
}

static struct store *
open_or_end(void)
{
	struct store *st;
	struct errmsg em = {""};
	bool recovered;

	if (store_open(&config, &st, &recovered, &em) != STORE_OK || recovered)
		errx(1, "%s", em.text);
	return st;
}

/* Commits `times` groups of `group` random domains (or the next ones, when filling). */
static double
commits_s(struct store *st, unsigned long times, unsigned long group, bool filling)
{
	double begin = now_s();
	struct store_txn *txn;
	struct errmsg em = {""};

	for (unsigned long k = 0; k < times; k++) {
		if (store_begin(st, &txn, &em) != STORE_OK)
			errx(1, "%s", em.text);
		for (unsigned long i = k * group; i < (k + 1) * group; i++)
			put_domain(txn, filling ? i : (unsigned long)random() % n_domains,
			    1700000000 + random() % 604800);
		if (store_commit(&txn, &em) != STORE_OK)
			errx(1, "%s", em.text);
	}
	return now_s() - begin;
}

/* What a commit cannot be faster than: two pages written, each made durable before the next. */
static double
syncs_s(void)
{
	char path[300], page[PAGE] = "";
	double begin;
	int fd;

	snprintf(path, sizeof(path), "%s/sync", dir);
	if ((fd = open(path, O_RDWR | O_CREAT, 0600)) < 0 || ftruncate(fd, (off_t)64 * PAGE) != 0)
		err(1, "%s", path);
	for (int i = 0; i < 64; i++) /* so that the file's blocks are there */
		if (pwrite(fd, page, PAGE, (off_t)i * PAGE) != PAGE)
			err(1, "%s", path);
	fsync(fd);
	begin = now_s();
	for (int i = 0; i < 2 * SYNCS; i++)
		if (pwrite(fd, page, PAGE, (off_t)(i % 64) * PAGE) != PAGE || fdatasync(fd) != 0)
			err(1, "%s", path);
	begin = now_s() - begin;
	close(fd);
	unlink(path);
	return begin / SYNCS;
}

static double
gets_s(struct store *st)
{
	double begin = now_s();
	struct errmsg em = {""};

	for (int i = 0; i < GETS; i++) {
		struct entry e = {0};
		char domain[64];

		name_of((unsigned long)random() % n_domains, domain);
		if (store_get(st, domain, &e, &em) != STORE_OK)
			errx(1, "%s", em.text);
		entry_clear(&e);
	}
	return (now_s() - begin) / GETS;
}

/* One page of the file at random: the least that a lookup on disk can read. */
static double
preads_s(void)
{
	struct stat sb;
	char page[PAGE];
	int fd = open(data_path, O_RDONLY);
	double begin = now_s();

	if (fd < 0 || fstat(fd, &sb) != 0)
		err(1, "%s", data_path);
	for (int i = 0; i < GETS; i++)
		if (pread(fd, page, PAGE, random() % (sb.st_size / PAGE) * PAGE) != PAGE)
			err(1, "%s", data_path);
	close(fd);
	return (now_s() - begin) / GETS;
}

static double
read_whole_s(void)
{
	static char buf[READ_LEN];
	int fd = open(data_path, O_RDONLY);
	double begin = now_s();

	while (fd >= 0 && read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
	return now_s() - begin;
}

/* Opens in a process of its own; prints the time and the memory that it took. */
static void
bench_open(const char *what)
{
	int status;
	pid_t pid;

	fflush(stdout); /* the child must not print it again */
	if ((pid = fork()) < 0)
		err(1, "fork");
	if (pid == 0) {
		struct rusage before, after;
		double begin = now_s();
		struct store *st;

		getrusage(RUSAGE_SELF, &before);
		st = open_or_end();
		begin = now_s() - begin;
		getrusage(RUSAGE_SELF, &after);
		printf("open, %-22s %9.2f ms  memory +%ld kB\n", what, begin * 1e3,
		    after.ru_maxrss - before.ru_maxrss);
		fflush(stdout);
		store_close(&st);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		errx(1, "opening failed");
}

static void
bench_commits(struct store *st, unsigned long group, double sync_s)
{
	double s = commits_s(st, COMMITS, group, false) / COMMITS;

	printf("commit of %4lu domains %16.2f ms  %8.0f put/s  %.2f x two syncs (%.2f ms)\n", group,
	    s * 1e3, (double)group / s, s / sync_s, sync_s * 1e3);
}

static void
clean_up(void)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "writer.lock"};
	char path[300];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

int
main(int argc, char **argv)
{
	struct stat sb;
	struct store *st;
	double fill_s, get_s, pread_s, sync_s;

	if (argc > 1)
		n_domains = strtoul(argv[1], NULL, 10) / FILL_GROUP * FILL_GROUP;
	if (n_domains == 0 || argc > 3)
		errx(64, "usage: bench_store [DOMAINS (at least %d) [DIRECTORY]]", FILL_GROUP);
	snprintf(dir, sizeof(dir), "%s/bench_store.XXXXXX", argc > 2 ? argv[2] : "/tmp");
	if (mkdtemp(dir) == NULL)
		err(1, "%s", dir);
	snprintf(data_path, sizeof(data_path), "%s/data.mdb", dir);
	snprintf(lock_path, sizeof(lock_path), "%s/writer.lock", dir);

	st = open_or_end();
	fill_s = commits_s(st, n_domains / FILL_GROUP, FILL_GROUP, true);
	store_close(&st);
	if (stat(data_path, &sb) != 0)
		err(1, "%s", data_path);
	printf("%lu domains, %.0f MB; filled at %.0f put/s\n", n_domains, (double)sb.st_size / 1e6,
	    (double)n_domains / fill_s);
	bench_open("closed well");
	unlink(lock_path);
	bench_open("whole check");
	printf("reading the file alone %16.2f ms\n", read_whole_s() * 1e3);

	st = open_or_end();
	(void)gets_s(st);
	get_s = gets_s(st);
	pread_s = preads_s();
	printf("get %35.2f us  %8.0f get/s  %.2f x one pread (%.2f us)\n", get_s * 1e6, 1 / get_s,
	    get_s / pread_s, pread_s * 1e6);
	sync_s = syncs_s();
	bench_commits(st, 1, sync_s);
	bench_commits(st, 100, sync_s);
	store_close(&st);
	clean_up();
	return 0;
}
