#include "maps/makemap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "maps/bdb.h"
#include "maps/mapfile.h"
#include "util/when.h"

enum {
	RUN_MAX_MS = 120 * 1000, /* a million domains take some 10 s */
	LOCK_MAX_MS = 5000,
	POLL_MS = 2,
	BLOCK = 4096,       /* bytes; no format's header is longer: Berkeley DB 512, cdb 2048 */
	LINE_LEN_MAX = 1024 /* makemap's own limit */
};

struct makemap {
	struct sink sink;
	struct sink *source;
	char *program, *type, *path;
	char *source_path;                   /* the bdb map */
	char *in_path, *out_path, *new_path; /* what makemap reads, prints, makes */
};

static struct makemap *
of(struct sink *s)
{
	return (struct makemap *)s;
}

static enum sink_result
failed(const char *path, const char *what, struct errmsg *em)
{
	errmsg_set(em, "%s: %s: %s; see that mtastsd's user may write there and that there is room",
	    path, what, strerror(errno));
	return SINK_FAILED;
}

static void
sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

/* --- running it --- */

/* The end of a child: 0 when it exited with 0. */
static int
wait_for(pid_t pid)
{
	long until = when_monotonic_ms() + RUN_MAX_MS;
	int status;
	pid_t got;

	while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		if (when_monotonic_ms() > until)
			kill(pid, SIGKILL);
		sleep_ms(POLL_MS);
	}
	return got == pid ? status : -1;
}

/* The first line that it printed. */
static void
first_line(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "re");

	if (f == NULL || fgets(out, (int)size, f) == NULL)
		snprintf(out, size, "nothing");
	out[strcspn(out, "\n")] = '\0';
	if (f != NULL)
		fclose(f);
}

/* Runs makemap; what it prints is in out_path. */
static enum sink_result
run(const struct makemap *m, const char *const *argv, const char *input, struct errmsg *em)
{
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	static char *const environment[] = {path, NULL};
	posix_spawn_file_actions_t files;
	char said[256];
	int rc, status = -1;
	pid_t pid;

	if ((rc = posix_spawn_file_actions_init(&files)) != 0) {
		errno = rc;
		return failed(m->program, "cannot be run", em);
	}
	if ((rc = posix_spawn_file_actions_addopen(&files, 0, input, O_RDONLY, 0)) == 0 &&
	    (rc = posix_spawn_file_actions_addopen(
		 &files, 1, m->out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600)) == 0 &&
	    (rc = posix_spawn_file_actions_adddup2(&files, 1, 2)) == 0 &&
	    (rc = posix_spawn(
		 &pid, m->program, &files, NULL, (char *const *)(uintptr_t)argv, environment)) == 0)
		status = wait_for(pid);
	posix_spawn_file_actions_destroy(&files);
	if (rc == 0 && status == 0)
		return SINK_OK;
	if (rc != 0) {
		errno = rc;
		return failed(m->program, "cannot be run", em);
	}
	first_line(m->out_path, said, sizeof(said));
	errmsg_set(
	    em, "%s: %s has failed (status %d) and printed: %s", m->path, m->program, status, said);
	return SINK_DAMAGED;
}

/* --- what goes through it --- */

struct feed {
	FILE *f; /* NULL: only count */
	size_t n;
};

static bool
feed_each(struct cursor key, struct cursor value, void *arg)
{
	struct feed *feed = arg;

	if (cursor_len(&key) == strlen(MAPKEY_MTIME) &&
	    memcmp(key.p, MAPKEY_MTIME, strlen(MAPKEY_MTIME)) == 0)
		return true; /* of the source's own file */
	feed->n++;
	return feed->f == NULL ||
	       fprintf(feed->f, "%.*s\t%.*s\n", (int)cursor_len(&key), (const char *)key.p,
		   (int)cursor_len(&value), (const char *)value.p) > 0;
}

static enum sink_result
walk_source(const struct makemap *m, struct feed *feed, struct errmsg *em)
{
	struct mapfile *source = NULL;
	enum sink_result r = mapfile_open(m->source_path, MAPFILE_READ, 0, &source, em);

	if (r == SINK_OK)
		r = mapfile_walk(source, NULL, feed_each, feed, em);
	mapfile_close(&source);
	return r;
}

