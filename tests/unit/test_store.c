/* The policy cache on disk: what is in it after commits, crashes, damage and a full disk. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <lmdb.h>

#include "store/store.h"

enum { MIB = 1024 * 1024, PAGE = 4096 };

/* --- a place for each test --- */

static char dir[64], data[80], lock[80];
static struct store_config config;

static int
make_place(void **state UNUSED)
{
	strcpy(dir, "/tmp/test_store.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(data, sizeof(data), "%s/data.mdb", dir);
	snprintf(lock, sizeof(lock), "%s/writer.lock", dir);
	config = (struct store_config){.dir = dir, .max_bytes = (size_t)256 * MIB};
	return 0;
}

/* Calls f for each name in the place; returns how many begin with prefix. */
static size_t
count_files(const char *prefix, bool and_unlink)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	size_t n = 0;

	while (d != NULL && (de = readdir(d)) != NULL) {
		if (de->d_name[0] == '.' || strncmp(de->d_name, prefix, strlen(prefix)) != 0)
			continue;
		n++;
		if (and_unlink)
			(void)unlinkat(dirfd(d), de->d_name, 0);
	}
	if (d != NULL)
		closedir(d);
	return n;
}

static int
remove_place(void **state UNUSED)
{
	count_files("", true);
	return rmdir(dir);
}

/* --- entries that can be told from each other --- */

/* An enforce policy that names its domain and a number. */
static struct entry
entry_of(const char *domain, unsigned number)
{
	struct entry e = {
	    .state = ENTRY_POLICY, .fetched = 1000, .expires = 2000000000, .used = number};
	char mx[80];
	const char *mxs[] = {mx, "*.example.net"};

	snprintf(mx, sizeof(mx), "mx%u.%s", number, domain);
	snprintf(e.id, sizeof(e.id), "id%u", number);
	e.policy = policy_new(MODE_ENFORCE, 86400, 2, mxs);
	assert_non_null(e.policy);
	return e;
}

/* True when e is entry_of(domain, number) for the number that it says itself; that number. */
static bool
entry_whole(const char *domain, const struct entry *e, unsigned *number)
{
	char mx[80], id[TXT_ID_MAX + 1];

	*number = (unsigned)e->used;
	snprintf(mx, sizeof(mx), "mx%u.%s", *number, domain);
	snprintf(id, sizeof(id), "id%u", *number);
	return e->state == ENTRY_POLICY && strcmp(e->id, id) == 0 && e->policy != NULL &&
	       e->policy->n_mx == 2 && strcmp(e->policy->mx[0], mx) == 0;
}

static enum store_result
put(struct store_txn *txn, const char *domain, unsigned number, time_t due, struct errmsg *em)
{
	struct entry e = entry_of(domain, number);
	enum store_result r = store_put(txn, domain, &e, due, em);

	entry_clear(&e);
	return r;
}

static struct store *
open_store(void)
{
	struct store *st;
	struct errmsg em = {""};
	bool recovered;

	if (store_open(&config, &st, &recovered, &em) != STORE_OK)
		fail_msg("not opened: %s", em.text);
	if (recovered)
		fail_msg("recovered: %s", em.text);
	return st;
}

static void
put_one(struct store *st, const char *domain, unsigned number, time_t due)
{
	struct store_txn *txn;
	struct errmsg em = {""};

	if (store_begin(st, &txn, &em) != STORE_OK ||
	    put(txn, domain, number, due, &em) != STORE_OK || store_commit(&txn, &em) != STORE_OK)
		fail_msg("not saved: %s", em.text);
	assert_null(txn);
}

/* The number that is stored for a domain; 0: absent. */
static unsigned
number_of(struct store *st, const char *domain)
{
	struct entry e = {0};
	struct errmsg em = {""};
	enum store_result r = store_get(st, domain, &e, &em);
	unsigned number = 0;

	if (r != STORE_OK && r != STORE_ABSENT)
		fail_msg("%s: %s", domain, em.text);
	if (r == STORE_OK && !entry_whole(domain, &e, &number))
		fail_msg("%s is not whole", domain);
	entry_clear(&e);
	return number;
}

/* n domains, numbered and due from 1 on, in one commit. */
static void
fill(struct store *st, unsigned n)
{
	struct store_txn *txn;
	struct errmsg em = {""};
	char domain[40];

	assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
	for (unsigned i = 1; i <= n; i++) {
		snprintf(domain, sizeof(domain), "d%u.test", i);
		assert_int_equal(put(txn, domain, i, (time_t)i, &em), STORE_OK);
	}
	assert_int_equal(store_commit(&txn, &em), STORE_OK);
}

struct names {
	size_t n;
	char text[4096];
};

static bool
add_due(const char *domain, time_t due, void *arg)
{
	struct names *names = arg;
	size_t len = strlen(names->text);

	snprintf(names->text + len, sizeof(names->text) - len, "%s@%jd ", domain, (intmax_t)due);
	names->n++;
	return true;
}

