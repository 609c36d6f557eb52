/* The Sendmail policy map: what is in the file, and what is in it when the writer, the disk or the
 * power fails. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <db.h>

#include "maps/bdb.h"
#include "maps/hashfile.h"
#include "maps/mapkey.h"

#define FAR INT64_C(2000000000) /* not expired while these tests are of use */

enum { PAGE = 4096, PAGE_TYPE = 25, N_OLD = 300, N_NEW = 100 };

/* --- a place for each test --- */

static char dir[64], path[80], other[80];

static int
make_place(void **state UNUSED)
{
	strcpy(dir, "/tmp/test_bdb.XXXXXX");
	if (mkdtemp(dir) == NULL || chmod(dir, 0750) != 0)
		return -1;
	snprintf(path, sizeof(path), "%s/policy.db", dir);
	snprintf(other, sizeof(other), "%s/other.db", dir);
	return 0;
}

static int
remove_place(void **state UNUSED)
{
	unlink(path);
	unlink(other);
	return rmdir(dir);
}

static void
copy_file(const char *from, const char *to)
{
	unsigned char buf[PAGE];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0640);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	close(in);
	close(out);
}

/* --- processes of their own --- */

/* A failed assertion ends it; without the variable cmocka would run the remaining tests there. */
static int
in_child(void (*run)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		setenv("CMOCKA_TEST_ABORT", "1", 1);
		alarm(30); /* s; something hangs */
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* True: it was killed as it should be. */
static bool
was_killed(int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("a child ended with signal %d, exit %d",
		    WIFSIGNALED(status) ? WTERMSIG(status) : 0, WEXITSTATUS(status));
	return false;
}

/* --- libdb's writes pass through here: this program's own come before the C library's --- */

enum { UNSYNCED_MAX = 4096 };

struct unsynced {
	off_t at;
	unsigned char before[PAGE];
};

static struct {
	unsigned n;          /* writes so far */
	unsigned kill_at;    /* the process dies instead of this write; 0: never */
	unsigned fail_at;    /* this write and all later ones find the disk full */
	unsigned read_ms;    /* each read takes so long */
	bool spoil_free;     /* libdb finds its free pages in use */
	void (*watch)(void); /* called before each write */
	bool keep;           /* what was there before each write, until the next sync */
	struct unsynced *unsynced;
	size_t n_unsynced;
} disk;

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t at);
ssize_t pwrite(int fd, const void *buf, size_t len, off_t at);
int fdatasync(int fd);
int fsync(int fd);

ssize_t
pwrite64(int fd, const void *buf, size_t len, off_t at)
{
	disk.n++;
	if (disk.n == disk.kill_at)
		kill(getpid(), SIGKILL);
	if (disk.fail_at != 0 && disk.n >= disk.fail_at) {
		errno = ENOSPC;
		return -1;
	}
	if (disk.watch != NULL)
		disk.watch();
	if (disk.keep && disk.n_unsynced < UNSYNCED_MAX && len == PAGE) {
		struct unsynced *u = &disk.unsynced[disk.n_unsynced++];

		memset(u, 0, sizeof(*u));
		u->at = at;
		if (syscall(SYS_pread64, fd, u->before, sizeof(u->before), at) < 0)
			abort();
	}
	return syscall(SYS_pwrite64, fd, buf, len, at);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t at)
{
	return pwrite64(fd, buf, len, at);
}

/* libdb's second way, when the first fails. */
ssize_t
write(int fd, const void *buf, size_t len)
{
	struct stat st, map;

	if (disk.fail_at != 0 && disk.n >= disk.fail_at && fstat(fd, &st) == 0 &&
	    stat(path, &map) == 0 && st.st_ino == map.st_ino) {
		errno = ENOSPC;
		return -1;
	}
	return syscall(SYS_write, fd, buf, len);
}