static enum sink_result
write_input(const struct makemap *m, struct errmsg *em)
{
	int fd = open(m->in_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct feed feed = {.f = fd < 0 ? NULL : fdopen(fd, "w")};
	enum sink_result r;
	bool bad;

	if (feed.f == NULL) {
		if (fd >= 0)
			close(fd);
		return failed(m->in_path, "cannot write", em);
	}
	r = walk_source(m, &feed, em);
	bad = ferror(feed.f) != 0;
	if ((fclose(feed.f) != 0 || bad) && r == SINK_OK)
		r = failed(m->in_path, "cannot write", em);
	return r;
}

/* --- over the map that Sendmail reads --- */

struct target {
	int fd;
	struct timespec times[2];
};

/* Polled, because a wait in flock(2) has no end when a reader hangs. */
static enum sink_result
lock(const struct makemap *m, struct target *to, struct errmsg *em)
{
	long until = when_monotonic_ms() + LOCK_MAX_MS;

	while (flock(to->fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return failed(m->path, "cannot lock", em);
		if (when_monotonic_ms() > until) {
			errmsg_set(em, "%s: locked for more than %d s; end the process if it hangs",
			    m->path, LOCK_MAX_MS / 1000);
			return SINK_FAILED;
		}
		sleep_ms(POLL_MS);
	}
	return SINK_OK;
}

/* A reader that has the file open looks again only when its mtime is a whole second later; each
 * write sets it back to now. */
static bool
put(const struct target *to, const void *block, size_t len, off_t at)
{
	return pwrite(to->fd, block, len, at) == (ssize_t)len && futimens(to->fd, to->times) == 0;
}

static bool
copy_blocks(int from, const struct target *to, off_t size)
{
	static const unsigned char nothing[BLOCK];
	unsigned char first[BLOCK], block[BLOCK];
	ssize_t n, n_first = pread(from, first, sizeof(first), 0);

	if (n_first <= 0 || !put(to, nothing, sizeof(nothing), 0))
		return false;
	for (off_t at = BLOCK; at < size; at += n)
		if ((n = pread(from, block, sizeof(block), at)) <= 0 ||
		    !put(to, block, (size_t)n, at))
			return false;
	return ftruncate(to->fd, size) == 0 && futimens(to->fd, to->times) == 0 &&
	       fsync(to->fd) == 0 && put(to, first, (size_t)n_first, 0) && fsync(to->fd) == 0;
}

static enum sink_result
copy_over(const struct makemap *m, struct errmsg *em)
{
	int from = open(m->new_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct target to = {.fd = open(m->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW),
	    .times = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = 0}}};
	struct stat made, st;
	enum sink_result r = SINK_OK;
	time_t now = time(NULL);

	if (from < 0 || to.fd < 0 || fstat(from, &made) != 0)
		r = failed(from < 0 ? m->new_path : m->path, "cannot open", em);
	else if ((r = lock(m, &to, em)) == SINK_OK && fstat(to.fd, &st) != 0)
		r = failed(m->path, "cannot look at it", em);
	/* a full disk is found out while nothing has changed */
	else if (r == SINK_OK && (errno = posix_fallocate(to.fd, 0, made.st_size)) != 0)
		r = failed(m->path, "cannot grow", em);
	if (r == SINK_OK) {
		to.times[1].tv_sec = st.st_mtime < now ? now : st.st_mtime + 1;
		if (!copy_blocks(from, &to, made.st_size)) {
			(void)failed(m->path, "cannot write", em);
			r = SINK_DAMAGED;
		}
	}
	if (from >= 0)
		close(from);
	if (to.fd >= 0)
		close(to.fd); /* the lock goes with it */
	return r;
}

/* --- making, comparing --- */

static void
remove_files(const struct makemap *m)
{
	unlink(m->in_path);
	unlink(m->out_path);
	unlink(m->new_path);
}

static enum sink_result
make(const struct makemap *m, struct errmsg *em)
{
	const char *const argv[] = {m->program, m->type, m->new_path, NULL};
	enum sink_result r = mapfile_prepare(m->path, em);

	unlink(m->new_path);
	if (r == SINK_OK && (r = write_input(m, em)) == SINK_OK &&
	    (r = run(m, argv, m->in_path, em)) == SINK_OK)
		r = copy_over(m, em);
	remove_files(m);
	return r;
}

/* How many lines of the dump are in the source? *strange: one is not. */
static enum sink_result
compare_lines(
    const struct makemap *m, struct mapfile *source, size_t *n, bool *strange, struct errmsg *em)
{
	FILE *f = fopen(m->out_path, "re");
	char line[LINE_LEN_MAX], have[MAPVALUE_MAX];
	enum sink_result r = f == NULL ? failed(m->out_path, "cannot read", em) : SINK_OK;

	while (r == SINK_OK && !*strange && fgets(line, sizeof(line), f) != NULL) {
		char *value = line + strcspn(line, "\t");

		*strange = *value == '\0';
		if (*strange)
			break;
		*value++ = '\0';
		value[strcspn(value, "\n")] = '\0';
		r = mapfile_get(source, line, have, em);
		*strange = *have == '\0' || strcmp(have, value) != 0;
		(*n)++;
	}
	if (f != NULL)
		fclose(f);
	return r;
}

static enum sink_result
compare(const struct makemap *m, struct errmsg *em)
{
	const char *const dump[] = {m->program, "-u", m->type, m->path, NULL};
	struct feed want = {0};
	struct mapfile *source = NULL;
	size_t n = 0;
	bool strange = false;
	enum sink_result r = run(m, dump, "/dev/null", em);

	if (r == SINK_OK && (r = walk_source(m, &want, em)) == SINK_OK &&
	    (r = mapfile_open(m->source_path, MAPFILE_READ, 0, &source, em)) == SINK_OK)
		r = compare_lines(m, source, &n, &strange, em);
	mapfile_close(&source);
	remove_files(m);
	if (r != SINK_OK || (n == want.n && !strange))
		return r;
	errmsg_set(em, "%s: does not agree with %s; mtastsd makes it anew by itself", m->path,
	    m->source_path);
	return SINK_DAMAGED;
}

/* --- the sink --- */

static enum sink_result
makemap_begin(struct sink *s, struct errmsg *em)
{
	return of(s)->source->ops->begin(of(s)->source, em);
}

static enum sink_result
makemap_set(struct sink *s, const char *domain, const struct requirement *old,
    const struct requirement *now, struct errmsg *em)
{
	return of(s)->source->ops->set(of(s)->source, domain, old, now, em);
}

static enum sink_result
makemap_commit(struct sink *s, const struct sink_state *state, struct errmsg *em)
{
	struct makemap *m = of(s);
	enum sink_result r = m->source->ops->commit(m->source, state, em);

	return r == SINK_OK ? make(m, em) : r;
}

static enum sink_result
makemap_verify(struct sink *s, struct errmsg *em)
{
	struct makemap *m = of(s);
	enum sink_result r = m->source->ops->verify(m->source, em);

	return r == SINK_OK ? compare(m, em) : r;
}

static enum sink_result
makemap_repair(struct sink *s, const struct sink_truth *truth, const struct sink_state *state,
    struct errmsg *em)
{
	struct makemap *m = of(s);
	enum sink_result r = m->source->ops->repair(m->source, truth, state, em);

	return r == SINK_OK ? make(m, em) : r;
}

static void
makemap_close(struct sink *s)
{
	struct makemap *m = of(s);

	if (m->source != NULL)
		m->source->ops->close(m->source);
	free(m->program);
	free(m->type);
	free(m->path);
	free(m->source_path);
	free(m->in_path);
	free(m->out_path);
	free(m->new_path);
	free(m);
}

static const struct sink_ops makemap_ops = {
    .kind = "sendmail",
    .begin = makemap_begin,
    .set = makemap_set,
    .commit = makemap_commit,
    .verify = makemap_verify,
    .repair = makemap_repair,
    .close = makemap_close,
};

/* PATH of the map without its .db, with another ending. */
static char *
beside(const char *path, const char *ending)
{
	size_t len = strlen(path);
	char *out;

	if (len > 3 && strcmp(path + len - 3, ".db") == 0)
		len -= 3;
	return asprintf(&out, "%.*s%s", (int)len, path, ending) < 0 ? NULL : out;
}

struct sink *
makemap_open(const struct makemap_config *config, struct errmsg *em)
{
	struct makemap *m = calloc(1, sizeof(*m));
	struct bdb_config source = {.none_max = config->none_max};

	if (m != NULL) {
		m->sink.ops = &makemap_ops;
		m->program = strdup(config->program);
		m->type = strdup(config->type);
		m->path = beside(config->path, ".db");
		m->source_path = beside(config->path, ".source.db");
		m->in_path = beside(config->path, ".in");
		m->out_path = beside(config->path, ".out");
		m->new_path = beside(config->path, ".new.db");
	}
	if (m == NULL || m->program == NULL || m->type == NULL || m->path == NULL ||
	    m->source_path == NULL || m->in_path == NULL || m->out_path == NULL ||
	    m->new_path == NULL) {
		errmsg_set(em, "%s: cannot open the map: out of memory; free some", config->path);
	} else {
		source.path = m->source_path;
		m->source = bdb_open(&source, em);
		if (m->source != NULL && mapfile_prepare(m->path, em) == SINK_OK)
			return &m->sink;
	}
	if (m != NULL)
		makemap_close(&m->sink);
	return NULL;
}
