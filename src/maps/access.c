#include "maps/access.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "maps/mapkey.h"
#include "maps/parent.h"

/*
 * What TLS_Rcpt: lines cannot do, whatever stands at their right: look at the policy's MX patterns,
 * so an MX that DNS was made to name passes with any certificate of its own name; send SNI; refuse
 * a certificate whose CN is right and whose SAN is not. And Sendmail looks up parent domains too,
 * so good.test's line also rules over sub.good.test, which MTA-STS does not ask for.
 */

#define FIRST_LINE \
	"# mtastsd: made anew at each change; include it in your access build, do not edit it"
#define LAST_LINE "# end"
#define UNTIL "# until "
#define LHS "TLS_Rcpt:"

enum { LINE_MAX_LEN = 1024 }; /* makemap stops at longer lines */

struct line {
	char domain[DOMAIN_MAX + 1];
	time_t until; /* 0: no line for this domain */
	size_t order; /* of two changes of one domain the later counts */
};

struct access {
	struct sink sink;
	char *path, *temp, *dir;
	char *require;
	struct line *changes;
	size_t n_changes, room;
};

static struct access *
of(struct sink *s)
{
	return (struct access *)s;
}

static enum sink_result
failed(const char *path, const char *what, int rc, struct errmsg *em)
{
	errmsg_set(em,
	    "%s: %s: %s; the old fragment stays; see that mtastsd's user may write in its directory and that there is room",
	    path, what, strerror(rc));
	return SINK_FAILED;
}

/* --- changes --- */

static void
forget_changes(struct access *a)
{
	free(a->changes);
	a->changes = NULL;
	a->n_changes = a->room = 0;
}

static int
compare_lines(const void *x, const void *y)
{
	const struct line *a = x, *b = y;
	int c = strcmp(a->domain, b->domain);

	return c != 0 ? c : (a->order > b->order) - (a->order < b->order);
}

static enum sink_result
add_change(struct access *a, const char *domain, const struct requirement *r, struct errmsg *em)
{
	size_t room = a->room == 0 ? 64 : a->room * 2;
	struct line *v;
	struct mapkey k;

	/* the administrator's access map must never get a line that somebody else made up */
	if (mapkey_is_rule(domain)) /* TLS_Rcpt: lines cannot say it */
		return SINK_OK;
	if (mapkey_parse(cursor_of(domain, strlen(domain)), &k) != MAPKEY_DOMAIN ||
	    strlen(domain) > DOMAIN_MAX) {
		errmsg_set(em, "%s: \"%s\" is not a normalised domain", a->path, domain);
		return SINK_FAILED;
	}
	if (a->n_changes == a->room) {
		if ((v = realloc(a->changes, room * sizeof(*v))) == NULL)
			return failed(a->path, "cannot note a change", ENOMEM, em);
		a->changes = v;
		a->room = room;
	}
	v = &a->changes[a->n_changes];
	strcpy(v->domain, domain);
	v->until = r->kind == REQUIRE_ENFORCE ? r->until : 0;
	v->order = a->n_changes++;
	return SINK_OK;
}

/* --- reading the old fragment --- */

struct reader {
	FILE *f;
	char text[LINE_MAX_LEN + 2];
	bool ended; /* LAST_LINE was seen */
};

static bool
read_text(struct reader *rd)
{
	size_t len;

	if (fgets(rd->text, sizeof(rd->text), rd->f) == NULL)
		return false;
	len = strlen(rd->text);
	if (len == 0 || rd->text[len - 1] != '\n')
		return false;
	rd->text[len - 1] = '\0';
	return true;
}

static bool
read_first(struct reader *rd)
{
	return read_text(rd) && strcmp(rd->text, FIRST_LINE) == 0;
}

/* False at the end, whole or not: see rd->ended. */
static bool
read_line(struct reader *rd, struct line *l)
{
	char *p, *end;
	size_t len;

	if (!read_text(rd))
		return false;
	if (strcmp(rd->text, LAST_LINE) == 0) {
		rd->ended = true;
		return false;
	}
	if (strncmp(rd->text, UNTIL, strlen(UNTIL)) != 0)
		return false;
	l->until = (time_t)strtoll(rd->text + strlen(UNTIL), &end, 10);
	if (*end != '\0' || l->until <= 0 || !read_text(rd))
		return false;
	p = rd->text + (rd->text[0] == '#');
	len = strcspn(p, "\t");
	if (strncmp(p, LHS, strlen(LHS)) != 0 || p[len] == '\0' || len - strlen(LHS) > DOMAIN_MAX)
		return false;
	memcpy(l->domain, p + strlen(LHS), len - strlen(LHS));
	l->domain[len - strlen(LHS)] = '\0';
	return true;
}

