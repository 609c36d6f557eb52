#include "maps/mapfile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <db.h>

#include "maps/hashfile.h"
#include "maps/parent.h"

enum {
	LOCK_WAIT_MS = 5000, /* lookups hold LOCK_SH for microseconds; more is a hanging process */
	PAGE_SIZE = 4096,
	CACHE_BYTES =
	    4 * 1024 * 1024,  /* allocated for each hold of the lock, so not more than pays */
	PAGES_PER_CHANGE = 4, /* a bucket and its overflow page, and both again when it splits */
	SPARE_PAGES = 64,
	DETAIL_MAX = 160
};

static const long long MTIME_MAX = 1LL << 33; /* s; file systems keep no later one */

struct mapfile {
	const char *path;
	int fd; /* holds the lock; libdb has a descriptor of its own */
	struct timespec locked;
	DB *db;
	bool filling, written, broken; /* broken: a write failed */
	time_t mtime;                  /* what the file gets with each write */
	char detail[DETAIL_MAX];
};

/* --- errors --- */

static void
keep_detail(const DB_ENV *env, const char *prefix UNUSED, const char *text)
{
	struct mapfile *m = env->app_private;

	if (m->detail[0] == '\0') /* the first is the cause */
		snprintf(m->detail, sizeof(m->detail), "%s", text);
}

static const char *
remedy(int rc)
{
	switch (rc) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return "make room on that file system";
	case EACCES:
	case EPERM:
	case EROFS:
		return "give the file and its directory to the user that mtastsd runs as";
	case ENOMEM:
		return "free some memory";
	default:
		return "mtastsd repairs it by itself; if this comes again, check the disk";
	}
}

/* The one place that knows libdb's return codes. */
static enum sink_result
db_failed(struct mapfile *m, int rc, const char *what, struct errmsg *em)
{
	errmsg_set(em, "%s: %s: %s%s%s; %s", m->path, what, db_strerror(rc),
	    m->detail[0] == '\0' ? "" : ": ", m->detail, remedy(rc));
	m->detail[0] = '\0';
	m->broken = m->written;
	if (m->written) /* it says `not` by now, or never got as far as saying anything else */
		return SINK_DAMAGED;
	switch (rc) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EACCES:
	case EPERM:
	case EROFS:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return SINK_FAILED;
	default:
		return SINK_DAMAGED;
	}
}

static enum sink_result
sys_failed(const char *path, const char *what, struct errmsg *em)
{
	int rc = errno;

	errmsg_set(em, "%s: %s: %s; %s", path, what, strerror(rc), remedy(rc));
	return rc == ENOENT ? SINK_DAMAGED : SINK_FAILED;
}

/* --- the lock --- */

/* The process that /proc/locks shows for the file of fd; 0: none found. */
static long
lock_holder(int fd)
{
	char line[256], file[64];
	struct stat st;
	long pid = 0, found = 0;
	FILE *f;

	if (fstat(fd, &st) != 0 || (f = fopen("/proc/locks", "re")) == NULL)
		return 0;
	snprintf(file, sizeof(file), "%02x:%02x:%llu ", major(st.st_dev), minor(st.st_dev),
	    (unsigned long long)st.st_ino);
	while (found == 0 && fgets(line, sizeof(line), f) != NULL)
		if (strstr(line, file) != NULL && strstr(line, "->") == NULL &&
		    sscanf(line, "%*d: FLOCK %*s %*s %ld", &pid) == 1)
			found = pid;
	fclose(f);
	return found;
}

static long
elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

long
mapfile_held_ms(const struct mapfile *m)
{
	return elapsed_ms(&m->locked);
}