static bool
add_entry(const char *domain, const struct entry *e, void *arg)
{
	struct names *names = arg;
	size_t len = strlen(names->text);

	snprintf(
	    names->text + len, sizeof(names->text) - len, "%s=%jd ", domain, (intmax_t)e->used);
	names->n++;
	return true;
}

static void
assert_due(struct store *st, time_t now, size_t max, const char *want)
{
	struct names names = {0};

	assert_int_equal(store_due(st, now, max, add_due, &names, NULL), STORE_OK);
	assert_string_equal(names.text, want);
}

static void
assert_each(struct store *st, const char *after, size_t max, const char *want, size_t want_damaged)
{
	struct names names = {0};
	size_t damaged = 99;

	assert_int_equal(store_each(st, after, max, add_entry, &names, &damaged, NULL), STORE_OK);
	assert_string_equal(names.text, want);
	assert_int_equal(damaged, want_damaged);
}

/* --- what a store does --- */

static void
an_entry_is_there_after_reopening(void **state UNUSED)
{
	struct store *st = open_store();

	assert_int_equal(number_of(st, "good.test"), 0);
	put_one(st, "good.test", 7, 50);
	assert_int_equal(number_of(st, "good.test"), 7);
	store_close(&st);
	assert_null(st);
	st = open_store();
	assert_int_equal(number_of(st, "good.test"), 7);
	assert_int_equal(store_count(st), 1);
	store_close(&st);
	store_close(&st);
}

static void
a_commit_is_all_or_nothing(void **state UNUSED)
{
	struct store *st = open_store();
	struct store_txn *txn;
	struct errmsg em;
	struct entry e = {0}, bad = {.state = ENTRY_NONE, .expires = -1};

	put_one(st, "old.test", 1, 10);
	assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
	assert_int_equal(put(txn, "new.test", 2, 20, &em), STORE_OK);
	assert_int_equal(store_del(txn, "old.test", &em), STORE_OK);
	assert_int_equal(store_del(txn, "old.test", &em), STORE_ABSENT);
	assert_int_equal(store_txn_get(txn, "new.test", &e, &em), STORE_OK);
	entry_clear(&e);
	assert_int_equal(store_txn_get(txn, "old.test", &e, &em), STORE_ABSENT);
	assert_int_equal(number_of(st, "old.test"), 1); /* readers see the last commit */
	assert_int_equal(number_of(st, "new.test"), 0);
	store_abort(&txn);
	assert_null(txn);
	store_abort(&txn);
	assert_int_equal(number_of(st, "old.test"), 1);

	assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
	assert_int_equal(put(txn, "new.test", 2, 20, &em), STORE_OK);
	assert_int_equal(store_put(txn, "bad.test", &bad, 1, &em), STORE_FAILED);
	assert_int_equal(store_commit(&txn, &em), STORE_FAILED);
	assert_null(txn);
	assert_int_equal(number_of(st, "new.test"), 0);
	assert_each(st, NULL, 9, "old.test=1 ", 0);
	store_close(&st);
}

static void
a_name_that_is_no_domain_is_refused_not_stored(void **state UNUSED)
{
	struct store *st = open_store();
	struct store_txn *txn;
	struct entry e = {.state = ENTRY_NONE}, out;
	struct errmsg em;
	char longest[DOMAIN_MAX + 2];

	memset(longest, 'a', sizeof(longest));
	longest[DOMAIN_MAX + 1] = '\0';
	assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
	assert_int_equal(store_put(txn, longest, &e, 1, &em), STORE_FAILED);
	assert_int_equal(store_put(txn, "", &e, 1, &em), STORE_FAILED);
	store_abort(&txn);
	assert_int_equal(store_get(st, longest, &out, &em), STORE_ABSENT);
	assert_int_equal(store_get(st, "", &out, &em), STORE_ABSENT);
	longest[DOMAIN_MAX] = '\0';
	assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
	assert_int_equal(store_put(txn, longest, &e, 1, &em), STORE_OK);
	assert_int_equal(store_commit(&txn, &em), STORE_OK);
	assert_int_equal(store_get(st, longest, &out, &em), STORE_OK);
	assert_due(st, 0, 9, "");
	assert_int_equal(store_next_due(st), 1);
	store_close(&st);
}

static void
due_domains_come_earliest_first(void **state UNUSED)
{
	struct store *st = open_store();
	struct store_txn *txn;
	struct errmsg em;

	assert_int_equal(store_next_due(st), 0);
	assert_due(st, 1000000, 9, "");
	put_one(st, "b.test", 1, 300);
	put_one(st, "c.test", 2, 70000); /* its low bytes are small: big endian matters */
	put_one(st, "a.test", 3, 200);
	assert_int_equal(store_next_due(st), 200);
	assert_due(st, 299, 9, "a.test@200 ");
	assert_due(st, 300, 9, "a.test@200 b.test@300 ");
	assert_due(st, 70000, 2, "a.test@200 b.test@300 ");
	put_one(st, "a.test", 4, 90000); /* moves, and is not there twice */
	assert_due(st, 99999, 9, "b.test@300 c.test@70000 a.test@90000 ");
	assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
	assert_int_equal(store_del(txn, "b.test", &em), STORE_OK);
	assert_int_equal(store_commit(&txn, &em), STORE_OK);
	assert_due(st, 99999, 9, "c.test@70000 a.test@90000 ");
	assert_int_equal(store_next_due(st), 70000);
	store_close(&st);
}

