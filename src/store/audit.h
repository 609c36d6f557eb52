/* store/audit.h: is the data file one of ours, whole, and do its entries and its index by time
 * agree? */
#ifndef STORE_AUDIT_H
#define STORE_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "store/datafile.h"
#include "util/cursor.h"
#include "util/errmsg.h"

/* Names of the databases, and keys of STORE_DB_META; all of it text. */
#define STORE_DB_META "meta"
#define STORE_DB_ENTRY "entry"
#define STORE_DB_DUE "due"
#define STORE_KEY_SCHEMA "schema"   /* decimal */
#define STORE_KEY_CREATED "created" /* seconds since the epoch */
#define STORE_KEY_PROGRAM "program" /* version that last brought the store to its schema */

/* 2: records of version 2, so that a program that cannot read them does not take them for damage */
enum { STORE_SCHEMA = 2 };
enum { DUE_TIME_LEN = 8 }; /* a key of STORE_DB_DUE: big endian time, then the domain */

static inline void
due_time_print(time_t due, unsigned char out[DUE_TIME_LEN])
{
	for (int i = 0; i < DUE_TIME_LEN; i++)
		out[i] = (unsigned char)((uint64_t)due >> (8 * (DUE_TIME_LEN - 1 - i)));
}

enum audit_result {
	AUDIT_OK,
	AUDIT_MEND,    /* the trees are whole; some records, or the index, are not */
	AUDIT_DAMAGED, /* not to be opened */
	AUDIT_NEWER,
	AUDIT_FAILED
};

struct audit {
	size_t entries, damaged; /* damaged: entries whose record is not whole */
	bool index_wrong;
};

/*
 * Reads the whole file in bounded memory; about a second for 1,000,000 domains once it is in the
 * page cache. em is set unless OK.
 */
MUST_USE enum audit_result audit_file(
    int fd, const struct datafile_head *head, struct audit *out, struct errmsg *em);

/* A schema as STORE_KEY_SCHEMA has it; 0: no number. */
unsigned long audit_schema(struct cursor text);

/* Text of another program's store, for the message. */
void audit_newer(struct errmsg *em, unsigned long schema, struct cursor program);

#endif
