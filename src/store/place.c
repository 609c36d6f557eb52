#include "store/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/audit.h"
#include "store/datafile.h"

static enum store_result
fail(const struct place *place, const char *what, struct errmsg *em)
{
	bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;

	errmsg_set(em, "%s: %s: %s", place->dir, what, strerror(errno));
	return full ? STORE_FULL : STORE_FAILED;
}

/* ---- one writing process: writer.lock says who, and whether it closed the store well ---- */

/* What the data file was when it was last closed; anything else is checked whole. */
static void
lock_text(char text[PLACE_TEXT_MAX], const struct stat *sb, size_t txn_id)
{
	snprintf(text, PLACE_TEXT_MAX, "closed %ju %jd %jd.%09ld %zu\n", (uintmax_t)sb->st_ino,
	    (intmax_t)sb->st_size, (intmax_t)sb->st_mtim.tv_sec, sb->st_mtim.tv_nsec, txn_id);
}

static bool
lock_write(struct place *place, const char *text)
{
	size_t len = strlen(text);

	return ftruncate(place->lock_fd, 0) == 0 &&
	       pwrite(place->lock_fd, text, len, 0) == (ssize_t)len &&
	       fdatasync(place->lock_fd) == 0;
}

static void
lock_read(int fd, char text[PLACE_TEXT_MAX])
{
	ssize_t n = pread(fd, text, PLACE_TEXT_MAX - 1, 0);

	text[n > 0 ? n : 0] = '\0';
}