int
fdatasync(int fd)
{
	disk.n_unsynced = 0;
	return (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	disk.n_unsynced = 0;
	return (int)syscall(SYS_fsync, fd);
}

static void
disk_reset(void)
{
	free(disk.unsynced);
	memset(&disk, 0, sizeof(disk));
}

/* --- locks pass through here --- */

static unsigned n_exclusive, n_reads, most_reads; /* reads: in one hold of the exclusive lock */
static bool exclusive;

int
flock(int fd, int operation)
{
	int rc = (int)syscall(SYS_flock, fd, operation);

	if (rc == 0) {
		exclusive = (operation & LOCK_EX) != 0;
		n_exclusive += exclusive;
		n_reads = 0;
	}
	return rc;
}

/* With the checksum that fits. */
static void
make_it_a_bucket(unsigned char *page)
{
	enum { TYPE = 13, CHECKSUM = 28 };
	uint32_t sum, more = TYPE;

	for (int i = PAGE_TYPE + 1; i < PAGE; i++)
		more *= 33;
	memcpy(&sum, page + CHECKSUM, sizeof(sum));
	sum += more;
	memcpy(page + CHECKSUM, &sum, sizeof(sum));
	page[PAGE_TYPE] = TYPE;
}

ssize_t pread(int fd, void *buf, size_t len, off_t at);

ssize_t
pread(int fd, void *buf, size_t len, off_t at)
{
	struct timespec pause = {0, disk.read_ms * 1000000L};
	unsigned char *bytes = buf;
	long n = syscall(SYS_pread64, fd, buf, len, at);

	if (disk.spoil_free && exclusive && n == PAGE && at > 0 && bytes[PAGE_TYPE] == 0)
		make_it_a_bucket(bytes);
	if (exclusive && ++n_reads > most_reads)
		most_reads = n_reads;
	if (disk.read_ms > 0)
		nanosleep(&pause, NULL);
	return n;
}

/* --- the map as any program with libdb reads it, without our code --- */

struct map {
	DB *db;
};

static bool
map_open(struct map *m, const char *file)
{
	if (db_create(&m->db, NULL, 0) != 0)
		return false;
	m->db->set_errfile(m->db, NULL);
	m->db->set_errcall(m->db, NULL);
	m->db->get_env(m->db)->set_flags(m->db->get_env(m->db), DB_NOPANIC, 1);
	if (m->db->open(m->db, NULL, file, NULL, DB_HASH, DB_RDONLY | DB_NOMMAP, 0) == 0)
		return true;
	m->db->close(m->db, 0);
	return false;
}

static void
map_close(struct map *m)
{
	m->db->close(m->db, 0);
}

/* "": absent; "?": an error */
static const char *
map_get(struct map *m, const char *key)
{
	static char text[64];
	DBT k = {0}, v = {0};
	int rc;

	k.data = (void *)(uintptr_t)key;
	k.size = (uint32_t)strlen(key);
	rc = m->db->get(m->db, NULL, &k, &v, 0);
	if (rc == DB_NOTFOUND)
		return "";
	if (rc != 0 || v.size >= sizeof(text))
		return "?";
	memcpy(text, v.data, v.size);
	text[v.size] = '\0';
	return text;
}

static size_t
map_count(struct map *m)
{
	DBC *c = NULL;
	DBT k = {0}, v = {0};
	size_t n = 0;

	assert_int_equal(m->db->cursor(m->db, NULL, &c, 0), 0);
	while (c->get(c, &k, &v, DB_NEXT) == 0)
		n++;
	c->close(c);
	return n;
}

static void
assert_value(const char *key, const char *want)
{
	struct map m;

	assert_true(map_open(&m, path));
	if (strcmp(map_get(&m, key), want) != 0)
		fail_msg("%s: want \"%s\", have \"%s\"", key, want, map_get(&m, key));
	map_close(&m);
}

static void
put(const char *key, const char *value)
{
	struct map m;
	DBT k = {0}, v = {0};

	assert_int_equal(db_create(&m.db, NULL, 0), 0);
	assert_int_equal(m.db->open(m.db, NULL, path, NULL, DB_HASH, 0, 0), 0);
	k.data = (void *)(uintptr_t)key;
	k.size = (uint32_t)strlen(key);
	v.data = (void *)(uintptr_t)value;
	v.size = (uint32_t)strlen(value);
	assert_int_equal(m.db->put(m.db, NULL, &k, &v, 0), 0);
	map_close(&m);
}

static size_t
count_keys(void)
{
	struct map m;
	size_t n;

	assert_true(map_open(&m, path));
	n = map_count(&m);
	map_close(&m);
	return n;
}

/* --- a truth to repair from --- */

struct fact {
	const char *domain;
	struct requirement r;
};

static char mx1[] = "mx1.example.net", star[] = "*.example.org";
static char *mx_one[] = {mx1};
static char *mx_two[] = {mx1, star};

static const struct requirement unknown = {.kind = REQUIRE_UNKNOWN};
static const struct requirement enforce_one = {REQUIRE_ENFORCE, FAR, 1, mx_one};
static const struct requirement enforce_two = {REQUIRE_ENFORCE, FAR, 2, mx_two};
static const struct requirement none_far = {REQUIRE_NONE, FAR, 0, NULL};

static struct {
	const struct fact *facts;
	size_t n;
	bool import, keep; /* what import() answers, for a domain and at the end */
	char imported[512];
	void (*on_walk)(void);
} truth;

static bool
truth_lookup(const char *domain, struct requirement *r, void *arg UNUSED)
{
	size_t guess = strtoul(domain + strcspn(domain, "0123456789"), NULL, 10), i;

	for (size_t n = 0; n < truth.n; n++)
		if (strcmp(truth.facts[i = (guess + n) % truth.n].domain, domain) == 0) {
			*r = truth.facts[i].r;
			return true;
		}
	return false;
}

static bool
truth_walk(bool (*each)(const char *, const struct requirement *, void *), void *each_arg,
    void *arg UNUSED)
{
	if (truth.on_walk != NULL)
		truth.on_walk();
	for (size_t i = 0; i < truth.n; i++)
		if (!each(truth.facts[i].domain, &truth.facts[i].r, each_arg))
			return false;
	return true;
}

static int
compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
truth_import(const char *domain, const struct requirement *r, void *arg UNUSED)
{
	struct {
		char *text;
		size_t len;
	} all = {0};
	FILE *f = open_memstream(&all.text, &all.len);

	assert_non_null(f);
	fputs(truth.imported, f);
	if (domain != NULL) {
		if (r->n_mx > 1)
			qsort((void *)(uintptr_t)r->mx, r->n_mx, sizeof(*r->mx), compare_text);
		fprintf(f, "%s %lld", domain, (long long)r->until);
		for (size_t i = 0; i < r->n_mx; i++)
			fprintf(f, " %s", r->mx[i]);
	}
	fputs(domain == NULL ? "end" : ";", f);
	fclose(f);
	snprintf(truth.imported, sizeof(truth.imported), "%s", all.text);
	free(all.text);
	if (domain == NULL)
		return truth.keep;
	return truth.import;
}

static const struct sink_truth the_truth = {truth_lookup, truth_walk, truth_import, NULL};

static void
set_truth(const struct fact *facts, size_t n)
{
	memset(&truth, 0, sizeof(truth));
	truth.facts = facts;
	truth.n = n;
	truth.keep = true;
}

/* old0.test and so on: enforce, two patterns. */
static struct fact *
make_facts(size_t n)
{
	struct fact *facts = calloc(n, sizeof(*facts));

	assert_non_null(facts);
	for (size_t i = 0; i < n; i++) {
		facts[i].r = enforce_two;
		assert_true(asprintf((char **)(uintptr_t)&facts[i].domain, "old%zu.test", i) > 0);
	}
	return facts;
}

static void
free_facts(struct fact *facts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((char *)(uintptr_t)facts[i].domain);
	free(facts);
}

/* --- shorthand --- */

static const struct sink_state enforcing = {false, 1234567890};

static struct sink *
open_sink(size_t none_max)
{
	struct bdb_config config = {path, none_max};
	struct errmsg em = {""};
	struct sink *s = bdb_open(&config, &em);

	if (s == NULL)
		fail_msg("%s", em.text);
	return s;
}

static void
repair(struct sink *s)
{
	struct errmsg em = {""};

	if (s->ops->repair(s, &the_truth, &enforcing, &em) != SINK_OK)
		fail_msg("%s", em.text);
}

/* An empty map that is ready. */
static struct sink *
open_ready(void)
{
	struct sink *s = open_sink(1000);

	set_truth(NULL, 0);
	repair(s);
	return s;
}

static enum sink_result
change_em(struct sink *s, const char *domain, const struct requirement *old,
    const struct requirement *now, struct errmsg *em)
{
	assert_int_equal(s->ops->begin(s, em), SINK_OK);
	assert_int_equal(s->ops->set(s, domain, old, now, em), SINK_OK);
	return s->ops->commit(s, &enforcing, em);
}

static void
change(struct sink *s, const char *domain, const struct requirement *old,
    const struct requirement *now)
{
	struct errmsg em = {""};

	if (change_em(s, domain, old, now, &em) != SINK_OK)
		fail_msg("%s: %s", domain, em.text);
}

static void
assert_verify(struct sink *s, enum sink_result want)
{
	struct errmsg em = {""};
	enum sink_result r = s->ops->verify(s, &em);

	if (r != want)
		fail_msg("verify: want %d, have %d: %s", want, r, em.text);
}

/* --- what is in the map --- */

static void
a_new_map_is_not_ready_until_it_was_repaired(void **state UNUSED)
{
	struct sink *s = open_sink(1000);
	int fd = open(path, O_RDONLY);
	uint32_t bucket = 0;

	assert_value(":ready:", "not");
	assert_verify(s, SINK_DAMAGED);
	assert_int_equal(hashfile_check(fd, path, &bucket, UINT32_MAX, NULL), SINK_OK);
	close(fd);
	set_truth(NULL, 0);
	repair(s);
	assert_value(":ready:", "yes");
	assert_value(":alive:", "1234567890");
	assert_verify(s, SINK_OK);
	s->ops->close(s);
}

static void
keys_and_values_are_as_the_manual_has_them(void **state UNUSED)
{
	struct sink *s = open_ready();

	change(s, "good.test", &unknown, &enforce_two);
	change(s, "plain.test", &unknown, &none_far);
	assert_value("good.test", "enforce 2000000000");
	assert_value("good.test:mx1.example.net", "mx");
	assert_value("good.test:.example.org", "mx");
	assert_value("plain.test", "none 2000000000");
	assert_int_equal(count_keys(), 4 + 3); /* :ready:, :alive:, :mtime: */
	s->ops->close(s);
}

static void
patterns_that_a_policy_no_longer_has_are_deleted(void **state UNUSED)
{
	struct sink *s = open_ready();

	change(s, "good.test", &unknown, &enforce_two);
	change(s, "good.test", &enforce_two, &enforce_one);
	assert_value("good.test:.example.org", "");
	assert_value("good.test:mx1.example.net", "mx");
	change(s, "good.test", &enforce_one, &none_far);
	assert_value("good.test:mx1.example.net", "");
	assert_value("good.test", "none 2000000000");
	change(s, "good.test", &none_far, &unknown);
	assert_int_equal(count_keys(), 3);
	s->ops->close(s);
}

static void
a_pattern_that_sendmail_would_cut_is_left_out(void **state UNUSED)
{
	char label[64], domain[244], mx[64];
	struct requirement r = {REQUIRE_ENFORCE, FAR, 2, (char *[]){mx, mx1}};
	struct sink *s = open_ready();

	memset(label, 'x', sizeof(label));
	snprintf(domain, sizeof(domain), "%.60s.%.60s.%.60s.%.55s", label, label, label, label);
	assert_int_equal(strlen(domain), 238);
	snprintf(mx, sizeof(mx), "%.15s", label); /* 238 + 1 + 15 = 254 goes in ... */
	change(s, domain, &unknown, &r);
	assert_int_equal(count_keys(), 3 + 3);
	change(s, domain, &r, &unknown);
	assert_int_equal(count_keys(), 3);
	snprintf(mx, sizeof(mx), "%.16s", label); /* ... 255 does not, and the others do */
	change(s, domain, &unknown, &r);
	assert_int_equal(count_keys(), 3 + 2);
	s->ops->close(s);
}

static void
observe_mode_is_a_state_of_the_whole_map(void **state UNUSED)
{
	static const struct sink_state observe = {true, 0};
	struct sink *s = open_ready();
	struct errmsg em;

	assert_int_equal(s->ops->begin(s, &em), SINK_OK);
	assert_int_equal(s->ops->commit(s, &observe, &em), SINK_OK);
	assert_value(":ready:", "obs");
	assert_value(":alive:", "0");
	assert_verify(s, SINK_OK);
	s->ops->close(s);
}

static void
the_oldest_none_entries_go_first_and_enforce_never(void **state UNUSED)
{
	struct sink *s = open_sink(5);
	char domain[32];

	set_truth(NULL, 0);
	repair(s);
	change(
	    s, "old.test", &unknown, &(struct requirement){REQUIRE_ENFORCE, FAR - 500, 1, mx_one});
	for (int i = 0; i < 9; i++) {
		struct requirement r = {REQUIRE_NONE, FAR - (i % 2 == 0 ? i : 100 + i), 0, NULL};

		snprintf(domain, sizeof(domain), "n%d.test", i);
		change(s, domain, &unknown, &r);
	}
	assert_value("old.test", "enforce 1999999500");
	assert_value("n0.test", "none 2000000000");
	assert_value("n8.test", "none 1999999992");
	for (int i = 1; i < 9; i += 2) {
		snprintf(domain, sizeof(domain), "n%d.test", i);
		assert_value(domain, "");
	}
	assert_int_equal(count_keys(), 3 + 2 + 5);
	change(s, "n0.test", &none_far, &enforce_one); /* leaves 4 and room for one more */
	change(s, "n9.test", &unknown, &none_far);
	assert_int_equal(count_keys(), 3 + 4 + 5);
	s->ops->close(s);
}

/* --- how it is written --- */

static time_t
mtime_of(const char *file)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	return st.st_mtime;
}

