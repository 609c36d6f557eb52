#include "ctl/queuedir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/cf.h"
#include "ctl/input.h"
#include "ctl/qf.h"
#include "util/ascii.h"

/* qf or hf, and a queue id; anything else in a queue directory is not ours to read. */
static bool
is_queue_file(const char *name, const char *id)
{
	size_t len = strlen(name);

	if ((name[0] != 'q' && name[0] != 'h') || name[1] != 'f' || len <= 2 ||
	    len > 2 + QUEUEDIR_ID_MAX)
		return false;
	for (const char *p = name + 2; *p != '\0'; p++)
		if (!ascii_alnum((unsigned char)*p))
			return false;
	return id == NULL || strcmp(name + 2, id) == 0;
}

/* NULL: gone meanwhile, no plain file, or out of memory. */
static unsigned char *
read_bytes(int dir_fd, const char *name, size_t *len)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	unsigned char *bytes = NULL;
	struct stat st;
	size_t room;
	ssize_t n;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		room = st.st_size < QF_BYTES_MAX ? (size_t)st.st_size : QF_BYTES_MAX;
		bytes = malloc(room + 1);
		*len = 0;
		while (
		    bytes != NULL && *len < room && (n = read(fd, bytes + *len, room - *len)) > 0)
			*len += (size_t)n;
	}
	close(fd);
	return bytes;
}

static bool
add_file(
    struct queuefiles *out, const char *dir, const char *name, unsigned char *bytes, size_t len)
{
	struct queuefile *f;

	if ((out->n & (out->n - 1)) == 0) {
		size_t room = out->n == 0 ? 1 : out->n * 2;
		struct queuefile *grown = realloc(out->item, room * sizeof(*grown));

		if (grown == NULL)
			return false;
		out->item = grown;
	}
	f = &out->item[out->n];
	if (asprintf(&f->path, "%s/%s", dir, name) < 0)
		return false;
	memcpy(f->id, name + 2, strlen(name + 2) + 1);
	f->bytes = cursor_of(bytes, len);
	out->n++;
	out->total += len;
	return true;
}

static bool
load_directory(const char *path, const char *id, struct queuefiles *out, struct errmsg *em)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	bool ok = true;

	if (d == NULL) {
		errmsg_set(em, "%s: cannot be read: %s%s", path, strerror(errno),
		    errno == EACCES ? "; run it as root" : "");
		return errno == ENOENT;
	}
	while (ok && !out->more && (entry = readdir(d)) != NULL) {
		unsigned char *bytes;
		size_t len = 0;

		if (!is_queue_file(entry->d_name, id) ||
		    (bytes = read_bytes(dirfd(d), entry->d_name, &len)) == NULL)
			continue;
		out->more = out->total + len > QUEUEDIR_BYTES_MAX;
		ok = !out->more && add_file(out, path, entry->d_name, bytes, len);
		if (!ok)
			free(bytes);
	}
	closedir(d);
	if (!ok && !out->more)
		errmsg_set(em, "out of memory");
	return ok || out->more;
}

/* A queue directory may keep its qf files in a directory of that name. */
static bool
load_queue(const char *path, const char *id, struct queuefiles *out, struct errmsg *em)
{
	char sub[PATH_MAX];
	struct stat st;

	if (snprintf(sub, sizeof(sub), "%s/qf", path) < (int)sizeof(sub) && stat(sub, &st) == 0 &&
	    S_ISDIR(st.st_mode))
		return load_directory(sub, id, out, em);
	return load_directory(path, id, out, em);
}

/* A final '*' stands for all directories that begin so. */
static bool
load_queues(const char *path, const char *id, struct queuefiles *out, struct errmsg *em)
{
	size_t len = strlen(path);
	glob_t found;
	bool ok = true;

	if (len == 0 || path[len - 1] != '*')
		return load_queue(path, id, out, em);
	if (glob(path, GLOB_ONLYDIR, NULL, &found) != 0)
		return true;
	for (size_t i = 0; i < found.gl_pathc && ok; i++)
		ok = load_queue(found.gl_pathv[i], id, out, em);
	globfree(&found);
	return ok;
}

/* Queue groups lie below the directory that QueueDirectory names, unless they say where. */
static bool
load_groups(const struct cf *cf, const char *root, const char *id, struct queuefiles *out,
    struct errmsg *em)
{
	char path[PATH_MAX], whole[PATH_MAX * 2];
	const char *group, *last = strrchr(root, '/');
	/* "/var/spool/mqueue/q*": its directory */
	size_t len =
	    last != NULL && root[strlen(root) - 1] == '*' ? (size_t)(last - root) : strlen(root);
	bool ok = true;

	for (size_t at = 0; ok && (group = cf_next_queue_group(cf, &at)) != NULL;) {
		if (!cf_equate(group, 'P', path, sizeof(path)))
			continue;
		if (*path == '/')
			snprintf(whole, sizeof(whole), "%s", path);
		else
			snprintf(whole, sizeof(whole), "%.*s/%s", (int)len, root, path);
		ok = load_queues(whole, id, out, em);
	}
	return ok;
}

/* An interval as Sendmail writes it, "5d" or "1w2d12h"; a bare number counts days. */
static time_t
interval(const char *text)
{
	static const struct {
		char unit;
		time_t s;
	} units[] = {{'w', 7 * 86400}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
	time_t sum = 0;

	while (ascii_digit((unsigned char)*text)) {
		time_t n = 0, unit_s = 86400;

		for (; ascii_digit((unsigned char)*text); text++)
			n = n < 100000 ? n * 10 + (*text - '0') : n;
		for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
			if (*text == units[i].unit)
				unit_s = units[i].s;
		sum += n * unit_s;
		text += *text != '\0';
	}
	return sum;
}

static time_t
gives_up_after(const struct cf *cf)
{
	const char *value = cf_option(cf, "Timeout.queuereturn");

	if (value == NULL)
		value = cf_option(cf, "Timeout.queuereturn.normal");
	return interval(value == NULL ? "5d" : value);
}

enum queuedir_result
queuedir_load(const char *cf_path, const char *id, struct queuefiles *out, struct errmsg *em)
{
	struct input input;
	enum input_result rc = input_read(cf_path, stdin, CF_BYTES_MAX, &input, em);
	const char *root;
	struct cf *cf;
	size_t before = out->n;
	bool ok;

	if (rc != INPUT_OK)
		return rc == INPUT_ABSENT ? QUEUEDIR_ABSENT : QUEUEDIR_FAILED;
	cf = cf_parse(input_cursor(&input), em);
	input_clear(&input);
	if (cf == NULL)
		return QUEUEDIR_FAILED;
	if ((root = cf_option(cf, "QueueDirectory")) == NULL)
		root = "/var/spool/mqueue";
	ok = load_queues(root, id, out, em) && load_groups(cf, root, id, out, em);
	for (size_t i = before; i < out->n; i++)
		out->item[i].gives_up_s = gives_up_after(cf);
	cf_free(&cf);
	return ok ? QUEUEDIR_OK : QUEUEDIR_FAILED;
}

void
queuefiles_clear(struct queuefiles *files)
{
	for (size_t i = 0; i < files->n; i++) {
		free(files->item[i].path);
		free((unsigned char *)(uintptr_t)files->item[i].bytes.p);
	}
	free(files->item);
	*files = (struct queuefiles){0};
}