/* Takes the lock and reads what the last writer left in it. */
static enum store_result
lock_take(struct place *place, struct errmsg *em)
{
	place->lock_fd = openat(place->dir_fd, "writer.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (place->lock_fd < 0)
		return fail(place, "writer.lock cannot be opened", em);
	if (flock(place->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK)
			return fail(place, "writer.lock cannot be locked", em);
		lock_read(place->lock_fd, place->left);
		place->left[strcspn(place->left, "\n")] = '\0';
		errmsg_set(em,
		    "%s: another process has the store open for writing: %s; stop that one first",
		    place->dir, place->left[0] == '\0' ? "its pid is not known yet" : place->left);
		return STORE_BUSY;
	}
	lock_read(place->lock_fd, place->left);
	return STORE_OK;
}

enum store_result
place_mark_open(struct place *place, struct errmsg *em)
{
	char text[PLACE_TEXT_MAX];

	snprintf(text, sizeof(text), "pid %ld\n", (long)getpid());
	return lock_write(place, text) ? STORE_OK
				       : fail(place, "writer.lock cannot be written", em);
}

void
place_mark_closed(struct place *place, size_t txn_id)
{
	char text[PLACE_TEXT_MAX];
	struct stat sb;

	if (fstatat(place->dir_fd, "data.mdb", &sb, 0) != 0)
		return;
	lock_text(text, &sb, txn_id);
	(void)lock_write(place, text); /* not written: the next opening checks more than it must */
}

/* ---- the data file before LMDB sees it ---- */

bool
place_extend_file(int fd, size_t pages, size_t page_size)
{
	struct stat sb;
	off_t want = (off_t)(pages * page_size);

	return fstat(fd, &sb) == 0 && (sb.st_size >= want || ftruncate(fd, want) == 0);
}

static bool
closed_well(int fd, const struct datafile_head *head, const char *left)
{
	char text[PLACE_TEXT_MAX];
	struct stat sb;

	if (fstat(fd, &sb) != 0 || (size_t)sb.st_size / head->page_size < head->last_page + 1)
		return false;
	lock_text(text, &sb, head->txn_id);
	return strcmp(text, left) == 0;
}

static enum audit_result
file_check(int fd, const char *left, struct errmsg *em)
{
	struct datafile_head head;
	struct audit audit;
	enum audit_result rc;

	switch (datafile_head(fd, &head, em)) {
	case DATAFILE_OK:
		break;
	case DATAFILE_DAMAGED:
		return AUDIT_DAMAGED;
	case DATAFILE_NEWER:
		return AUDIT_NEWER;
	default:
		return AUDIT_FAILED;
	}
	if (closed_well(fd, &head, left))
		return AUDIT_OK;
	rc = audit_file(fd, &head, &audit, em);
	if ((rc == AUDIT_OK || rc == AUDIT_MEND) &&
	    !place_extend_file(fd, head.last_page + 1, head.page_size)) {
		errmsg_set(em, "it cannot be extended: %s", strerror(errno));
		return AUDIT_FAILED;
	}
	return rc;
}

/* Keeps the damaged file for who wants to see it, under a name of its own. */
static enum store_result
move_aside(struct place *place, struct errmsg *em)
{
	char name[64], why[ERRMSG_MAX];
	time_t at = time(NULL);
	struct stat sb;

	do
		snprintf(name, sizeof(name), "data.mdb.damaged-%jd", (intmax_t)at++);
	while (fstatat(place->dir_fd, name, &sb, AT_SYMLINK_NOFOLLOW) == 0);
	if (renameat(place->dir_fd, "data.mdb", place->dir_fd, name) != 0)
		return fail(place, "data.mdb is damaged and cannot be moved aside", em);
	(void)fsync(place->dir_fd);
	snprintf(why, sizeof(why), "%.200s", em->text);
	errmsg_set(em,
	    "%s/data.mdb was damaged (%s): moved to %s, a new one begun; policies that the "
	    "maps still require are imported, the rest is discovered again",
	    place->dir, why, name);
	return STORE_OK;
}

enum store_result
place_check_file(struct place *place, bool *recovered, bool *mend, struct errmsg *em)
{
	int fd = openat(place->dir_fd, "data.mdb", O_RDWR | O_CLOEXEC);
	struct errmsg why = {""};
	enum audit_result rc;

	if (fd < 0)
		return errno == ENOENT ? STORE_OK : fail(place, "data.mdb cannot be opened", em);
	rc = file_check(fd, place->left, &why);
	close(fd);
	switch (rc) {
	case AUDIT_OK:
		return STORE_OK;
	case AUDIT_MEND:
		*mend = true;
		errmsg_set(em, "%s/data.mdb: %s", place->dir, why.text);
		return STORE_OK;
	case AUDIT_DAMAGED:
		*recovered = true;
		errmsg_set(em, "%s", why.text);
		return move_aside(place, em);
	default:
		errmsg_set(em, "%s/data.mdb: %s", place->dir, why.text);
		return rc == AUDIT_NEWER ? STORE_NEWER : STORE_FAILED;
	}
}

enum store_result
place_look_at_file(struct place *place, struct errmsg *em)
{
	int fd = openat(place->dir_fd, "data.mdb", O_RDWR | O_CLOEXEC);
	struct errmsg why = {""};
	enum audit_result rc;

	if (fd < 0 && errno != ENOENT)
		return fail(place, "data.mdb cannot be opened", em);
	if (fd < 0) {
		errmsg_set(em, "%s: there is no store", place->dir);
		return STORE_ABSENT;
	}
	rc = file_check(fd, place->left, &why);
	close(fd);
	if (rc == AUDIT_OK || rc == AUDIT_MEND)
		return STORE_OK;
	errmsg_set(em, "%s/data.mdb: %s", place->dir, why.text);
	return rc == AUDIT_DAMAGED ? STORE_DAMAGED : rc == AUDIT_NEWER ? STORE_NEWER : STORE_FAILED;
}

/* ---- open and close ---- */

enum store_result
place_open(struct place *place, const char *dir, struct errmsg *em)
{
	*place = PLACE_NONE;
	if ((place->dir = strdup(dir)) == NULL) {
		errmsg_set(em, "%s: no memory to open the store", dir);
		return STORE_FAILED;
	}
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return fail(place, "the directory cannot be made", em);
	place->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (place->dir_fd < 0)
		return fail(place, "the directory cannot be opened", em);
	return lock_take(place, em);
}

void
place_close(struct place *place)
{
	if (place->lock_fd >= 0)
		close(place->lock_fd);
	if (place->dir_fd >= 0)
		close(place->dir_fd);
	free(place->dir);
	*place = PLACE_NONE;
}