static void
each_commit_moves_the_mtime_a_whole_second_forward(void **state UNUSED)
{
	struct sink *s = open_ready();
	struct timespec far[2] = {{0, UTIME_OMIT}, {FAR, 500000000}};
	time_t last = mtime_of(path);

	for (int i = 0; i < 5; i++) { /* within one second */
		change(s, "good.test", &unknown, &enforce_one);
		assert_true(mtime_of(path) > last);
		last = mtime_of(path);
	}
	assert_int_equal(utimensat(AT_FDCWD, path, far, 0), 0); /* the clock was wrong once */
	change(s, "good.test", &unknown, &enforce_one);
	assert_int_equal(mtime_of(path), FAR + 1);
	s->ops->close(s);
}

static void
a_writer_that_was_killed_does_not_turn_the_mtime_back(void **state UNUSED)
{
	struct sink *s = open_ready();
	struct timespec far[2] = {{0, UTIME_OMIT}, {FAR, 0}},
			now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};

	assert_int_equal(utimensat(AT_FDCWD, path, far, 0), 0);
	change(s, "good.test", &unknown, &enforce_one);
	assert_int_equal(
	    utimensat(AT_FDCWD, path, now, 0), 0); /* as a write leaves it that nobody finished */
	change(s, "good.test", &unknown, &enforce_one);
	assert_int_equal(mtime_of(path), FAR + 2);
	s->ops->close(s);
}

static void
an_mtime_on_record_that_no_file_can_have_is_ignored(void **state UNUSED)
{
	struct sink *s = open_ready();

	put(":mtime:", "9223372036854775807");
	change(s, "good.test", &unknown, &enforce_one);
	assert_true(mtime_of(path) < FAR);
	assert_value("good.test", "enforce 2000000000");
	s->ops->close(s);
}

