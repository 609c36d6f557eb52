#include "store/store.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>

#include "store/audit.h"
#include "store/place.h"
#include "store/record.h"

#ifndef PACKAGE_VERSION /* a fuzz target built by hand */
#define PACKAGE_VERSION "?"
#endif

enum {
	READERS_MAX = 1024, /* read transactions at one time */
	DATABASES = 3,
	DUE_KEY_MAX = DUE_TIME_LEN + DOMAIN_MAX
};

struct store {
	struct place place;
	MDB_env *env;
	bool opened; /* all of it, so that there is something to be closed well */
	MDB_dbi meta, entry, due;
	_Atomic bool doubted; /* LMDB found damage: the next opening checks the whole file */
};

struct store_txn {
	struct store *st;
	MDB_txn *txn;
	enum store_result failed; /* the first failure, which a commit repeats; STORE_OK: none */
};

/* ---- results: the one place that knows MDB_* codes ---- */

static enum store_result
result_of(int rc)
{
	switch (rc) {
	case 0:
		return STORE_OK;
	case MDB_NOTFOUND:
		return STORE_ABSENT;
	case MDB_MAP_FULL:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EIO: /* LMDB's word for a short write: a disk or a limit that is nearly full */
		return STORE_FULL;
	case MDB_PAGE_NOTFOUND:
	case MDB_CORRUPTED:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
	case MDB_CURSOR_FULL:
	case MDB_PAGE_FULL:
		return STORE_DAMAGED;
	case MDB_VERSION_MISMATCH:
		return STORE_NEWER;
	default:
		return STORE_FAILED;
	}
}

static const char *
remedy_of(int rc)
{
	switch (result_of(rc)) {
	case STORE_FULL:
		return rc == MDB_MAP_FULL ? "raise the store's size in mtasts.conf and restart"
		       : rc == EIO        ? "free space on its disk; the kernel log tells of errors"
					  : "free space on its disk";
	case STORE_DAMAGED:
		return "restart mtastsd, which checks the file and recovers";
	case STORE_NEWER:
		return "run a program that is linked with the LMDB that wrote it";
	default:
		return rc == MDB_PANIC
			   ? "see the disk's errors in the kernel log, then restart mtastsd"
			   : "see the directory and its disk";
	}
}

/* Sets em unless rc is success or absence. */
static enum store_result
result(struct store *st, int rc, const char *what, const char *domain, struct errmsg *em)
{
	enum store_result r = result_of(rc);

	if (r == STORE_DAMAGED)
		st->doubted = true;
	if (r != STORE_OK && r != STORE_ABSENT)
		errmsg_set(em, "%s: %s%s%s: %s; %s", st->place.dir, what, domain == NULL ? "" : " ",
		    domain == NULL ? "" : domain, mdb_strerror(rc), remedy_of(rc));
	return r;
}

/* ---- keys ---- */

static MDB_val
value_of(const void *bytes, size_t len)
{
	return (MDB_val){len, (void *)(uintptr_t)bytes};
}

static MDB_val
text_value(const char *text)
{
	return value_of(text, strlen(text));
}

/* False: no key of ours; LMDB refuses empty and long ones. */
static bool
domain_key(const char *domain, MDB_val *key)
{
	*key = text_value(domain);
	return key->mv_size > 0 && key->mv_size <= DOMAIN_MAX;
}

static MDB_val
due_key(const char *domain, time_t due, unsigned char buf[DUE_KEY_MAX])
{
	size_t len = strlen(domain);

	due_time_print(due, buf);
	memcpy(buf + DUE_TIME_LEN, domain, len);
	return value_of(buf, DUE_TIME_LEN + len);
}

/* A key of a named database as a C string; false: not one that the store has written. */
static bool
domain_of(const MDB_val *key, size_t skip, char domain[DOMAIN_MAX + 1])
{
	size_t len = key->mv_size - skip;

	if (key->mv_size <= skip || len > DOMAIN_MAX)
		return false;
	memcpy(domain, (const char *)key->mv_data + skip, len);
	domain[len] = '\0';
	return strlen(domain) == len;
}

