/*
 * store/datafile.h: LMDB's data file (format 1, of LMDB 0.9), read with pread(2) and distrust
 * before LMDB maps it. LMDB believes its file: a short one ends the process with SIGBUS, a damaged
 * page can answer "no such key".
 */
#ifndef STORE_DATAFILE_H
#define STORE_DATAFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "util/cursor.h"
#include "util/errmsg.h"

enum datafile_result {
	DATAFILE_OK,
	DATAFILE_DAMAGED,
	DATAFILE_NEWER, /* a format that only another LMDB knows */
	DATAFILE_FAILED /* the file cannot be read, or no memory */
};

/* A B-tree as LMDB describes it on disk (its MDB_db). */
struct datafile_tree {
	unsigned int pad;
	unsigned short flags, depth;
	size_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

/* The newer of the two meta pages. */
struct datafile_head {
	size_t page_size, last_page, txn_id;
	off_t file_size;
	struct datafile_tree free, main;
};

/* Reads and checks both meta pages. em is set unless OK. */
MUST_USE enum datafile_result datafile_head(int fd, struct datafile_head *head, struct errmsg *em);

/* One item of a named database; views are valid for the call. False ends the walk with DAMAGED. */
typedef bool datafile_item_cb(const char *db, struct cursor key, struct cursor value, void *arg);

/*
 * Walks every tree and the list of free pages; memory is one page a level and one bit a page.
 * OK: each page that is used is in the file, is what its parent takes it for, is used once and not
 * free; all keys are in order (so none can be missed) and as many as LMDB counts. em is set unless
 * OK.
 */
MUST_USE enum datafile_result datafile_walk(
    int fd, const struct datafile_head *head, datafile_item_cb *cb, void *arg, struct errmsg *em);

#endif