static void
a_walk_goes_on_after_the_last_domain_seen(void **state UNUSED)
{
	struct store *st = open_store();

	put_one(st, "c.test", 3, 1);
	put_one(st, "a.test", 1, 1);
	put_one(st, "b.test", 2, 1);
	assert_each(st, NULL, 9, "a.test=1 b.test=2 c.test=3 ", 0);
	assert_each(st, NULL, 2, "a.test=1 b.test=2 ", 0);
	assert_each(st, "b.test", 9, "c.test=3 ", 0);
	assert_each(st, "b", 9, "b.test=2 c.test=3 ", 0); /* need not be there itself */
	assert_each(st, "c.test", 9, "", 0);
	assert_each(st, NULL, 0, "", 0);
	store_close(&st);
}

static bool
get_inside(const char *domain, const struct entry *e UNUSED, void *arg)
{
	assert_true(number_of(arg, domain) > 0); /* a read inside a read, in one thread */
	put_one(arg, "new.test", 9, 9);
	return true;
}

static void
a_walk_may_read_and_write_the_store(void **state UNUSED)
{
	struct store *st = open_store();

	put_one(st, "a.test", 1, 1);
	assert_int_equal(store_each(st, NULL, 9, get_inside, st, NULL, NULL), STORE_OK);
	assert_int_equal(number_of(st, "new.test"), 9);
	store_close(&st);
}

static void
a_second_writer_is_told_the_pid_of_the_first(void **state UNUSED)
{
	struct store *st = open_store(), *second;
	struct errmsg em = {""};
	char pid[32];
	bool recovered;

	assert_int_equal(store_open(&config, &second, &recovered, &em), STORE_BUSY);
	assert_null(second);
	snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
	assert_non_null(strstr(em.text, pid));
	put_one(st, "a.test", 1, 1);
	store_close(&st);
	st = open_store();
	store_close(&st);
}

/* --- crashes --- */

enum { GROUP = 10, ROUNDS = 60, PADDING = 500 };

/* Commits groups for ever, each of one number for all of the group's domains; says each number once
 * it is committed. Every other group is also moved, deleted from and padded, so that pages split
 * and are freed. */
static void
write_groups(int fd, unsigned number)
{
	struct store *st = NULL;
	struct store_txn *txn;
	struct errmsg em;
	bool recovered;
	char domain[40];

	if (store_open(&config, &st, &recovered, &em) != STORE_OK || recovered)
		_exit(3);
	for (;; number++) {
		if (store_begin(st, &txn, &em) != STORE_OK)
			_exit(4);
		for (unsigned i = 0; i < GROUP; i++) {
			snprintf(domain, sizeof(domain), "g%u.test", i);
			if (put(txn, domain, number, (time_t)number, &em) != STORE_OK)
				_exit(5);
			snprintf(domain, sizeof(domain), "p%u.test", number * 7919 % PADDING + i);
			if (number % 3 == 0 ? store_del(txn, domain, &em) > STORE_ABSENT
					    : put(txn, domain, number, 1, &em) != STORE_OK)
				_exit(6);
		}
		if (store_commit(&txn, &em) != STORE_OK ||
		    write(fd, &number, sizeof(number)) != sizeof(number))
			_exit(7);
	}
}

/*
 * Kills a writer at a random time: after some of its commits, or in one round of four while it is
 * opening the store. The last number that it said.
 */
static unsigned
kill_a_writer(unsigned number, int round)
{
	struct timespec some = {.tv_nsec = random() % 5000000};
	long commits = round % 4 == 0 ? 0 : 1 + random() % 12;
	unsigned said = number - 1;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		write_groups(fds[1], number);
	close(fds[1]);
	while (commits-- > 0 && read(fds[0], &number, sizeof(number)) == sizeof(number))
		said = number;
	nanosleep(&some, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("the writer ended by itself: %d", WEXITSTATUS(status));
	while (read(fds[0], &number, sizeof(number)) == sizeof(number))
		said = number;
	close(fds[0]);
	return said;
}

static void
a_killed_writer_loses_nothing_that_it_acknowledged(void **state UNUSED)
{
	unsigned said = 0, commits = 0, found = 0;
	struct store *st =
	    open_store(); /* one killed while it is made is begun anew, and says so */

	store_close(&st);
	for (int round = 0; round < ROUNDS; round++) {
		unsigned before = said;
		char domain[40];

		said = kill_a_writer(said + 1, round);
		commits += said - before;
		st = open_store(); /* fails when anything is damaged: the whole file is checked */
		for (unsigned i = 0; i < GROUP; i++) {
			snprintf(domain, sizeof(domain), "g%u.test", i);
			if (i == 0)
				found = number_of(st, domain);
			else if (number_of(st, domain) != found)
				fail_msg("round %d: half a commit", round);
		}
		if (found < said || found > said + 1)
			fail_msg("round %d: %u was said, %u is there", round, said, found);
		said = found;
		store_close(&st);
	}
	if (commits < ROUNDS)
		fail_msg("only %u commits in %d rounds prove nothing", commits, ROUNDS);
}

/* --- damage --- */

struct image {
	unsigned char *bytes;
	size_t len;
};

static struct image
load(const char *path)
{
	struct image image = {NULL, 0};
	struct stat sb;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0 && fstat(fd, &sb) == 0);
	image.len = (size_t)sb.st_size;
	image.bytes = malloc(image.len);
	assert_non_null(image.bytes);
	assert_int_equal(read(fd, image.bytes, image.len), image.len);
	close(fd);
	return image;
}