static time_t
due_of(const MDB_val *key)
{
	const unsigned char *p = key->mv_data;
	uint64_t due = 0;

	for (size_t i = 0; i < DUE_TIME_LEN && i < key->mv_size; i++)
		due = due << 8 | p[i];
	return (time_t)due;
}

/* ---- reading ---- */

/* Looks a record up; out NULL: only its due time is wanted. */
static enum store_result
read_record(struct store *st, MDB_txn *txn, const char *domain, struct entry *out, time_t *due,
    struct errmsg *em)
{
	MDB_val key, val;
	int rc;

	if (!domain_key(domain, &key))
		return STORE_ABSENT;
	if ((rc = mdb_get(txn, st->entry, &key, &val)) != 0)
		return result(st, rc, "reading the policy of", domain, em);
	if (val.mv_size <= RECORD_MAX)
		switch (record_decode(domain, cursor_of(val.mv_data, val.mv_size), out, due)) {
		case RECORD_OK:
			return STORE_OK;
		case RECORD_NO_MEMORY:
			return result(st, ENOMEM, "reading the policy of", domain, em);
		case RECORD_DAMAGED:
			break;
		}
	st->doubted = true;
	errmsg_set(em,
	    "%s: the stored policy of %s is damaged and counts as unknown; it is replaced "
	    "when it is discovered again",
	    st->place.dir, domain);
	return STORE_DAMAGED;
}

static enum store_result
read_begin(struct store *st, MDB_txn **txn, struct errmsg *em)
{
	return result(st, mdb_txn_begin(st->env, NULL, MDB_RDONLY, txn), "reading", NULL, em);
}

enum store_result
store_get(struct store *st, const char *domain, struct entry *out, struct errmsg *em)
{
	MDB_txn *txn = NULL;
	enum store_result r = read_begin(st, &txn, em);
	time_t due;

	if (r != STORE_OK)
		return r;
	r = read_record(st, txn, domain, out, &due, em);
	mdb_txn_abort(txn);
	return r;
}

enum store_result
store_txn_get(struct store_txn *txn, const char *domain, struct entry *out, struct errmsg *em)
{
	time_t due;

	return read_record(txn->st, txn->txn, domain, out, &due, em);
}

/* A cursor over a database in a read transaction of its own; both ended by read_end(). */
static enum store_result
walk_begin(struct store *st, MDB_dbi dbi, MDB_txn **txn, MDB_cursor **cursor, struct errmsg *em)
{
	enum store_result r = read_begin(st, txn, em);

	*cursor = NULL;
	if (r == STORE_OK)
		r = result(st, mdb_cursor_open(*txn, dbi, cursor), "reading", NULL, em);
	return r;
}

static void
walk_end(MDB_txn *txn, MDB_cursor *cursor)
{
	if (cursor != NULL)
		mdb_cursor_close(cursor);
	mdb_txn_abort(txn); /* NULL-safe */
}

/* True when the entry agrees that it is due then: a key that damage left over must not be due for
 * ever. */
static bool
due_confirmed(struct store *st, MDB_txn *txn, const char *domain, time_t due)
{
	time_t real = 0;

	switch (read_record(st, txn, domain, NULL, &real, NULL)) {
	case STORE_OK:
		return real == due;
	case STORE_DAMAGED:
		return true; /* to be discovered again */
	default:
		return false;
	}
}