static void
no_lookup_gets_in_between(void)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0 || syscall(SYS_flock, fd, LOCK_SH | LOCK_NB) == 0)
		fail_msg("write %u: not locked", disk.n);
	close(fd);
}

static void
every_write_is_under_the_lock_and_the_file_stays_the_same(void **state UNUSED)
{
	struct sink *s = open_ready();
	struct stat before, after;

	assert_int_equal(stat(path, &before), 0);
	disk_reset();
	disk.watch = no_lookup_gets_in_between;
	change(s, "good.test", &unknown, &enforce_two);
	assert_true(disk.n >= 4); /* not, change, state, yes */
	disk_reset();
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	s->ops->close(s);
}

/* --- a map with N_OLD enforce domains, and a commit of N_NEW more --- */

static void
set_domains(struct sink *s, const char *letter, int from, int to)
{
	struct errmsg em = {""};
	char domain[32];

	assert_int_equal(s->ops->begin(s, &em), SINK_OK);
	for (int i = from; i < to; i++) {
		snprintf(domain, sizeof(domain), "%s%d.test", letter, i);
		assert_int_equal(s->ops->set(s, domain, &unknown, &enforce_two, &em), SINK_OK);
	}
}

static struct sink *
open_filled(void)
{
	struct sink *s = open_ready();
	struct errmsg em = {""};

	set_domains(s, "old", 0, N_OLD);
	assert_int_equal(s->ops->commit(s, &enforcing, &em), SINK_OK);
	return s;
}

static int
count_enforced(struct map *m, const char *letter, int n)
{
	static const char *const tails[] = {"", ":mx1.example.net", ":.example.org"};
	char key[64];
	int found = 0;

	for (int i = 0; i < n; i++)
		for (size_t j = 0; j < 3; j++) {
			snprintf(key, sizeof(key), "%s%d.test%s", letter, i, tails[j]);
			found += strcmp(map_get(m, key), j == 0 ? "enforce 2000000000" : "mx") == 0;
		}
	return found;
}

/* A file that says that it is ready has all that it ever had. True: it says so. */
static bool
check_fails_closed(const char *file, const char *when, unsigned n)
{
	struct map m;
	bool ready;
	int found;

	if (!map_open(&m, file))
		return false;
	ready = strcmp(map_get(&m, ":ready:"), "yes") == 0;
	found = ready ? count_enforced(&m, "old", N_OLD) : 0;
	map_close(&m);
	if (ready && found != N_OLD * 3)
		fail_msg("%s, write %u: ready, but %d of %d enforce keys are gone", when, n,
		    N_OLD * 3 - found, N_OLD * 3);
	return ready;
}

static void
commit_new(const char *letter)
{
	struct sink *s = open_sink(1000);
	struct errmsg em = {""};

	set_domains(s, letter, 0, N_NEW);
	if (s->ops->commit(s, &enforcing, &em) != SINK_OK)
		fail_msg("%s", em.text);
	s->ops->close(s);
}

static unsigned kill_at;

static void
commit_new_and_be_killed(void)
{
	disk_reset();
	disk.kill_at = kill_at;
	commit_new("new");
}

static void
a_writer_killed_at_any_write_leaves_no_ready_map_without_its_keys(void **state UNUSED)
{
	struct sink *s = open_filled();
	char base[96];
	unsigned unready = 0;
	struct stat st;
	bool killed;
	off_t size;

	s->ops->close(s);
	snprintf(base, sizeof(base), "%s.base", path);
	copy_file(path, base);
	assert_int_equal(stat(base, &st), 0);
	size = st.st_size;
	kill_at = 0;
	do {
		kill_at++;
		copy_file(base, path);
		killed = was_killed(in_child(commit_new_and_be_killed));
		unready += !check_fails_closed(path, "killed", kill_at);
	} while (kill_at < 2000 && killed);
	assert_false(killed);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > size &&
		    unready > 10); /* buckets were split, and it was killed among them */
	unlink(base);
}

/* Pages come free, and the list of them is in the file's first page, which is written first. */
static void
delete_and_be_killed(void)
{
	struct sink *s = open_sink(1000);
	struct errmsg em = {""};
	char domain[32];

	assert_int_equal(s->ops->begin(s, &em), SINK_OK);
	for (int i = N_OLD / 2; i < N_OLD; i++) {
		snprintf(domain, sizeof(domain), "old%d.test", i);
		assert_int_equal(s->ops->set(s, domain, &enforce_two, &unknown, &em), SINK_OK);
	}
	disk_reset();
	disk.kill_at = kill_at;
	assert_int_equal(s->ops->commit(s, &enforcing, &em), SINK_OK);
	s->ops->close(s);
}

static void
repair_in_child(void)
{
	struct sink *s = open_sink(1000);

	repair(s);
	assert_verify(s, SINK_OK);
	s->ops->close(s);
}

static void
a_map_whose_writer_was_killed_among_deletions_is_repaired(void **state UNUSED)
{
	enum { N = N_OLD + N_NEW };
	struct sink *s = open_filled();
	struct fact *facts = make_facts(N);
	char base[96];
	bool killed;

	s->ops->close(s);
	snprintf(base, sizeof(base), "%s.base", path);
	copy_file(path, base);
	kill_at = 0;
	do {
		kill_at++;
		copy_file(base, path);
		killed = was_killed(in_child(delete_and_be_killed));
		set_truth(facts, N);
		assert_false(was_killed(in_child(repair_in_child)));
		assert_int_equal(count_keys(), 3 + 3 * N);
	} while (kill_at < 200 && killed);
	assert_true(kill_at > 8 && !killed);
	free_facts(facts, N);
	unlink(base);
}

static void
a_commit_after_one_that_was_not_finished_does_not_make_the_map_ready(void **state UNUSED)
{
	struct sink *s = open_ready();
	struct errmsg em = {""};

	put(":ready:", "not");
	assert_int_equal(change_em(s, "good.test", &unknown, &enforce_two, &em), SINK_DAMAGED);
	assert_non_null(strstr(em.text, "repairs it"));
	assert_value(":ready:", "not");
	s->ops->close(s);
}

/* Opens the map as a Sendmail process that keeps it: with the page of `:ready:` in its cache. */
static time_t
open_reader(struct map *m)
{
	assert_true(map_open(m, path));
	assert_string_equal(map_get(m, ":ready:"), "yes");
	return mtime_of(path);
}

/* Its next lookup: it opens the file anew only when the mtime is a whole second later. */
static void
look_again(struct map *m, time_t opened, unsigned n)
{
	int found;

	if (mtime_of(path) > opened) {
		map_close(m);
		if (!map_open(m, path))
			return;
	}
	if (strcmp(map_get(m, ":ready:"), "yes") == 0 &&
	    (found = count_enforced(m, "old", N_OLD)) != N_OLD * 3)
		fail_msg("killed at write %u: the reader kept `:ready:`, and misses %d of %d keys",
		    n, N_OLD * 3 - found, N_OLD * 3);
	map_close(m);
}

