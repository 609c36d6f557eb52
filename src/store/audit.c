#include "store/audit.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "policy/domain.h"
#include "store/checksum.h"
#include "store/record.h"
#include "util/ascii.h"

struct work {
	struct audit *out;
	uint64_t entry_sum, due_sum; /* over (due, domain), in any order; equal when each entry has
					its own key in the index and no key is left over */
	size_t due_keys;
	unsigned long schema;
	struct cursor program;
	char program_text[64];
};

unsigned long
audit_schema(struct cursor text)
{
	unsigned long n = 0;

	if (cursor_len(&text) == 0 || cursor_len(&text) > 9)
		return 0;
	for (; text.p < text.end; text.p++) {
		if (!ascii_digit(*text.p))
			return 0;
		n = n * 10 + (unsigned long)(*text.p - '0');
	}
	return n;
}

void
audit_newer(struct errmsg *em, unsigned long schema, struct cursor program)
{
	errmsg_set(em,
	    "it has schema %lu, written by mtasts %.*s, and this program knows schema %d only; it was "
	    "left as it is: run mtasts %.*s or newer, or move it away to begin a new one",
	    schema, (int)cursor_len(&program), (const char *)program.p, STORE_SCHEMA,
	    (int)cursor_len(&program), (const char *)program.p);
}

static bool
is(struct cursor key, const char *name)
{
	return cursor_len(&key) == strlen(name) && memcmp(key.p, name, strlen(name)) == 0;
}

static void
meta_item(struct work *w, struct cursor key, struct cursor value)
{
	size_t len = cursor_len(&value);

	if (is(key, STORE_KEY_SCHEMA))
		w->schema = audit_schema(value);
	if (is(key, STORE_KEY_PROGRAM) && len <= sizeof(w->program_text)) {
		memcpy(w->program_text, value.p, len);
		w->program = cursor_of(w->program_text, len);
	}
}

static void
entry_item(struct work *w, struct cursor key, struct cursor value)
{
	char domain[DOMAIN_MAX + 1];
	size_t len = cursor_len(&key);
	unsigned char due_key[DUE_TIME_LEN];
	time_t due;

	w->out->entries++;
	if (len > DOMAIN_MAX || memchr(key.p, '\0', len) != NULL) {
		w->out->damaged++;
		return;
	}
	memcpy(domain, key.p, len);
	domain[len] = '\0';
	if (record_decode(domain, value, NULL, &due) != RECORD_OK) {
		w->out->damaged++;
		return;
	}
	due_time_print(due, due_key);
	w->entry_sum += checksum(checksum(0, domain, len), due_key, DUE_TIME_LEN);
}

static void
due_item(struct work *w, struct cursor key)
{
	const unsigned char *domain = key.p + DUE_TIME_LEN;

	w->due_keys++;
	if (cursor_len(&key) > DUE_TIME_LEN)
		w->due_sum +=
		    checksum(checksum(0, domain, (size_t)(key.end - domain)), key.p, DUE_TIME_LEN);
}

static bool
item(const char *db, struct cursor key, struct cursor value, void *arg)
{
	struct work *w = arg;

	if (strcmp(db, STORE_DB_META) == 0)
		meta_item(w, key, value);
	else if (strcmp(db, STORE_DB_ENTRY) == 0)
		entry_item(w, key, value);
	else if (strcmp(db, STORE_DB_DUE) == 0)
		due_item(w, key);
	return true;
}

static enum audit_result
judge(const struct work *w, struct errmsg *em)
{
	struct audit *out = w->out;

	if (w->schema > STORE_SCHEMA) {
		audit_newer(em, w->schema, w->program);
		return AUDIT_NEWER;
	}
	if (w->schema == 0) {
		errmsg_set(em, "it has no schema: not a store of this program");
		return AUDIT_DAMAGED;
	}
	out->index_wrong = w->entry_sum != w->due_sum || out->entries != w->due_keys;
	if (out->damaged == 0 && !out->index_wrong)
		return AUDIT_OK;
	errmsg_set(em, "%zu of its %zu records are damaged%s", out->damaged, out->entries,
	    out->index_wrong ? ", and its index by time was wrong" : "");
	return AUDIT_MEND;
}

enum audit_result
audit_file(int fd, const struct datafile_head *head, struct audit *out, struct errmsg *em)
{
	struct work w = {.out = out, .program = cursor_of("?", 1)};

	memset(out, 0, sizeof(*out));
	switch (datafile_walk(fd, head, item, &w, em)) {
	case DATAFILE_OK: /* without any database: new, and ended before its first commit */
		return head->main.entries == 0 ? AUDIT_OK : judge(&w, em);
	case DATAFILE_NEWER:
		return AUDIT_NEWER;
	case DATAFILE_FAILED:
		return AUDIT_FAILED;
	default:
		return AUDIT_DAMAGED;
	}
}