enum store_result
store_due(struct store *st, time_t now, size_t max, store_due_cb *cb, void *arg, struct errmsg *em)
{
	MDB_txn *txn = NULL;
	MDB_cursor *cursor;
	MDB_val key, val;
	char domain[DOMAIN_MAX + 1];
	enum store_result r = walk_begin(st, st->due, &txn, &cursor, em);
	int rc = 0;

	while (
	    r == STORE_OK && max > 0 && (rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
		time_t due = due_of(&key);

		if (due > now)
			break;
		if (!domain_of(&key, DUE_TIME_LEN, domain) || !due_confirmed(st, txn, domain, due))
			continue;
		max--;
		if (!cb(domain, due, arg))
			break;
	}
	if (rc != 0 && rc != MDB_NOTFOUND)
		r = result(st, rc, "reading the index by time", NULL, em);
	walk_end(txn, cursor);
	return r;
}

static bool
take_due(const char *domain UNUSED, time_t due, void *arg)
{
	*(time_t *)arg = due;
	return false;
}

time_t
store_next_due(struct store *st)
{
	time_t due = 0;

	return store_due(st, (time_t)RECORD_TIME_MAX, 1, take_due, &due, NULL) == STORE_OK ? due
											   : 0;
}

/* Moves to the first key after `after`. */
static int
seek_after(MDB_cursor *cursor, const char *after, MDB_val *key, MDB_val *val)
{
	MDB_val want;
	int rc;

	if (after == NULL || !domain_key(after, &want))
		return mdb_cursor_get(cursor, key, val, MDB_FIRST);
	*key = want;
	rc = mdb_cursor_get(cursor, key, val, MDB_SET_RANGE);
	if (rc == 0 && key->mv_size == want.mv_size &&
	    memcmp(key->mv_data, after, want.mv_size) == 0)
		rc = mdb_cursor_get(cursor, key, val, MDB_NEXT);
	return rc;
}

enum store_result
store_each(struct store *st, const char *after, size_t max, store_each_cb *cb, void *arg,
    size_t *damaged, struct errmsg *em)
{
	MDB_txn *txn = NULL;
	MDB_cursor *cursor;
	MDB_val key, val;
	char domain[DOMAIN_MAX + 1];
	enum store_result r = walk_begin(st, st->entry, &txn, &cursor, em);
	int rc = r == STORE_OK && max > 0 ? seek_after(cursor, after, &key, &val) : MDB_NOTFOUND;
	size_t bad = 0;

	for (bool more = true; rc == 0 && more && max > 0;
	     rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) {
		struct entry e = {0};
		time_t due;

		if (!domain_of(&key, 0, domain) ||
		    read_record(st, txn, domain, &e, &due, NULL) != STORE_OK) {
			bad++;
			continue;
		}
		max--;
		more = cb(domain, &e, arg);
		entry_clear(&e);
	}
	if (rc != 0 && rc != MDB_NOTFOUND)
		r = result(st, rc, "reading", NULL, em);
	if (damaged != NULL)
		*damaged = bad;
	walk_end(txn, cursor);
	return r;
}

size_t
store_count(struct store *st)
{
	MDB_txn *txn = NULL;
	MDB_stat stat = {.ms_entries = 0};

	if (read_begin(st, &txn, NULL) != STORE_OK)
		return 0;
	if (mdb_stat(txn, st->entry, &stat) != 0)
		stat.ms_entries = 0;
	mdb_txn_abort(txn);
	return stat.ms_entries;
}

/* ---- writing ---- */

enum store_result
store_begin(struct store *st, struct store_txn **txn, struct errmsg *em)
{
	struct store_txn *t = calloc(1, sizeof(*t));
	int rc = t == NULL ? ENOMEM : mdb_txn_begin(st->env, NULL, 0, &t->txn);

	*txn = NULL;
	if (rc != 0) {
		free(t);
		return result(st, rc, "nothing can be saved", NULL, em);
	}
	t->st = st;
	*txn = t;
	return STORE_OK;
}

static enum store_result
txn_result(struct store_txn *txn, int rc, const char *what, const char *domain, struct errmsg *em)
{
	enum store_result r = result(txn->st, rc, what, domain, em);

	if (r != STORE_OK && txn->failed == STORE_OK)
		txn->failed = r;
	return r;
}

/*
 * After damage the old due time is not known: every key of the domain goes. Reads the whole index.
 */
static int
unindex_all(struct store_txn *txn, const char *domain)
{
	MDB_cursor *cursor;
	MDB_val key, val;
	char found[DOMAIN_MAX + 1];
	int rc = mdb_cursor_open(txn->txn, txn->st->due, &cursor);

	if (rc != 0)
		return rc;
	while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0)
		if (domain_of(&key, DUE_TIME_LEN, found) && strcmp(found, domain) == 0 &&
		    (rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Takes the domain's key out of the index by time. */
static int
unindex(struct store_txn *txn, const char *domain)
{
	unsigned char buf[DUE_KEY_MAX];
	time_t due = 0;
	MDB_val key;
	int rc;

	switch (read_record(txn->st, txn->txn, domain, NULL, &due, NULL)) {
	case STORE_OK:
		key = due_key(domain, due, buf);
		rc = mdb_del(txn->txn, txn->st->due, &key, NULL);
		return rc == MDB_NOTFOUND ? 0 : rc;
	case STORE_DAMAGED:
		return unindex_all(txn, domain);
	default:
		return 0; /* absent; what else is wrong shows again at the put */
	}
}

static int
put_both(struct store_txn *txn, const char *domain, time_t due, MDB_val *key, MDB_val *val)
{
	unsigned char buf[DUE_KEY_MAX];
	MDB_val index = due_key(domain, due, buf), nothing = {0, NULL};
	int rc = unindex(txn, domain);

	if (rc == 0)
		rc = mdb_put(txn->txn, txn->st->entry, key, val, 0);
	return rc == 0 ? mdb_put(txn->txn, txn->st->due, &index, &nothing, 0) : rc;
}

enum store_result
store_put(
    struct store_txn *txn, const char *domain, const struct entry *e, time_t due, struct errmsg *em)
{
	MDB_val key, val;
	unsigned char *bytes;
	int rc;

	if (!domain_key(domain, &key))
		return txn_result(txn, EINVAL, "cannot save the policy of", domain, em);
	bytes = record_encode(domain, e, due, &val.mv_size);
	val.mv_data = bytes;
	rc = bytes == NULL ? errno : put_both(txn, domain, due, &key, &val);
	free(bytes);
	return txn_result(txn, rc, "cannot save the policy of", domain, em);
}

enum store_result
store_del(struct store_txn *txn, const char *domain, struct errmsg *em)
{
	MDB_val key;
	int rc;

	if (!domain_key(domain, &key))
		return STORE_ABSENT;
	rc = unindex(txn, domain);
	if (rc == 0)
		rc = mdb_del(txn->txn, txn->st->entry, &key, NULL);
	return rc == MDB_NOTFOUND ? STORE_ABSENT
				  : txn_result(txn, rc, "cannot remove the policy of", domain, em);
}

/* A failure matters to the next opening only, which copes. */
static void
extend_after_commit(struct store *st)
{
	MDB_envinfo info;
	MDB_stat stat;
	int fd;

	if (mdb_env_info(st->env, &info) == 0 && mdb_env_stat(st->env, &stat) == 0 &&
	    mdb_env_get_fd(st->env, &fd) == 0)
		(void)place_extend_file(fd, info.me_last_pgno + 1, stat.ms_psize);
}

enum store_result
store_commit(struct store_txn **txn, struct errmsg *em)
{
	struct store_txn *t = *txn;
	enum store_result r;

	if (t == NULL) {
		errmsg_set(em, "nothing was begun");
		return STORE_FAILED;
	}
	if (t->failed != STORE_OK) {
		r = t->failed;
		errmsg_set(
		    em, "%s: nothing was saved: a part of it failed before", t->st->place.dir);
	} else {
		r = result(t->st, mdb_txn_commit(t->txn), "nothing was saved", NULL, em);
		t->txn = NULL; /* commit frees it, even when it fails */
	}
	if (r == STORE_OK)
		extend_after_commit(t->st);
	store_abort(txn);
	return r;
}

void
store_abort(struct store_txn **txn)
{
	if (*txn == NULL)
		return;
	mdb_txn_abort((*txn)->txn); /* NULL-safe */
	free(*txn);
	*txn = NULL;
}

/* ---- opening ---- */

static int
put_meta(struct store *st, MDB_txn *txn, const char *name, const char *text)
{
	MDB_val key = text_value(name), val = text_value(text);

	return mdb_put(txn, st->meta, &key, &val, 0);
}

/* A new store, or one of an older schema, gets ours; what is in it is read as it is. */
static int
begin_schema(struct store *st, MDB_txn *txn)
{
	MDB_val key = text_value(STORE_KEY_SCHEMA), val;
	char text[32];
	int rc = mdb_get(txn, st->meta, &key, &val);
	bool made = rc == MDB_NOTFOUND;

	if (!made && (rc != 0 || audit_schema(cursor_of(val.mv_data, val.mv_size)) >= STORE_SCHEMA))
		return rc;
	snprintf(text, sizeof(text), "%jd", (intmax_t)time(NULL));
	if ((made && (rc = put_meta(st, txn, STORE_KEY_CREATED, text)) != 0) ||
	    (rc = put_meta(st, txn, STORE_KEY_PROGRAM, PACKAGE_VERSION)) != 0)
		return rc;
	snprintf(text, sizeof(text), "%d", (int)STORE_SCHEMA);
	return put_meta(st, txn, STORE_KEY_SCHEMA, text);
}

/* Empties the index, drops damaged records and builds the index anew from the good ones. */
static int
mend_content(struct store *st, MDB_txn *txn)
{
	unsigned char buf[DUE_KEY_MAX];
	char domain[DOMAIN_MAX + 1];
	MDB_val key, val, index, nothing = {0, NULL};
	MDB_cursor *cursor = NULL;
	time_t due;
	int rc = mdb_drop(txn, st->due, 0);

	if (rc == 0)
		rc = mdb_cursor_open(txn, st->entry, &cursor);
	while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
		if (!domain_of(&key, 0, domain) ||
		    read_record(st, txn, domain, NULL, &due, NULL) != STORE_OK) {
			rc = mdb_cursor_del(cursor, 0);
			continue;
		}
		index = due_key(domain, due, buf);
		rc = mdb_put(txn, st->due, &index, &nothing, 0);
	}
	if (cursor != NULL)
		mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
open_databases(struct store *st, bool mend)
{
	MDB_txn *txn = NULL;
	int rc = mdb_txn_begin(st->env, NULL, 0, &txn);

	if (rc != 0 || (rc = mdb_dbi_open(txn, STORE_DB_META, MDB_CREATE, &st->meta)) != 0 ||
	    (rc = mdb_dbi_open(txn, STORE_DB_ENTRY, MDB_CREATE, &st->entry)) != 0 ||
	    (rc = mdb_dbi_open(txn, STORE_DB_DUE, MDB_CREATE, &st->due)) != 0 ||
	    (rc = begin_schema(st, txn)) != 0 || (mend && (rc = mend_content(st, txn)) != 0)) {
		mdb_txn_abort(txn); /* NULL-safe */
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* A store that was closed well was not audited, so the schema is looked at here as well. */
static enum store_result
check_schema(struct store *st, struct errmsg *em)
{
	MDB_val key = text_value(STORE_KEY_SCHEMA), val, program = text_value("?");
	MDB_txn *txn = NULL;
	struct errmsg why;
	unsigned long schema = 0;
	int rc = mdb_txn_begin(st->env, NULL, MDB_RDONLY, &txn);
	MDB_dbi meta;

	if (rc == 0 && (rc = mdb_dbi_open(txn, STORE_DB_META, 0, &meta)) == 0 &&
	    (rc = mdb_get(txn, meta, &key, &val)) == 0)
		schema = audit_schema(cursor_of(val.mv_data, val.mv_size));
	key = text_value(STORE_KEY_PROGRAM);
	if (schema > STORE_SCHEMA) {
		(void)mdb_get(txn, meta, &key, &program); /* or "?" */
		audit_newer(&why, schema, cursor_of(program.mv_data, program.mv_size));
		errmsg_set(em, "%s/data.mdb: %s", st->place.dir, why.text);
	}
	mdb_txn_abort(txn);
	if (schema > STORE_SCHEMA)
		return STORE_NEWER;
	return rc == MDB_NOTFOUND ? STORE_OK : result(st, rc, "cannot be opened", NULL, em);
}

static enum store_result
open_env(struct store *st, size_t max_bytes, bool mend, struct errmsg *em)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	enum store_result r;
	int rc, dead;

	if ((rc = mdb_env_create(&st->env)) != 0 ||
	    (rc = mdb_env_set_mapsize(st->env, max_bytes / page * page)) != 0 ||
	    (rc = mdb_env_set_maxdbs(st->env, DATABASES)) != 0 ||
	    (rc = mdb_env_set_maxreaders(st->env, READERS_MAX)) != 0 ||
	    (rc = mdb_env_open(st->env, st->place.dir, MDB_NOTLS, 0600)) != 0 ||
	    (rc = mdb_reader_check(st->env, &dead)) != 0)
		return result(st, rc, "cannot be opened", NULL, em);
	if ((r = check_schema(st, em)) != STORE_OK)
		return r;
	r = result(st, open_databases(st, mend), "cannot be opened", NULL, em);
	if (r == STORE_OK)
		(void)fsync(st->place.dir_fd); /* the names of new files */
	return r;
}

static enum store_result
open_parts(struct store *st, const struct store_config *config, bool *recovered, struct errmsg *em)
{
	enum store_result r;
	bool mend = false;

	if ((r = place_open(&st->place, config->dir, em)) != STORE_OK ||
	    (r = place_check_file(&st->place, recovered, &mend, em)) != STORE_OK ||
	    (r = place_mark_open(&st->place, em)) != STORE_OK ||
	    (r = open_env(st, config->max_bytes, mend, em)) != STORE_OK)
		return r;
	*recovered |= mend;
	st->opened = true;
	return STORE_OK;
}

enum store_result
store_open(
    const struct store_config *config, struct store **out, bool *recovered, struct errmsg *em)
{
	struct store *st = calloc(1, sizeof(*st));
	enum store_result r;

	*out = NULL;
	*recovered = false;
	if (st == NULL) {
		errmsg_set(em, "%s: no memory to open the store", config->dir);
		return STORE_FAILED;
	}
	st->place = PLACE_NONE;
	r = open_parts(st, config, recovered, em);
	if (r == STORE_OK)
		*out = st;
	else
		store_close(&st);
	return r;
}

static enum store_result
open_env_to_read(struct store *st, size_t max_bytes, struct errmsg *em)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	MDB_txn *txn = NULL;
	enum store_result r;
	int rc;

	/* writer.lock is ours, so there is no need for lock.mdb, which might have to be made */
	if ((rc = mdb_env_create(&st->env)) != 0 ||
	    (rc = mdb_env_set_mapsize(st->env, max_bytes / page * page)) != 0 ||
	    (rc = mdb_env_set_maxdbs(st->env, DATABASES)) != 0 ||
	    (rc = mdb_env_open(
		 st->env, st->place.dir, MDB_NOTLS | MDB_RDONLY | MDB_NOLOCK, 0600)) != 0)
		return result(st, rc, "cannot be opened", NULL, em);
	if ((r = check_schema(st, em)) != STORE_OK)
		return r;
	rc = mdb_txn_begin(st->env, NULL, MDB_RDONLY, &txn);
	if (rc == 0 && (rc = mdb_dbi_open(txn, STORE_DB_ENTRY, 0, &st->entry)) == 0)
		rc = mdb_txn_commit(txn);
	else
		mdb_txn_abort(txn);
	return result(st, rc, "cannot be opened", NULL, em);
}

enum store_result
store_open_to_read(const struct store_config *config, struct store **out, struct errmsg *em)
{
	struct store *st;
	struct stat sb;
	enum store_result r;

	*out = NULL;
	if (stat(config->dir, &sb) != 0 && errno == ENOENT) {
		errmsg_set(em, "%s: there is no store", config->dir);
		return STORE_ABSENT;
	}
	if ((st = calloc(1, sizeof(*st))) == NULL) {
		errmsg_set(em, "%s: no memory to open the store", config->dir);
		return STORE_FAILED;
	}
	st->place = PLACE_NONE;
	if ((r = place_open(&st->place, config->dir, em)) == STORE_OK &&
	    (r = place_look_at_file(&st->place, em)) == STORE_OK &&
	    (r = open_env_to_read(st, config->max_bytes, em)) == STORE_OK)
		*out = st;
	else
		store_close(&st);
	return r;
}

void
store_close(struct store **store)
{
	struct store *st = *store;
	MDB_envinfo info = {.me_last_txnid = 0};

	if (st == NULL)
		return;
	if (st->opened)
		(void)mdb_env_info(st->env, &info);
	if (st->env != NULL)
		mdb_env_close(st->env);
	if (st->opened && !st->doubted)
		place_mark_closed(&st->place, info.me_last_txnid);
	place_close(&st->place);
	free(st);
	*store = NULL;
}