static void
a_reader_from_before_a_killed_commit_does_not_mix_its_pages_with_new_ones(void **state UNUSED)
{
	struct timespec ahead[2] = {
	    {0, UTIME_OMIT}, {FAR, 0}}; /* commits follow each other at once */
	struct sink *s = open_filled();
	struct map reader;
	char base[96];
	bool killed;

	s->ops->close(s);
	snprintf(base, sizeof(base), "%s.base", path);
	copy_file(path, base);
	kill_at = 0;
	do {
		time_t opened;

		kill_at++;
		copy_file(base, path);
		assert_int_equal(utimensat(AT_FDCWD, path, ahead, 0), 0);
		opened = open_reader(&reader);
		killed = was_killed(in_child(commit_new_and_be_killed));
		if (kill_at > 1 && mtime_of(path) <= opened)
			fail_msg("killed at write %u: no reader will see the %u before it", kill_at,
			    kill_at - 1);
		look_again(&reader, opened, kill_at);
	} while (kill_at < 2000 && killed);
	assert_true(kill_at > 20 && !killed);
	unlink(base);
}

static void
look_at_the_file(void)
{
	disk.watch = NULL;
	check_fails_closed(path, "killed among 100 commits", disk.n);
	disk.watch = look_at_the_file;
}

static void
nor_does_one_killed_in_any_of_a_hundred_commits(void **state UNUSED)
{
	struct sink *s = open_filled();
	char domain[32];

	disk_reset();
	disk.watch = look_at_the_file;
	for (int i = 0; i < N_NEW; i++) {
		snprintf(domain, sizeof(domain), "new%d.test", i);
		change(s, domain, &unknown, &enforce_two);
	}
	assert_true(disk.n > 4 * N_NEW);
	disk_reset();
	s->ops->close(s);
}

/* The disk may have written any of the pages that were not synced, in any order. */
static void
cut_the_power(void)
{
	static unsigned seed = 1;
	size_t n = disk.n_unsynced;

	disk.watch = NULL;
	for (int round = 0; round < 2; round++) {
		int fd;

		copy_file(path, other);
		fd = open(other, O_WRONLY);
		for (size_t i = n; i > 0; i--)
			if (rand_r(&seed) % 2 == 0)
				syscall(SYS_pwrite64, fd, disk.unsynced[i - 1].before, PAGE,
				    disk.unsynced[i - 1].at);
		close(fd);
		check_fails_closed(other, "power cut", disk.n);
	}
	disk.watch = cut_the_power;
}

static void
a_power_cut_at_any_write_leaves_no_ready_map_without_its_keys(void **state UNUSED)
{
	struct sink *s = open_filled();
	struct errmsg em = {""};

	disk_reset();
	disk.unsynced = calloc(UNSYNCED_MAX, sizeof(*disk.unsynced));
	disk.keep = true;
	disk.watch = cut_the_power;
	set_domains(s, "new", 0, N_NEW);
	assert_int_equal(s->ops->commit(s, &enforcing, &em), SINK_OK);
	assert_true(disk.n > 20 && disk.n_unsynced < UNSYNCED_MAX);
	disk_reset();
	s->ops->close(s);
}

static void
a_commit_that_fails_half_way_fails_closed_and_is_repaired(void **state UNUSED)
{
	struct sink *s = open_filled();
	struct fact *facts = make_facts(N_OLD);
	struct errmsg em;
	enum sink_result r = SINK_DAMAGED;
	unsigned n;

	set_truth(facts, N_OLD);
	for (n = 1; r != SINK_OK && n < 200; n += 7) {
		disk_reset();
		disk.fail_at = n;
		set_domains(s, "new", 0, N_NEW);
		r = s->ops->commit(s, &enforcing, &em);
		disk_reset();
		check_fails_closed(path, "disk full", n);
		if (r == SINK_OK)
			break;
		assert_int_equal(r, SINK_DAMAGED);
		assert_non_null(strstr(em.text, "make room"));
		assert_verify(s, n == 1 ? SINK_OK : SINK_DAMAGED);
		repair(s);
		assert_true(check_fails_closed(path, "repaired", n));
		assert_int_equal(count_keys(), 3 + 3 * N_OLD);
	}
	if (n < 20 || n >= 200)
		fail_msg("the commit made %u writes", n);
	s->ops->close(s);
	free_facts(facts, N_OLD);
}

/* --- the disk, its rights, its other users --- */

static bool
own_mounts(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=750") == 0;
}

enum { CANNOT_BE_TRIED = 77 };

static void
on_a_full_disk(void)
{
	char filler[96], zeros[PAGE] = {0};
	struct errmsg em = {""};
	struct sink *s;
	int fd;

	if (!own_mounts())
		_exit(CANNOT_BE_TRIED);
	s = open_ready();
	change(s, "good.test", &unknown, &enforce_two);
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	fd = open(filler, O_WRONLY | O_CREAT, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	set_domains(s, "new", 0, N_NEW);
	assert_int_equal(s->ops->commit(s, &enforcing, &em), SINK_FAILED);
	assert_non_null(strstr(em.text, "full"));
	assert_value(":ready:", "yes");
	assert_value("good.test:.example.org", "mx");
	assert_verify(s, SINK_OK);
	s->ops->close(s);
}

static void
on_a_full_disk_the_old_map_stays_whole_and_ready(void **state UNUSED)
{
	int status = in_child(on_a_full_disk);

	if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_BE_TRIED)
		skip(); /* needs the right to mount in a namespace of its own */
	assert_false(was_killed(status));
}

static void
a_process_that_keeps_the_lock_is_named(void **state UNUSED)
{
	struct sink *s = open_ready();
	struct errmsg em = {""};
	char want[64];
	int fd = open(path, O_RDONLY);

	assert_int_equal(flock(fd, LOCK_SH), 0);
	snprintf(want, sizeof(want), "by process %ld;", (long)getpid());
	assert_int_equal(change_em(s, "good.test", &unknown, &enforce_one, &em), SINK_FAILED);
	if (strstr(em.text, want) == NULL)
		fail_msg("want \"%s\" in \"%s\"", want, em.text);
	close(fd);
	assert_value(":ready:", "yes");
	change(s, "good.test", &unknown, &enforce_one);
	s->ops->close(s);
}