static enum sink_result
open_old(struct access *a, struct reader *rd, struct errmsg *em)
{
	memset(rd, 0, sizeof(*rd));
	if ((rd->f = fopen(a->path, "re")) == NULL && errno != ENOENT)
		return failed(a->path, "cannot read", errno, em);
	if (rd->f != NULL && read_first(rd))
		return SINK_OK;
	errmsg_set(em, "%s: %s; mtastsd makes it anew by itself", a->path,
	    rd->f == NULL ? "is gone" : "does not begin as ours");
	if (rd->f != NULL)
		fclose(rd->f);
	return SINK_DAMAGED;
}

static enum sink_result
close_old(struct access *a, struct reader *rd, struct errmsg *em)
{
	bool ended = rd->ended;

	fclose(rd->f);
	if (ended)
		return SINK_OK;
	errmsg_set(em, "%s: not whole; mtastsd makes it anew by itself", a->path);
	return SINK_DAMAGED;
}

/* --- writing the new one --- */

struct writer {
	FILE *f;
	const struct access *a;
	bool observe;
	time_t now;
};

static void
write_line(struct writer *w, const struct line *l)
{
	if (l->until > w->now) /* so what has expired goes with the next commit */
		fprintf(w->f, UNTIL "%lld\n%s" LHS "%s\t%s\n", (long long)l->until,
		    w->observe ? "#" : "", l->domain, w->a->require);
}

/* Both are sorted; a change replaces the old line of its domain. rd NULL: there is no old file that
 * counts. */
static void
merge(struct access *a, struct reader *rd, struct writer *w)
{
	struct line old = {0};
	bool more = rd != NULL && read_line(rd, &old);

	for (size_t i = 0; i < a->n_changes; i++) {
		if (i + 1 < a->n_changes &&
		    strcmp(a->changes[i].domain, a->changes[i + 1].domain) == 0)
			continue;
		while (more && strcmp(old.domain, a->changes[i].domain) < 0) {
			write_line(w, &old);
			more = read_line(rd, &old);
		}
		write_line(w, &a->changes[i]);
		if (more && strcmp(old.domain, a->changes[i].domain) == 0)
			more = read_line(rd, &old);
	}
	for (; more; more = read_line(rd, &old))
		write_line(w, &old);
}

static int
sync_directory(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0)
		return errno;
	rc = fsync(fd) == 0 ? 0 : errno;
	close(fd);
	return rc;
}

