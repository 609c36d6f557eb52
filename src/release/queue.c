#include "release/queue.h"

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/ascii.h"

bool
queue_id_valid(struct cursor id)
{
	if (cursor_len(&id) < QUEUE_ID_LEN_MIN || cursor_len(&id) > QUEUE_ID_LEN_MAX)
		return false;
	for (; id.p < id.end; id.p++)
		if (!ascii_alnum(*id.p))
			return false;
	return true;
}

/* The next line without its end; false: there is no whole one. */
static bool
take_line(struct cursor *c, struct cursor *line)
{
	const unsigned char *nl = cursor_len(c) == 0 ? NULL : memchr(c->p, '\n', cursor_len(c));

	if (nl == NULL)
		return false;
	*line = (struct cursor){c->p, nl};
	c->p = nl + 1;
	return true;
}

/* T: seconds since the epoch in decimal. 0: they are not. */
static time_t
time_of(struct cursor digits)
{
	time_t t = 0;

	if (cursor_len(&digits) > 12)
		return 0;
	for (; digits.p < digits.end && ascii_digit(*digits.p); digits.p++)
		t = t * 10 + (*digits.p - '0');
	return digits.p == digits.end ? t : 0;
}

static bool
copy_printable(struct cursor text, char out[REASON_MAX])
{
	size_t n = 0;

	for (; text.p < text.end && n < REASON_MAX - 1; text.p++) {
		if (*text.p < ' ' || *text.p > '~')
			return false;
		out[n++] = (char)*text.p;
	}
	out[n] = '\0';
	return text.p == text.end;
}

/* Sendmail writes T and q before S, the sender, and that before recipients and headers. */
enum queue_result
queue_read_head(struct cursor head, struct queue_message *out)
{
	struct cursor line;

	out->since = 0;
	out->reason[0] = '\0';
	while (take_line(&head, &line) && line.p < line.end && *line.p != 'S') {
		unsigned char letter = *line.p++;

		if (letter == 'T')
			out->since = time_of(line);
		if (letter == 'q' && !copy_printable(line, out->reason))
			return QUEUE_OTHERS;
	}
	return strncmp(out->reason, REASON_PREFIX, strlen(REASON_PREFIX)) == 0 ? QUEUE_OURS
									       : QUEUE_OTHERS;
}

static enum queue_result
read_file(int dir, const char *id, struct queue_message *out)
{
	unsigned char head[QUEUE_HEAD_MAX];
	char name[QUEUE_ID_LEN_MAX + 3];
	struct stat st;
	ssize_t n = -1;
	int fd;

	snprintf(name, sizeof(name), "hf%s", id);
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return QUEUE_ABSENT;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		n = read(fd, head, sizeof(head));
	close(fd);
	if (n < 0)
		return QUEUE_OTHERS;
	snprintf(out->id, sizeof(out->id), "%s", id);
	return queue_read_head(cursor_of(head, (size_t)n), out);
}

/* Opens path's qf directory, or path itself where there is none; -1: no directory. */
static int
open_dir(const char *path)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int sub = dir < 0 ? -1 : openat(dir, "qf", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (sub < 0)
		return dir;
	close(dir);
	return sub;
}

/* Calls each with every queue directory until it returns false. */
static void
each_dir(const struct config_list *dirs, bool (*each)(int dir, void *arg), void *arg)
{
	glob_t found;
	bool more = true;

	for (size_t i = 0; i < dirs->n && more; i++) {
		if (glob(dirs->item[i], 0, NULL, &found) != 0)
			continue;
		for (size_t j = 0; j < found.gl_pathc && more; j++) {
			int dir = open_dir(found.gl_pathv[j]);

			more = dir < 0 || each(dir, arg);
			if (dir >= 0)
				close(dir);
		}
		globfree(&found);
	}
}

struct search {
	const char *id;
	struct queue_message *out;
	enum queue_result result;
};

static bool
search_dir(int dir, void *arg)
{
	struct search *s = arg;

	s->result = read_file(dir, s->id, s->out);
	return s->result == QUEUE_ABSENT;
}

enum queue_result
queue_find(const struct config_list *dirs, const char *id, struct queue_message *out)
{
	struct search s = {id, out, QUEUE_ABSENT};

	each_dir(dirs, search_dir, &s);
	return s.result;
}

struct walk {
	queue_cb *cb;
	void *arg;
};

static bool
walk_dir(int dir, void *arg)
{
	const struct walk *w = arg;
	struct queue_message m;
	const struct dirent *entry;
	DIR *d = fdopendir(fcntl(dir, F_DUPFD_CLOEXEC, 0)); /* closedir() closes it */
	bool more = true;

	while (more && d != NULL && (entry = readdir(d)) != NULL) {
		const char *id = entry->d_name + 2;

		if (strncmp(entry->d_name, "hf", 2) == 0 &&
		    queue_id_valid(cursor_of(id, strlen(id))) &&
		    read_file(dir, id, &m) == QUEUE_OURS)
			more = w->cb(&m, w->arg);
	}
	if (d != NULL)
		closedir(d);
	return more;
}

void
queue_each(const struct config_list *dirs, queue_cb *cb, void *arg)
{
	struct walk w = {cb, arg};

	each_dir(dirs, walk_dir, &w);
}
