/*
 * ctl/queuedir.h: where Sendmail keeps its queue, as its .cf tells, and the bytes of the files
 * there. Those are read with the rights of whoever started us, and are looked into by qf.h, which
 * must not be done as root.
 */
#ifndef CTL_QUEUEDIR_H
#define CTL_QUEUEDIR_H

#include "site/config.h"
#include "util/cursor.h"

enum {
	QUEUEDIR_BYTES_MAX = 512 * 1024 * 1024, /* of all files together */
	QUEUEDIR_ID_MAX = 31
};

struct queuefile {
	char id[QUEUEDIR_ID_MAX + 1];
	char *path;
	struct cursor bytes; /* owned */
	time_t gives_up_s;   /* after so long the MTA sends it back: Timeout.queuereturn */
};

struct queuefiles {
	size_t n;
	struct queuefile *item;
	size_t total; /* bytes */
	bool more;    /* there are more than QUEUEDIR_BYTES_MAX bytes */
};

enum queuedir_result {
	QUEUEDIR_OK,
	QUEUEDIR_ABSENT, /* no such configuration file */
	QUEUEDIR_FAILED
};

/*
 * Adds the files of the queues that a .cf names, all queue groups, or only those of one queue id.
 *   id   NULL: all
 *   out  the caller clears it, whatever is returned
 *   em   set unless OK
 */
MUST_USE enum queuedir_result queuedir_load(
    const char *cf_path, const char *id, struct queuefiles *out, struct errmsg *em);
void queuefiles_clear(struct queuefiles *files);

#endif