static void
save(const char *path, const unsigned char *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

/* Opens a store that may be damaged; fails when it neither is whole nor says that it recovered. */
static bool
open_damaged(unsigned n, const char *what, size_t where)
{
	struct store *st;
	struct errmsg em = {""};
	struct entry e = {0};
	bool recovered;
	unsigned found = 0, number;
	char domain[40];

	if (store_open(&config, &st, &recovered, &em) != STORE_OK)
		fail_msg("%s at %zu: not opened: %s", what, where, em.text);
	for (unsigned i = 1; i <= n; i++) {
		snprintf(domain, sizeof(domain), "d%u.test", i);
		if (store_get(st, domain, &e, &em) != STORE_OK)
			continue;
		if (!entry_whole(domain, &e, &number) || number != i)
			fail_msg("%s at %zu: %s is not what was stored", what, where, domain);
		found++;
		entry_clear(&e);
	}
	if (!recovered && found != n)
		fail_msg("%s at %zu: %u of %u there, and no word of it", what, where, found, n);
	if (recovered && em.text[0] == '\0')
		fail_msg("%s at %zu: recovered in silence", what, where);
	put_one(st, "after.test", 1, 1);
	store_close(&st);
	st = open_store(); /* once is enough */
	assert_int_equal(number_of(st, "after.test"), 1);
	store_close(&st);
	return recovered;
}

enum { SMALL = 120 };

static struct image
small_store(void)
{
	struct store *st = open_store();

	fill(st, SMALL);
	for (unsigned i = 0; i < 5; i++) /* so that pages are free */
		put_one(st, "d1.test", 1, 1);
	store_close(&st);
	return load(data);
}

static void
a_file_cut_short_anywhere_is_recovered_from(void **state UNUSED)
{
	struct image image = small_store();
	unsigned recovered = 0, cuts = 0;

	for (size_t len = 0; len < image.len; len += len < 3 * PAGE ? 211 : PAGE / 2, cuts++) {
		count_files("data.mdb", true);
		save(data, image.bytes, len);
		recovered += open_damaged(SMALL, "cut", len);
	}
	if (recovered < cuts * 9 / 10) /* only free pages at the end may be missed */
		fail_msg("%u of %u cuts were seen", recovered, cuts);
	free(image.bytes);
}

static void
break_page(unsigned char *bytes, size_t n_pages, size_t page, int how)
{
	unsigned char *at = bytes + page * PAGE;

	switch (how) {
	case 0:
		memset(at, 0, PAGE);
		break;
	case 1:
		for (size_t i = 0; i < PAGE; i++)
			at[i] = (unsigned char)random();
		break;
	case 2: /* a good page in a wrong place */
		memmove(at, bytes + (page + 1) % n_pages * PAGE, PAGE);
		break;
	case 3: /* its second half */
		memset(at + PAGE / 2, 0xff, PAGE / 2);
		break;
	default: /* one byte of the part that LMDB finds its way by */
		at[random() % 48] ^= (unsigned char)(1 + random() % 255);
	}
}

static void
a_broken_page_anywhere_is_never_a_missing_domain_in_silence(void **state UNUSED)
{
	struct image image = small_store(), broken = image;
	size_t n_pages = image.len / PAGE;

	broken.bytes = malloc(image.len);
	assert_non_null(broken.bytes);
	for (size_t page = 0; page < n_pages; page++)
		for (int how = 0; how < 16; how++) {
			memcpy(broken.bytes, image.bytes, image.len);
			break_page(broken.bytes, n_pages, page, how);
			count_files("data.mdb", true);
			save(data, broken.bytes, image.len);
			(void)open_damaged(SMALL, "broken", page * 100 + (size_t)how);
		}
	free(broken.bytes);
	free(image.bytes);
}

/* Where a text stands in a file; it must be there. */
static size_t
find(const struct image *image, const char *text)
{
	unsigned char *at = memmem(image->bytes, image->len, text, strlen(text));

	if (at == NULL)
		fail_msg("%s is not in the file", text);
	return (size_t)(at - image->bytes);
}

/* Changes each place where text stands: the record may be there more than once, in old pages. */
static void
change_all(struct image *image, const char *text)
{
	unsigned char *at = image->bytes, *end = image->bytes + image->len;

	(void)find(image, text);
	while ((at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL)
		*at = 'n';
}

static enum store_result
read_only(struct store **st)
{
	struct errmsg em = {""};
	enum store_result r = store_open_to_read(&config, st, &em);

	assert_int_equal(r == STORE_OK, em.text[0] == '\0');
	return r;
}

static void
reading_alone_changes_nothing(void **state UNUSED)
{
	struct store *st, *writer;
	struct image image, broken, after;

	count_files("", true);
	assert_int_equal(read_only(&st), STORE_ABSENT);
	assert_int_equal(count_files("data.mdb", false), 0);
	image = small_store();
	assert_int_equal(read_only(&st), STORE_OK);
	assert_int_equal(number_of(st, "d7.test"), 7);
	assert_int_equal(number_of(st, "absent.test"), 0);
	store_close(&st);
	writer = open_store();
	assert_int_equal(read_only(&st), STORE_BUSY);
	store_close(&writer);
	broken = load(data);
	memset(broken.bytes + broken.len / 2, 0xff, broken.len / 2);
	save(data, broken.bytes, broken.len);
	assert_int_equal(read_only(&st), STORE_DAMAGED);
	after = load(data);
	assert_int_equal(after.len, broken.len);
	assert_memory_equal(after.bytes, broken.bytes, broken.len);
	assert_int_equal(count_files("data.mdb.damaged", false), 0);
	free(image.bytes);
	free(broken.bytes);
	free(after.bytes);
}

static void
a_damaged_record_is_dropped_and_the_others_stay(void **state UNUSED)
{
	struct image image = small_store();
	struct store *st;
	struct errmsg em = {""};
	struct entry e;
	bool recovered;

	change_all(&image, "mx77.d77.test");
	save(data, image.bytes, image.len);
	assert_int_equal(store_open(&config, &st, &recovered, &em), STORE_OK);
	assert_true(recovered);
	assert_non_null(strstr(em.text, "1 of its 120 records"));
	assert_int_equal(count_files("data.mdb.damaged-", false), 0);
	assert_int_equal(store_get(st, "d77.test", &e, &em), STORE_ABSENT);
	assert_int_equal(store_count(st), SMALL - 1);
	assert_int_equal(number_of(st, "d78.test"), 78);
	assert_due(st, 78, 3, "d1.test@1 d2.test@2 d3.test@3 ");
	store_close(&st);
	st = open_store();
	store_close(&st);
	free(image.bytes);
}

/*
 * Writes the file back with its old time, as a failing disk would change it: no check at opening.
 */
static void
save_unseen(const struct image *image)
{
	struct stat sb;
	struct timespec times[2];
	int fd = open(data, O_WRONLY);

	assert_true(fd >= 0 && fstat(fd, &sb) == 0);
	assert_int_equal(pwrite(fd, image->bytes, image->len, 0), image->len);
	times[0] = sb.st_atim;
	times[1] = sb.st_mtim;
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
}

static void
a_record_damaged_unseen_is_DAMAGED_when_read_and_can_be_replaced(void **state UNUSED)
{
	struct image image = small_store();
	struct store *st;
	struct store_txn *txn;
	struct entry e = {0};
	struct errmsg em = {""};
	size_t damaged = 0;
	struct names names = {0};

	change_all(&image, "mx77.d77.test");
	save_unseen(&image);
	st = open_store();
	assert_int_equal(store_get(st, "d77.test", &e, &em), STORE_DAMAGED);
	assert_non_null(strstr(em.text, "d77.test"));
	assert_int_equal(number_of(st, "d78.test"), 78);
	assert_each(st, "d76.test", 2, "d78.test=78 d79.test=79 ", 1);
	assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
	assert_int_equal(store_txn_get(txn, "d77.test", &e, &em), STORE_DAMAGED);
	assert_int_equal(put(txn, "d77.test", 770, 1000, &em), STORE_OK);
	assert_int_equal(store_commit(&txn, &em), STORE_OK);
	assert_int_equal(number_of(st, "d77.test"), 770);
	assert_int_equal(store_each(st, "d76.test", 1, add_entry, &names, &damaged, &em), STORE_OK);
	assert_int_equal(damaged, 0);
	names = (struct names){0}; /* its old time is gone from the index, though nobody knew it */
	assert_int_equal(store_due(st, 78, 200, add_due, &names, &em), STORE_OK);
	assert_int_equal(names.n, 77);
	store_close(&st);
	st = open_store();
	assert_int_equal(number_of(st, "d77.test"), 770);
	store_close(&st);
	free(image.bytes);
}

/* Changes one database behind the store's back, as no crash can: val NULL deletes. */
static void
change_database(const char *db, MDB_val key, MDB_val *val)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 3), 0);
	assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, db, 0, &dbi), 0);
	if (val == NULL)
		assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
	else
		assert_int_equal(mdb_put(txn, dbi, &key, val, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
an_index_that_lost_a_domain_is_built_anew(void **state UNUSED)
{
	struct image image = small_store();
	struct store *st;
	struct errmsg em = {""};
	unsigned char key[] = "\0\0\0\0\0\0\0\003d3.test";
	bool recovered;
	unsigned char late[] = "\0\0\0\0\0\0\1\003d3.test"; /* as many keys as before */
	MDB_val nothing = {0, NULL};

	change_database("due", (MDB_val){sizeof(key) - 1, key}, NULL);
	change_database("due", (MDB_val){sizeof(late) - 1, late}, &nothing);
	assert_int_equal(store_open(&config, &st, &recovered, &em), STORE_OK);
	assert_true(recovered);
	assert_non_null(strstr(em.text, "index"));
	assert_due(st, 4, 9, "d1.test@1 d2.test@2 d3.test@3 d4.test@4 ");
	store_close(&st);
	free(image.bytes);
}

static void
a_key_that_only_the_index_has_is_not_due_for_ever(void **state UNUSED)
{
	struct image image = small_store(), left;
	struct store *st;
	struct stat sb;
	unsigned char key[] = "\0\0\0\0\0\0\0\001gone.test";
	unsigned char early[] = "\0\0\0\0\0\0\0\001d50.test"; /* its entry says 50 */
	MDB_val nothing = {0, NULL};

	change_database("due", (MDB_val){sizeof(key) - 1, key}, &nothing);
	change_database("due", (MDB_val){sizeof(early) - 1, early}, &nothing);
	assert_int_equal(stat(data, &sb), 0);
	left = load(data); /* closed well, says the lock file: nobody looks */
	snprintf((char *)image.bytes, 160, "closed %ju %jd %jd.%09ld %zu\n", (uintmax_t)sb.st_ino,
	    (intmax_t)sb.st_size, (intmax_t)sb.st_mtim.tv_sec, sb.st_mtim.tv_nsec,
	    (size_t)left.bytes[144] > (size_t)left.bytes[PAGE + 144]
		? (size_t)left.bytes[144]
		: (size_t)left.bytes[PAGE + 144]);
	save(lock, image.bytes, strlen((char *)image.bytes));
	st = open_store();
	assert_due(st, 2, 9, "d1.test@1 d2.test@2 ");
	store_close(&st);
	free(image.bytes);
	free(left.bytes);
}

static void
a_newer_schema_is_refused_and_left_as_it_is(void **state UNUSED)
{
	struct image image = small_store(), after;
	struct store *st;
	struct errmsg em = {""};
	bool recovered;

	change_database("meta", (MDB_val){6, (void *)(uintptr_t) "schema"},
	    &(MDB_val){1, (void *)(uintptr_t) "3"});
	change_database("meta", (MDB_val){7, (void *)(uintptr_t) "program"},
	    &(MDB_val){5, (void *)(uintptr_t) "9.8.7"});
	free(image.bytes);
	image = load(data);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(store_open(&config, &st, &recovered, &em), STORE_NEWER);
		assert_null(st);
		assert_false(recovered);
		assert_non_null(strstr(em.text, "9.8.7"));
		after = load(data);
		assert_int_equal(after.len, image.len);
		assert_memory_equal(after.bytes, image.bytes, image.len);
		free(after.bytes);
	}
	free(image.bytes);
}

static void
read_meta(const char *name, char text[8])
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val key = {strlen(name), (void *)(uintptr_t)name}, val;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 3), 0);
	assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
	assert_int_equal(mdb_get(txn, dbi, &key, &val), 0);
	snprintf(text, 8, "%.*s", (int)val.mv_size, (const char *)val.mv_data);
	mdb_txn_abort(txn);
	mdb_env_close(env);
}

