#include "policy/txt.h"

#include <stdbool.h>
#include <stdio.h>

#include "policy/grammar.h"
#include "util/ascii.h"

/* One key/value pair; both views lie inside the record. */
struct field {
	struct cursor name, value;
};

/* sts-field-delim = *WSP ";" *WSP */
static bool
take_delim(struct cursor *c)
{
	grammar_skip_wsp(c);
	if (!cursor_take(c, ";"))
		return false;
	grammar_skip_wsp(c);
	return true;
}

/* sts-ext-value = 1*(%x21-3A / %x3C / %x3E-7E) */
static bool
take_value(struct cursor *c, struct cursor *value)
{
	value->p = c->p;
	while (cursor_len(c) > 0 && *c->p > 0x20 && *c->p < 0x7f && *c->p != ';' && *c->p != '=')
		c->p++;
	value->end = c->p;
	return cursor_len(value) > 0;
}

static bool
take_field(struct cursor *c, struct field *f)
{
	return grammar_take_name(c, &f->name) && cursor_take(c, "=") && take_value(c, &f->value);
}

static bool
is_id(const struct field *f)
{
	return cursor_len(&f->name) == 2 && memcmp(f->name.p, "id", 2) == 0;
}

/* 1*32(ALPHA / DIGIT) */
static bool
id_from(const struct field *f, char id[TXT_ID_MAX + 1], struct errmsg *em)
{
	size_t len = cursor_len(&f->value);

	for (size_t i = 0; i < len; i++)
		if (!ascii_alnum(f->value.p[i]) || len > TXT_ID_MAX) {
			errmsg_set(
			    em, "the record's id is not 1 to %d letters and digits", TXT_ID_MAX);
			return false;
		}
	memcpy(id, f->value.p, len);
	id[len] = '\0';
	return true;
}

/*
 * sts-text-record = sts-version 1*(sts-field-delim sts-field) [sts-field-delim]
 * Of several ids the first counts (section 3.2, on fields that are not "mx"); were the first
 * malformed, a later one would only hide that.
 */
static bool
record_parse(struct cursor c, char id[TXT_ID_MAX + 1], struct errmsg *em)
{
	const unsigned char *start = c.p;
	bool have_id = false;
	struct field f = {{NULL, NULL}, {NULL, NULL}};

	if (!cursor_take(&c, "v=STSv1"))
		return false;
	do {
		if (!take_delim(&c) || (c.p < c.end && !take_field(&c, &f))) {
			errmsg_set(em, "the record does not follow the syntax at its byte %zu",
			    (size_t)(c.p - start) + 1);
			return false;
		}
		if (!have_id && is_id(&f)) {
			if (!id_from(&f, id, em))
				return false;
			have_id = true;
		}
	} while (c.p < c.end);
	if (!have_id)
		errmsg_set(em, "the record has no id");
	return have_id;
}

/* Not "v=STSv1 ;" either, which the ABNF would allow: section 3.1 says what is discarded. */
static bool
begins_as_ours(struct cursor c)
{
	return cursor_take(&c, "v=STSv1;");
}

enum txt_result
txt_select(const struct cursor *records, size_t n, char id[TXT_ID_MAX + 1], struct errmsg *em)
{
	const struct cursor *ours = NULL;
	size_t n_ours = 0;
	char found[TXT_ID_MAX + 1];

	for (size_t i = 0; i < n; i++)
		if (begins_as_ours(records[i])) {
			ours = &records[i];
			n_ours++;
		}
	if (n_ours == 0) {
		errmsg_set(em, "no TXT record begins with \"v=STSv1;\"");
		return TXT_ABSENT;
	}
	if (n_ours > 1) {
		errmsg_set(
		    em, "%zu TXT records begin with \"v=STSv1;\"; there must be one", n_ours);
		return TXT_INVALID;
	}
	if (!record_parse(*ours, found, em))
		return TXT_INVALID;
	memcpy(id, found, sizeof(found));
	return TXT_RECORD;
}