static FILE *
open_temp(struct access *a)
{
	int fd = open(a->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (f == NULL && fd >= 0)
		close(fd);
	return f;
}

/* 0, or errno. f is closed either way. */
static int
finish_temp(FILE *f)
{
	int rc = 0;

	errno = 0;
	if (fprintf(f, "%s\n", LAST_LINE) < 0 || ferror(f) || fflush(f) != 0 ||
	    fsync(fileno(f)) != 0)
		rc = errno != 0 ? errno : EIO;
	if (fclose(f) != 0 && rc == 0)
		rc = errno;
	return rc;
}

static bool
same_content(const char *one, const char *other)
{
	FILE *a = fopen(one, "re"), *b = fopen(other, "re");
	char from_a[4096], from_b[sizeof(from_a)];
	bool same = a != NULL && b != NULL;
	size_t n = sizeof(from_a);

	while (same && n == sizeof(from_a)) {
		n = fread(from_a, 1, sizeof(from_a), a);
		same = fread(from_b, 1, sizeof(from_b), b) == n && memcmp(from_a, from_b, n) == 0;
	}
	same = same && ferror(a) == 0 && ferror(b) == 0;
	if (a != NULL)
		fclose(a);
	if (b != NULL)
		fclose(b);
	return same;
}

/* Puts the new fragment in its place. The administrator's build looks at its time, so one that says
 * nothing new is not put there. */
static int
replace(const struct access *a)
{
	if (same_content(a->temp, a->path))
		return unlink(a->temp) == 0 ? 0 : errno;
	return rename(a->temp, a->path) == 0 ? sync_directory(a->dir) : errno;
}

static enum sink_result
rewrite(struct access *a, struct reader *rd, bool observe, struct errmsg *em)
{
	struct writer w = {.f = open_temp(a), .a = a, .observe = observe, .now = time(NULL)};
	enum sink_result r = SINK_OK;
	int rc;

	if (w.f == NULL)
		return failed(a->temp, "cannot write", errno, em);
	if (a->n_changes > 1)
		qsort(a->changes, a->n_changes, sizeof(*a->changes), compare_lines);
	fprintf(w.f, "%s\n", FIRST_LINE);
	merge(a, rd, &w);
	if (rd != NULL && !rd->ended)
		r = SINK_DAMAGED; /* its close_old() tells why */
	rc = finish_temp(w.f);
	if (r == SINK_OK && rc == 0)
		rc = replace(a);
	if (r != SINK_OK || rc != 0)
		unlink(a->temp);
	return r == SINK_OK && rc != 0 ? failed(a->path, "cannot write", rc, em) : r;
}

/* --- the sink --- */

static enum sink_result
access_begin(struct sink *s, struct errmsg *em UNUSED)
{
	forget_changes(of(s));
	return SINK_OK;
}

static enum sink_result
access_set(struct sink *s, const char *domain, const struct requirement *old UNUSED,
    const struct requirement *now, struct errmsg *em)
{
	return add_change(of(s), domain, now, em);
}

static enum sink_result
access_commit(struct sink *s, const struct sink_state *state, struct errmsg *em)
{
	struct access *a = of(s);
	struct reader rd;
	enum sink_result r = open_old(a, &rd, em), closed;

	if (r == SINK_OK) {
		r = rewrite(a, &rd, state->observe, em);
		closed = close_old(a, &rd, r == SINK_FAILED ? NULL : em);
		r = r == SINK_OK ? closed : r;
	}
	forget_changes(a);
	return r;
}

static enum sink_result
access_verify(struct sink *s, struct errmsg *em)
{
	struct access *a = of(s);
	struct reader rd;
	struct line l;
	enum sink_result r = open_old(a, &rd, em);

	if (r != SINK_OK)
		return r;
	while (read_line(&rd, &l))
		;
	return close_old(a, &rd, em);
}

struct taking {
	struct access *a;
	enum sink_result result;
	struct errmsg *em;
};

static bool
take_truth(const char *domain, const struct requirement *r, void *arg)
{
	struct taking *t = arg;

	if (r->kind == REQUIRE_ENFORCE)
		t->result = add_change(t->a, domain, r, t->em);
	return t->result == SINK_OK;
}

static enum sink_result
access_repair(struct sink *s, const struct sink_truth *truth, const struct sink_state *state,
    struct errmsg *em)
{
	struct access *a = of(s);
	struct taking t = {a, SINK_OK, em};
	bool whole;

	forget_changes(a);
	whole = truth->walk(take_truth, &t, truth->arg);
	if (t.result == SINK_OK && whole) {
		t.result = rewrite(a, NULL, state->observe, em);
	} else if (t.result == SINK_OK) {
		errmsg_set(em,
		    "%s: not made anew, as the store could not be read; its own message says why",
		    a->path);
		t.result = SINK_FAILED;
	}
	forget_changes(a);
	return t.result;
}

static void
access_close(struct sink *s)
{
	struct access *a = of(s);

	forget_changes(a);
	free(a->path);
	free(a->temp);
	free(a->dir);
	free(a->require);
	free(a);
}

static const struct sink_ops access_ops = {
    .kind = "access",
    .begin = access_begin,
    .set = access_set,
    .commit = access_commit,
    .verify = access_verify,
    .repair = access_repair,
    .close = access_close,
};

static bool
is_one_line(const char *require)
{
	for (const char *p = require; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return *require != '\0' && strlen(require) + DOMAIN_MAX + sizeof(LHS) < LINE_MAX_LEN;
}

struct sink *
access_open(const struct access_config *config, struct errmsg *em)
{
	const char *require = config->require == NULL ? ACCESS_REQUIRE : config->require;
	struct access *a;

	if (!is_one_line(require)) {
		errmsg_set(em, "%s: the requirement must be one short line, such as %s",
		    config->path, ACCESS_REQUIRE);
		return NULL;
	}
	if ((a = calloc(1, sizeof(*a))) == NULL)
		goto no_memory;
	a->sink.ops = &access_ops;
	a->path = strdup(config->path);
	a->dir = parent_of(config->path);
	a->require = strdup(require);
	if (asprintf(&a->temp, "%s.new", config->path) < 0)
		a->temp = NULL;
	if (a->path != NULL && a->dir != NULL && a->require != NULL && a->temp != NULL)
		return &a->sink;
	access_close(&a->sink);
no_memory:
	errmsg_set(em, "%s: cannot begin: out of memory; free some", config->path);
	return NULL;
}