static void
an_older_schema_becomes_ours(void **state UNUSED)
{
	struct image image = small_store();
	struct store *st;
	char text[8] = "";

	change_database("meta", (MDB_val){6, (void *)(uintptr_t) "schema"},
	    &(MDB_val){1, (void *)(uintptr_t) "1"});
	st = open_store();
	assert_int_equal(number_of(st, "d7.test"), 7);
	store_close(&st);
	free(image.bytes);
	read_meta("schema", text);
	assert_string_equal(text, "2");
}

static void
a_file_of_another_LMDB_format_is_refused_and_left_as_it_is(void **state UNUSED)
{
	struct image image = small_store(), after;
	struct store *st;
	struct errmsg em = {""};
	bool recovered;

	image.bytes[20] = 2; /* mm_version of both meta pages */
	image.bytes[PAGE + 20] = 2;
	save(data, image.bytes, image.len);
	assert_int_equal(store_open(&config, &st, &recovered, &em), STORE_NEWER);
	assert_non_null(strstr(em.text, "format 2"));
	after = load(data);
	assert_int_equal(after.len, image.len);
	assert_memory_equal(after.bytes, image.bytes, image.len);
	free(after.bytes);
	free(image.bytes);
}

static void
a_garbage_lock_file_does_no_harm(void **state UNUSED)
{
	struct image image = small_store();
	struct store *st;
	char path[80];

	snprintf(path, sizeof(path), "%s/lock.mdb", dir);
	for (size_t i = 0; i < image.len; i++)
		image.bytes[i] = (unsigned char)random();
	save(path, image.bytes, image.len);
	save(lock, image.bytes, image.len);
	st = open_store();
	assert_int_equal(number_of(st, "d77.test"), 77);
	put_one(st, "a.test", 1, 1);
	store_close(&st);
	free(image.bytes);
}