/* Polled, because a wait in flock(2) has no end when a reader hangs. */
static enum sink_result
take_lock(struct mapfile *m, int operation, struct errmsg *em)
{
	static const struct timespec pause = {0, 1000000};
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (flock(m->fd, operation | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return sys_failed(m->path, "cannot lock", em);
		if (elapsed_ms(&start) > LOCK_WAIT_MS) {
			errmsg_set(em,
			    "%s: locked for more than %d s by process %ld; end that process if it hangs",
			    m->path, LOCK_WAIT_MS / 1000, lock_holder(m->fd));
			return SINK_FAILED;
		}
		nanosleep(&pause, NULL);
	}
	clock_gettime(CLOCK_MONOTONIC, &m->locked);
	return SINK_OK;
}

/* --- the mtime --- */

static _Thread_local struct mapfile *writer; /* whose pages libdb writes */

static void
set_mtime(const struct mapfile *m)
{
	const struct timespec times[2] = {{0, UTIME_OMIT}, {m->mtime, 0}};

	if (futimens(m->fd, times) != 0)
		(void)0; /* we own the file: so this is EIO or EROFS, and the next write meets it
			    too */
}

/*
 * libdb writes its pages by this. Each write makes the mtime that of now, which a reader may have
 * seen already when commits follow each other; killed there, we would leave a file whose new pages
 * that reader mixes with the old ones that it keeps.
 */
static ssize_t
write_page(int fd, const void *page, size_t len, off_t at)
{
	ssize_t n = pwrite(fd, page, len, at);
	int rc = errno;

	if (writer != NULL)
		set_mtime(writer);
	errno = rc;
	return n;
}

/* And syncs by this. Nobody is promised anything of a map that is being filled: the sync before its
 * `:ready:` is for all of it. */
static int
sync_file(int fd)
{
	return writer != NULL && writer->filling ? 0 : fdatasync(fd);
}

/* --- opening --- */

/* A full disk is found out before the map says `not`: until then it stays whole and ready. */
static enum sink_result
check_room(struct mapfile *m, size_t n_changes, struct errmsg *em)
{
	unsigned long long want =
	    PAGE_SIZE * (SPARE_PAGES + (unsigned long long)n_changes * PAGES_PER_CHANGE);
	struct statvfs fs;

	if (fstatvfs(m->fd, &fs) != 0)
		return sys_failed(m->path, "cannot see how full the disk is", em);
	if ((unsigned long long)fs.f_bavail * fs.f_frsize >= want)
		return SINK_OK;
	errmsg_set(em, "%s: the disk is full: want %llu KiB free, have %llu; %s", m->path,
	    want / 1024, (unsigned long long)fs.f_bavail * fs.f_frsize / 1024, remedy(ENOSPC));
	return SINK_FAILED;
}

/* Sendmail's flock is on the file that the path named when it was opened: so must ours be. */
static enum sink_result
check_same_file(struct mapfile *m, struct errmsg *em)
{
	struct stat locked, opened;
	int fd = -1, rc = m->db->fd(m->db, &fd);

	if (rc != 0)
		return db_failed(m, rc, "no file behind the database", em);
	if (fstat(m->fd, &locked) != 0 || fstat(fd, &opened) != 0)
		return sys_failed(m->path, "cannot look at the file", em);
	if (locked.st_dev == opened.st_dev && locked.st_ino == opened.st_ino)
		return SINK_OK;
	errmsg_set(
	    em, "%s: replaced while it was being opened; never rename a file over it", m->path);
	return SINK_FAILED;
}

static enum sink_result
open_db(struct mapfile *m, enum mapfile_mode mode, struct errmsg *em)
{
	/* Never by mmap: a file that is too short would be SIGBUS. */
	uint32_t flags = mode == MAPFILE_READ      ? DB_RDONLY | DB_NOMMAP
			 : mode == MAPFILE_REBUILD ? DB_CREATE | DB_TRUNCATE
						   : 0;
	int rc = db_env_set_func_pwrite(write_page);

	if (rc == 0)
		rc = db_env_set_func_fsync(sync_file);
	if (rc == 0)
		rc = db_create(&m->db, NULL, 0);
	if (rc != 0) {
		m->db = NULL;
		return db_failed(m, rc, "no database handle", em);
	}
	m->db->get_env(m->db)->app_private = m;
	m->db->set_errcall(m->db, keep_detail);
	/* After a page with a wrong checksum libdb would not even free its memory: see close_db(). */
	if ((rc = m->db->get_env(m->db)->set_flags(m->db->get_env(m->db), DB_NOPANIC, 1)) != 0)
		return db_failed(m, rc, "cannot set up the map", em);
	if ((rc = m->db->set_cachesize(m->db, 0, CACHE_BYTES, 1)) != 0 ||
	    (mode == MAPFILE_REBUILD && ((rc = m->db->set_pagesize(m->db, PAGE_SIZE)) != 0 ||
					    /* a scrambled page is then an error, not a lost key */
					    (rc = m->db->set_flags(m->db, DB_CHKSUM)) != 0)) ||
	    (rc = m->db->open(m->db, NULL, m->path, NULL, DB_HASH, flags, 0640)) != 0)
		return db_failed(m, rc, "cannot open the map", em);
	return check_same_file(m, em);
}

static void
close_db(struct mapfile *m)
{
	if (m->db == NULL)
		return;
	/* After a failed write libdb may still use a changed page, and to close would then wait for
	 * its end for ever, with our lock. It leaks some memory instead. */
	if (m->broken)
		(void)m->db->get_env(m->db)->set_flags(m->db->get_env(m->db), DB_NOPANIC, 0);
	m->db->close(m->db, DB_NOSYNC); /* what is worth keeping was synced by its step */
	m->db = NULL;
}

/* The mtime to give: a whole second later than any that a reader can have seen. */
static void
choose_mtime(struct mapfile *m, const struct stat *st)
{
	char text[MAPVALUE_MAX];
	long long recorded = 0;

	m->mtime = time(NULL);
	if (m->mtime <= st->st_mtime)
		m->mtime = st->st_mtime + 1;
	if (m->db != NULL && mapfile_get(m, MAPKEY_MTIME, text, NULL) == SINK_OK)
		recorded = strtoll(text, NULL, 10);
	if (m->mtime <= recorded && recorded < MTIME_MAX)
		m->mtime = (time_t)recorded + 1;
}

static enum sink_result
sync_db(struct mapfile *m, struct errmsg *em)
{
	int rc = m->db->sync(m->db, 0);

	return rc == 0 ? SINK_OK : db_failed(m, rc, "cannot sync", em);
}

static enum sink_result
put_number(struct mapfile *m, const char *key, time_t t, struct errmsg *em)
{
	char text[MAPVALUE_MAX];

	snprintf(text, sizeof(text), "%lld", (long long)t);
	return mapfile_put(m, key, text, em);
}

/* Reads what is left of the old file's record of its mtime, then begins anew. */
static enum sink_result
start_anew(struct mapfile *m, const struct stat *st, struct errmsg *em)
{
	enum sink_result r;

	if (open_db(m, MAPFILE_READ, NULL) != SINK_OK)
		close_db(m);
	choose_mtime(m, st);
	close_db(m);
	m->detail[0] = '\0';
	m->written = true;
	writer = m;
	if ((r = open_db(m, MAPFILE_REBUILD, em)) != SINK_OK ||
	    (r = mapfile_put(m, MAPKEY_READY, MAPVALUE_NOT, em)) != SINK_OK)
		return r;
	/* It falls into the bucket that `:ready:` does not: so both of a new file have pages, which
	 * hashfile_check() wants. */
	if ((r = put_number(m, MAPKEY_MTIME, m->mtime, em)) != SINK_OK)
		return r;
	return sync_db(m, em);
}

static enum sink_result
open_locked(struct mapfile *m, enum mapfile_mode mode, size_t n_changes, struct errmsg *em)
{
	struct stat st;
	enum sink_result r;

	if ((r = take_lock(m, mode == MAPFILE_READ ? LOCK_SH : LOCK_EX, em)) != SINK_OK)
		return r;
	if (mode != MAPFILE_READ && (r = check_room(m, n_changes, em)) != SINK_OK)
		return r;
	if (fstat(m->fd, &st) != 0)
		return sys_failed(m->path, "cannot look at the file", em);
	if (mode == MAPFILE_REBUILD)
		return start_anew(m, &st, em);
	if ((r = open_db(m, mode, em)) != SINK_OK)
		return r;
	if (mode == MAPFILE_READ)
		return SINK_OK;
	m->filling = mode == MAPFILE_FILL;
	if (m->filling) /* as MAPFILE_REBUILD left it: whoever read it then saw `not` */
		m->mtime = st.st_mtime;
	else
		choose_mtime(m, &st);
	writer = m;
	return SINK_OK;
}

enum sink_result
mapfile_open(const char *path, enum mapfile_mode mode, size_t n_changes, struct mapfile **out,
    struct errmsg *em)
{
	struct mapfile *m = calloc(1, sizeof(*m));
	enum sink_result r;

	*out = NULL;
	if (m == NULL)
		return sys_failed(path, "cannot open the map", em);
	m->path = path;
	m->fd = open(path, (mode == MAPFILE_READ ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
	if (m->fd < 0)
		r = sys_failed(path, "cannot open the map", em);
	else
		r = open_locked(m, mode, n_changes, em);
	if (r == SINK_OK)
		*out = m;
	else
		mapfile_close(&m);
	return r;
}

void
mapfile_close(struct mapfile **mp)
{
	struct mapfile *m = *mp;

	*mp = NULL;
	if (m == NULL)
		return;
	close_db(m);
	if (m->written)
		set_mtime(m);
	if (writer == m)
		writer = NULL;
	if (m->fd >= 0)
		close(m->fd); /* ends the lock */
	free(m);
}

/* --- one key --- */

static DBT
text_dbt(const char *text)
{
	DBT d;

	memset(&d, 0, sizeof(d));
	d.data = (void *)(uintptr_t)text; /* libdb does not write to it */
	d.size = (uint32_t)strlen(
	    text); /* no final NUL: that is how makemap writes and Sendmail reads */
	return d;
}

enum sink_result
mapfile_get(struct mapfile *m, const char *key, char value[MAPVALUE_MAX], struct errmsg *em)
{
	DBT k = text_dbt(key), v;
	int rc;

	memset(&v, 0, sizeof(v));
	value[0] = '\0';
	rc = m->db->get(m->db, NULL, &k, &v, 0);
	if (rc == DB_NOTFOUND)
		return SINK_OK;
	if (rc != 0)
		return db_failed(m, rc, "cannot read", em);
	if (v.size < MAPVALUE_MAX) {
		memcpy(value, v.data, v.size);
		value[v.size] = '\0';
	}
	return SINK_OK;
}

enum sink_result
mapfile_put(struct mapfile *m, const char *key, const char *value, struct errmsg *em)
{
	DBT k = text_dbt(key), v = text_dbt(value);
	int rc = m->db->put(m->db, NULL, &k, &v, 0);

	m->written = true;
	return rc == 0 ? SINK_OK : db_failed(m, rc, "cannot write", em);
}

enum sink_result
mapfile_del(struct mapfile *m, const char *key, struct errmsg *em)
{
	DBT k = text_dbt(key);
	int rc = m->db->del(m->db, NULL, &k, 0);

	m->written = true;
	return rc == 0 || rc == DB_NOTFOUND ? SINK_OK : db_failed(m, rc, "cannot delete", em);
}

enum sink_result
mapfile_settle(struct mapfile *m, struct errmsg *em)
{
	return fdatasync(m->fd) == 0 ? SINK_OK : sys_failed(m->path, "cannot sync", em);
}

enum sink_result
mapfile_check(struct mapfile *m, uint32_t *bucket, uint32_t n, struct errmsg *em)
{
	return hashfile_check(m->fd, m->path, bucket, n, em);
}

enum sink_result
mapfile_check_key(struct mapfile *m, const char *key, struct errmsg *em)
{
	return hashfile_check_key(m->fd, m->path, key, em);
}

enum sink_result
mapfile_check_free(struct mapfile *m, size_t n_changes, struct errmsg *em)
{
	size_t n =
	    n_changes < UINT32_MAX / PAGES_PER_CHANGE ? n_changes * PAGES_PER_CHANGE : UINT32_MAX;

	return hashfile_check_free(m->fd, m->path, (uint32_t)n, em);
}

/* --- the steps of a commit --- */

enum sink_result
mapfile_unready(struct mapfile *m, struct errmsg *em)
{
	char now[MAPVALUE_MAX];
	enum sink_result r = mapfile_get(m, MAPKEY_READY, now, em);

	if (r != SINK_OK)
		return r;
	if (m->filling != (strcmp(now, MAPVALUE_YES) != 0 && strcmp(now, MAPVALUE_OBSERVE) != 0)) {
		errmsg_set(em, "%s: not as the last commit left it (:ready: is \"%s\"); %s",
		    m->path, now, remedy(0));
		return SINK_DAMAGED;
	}
	if (m->filling)
		return SINK_OK;
	if ((r = mapfile_put(m, MAPKEY_READY, MAPVALUE_NOT, em)) != SINK_OK)
		return r;
	return sync_db(m, em);
}

static enum sink_result
put_alive(struct mapfile *m, time_t alive_until, struct errmsg *em)
{
	char now[MAPVALUE_MAX];
	enum sink_result r;

	if (alive_until != SINK_ALIVE_KEEP)
		return put_number(m, MAPKEY_ALIVE, alive_until, em);
	r = mapfile_get(m, MAPKEY_ALIVE, now, em);
	return r != SINK_OK || *now != '\0' ? r : put_number(m, MAPKEY_ALIVE, 0, em);
}

enum sink_result
mapfile_ready(struct mapfile *m, const char *ready, time_t alive_until, struct errmsg *em)
{
	enum sink_result r;

	if (m->filling)
		return sync_db(m, em);
	if ((r = put_number(m, MAPKEY_MTIME, m->mtime, em)) != SINK_OK ||
	    (r = put_alive(m, alive_until, em)) != SINK_OK || (r = sync_db(m, em)) != SINK_OK ||
	    (r = mapfile_put(m, MAPKEY_READY, ready, em)) != SINK_OK)
		return r;
	return sync_db(m, em);
}

/* --- all keys --- */

enum sink_result
mapfile_walk(struct mapfile *m, const char *after,
    bool (*each)(struct cursor key, struct cursor value, void *arg), void *arg, struct errmsg *em)
{
	DBC *c = NULL;
	DBT k, v;
	bool more = true;
	int rc;

	memset(&k, 0, sizeof(k));
	memset(&v, 0, sizeof(v));
	if (after != NULL)
		k = text_dbt(after);
	rc = m->db->cursor(m->db, NULL, &c, 0);
	if (rc == 0 && after != NULL)
		rc = c->get(c, &k, &v, DB_SET);
	while (rc == 0 && more && (rc = c->get(c, &k, &v, DB_NEXT)) == 0)
		more = each(cursor_of(k.data, k.size), cursor_of(v.data, v.size), arg);
	if (c != NULL)
		c->close(c);
	return rc == 0 || rc == DB_NOTFOUND ? SINK_OK : db_failed(m, rc, "cannot read on", em);
}

enum sink_result
mapfile_salvage(const char *path, bool (*each)(struct cursor key, struct cursor value, void *arg),
    void *arg, struct errmsg *em)
{
	struct mapfile m = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
	enum sink_result r;

	if (m.fd < 0)
		return sys_failed(path, "cannot open the map", em);
	if ((r = take_lock(&m, LOCK_SH, em)) == SINK_OK)
		r = hashfile_salvage(m.fd, path, each, arg, em);
	close(m.fd);
	return r;
}

/* --- the file before the database --- */

static enum sink_result
check_directory(const char *dir, struct stat *st, struct errmsg *em)
{
	if (stat(dir, st) != 0 || !S_ISDIR(st->st_mode))
		errmsg_set(
		    em, "%s: no such directory; install -d -o mtasts -g root -m 2750 %s", dir, dir);
	else if (geteuid() != 0 && st->st_uid != geteuid())
		errmsg_set(em,
		    "%s: owned by uid %lu, mtastsd runs as %lu; install -d -o mtasts -g root -m 2750 %s",
		    dir, (unsigned long)st->st_uid, (unsigned long)geteuid(), dir);
	else if (st->st_mode & (S_IWGRP | S_IWOTH)) /* Sendmail refuses maps in it */
		errmsg_set(em, "%s: others may write in it (mode %o); chmod g-w,o-rwx %s", dir,
		    st->st_mode & 07777, dir);
	else
		return SINK_OK;
	return SINK_FAILED;
}

/* Sendmail, as root, reads a file that its group may read only when that is the group of root's
 * own: the directory has it. */
static enum sink_result
give_to_directory(
    int fd, const char *path, const char *dir, const struct stat *dir_st, struct errmsg *em)
{
	struct stat st;

	if (fchmod(fd, 0640) != 0 || fstat(fd, &st) != 0)
		return sys_failed(path, "cannot set the mode", em);
	if (st.st_uid == dir_st->st_uid && st.st_gid == dir_st->st_gid)
		return SINK_OK;
	if (fchown(fd, dir_st->st_uid, dir_st->st_gid) == 0)
		return SINK_OK;
	errmsg_set(em,
	    "%s: cannot get the group of its directory: %s; chmod g+s %s, or start mtastsd as root once",
	    path, strerror(errno), dir);
	return SINK_FAILED;
}

static enum sink_result
create(const char *path, const char *dir, const struct stat *dir_st, struct errmsg *em)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct mapfile *m = NULL;
	enum sink_result r;

	if (fd < 0)
		return sys_failed(path, "cannot create the map", em);
	if ((r = give_to_directory(fd, path, dir, dir_st, em)) == SINK_OK)
		r = mapfile_open(path, MAPFILE_REBUILD, 0, &m, em);
	if (r != SINK_OK)
		unlink(path); /* nobody was told of it */
	close(fd);
	mapfile_close(&m);
	return r == SINK_OK ? SINK_OK : SINK_FAILED;
}

/* A 644 map could be locked by any local user for as long as they like; and Sendmail, as root,
 * reads one of mode 640 only when its group is root's. Not so of the directory: 750 made by root,
 * or 2750, which hands its group on, are both right. */
static enum sink_result
check_file(const char *path, const struct stat *dir_st, const struct stat *st, struct errmsg *em)
{
	mode_t mode = st->st_mode & 07777, closed = mode & ~(mode_t)(S_IWGRP | S_IXGRP | S_IRWXO);
	uid_t owner = geteuid() != 0 ? geteuid() : dir_st->st_uid; /* root becomes that user soon */

	if (!S_ISREG(st->st_mode))
		errmsg_set(em, "%s: not a file; remove it", path);
	else if (st->st_uid != owner)
		errmsg_set(em, "%s: owned by uid %lu, mtastsd runs as %lu; chown mtasts:root %s",
		    path, (unsigned long)st->st_uid, (unsigned long)owner, path);
	else if (st->st_gid != dir_st->st_gid && chown(path, (uid_t)-1, dir_st->st_gid) != 0)
		errmsg_set(em, "%s: its group is %lu, want that of its directory; chgrp %lu %s",
		    path, (unsigned long)st->st_gid, (unsigned long)dir_st->st_gid, path);
	else if (mode != closed && chmod(path, closed) != 0)
		errmsg_set(em, "%s: others may use it (mode %o): %s; chmod 640 %s", path, mode,
		    strerror(errno), path);
	else
		return SINK_OK;
	return SINK_FAILED;
}

enum sink_result
mapfile_prepare(const char *path, struct errmsg *em)
{
	char *dir = parent_of(path);
	struct stat dir_st, st;
	enum sink_result r;

	if (dir == NULL)
		return sys_failed(path, "cannot look at the map", em);
	r = check_directory(dir, &dir_st, em);
	if (r == SINK_OK && lstat(path, &st) == 0)
		r = check_file(path, &dir_st, &st, em);
	else if (r == SINK_OK && errno == ENOENT)
		r = create(path, dir, &dir_st, em);
	else if (r == SINK_OK)
		r = sys_failed(path, "cannot look at the map", em);
	free(dir);
	return r == SINK_OK ? SINK_OK : SINK_FAILED;
}