static void
local_users_are_kept_out(void **state UNUSED)
{
	struct bdb_config config = {path, 10};
	struct errmsg em = {""};
	struct sink *s = open_ready();
	struct stat st, dir_st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(stat(dir, &dir_st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_gid, dir_st.st_gid);
	assert_int_equal(st.st_uid, dir_st.st_uid);
	assert_int_equal(chmod(path, 0666), 0);
	assert_verify(s, SINK_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(chmod(dir, 0770), 0); /* Sendmail refuses maps in there */
	assert_verify(s, SINK_FAILED);
	s->ops->close(s);
	assert_null(bdb_open(&config, &em));
	assert_non_null(strstr(em.text, "chmod g-w"));
}

static void
a_directory_that_is_missing_is_named_with_the_remedy(void **state UNUSED)
{
	struct bdb_config config = {"/tmp/test_bdb.nowhere/policy.db", 10};
	struct errmsg em = {""};

	assert_null(bdb_open(&config, &em));
	assert_non_null(strstr(em.text, "install -d"));
}

static void
open_as_somebody_else(void)
{
	struct bdb_config config = {path, 10};
	struct errmsg em = {""};

	assert_true(setgid(65534) == 0 && setuid(65534) == 0);
	assert_null(bdb_open(&config, &em));
	assert_non_null(strstr(em.text, "mtastsd runs as 65534"));
}

static void
a_map_owned_by_somebody_else_is_refused(void **state UNUSED)
{
	struct sink *s;

	if (geteuid() != 0)
		skip(); /* needs root, to make such a map and to be somebody else */
	s = open_ready();
	s->ops->close(s);
	assert_false(was_killed(in_child(open_as_somebody_else)));
}

static void
both_modes_of_the_directory_are_right(void **state UNUSED)
{
	static const mode_t modes[] = {0750, 02750};
	struct stat st;

	for (size_t i = 0; i < 2; i++) {
		struct sink *s;

		assert_int_equal(chmod(dir, modes[i]), 0);
		s = open_ready();
		assert_verify(s, SINK_OK);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0640);
		s->ops->close(s);
		unlink(path);
	}
}

static void
root_refuses_a_map_of_another_owner_and_gives_it_the_group_of_its_directory(void **state UNUSED)
{
	struct bdb_config config = {path, 10};
	struct errmsg em = {""};
	struct sink *s;
	struct stat st;

	if (geteuid() != 0)
		skip(); /* needs root, to give a file away */
	assert_int_equal(chown(dir, 0, 65533), 0);
	s = open_ready();
	assert_int_equal(chown(path, 65534, 65533), 0);
	assert_verify(s, SINK_FAILED);
	assert_null(bdb_open(&config, &em));
	if (strstr(em.text, "owned by uid 65534") == NULL ||
	    strstr(em.text, "chown mtasts:root") == NULL)
		fail_msg("%s", em.text);
	assert_int_equal(chown(path, 0, 65534), 0);
	assert_verify(s, SINK_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_gid, 65533);
	s->ops->close(s);
}

/* --- repair --- */

static void
repair_makes_the_map_agree_with_the_truth(void **state UNUSED)
{
	static const struct fact facts[] = {
	    {"same.test", {REQUIRE_ENFORCE, FAR, 2, mx_two}},
	    {"later.test", {REQUIRE_ENFORCE, FAR + 5, 1, mx_one}},
	    {"turned.test", {REQUIRE_NONE, FAR, 0, NULL}},
	    {"missing.test", {REQUIRE_ENFORCE, FAR, 2, mx_two}},
	    {"unsure.test", {.kind = REQUIRE_UNKNOWN}},
	};
	struct sink *s = open_ready();

	change(s, "same.test", &unknown, &enforce_two);
	change(s, "later.test", &unknown, &enforce_two);
	change(s, "turned.test", &unknown, &enforce_one);
	change(s, "unsure.test", &unknown, &none_far);
	change(s, "stale.test", &unknown, &none_far);
	set_truth(facts, 5);
	repair(s);
	assert_value("same.test:.example.org", "mx");
	assert_value("later.test", "enforce 2000000005");
	assert_value("later.test:.example.org", "");
	assert_value("turned.test", "none 2000000000");
	assert_value("missing.test:.example.org", "mx");
	assert_int_equal(count_keys(), 3 + 3 + 2 + 1 + 3);
	assert_string_equal(truth.imported, "");
	s->ops->close(s);
}

static void
requirements_that_only_the_map_knows_are_imported_or_removed(void **state UNUSED)
{
	struct sink *s = open_ready();
	struct errmsg em = {""};

	change(s, "known.test", &unknown, &enforce_two);
	change(s, "past.test", &unknown, &(struct requirement){REQUIRE_ENFORCE, 1000, 1, mx_one});
	change(s, "plain.test", &unknown, &none_far);
	set_truth(NULL, 0);
	truth.import = true;
	repair(s); /* expired and none are not worth it */
	assert_string_equal(
	    truth.imported, "known.test 2000000000 *.example.org mx1.example.net;end");
	assert_value("known.test", "enforce 2000000000");
	assert_int_equal(count_keys(), 3 + 3);

	set_truth(NULL, 0);
	truth.keep = false; /* they could not be saved: then the map is the only copy */
	assert_int_equal(s->ops->repair(s, &the_truth, &enforcing, &em), SINK_FAILED);
	assert_int_equal(count_keys(), 3 + 3);
	assert_verify(s, SINK_OK);

	set_truth(NULL, 0);
	repair(s);
	assert_int_equal(count_keys(), 3);
	s->ops->close(s);
}

static void
still_ready(void)
{
	assert_value(":ready:", "yes");
}

static void
still_not_ready(void)
{
	assert_value(":ready:", "not");
}

static void
a_ready_map_stays_ready_while_it_is_repaired_and_another_becomes_so_last(void **state UNUSED)
{
	struct sink *s = open_filled();

	set_truth(NULL, 0);
	truth.on_walk = still_ready;
	repair(s);
	put(":ready:", "not");
	assert_verify(s, SINK_DAMAGED);
	set_truth(NULL, 0);
	truth.on_walk = still_not_ready;
	repair(s);
	assert_value(":ready:", "yes");
	s->ops->close(s);
}

static void
a_repair_never_holds_the_lock_for_many_keys(void **state UNUSED)
{
	enum { N = 4000, MOST = 1024 + 3 }; /* a batch and the rest of its last domain */
	struct fact *facts = make_facts(N);
	struct sink *s = open_ready();

	set_truth(facts, N);
	n_exclusive = 0;
	repair(s);
	assert_int_equal(count_keys(), 3 + 3 * N);
	assert_true(n_exclusive > 3 * N / MOST);
	set_truth(NULL, 0); /* and now all must go */
	n_exclusive = 0;
	repair(s);
	assert_int_equal(count_keys(), 3);
	assert_true(n_exclusive > 3 * N / MOST);
	s->ops->close(s);
	free_facts(facts, N);
}

static void
while_a_map_is_filled_again_its_mtime_stays(void **state UNUSED)
{
	struct fact *facts = make_facts(N_OLD);
	struct timespec far[2] = {{0, UTIME_OMIT}, {FAR, 0}};
	struct sink *s = open_ready();

	put(":ready:", "not");
	assert_int_equal(utimensat(AT_FDCWD, path, far, 0), 0);
	set_truth(facts, N_OLD);
	n_exclusive = 0;
	repair(s);
	assert_true(n_exclusive > 3);
	assert_int_equal(mtime_of(path), FAR + 2); /* emptied, and made ready */
	assert_true(check_fails_closed(path, "filled again", 0));
	s->ops->close(s);
	free_facts(facts, N_OLD);
}

static void
a_repair_on_a_slow_disk_goes_by_the_clock(void **state UNUSED)
{
	enum { READ_MS = 4, MOST_READS = 20 / READ_MS + 2 }; /* and those of before and after */
	struct fact *facts = make_facts(N_OLD);
	struct sink *s = open_filled();
	unsigned most;

	for (int i = 0; i < N_OLD; i += 3)
		facts[i].r.until++;
	set_truth(facts, N_OLD);
	disk_reset();
	disk.read_ms = READ_MS;
	most_reads = 0;
	repair(s);
	most = most_reads;
	disk_reset();
	assert_value("old297.test", "enforce 2000000001");
	assert_int_equal(count_keys(), 3 + 3 * N_OLD);
	if (most > MOST_READS)
		fail_msg("%u reads of %d ms in one hold of the lock", most, READ_MS);
	s->ops->close(s);
	free_facts(facts, N_OLD);
}

/* --- damage --- */

static void
write_at(off_t at, int byte, size_t len)
{
	unsigned char bytes[PAGE];
	int fd = open(path, O_WRONLY);

	memset(bytes, byte, sizeof(bytes));
	assert_true(fd >= 0 && len <= sizeof(bytes));
	assert_int_equal(syscall(SYS_pwrite64, fd, bytes, len, at), (long)len);
	close(fd);
}

static void
assert_whole(void)
{
	int fd = open(path, O_RDONLY);
	struct errmsg em = {""};
	uint32_t bucket = 0;

	if (hashfile_check(fd, path, &bucket, UINT32_MAX, &em) != SINK_OK)
		fail_msg("%s", em.text);
	close(fd);
}

static void
whatever_libdb_does_to_a_file_it_stays_whole(void **state UNUSED)
{
	static const char *const values[] = {"mx", "none 1", "enforce 2000000000"};
	enum { ROUNDS = 24, CHANGES = 600, KEYS = 1500 };
	unsigned seed = 7;
	struct sink *s = open_ready();

	s->ops->close(s);
	for (int i = 0; i < ROUNDS; i++) { /* it grows, shrinks, and grows again */
		struct map m;

		assert_int_equal(db_create(&m.db, NULL, 0), 0);
		assert_int_equal(m.db->open(m.db, NULL, path, NULL, DB_HASH, 0, 0), 0);
		for (int j = 0; j < CHANGES; j++) {
			char key[240];
			DBT k = {0}, v = {0};
			int n = rand_r(&seed) % KEYS;

			k.data = key;
			k.size = (uint32_t)snprintf(
			    key, sizeof(key), "%0*d.test", n % 7 == 0 ? 200 : 5, n);
			v.data = (void *)(uintptr_t)values[rand_r(&seed) % 3];
			v.size = (uint32_t)strlen(v.data);
			if (rand_r(&seed) % 8 < (i / 8 == 1 ? 7 : 2))
				(void)m.db->del(m.db, NULL, &k, 0);
			else
				assert_int_equal(m.db->put(m.db, NULL, &k, &v, 0), 0);
		}
		map_close(&m);
		assert_whole();
	}
}

/* libdb takes a page of zeros for an empty one, and what it puts there makes the page valid. */
static void
put_into_a_lost_page(void)
{
	struct map m;
	DBT k = {0}, v = {0};
	char key[32];

	assert_int_equal(db_create(&m.db, NULL, 0), 0);
	m.db->set_errfile(m.db, NULL);
	assert_int_equal(m.db->open(m.db, NULL, path, NULL, DB_HASH, 0, 0), 0);
	v.data = (void *)(uintptr_t) "none 2000000000";
	v.size = 15;
	for (int i = 0; i < N_NEW / 2; i++) {
		snprintf(key, sizeof(key), "new%d.test", i);
		k.data = key;
		k.size = (uint32_t)strlen(key);
		(void)m.db->put(m.db, NULL, &k, &v, 0);
	}
	map_close(&m);
}

static void
a_lost_page_is_found_before_and_after_something_is_put_there(void **state UNUSED)
{
	struct fact *facts = make_facts(N_OLD);
	struct sink *s = open_filled();
	struct errmsg em = {""};
	struct stat st;
	char base[96];

	snprintf(base, sizeof(base), "%s.base", path);
	copy_file(path, base);
	assert_int_equal(stat(base, &st), 0);
	set_truth(facts, N_OLD);
	for (off_t at = PAGE; at < st.st_size; at += PAGE) {
		copy_file(base, path);
		write_at(at, 0, PAGE);
		if (s->ops->verify(s, &em) == SINK_OK)
			continue; /* a page for buckets to come */
		set_domains(s, "new", 0, N_NEW);
		disk_reset();
		assert_int_equal(s->ops->commit(s, &enforcing, &em), SINK_DAMAGED);
		assert_non_null(strstr(em.text, "was lost"));
		assert_int_equal(disk.n, 0);
		assert_false(was_killed(in_child(put_into_a_lost_page)));
		assert_verify(s, SINK_DAMAGED);
		repair(s);
		assert_true(check_fails_closed(path, "repaired", (unsigned)(at / PAGE)));
		assert_verify(s, SINK_OK);
	}
	s->ops->close(s);
	unlink(base);
	free_facts(facts, N_OLD);
}

static void
commit_on_a_lying_disk(void)
{
	struct sink *s = open_sink(1000);
	struct errmsg em = {""};

	set_domains(s, "new", 0, N_OLD);
	disk_reset();
	disk.spoil_free = true;
	assert_int_equal(s->ops->commit(s, &enforcing, &em), SINK_DAMAGED);
	disk_reset();
	s->ops->close(s);
}

static void
when_libdb_gives_up_among_changes_the_lock_is_let_go(void **state UNUSED)
{
	struct sink *s = open_filled();

	set_truth(NULL, 0);
	kill_at = 0;
	delete_and_be_killed(); /* not killed: pages come free */
	assert_false(was_killed(in_child(commit_on_a_lying_disk)));
	repair(s);
	assert_verify(s, SINK_OK);
	s->ops->close(s);
}

static void
a_damaged_file_is_found_and_rebuilt_in_its_place(void **state UNUSED)
{
	static const struct {
		const char *what;
		off_t at; /* -1: the file is cut to len */
		int byte;
		size_t len;
	} t[] = {
	    {"a page of zeros", 3 * PAGE, 0, PAGE},
	    {"the first page scrambled", 0, 0x5a, PAGE},
	    {"some bytes of page 1 changed", PAGE + 3000, 0xff, 8},
	    {"some bytes of page 2 changed", 2 * PAGE + 3000, 0xff, 8},
	    {"some bytes of page 5 changed", 5 * PAGE + 3000, 0xff, 8},
	    {"some bytes of the first page changed", 80, 0xff, 8},
	    {"the end cut off", -1, 0, 4 * PAGE + 100},
	    {"only the first page left", -1, 0, PAGE},
	    {"empty", -1, 0, 0},
	};
	static const struct fact facts[] = {{"good.test", {REQUIRE_ENFORCE, FAR, 2, mx_two}}};
	struct stat before, after;
	struct sink *s = open_filled();
	char base[96];

	snprintf(base, sizeof(base), "%s.base", path);
	copy_file(path, base);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		copy_file(base, path);
		assert_verify(s, SINK_OK);
		assert_int_equal(stat(path, &before), 0);
		if (t[i].at < 0)
			assert_int_equal(truncate(path, (off_t)t[i].len), 0);
		else
			write_at(t[i].at, t[i].byte, t[i].len);
		print_message("  %s\n", t[i].what);
		assert_verify(s, SINK_DAMAGED);
		set_truth(facts, 1);
		repair(s);
		assert_verify(s, SINK_OK);
		assert_value("good.test:.example.org", "mx");
		assert_int_equal(count_keys(), 3 + 3);
		assert_int_equal(stat(path, &after), 0);
		assert_int_equal(before.st_ino, after.st_ino); /* readers have it open */
	}
	unlink(base);
	s->ops->close(s);
}