/* --- no room --- */

/* Commits until there is no room; how many domains are in. What was committed stays readable. */
static unsigned
fill_up(struct store *st, const char *remedy)
{
	struct store_txn *txn;
	struct errmsg em = {""};
	char domain[40];
	enum store_result r = STORE_OK;
	unsigned n = 0, stored;

	while (r == STORE_OK && n < 100000) {
		assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
		for (unsigned i = 0; i < GROUP && r == STORE_OK; i++) {
			snprintf(domain, sizeof(domain), "d%u.test", n + i + 1);
			r = put(txn, domain, n + i + 1, 1, &em);
		}
		if (r == STORE_OK)
			r = store_commit(&txn, &em);
		else
			store_abort(&txn);
		n += r == STORE_OK ? GROUP : 0;
	}
	assert_int_equal(r, STORE_FULL);
	if (strstr(em.text, remedy) == NULL)
		fail_msg("no remedy: %s", em.text);
	stored = (unsigned)store_count(st);
	assert_int_equal(stored, n);
	assert_int_equal(number_of(st, "d1.test"), 1);
	assert_int_equal(number_of(st, domain), 0);
	return n;
}

static void
a_full_map_is_FULL_and_a_larger_one_goes_on(void **state UNUSED)
{
	struct store *st;
	unsigned n;

	config.max_bytes = (size_t)256 * 1024;
	st = open_store();
	n = fill_up(st, "raise the store's size");
	store_close(&st);
	config.max_bytes = MIB;
	st = open_store();
	assert_int_equal(store_count(st), n);
	put_one(st, "more.test", 1, 1);
	store_close(&st);
}

