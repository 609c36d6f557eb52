/*
 * store/place.h: the store's directory: writer.lock, and the data file while LMDB does not have it.
 * writer.lock is locked with flock(2) by the one writing process and says "pid N"; after a good end
 * it says what the data file then was, so that an unchanged file need not be checked whole.
 */
#ifndef STORE_PLACE_H
#define STORE_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#include "store/store.h"
#include "util/errmsg.h"

enum { PLACE_TEXT_MAX = 160 };

struct place {
	char *dir;
	int dir_fd, lock_fd;
	char left[PLACE_TEXT_MAX]; /* what the last writer left in writer.lock */
};

#define PLACE_NONE ((struct place){NULL, -1, -1, ""})

/* Makes the directory when it is missing and takes the lock. BUSY: em names the pid. place_close()
 * afterwards, always. */
MUST_USE enum store_result place_open(struct place *place, const char *dir, struct errmsg *em);

/*
 * Makes sure that LMDB can open the data file, or that there is none.
 *   recovered  set true when a damaged one was moved aside
 *   mend       set true when its trees are whole but the content needs mending
 *   em         set in these two cases, and on NEWER and FAILED
 */
MUST_USE enum store_result place_check_file(
    struct place *place, bool *recovered, bool *mend, struct errmsg *em);

/* The same for reading only: nothing is moved aside. ABSENT: there is none. */
MUST_USE enum store_result place_look_at_file(struct place *place, struct errmsg *em);

MUST_USE enum store_result place_mark_open(struct place *place, struct errmsg *em);

/* After LMDB has let go of the file, whose last transaction was txn_id. */
void place_mark_closed(struct place *place, size_t txn_id);

/* Lets the lock go. */
void place_close(struct place *place);

/*
 * LMDB need not have written free pages at the end of the file, and a read beyond the end of a
 * mapped file is SIGBUS: makes the file at least that long, with a hole. False with errno.
 */
bool place_extend_file(int fd, size_t pages, size_t page_size);

#endif