static void
what_a_damaged_file_still_has_is_imported(void **state UNUSED)
{
	struct sink *s = open_ready();

	change(s, "saved.test", &unknown, &enforce_two);
	write_at(0, 0x5a, PAGE);
	set_truth(NULL, 0);
	truth.import = true;
	repair(s);
	assert_string_equal(
	    truth.imported, "saved.test 2000000000 *.example.org mx1.example.net;end");
	s->ops->close(s);
}

static void
a_map_that_is_gone_is_made_anew(void **state UNUSED)
{
	struct sink *s = open_ready();

	assert_int_equal(unlink(path), 0);
	assert_verify(s, SINK_DAMAGED);
	repair(s);
	assert_verify(s, SINK_OK);
	s->ops->close(s);
}

static void
a_key_with_a_nul_is_not_left_in_the_map(void **state UNUSED)
{
	struct sink *s = open_ready();
	struct map m;
	DBT k = {0}, v = {0};

	assert_int_equal(db_create(&m.db, NULL, 0), 0);
	assert_int_equal(m.db->open(m.db, NULL, path, NULL, DB_HASH, 0, 0), 0);
	k.data = (void *)(uintptr_t) "bad.test";
	k.size = 9; /* with its NUL: Sendmail would find it */
	v.data = (void *)(uintptr_t) "none 2000000000";
	v.size = 15;
	assert_int_equal(m.db->put(m.db, NULL, &k, &v, 0), 0);
	map_close(&m);
	assert_int_equal(count_keys(), 4);
	repair(s);
	assert_int_equal(count_keys(), 3);
	s->ops->close(s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_new_map_is_not_ready_until_it_was_repaired),
	    TEST(keys_and_values_are_as_the_manual_has_them),
	    TEST(patterns_that_a_policy_no_longer_has_are_deleted),
	    TEST(a_pattern_that_sendmail_would_cut_is_left_out),
	    TEST(observe_mode_is_a_state_of_the_whole_map),
	    TEST(the_oldest_none_entries_go_first_and_enforce_never),
	    TEST(each_commit_moves_the_mtime_a_whole_second_forward),
	    TEST(a_writer_that_was_killed_does_not_turn_the_mtime_back),
	    TEST(an_mtime_on_record_that_no_file_can_have_is_ignored),
	    TEST(every_write_is_under_the_lock_and_the_file_stays_the_same),
	    TEST(a_writer_killed_at_any_write_leaves_no_ready_map_without_its_keys),
	    TEST(a_map_whose_writer_was_killed_among_deletions_is_repaired),
	    TEST(a_commit_after_one_that_was_not_finished_does_not_make_the_map_ready),
	    TEST(a_reader_from_before_a_killed_commit_does_not_mix_its_pages_with_new_ones),
	    TEST(nor_does_one_killed_in_any_of_a_hundred_commits),
	    TEST(a_power_cut_at_any_write_leaves_no_ready_map_without_its_keys),
	    TEST(a_commit_that_fails_half_way_fails_closed_and_is_repaired),
	    TEST(on_a_full_disk_the_old_map_stays_whole_and_ready),
	    TEST(a_process_that_keeps_the_lock_is_named),
	    TEST(local_users_are_kept_out),
	    TEST(a_directory_that_is_missing_is_named_with_the_remedy),
	    TEST(a_map_owned_by_somebody_else_is_refused),
	    TEST(both_modes_of_the_directory_are_right),
	    TEST(root_refuses_a_map_of_another_owner_and_gives_it_the_group_of_its_directory),
	    TEST(repair_makes_the_map_agree_with_the_truth),
	    TEST(requirements_that_only_the_map_knows_are_imported_or_removed),
	    TEST(a_ready_map_stays_ready_while_it_is_repaired_and_another_becomes_so_last),
	    TEST(a_repair_never_holds_the_lock_for_many_keys),
	    TEST(while_a_map_is_filled_again_its_mtime_stays),
	    TEST(a_repair_on_a_slow_disk_goes_by_the_clock),
	    TEST(whatever_libdb_does_to_a_file_it_stays_whole),
	    TEST(a_lost_page_is_found_before_and_after_something_is_put_there),
	    TEST(when_libdb_gives_up_among_changes_the_lock_is_let_go),
	    TEST(a_damaged_file_is_found_and_rebuilt_in_its_place),
	    TEST(what_a_damaged_file_still_has_is_imported),
	    TEST(a_map_that_is_gone_is_made_anew),
	    TEST(a_key_with_a_nul_is_not_left_in_the_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