static void
a_file_size_limit_is_FULL_and_nothing_is_lost(void **state UNUSED)
{
	struct rlimit old, limit;
	struct store *st = open_store();
	unsigned n;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){.rlim_cur = 300 * 1024, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	n = fill_up(st, "free space");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	put_one(st, "more.test", 1, 1); /* the same opening goes on when there is room again */
	store_close(&st);
	st = open_store();
	assert_int_equal(store_count(st), n + 1);
	store_close(&st);
}

/* On a tmpfs of 512 KiB of its own; exit status 0 when all went well, 77 without the right to
 * mount. */
static void
on_a_small_disk(void)
{
	struct store *st;
	struct errmsg em;
	unsigned n;

	if ((geteuid() != 0 && unshare(CLONE_NEWUSER) != 0) || unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=512k") != 0)
		_exit(77);
	st = open_store();
	n = fill_up(st, "free space");
	store_close(&st);
	st = open_store();
	if (store_count(st) != n)
		_exit(2);
	struct store_txn *txn;
	if (store_begin(st, &txn, &em) != STORE_OK || store_del(txn, "d1.test", &em) != STORE_OK)
		_exit(3);
	store_abort(&txn);
	store_close(&st);
	_exit(0);
}

static void
a_full_disk_is_FULL_and_nothing_is_lost(void **state UNUSED)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		on_a_small_disk();
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip(); /* cannot mount here; the file size limit above is close */
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void
a_directory_that_cannot_be_made_is_one_clear_error(void **state UNUSED)
{
	struct store_config bad = {.dir = "/nonexistent/mtasts", .max_bytes = MIB};
	struct store *st;
	struct errmsg em = {""};
	bool recovered;

	assert_int_equal(store_open(&bad, &st, &recovered, &em), STORE_FAILED);
	assert_null(st);
	assert_non_null(strstr(em.text, "/nonexistent/mtasts"));
	save(data, (const unsigned char *)"", 0);
	config.dir = data; /* not a directory */
	assert_int_equal(store_open(&config, &st, &recovered, &em), STORE_FAILED);
}

/* --- many --- */

/* Kilobytes that opening and one read add to the memory of a process of its own. */
static long
opening_costs_kb(bool closed_well)
{
	int fds[2];
	long kb = -1;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	if ((pid = fork()) == 0) {
		struct rusage before, after;
		struct store *st;

		if (!closed_well)
			unlink(lock);
		getrusage(RUSAGE_SELF, &before);
		st = open_store();
		(void)number_of(st, "d5.test");
		getrusage(RUSAGE_SELF, &after);
		store_close(&st);
		kb = after.ru_maxrss - before.ru_maxrss;
		_exit(write(fds[1], &kb, sizeof(kb)) == sizeof(kb) ? 0 : 1);
	}
	assert_int_equal(read(fds[0], &kb, sizeof(kb)), sizeof(kb));
	waitpid(pid, NULL, 0);
	close(fds[0]);
	close(fds[1]);
	return kb;
}

static void
opening_loads_no_domains(void **state UNUSED)
{
	enum { MANY = 20000, SLACK_KB = 1024 };
	struct store *st = open_store();
	struct stat sb;
	long few_kb, well_kb, ill_kb;

	fill(st, 20);
	store_close(&st);
	few_kb = opening_costs_kb(true);
	st = open_store();
	fill(st, MANY);
	store_close(&st);
	assert_int_equal(stat(data, &sb), 0);
	assert_true(sb.st_size / 1024 > 4 * SLACK_KB); /* else a loaded file would not show */
	well_kb = opening_costs_kb(true);
	ill_kb = opening_costs_kb(false);
	if (well_kb > few_kb + SLACK_KB || ill_kb > few_kb + SLACK_KB)
		fail_msg("%d domains: %ld kB, 20 domains: %ld kB, with the whole check: %ld kB",
		    MANY, well_kb, few_kb, ill_kb);
}

/* --- threads --- */

struct reading {
	struct store *st;
	_Atomic bool stop, failed;
	_Atomic unsigned reads;
};

static void *
read_groups(void *arg)
{
	struct reading *r = arg;
	struct names *names = calloc(1, sizeof(*names));

	while (names != NULL && !r->stop) {
		struct entry e = {0};
		unsigned number;

		if (store_get(r->st, "g1.test", &e, NULL) != STORE_OK ||
		    !entry_whole("g1.test", &e, &number))
			r->failed = true;
		entry_clear(&e);
		*names = (struct names){0};
		if (store_each(r->st, NULL, 50, add_entry, names, NULL, NULL) != STORE_OK ||
		    names->n != GROUP)
			r->failed = true;
		*names = (struct names){0};
		if (store_due(r->st, 1000000, 50, add_due, names, NULL) != STORE_OK ||
		    names->n != GROUP || store_next_due(r->st) == 0)
			r->failed = true;
		r->reads++;
	}
	free(names);
	return NULL;
}

static void
readers_see_whole_commits_while_a_writer_works(void **state UNUSED)
{
	enum { READERS = 4, COMMITS = 300 };
	struct reading r = {.st = open_store()};
	pthread_t threads[READERS];
	struct store_txn *txn;
	struct errmsg em;
	char domain[40];

	for (unsigned number = 1; number <= COMMITS; number++) {
		assert_int_equal(store_begin(r.st, &txn, &em), STORE_OK);
		for (unsigned i = 0; i < GROUP; i++) {
			snprintf(domain, sizeof(domain), "g%u.test", i);
			assert_int_equal(put(txn, domain, number, (time_t)number, &em), STORE_OK);
		}
		assert_int_equal(store_commit(&txn, &em), STORE_OK);
		for (size_t i = 0; number == 1 && i < READERS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, read_groups, &r), 0);
	}
	r.stop = true;
	for (size_t i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_false(r.failed);
	assert_true(r.reads >= READERS);
	store_close(&r.st);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)
	const struct CMUnitTest tests[] = {
	    TEST(an_entry_is_there_after_reopening),
	    TEST(a_commit_is_all_or_nothing),
	    TEST(a_name_that_is_no_domain_is_refused_not_stored),
	    TEST(due_domains_come_earliest_first),
	    TEST(a_walk_goes_on_after_the_last_domain_seen),
	    TEST(a_walk_may_read_and_write_the_store),
	    TEST(a_second_writer_is_told_the_pid_of_the_first),
	    TEST(a_killed_writer_loses_nothing_that_it_acknowledged),
	    TEST(a_file_cut_short_anywhere_is_recovered_from),
	    TEST(a_broken_page_anywhere_is_never_a_missing_domain_in_silence),
	    TEST(reading_alone_changes_nothing),
	    TEST(a_damaged_record_is_dropped_and_the_others_stay),
	    TEST(a_record_damaged_unseen_is_DAMAGED_when_read_and_can_be_replaced),
	    TEST(an_index_that_lost_a_domain_is_built_anew),
	    TEST(a_key_that_only_the_index_has_is_not_due_for_ever),
	    TEST(a_newer_schema_is_refused_and_left_as_it_is),
	    TEST(an_older_schema_becomes_ours),
	    TEST(a_file_of_another_LMDB_format_is_refused_and_left_as_it_is),
	    TEST(a_garbage_lock_file_does_no_harm),
	    TEST(a_full_map_is_FULL_and_a_larger_one_goes_on),
	    TEST(a_file_size_limit_is_FULL_and_nothing_is_lost),
	    TEST(a_full_disk_is_FULL_and_nothing_is_lost),
	    TEST(a_directory_that_cannot_be_made_is_one_clear_error),
	    TEST(opening_loads_no_domains),
	    TEST(readers_see_whole_commits_while_a_writer_works),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
