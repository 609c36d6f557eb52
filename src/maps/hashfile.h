/*
 * maps/hashfile.h: are all pages of a Berkeley DB hash file there? libdb takes a page of zeros for
 * an empty bucket, so lost pages read as "no such domain", which is the one kind of damage that
 * lets mail through. The layout is that of hash version 9 (libdb 4 and 5), in the byte order of
 * this machine, as libdb writes it.
 */
#ifndef MAPS_HASHFILE_H
#define MAPS_HASHFILE_H

#include <stdint.h>

#include "maps/sink.h"
#include "util/cursor.h"

/*
 * Looks at the pages of some buckets and at their checksums, and at the length of the file. After
 * the last bucket also at the free pages; and when that is all of them in one call, whether there
 * are as many keys as libdb counted, since a put into a lost page makes it look whole.
 *   fd      open for reading, under a lock that keeps writers out
 *   name    for em
 *   bucket  the first one to look at; set to where the next call goes on, 0 after the last
 *   n       how many; UINT32_MAX: all from there on
 * DAMAGED: a page is missing, zeroed, changed or not where it belongs, or keys are. FAILED: it
 * could not be read.
 */
MUST_USE enum sink_result hashfile_check(
    int fd, const char *name, uint32_t *bucket, uint32_t n, struct errmsg *em);

/* Before libdb writes, what it would trust: the pages of the bucket that a key falls into, the first
 * n free pages. Results as above. */
MUST_USE enum sink_result hashfile_check_key(
    int fd, const char *name, const char *key, struct errmsg *em);
MUST_USE enum sink_result hashfile_check_free(
    int fd, const char *name, uint32_t n, struct errmsg *em);

/* Calls each for every pair that the file's pages still hold, whatever else is wrong with it; see
 * mapfile_salvage(). The bytes are not trusted. */
MUST_USE enum sink_result hashfile_salvage(int fd, const char *name,
    bool (*each)(struct cursor key, struct cursor value, void *arg), void *arg, struct errmsg *em);

#endif
