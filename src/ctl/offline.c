#include "ctl/offline.h"

#include <stdlib.h>
#include <sysexits.h>

#include "ctl/input.h"
#include "ctl/txtline.h"
#include "policy/mx.h"
#include "policy/policy.h"
#include "policy/txt.h"

/* The operand, read whole; on failure the exit code says why. */
static int
read_operand(const struct invocation *inv, size_t max, struct input *out)
{
	struct errmsg em;

	switch (input_read(inv->operand[0], inv->in, max, out, &em)) {
	case INPUT_OK:
		return EX_OK;
	case INPUT_ABSENT:
		return command_fail(inv, EX_NOINPUT, "%s", em.text);
	case INPUT_FAILED:
		break;
	}
	return command_fail(inv, EX_IOERR, "%s", em.text);
}

/* The records of one name, their quotes undone; the views point into bytes. */
struct rrset {
	struct cursor *record;
	size_t n;
	unsigned char *bytes; /* as large as the input */
};

static void
rrset_clear(struct rrset *set)
{
	free(set->record);
	free(set->bytes);
}

static void
warn_unquoted(const struct invocation *inv, struct cursor line, size_t n)
{
	while (cursor_take(&line, " ") || cursor_take(&line, "\t"))
		;
	if (cursor_take(&line, "\""))
		command_fail(inv, EX_OK,
		    "record %zu begins with a quote but is not made of whole quoted strings; taken as it stands",
		    n);
}

static bool
rrset_read(const struct invocation *inv, struct cursor rest, struct rrset *set)
{
	size_t max = cursor_len(&rest) / 2 + 1; /* a line has a byte and a LF, but for the last */
	unsigned char *out;
	struct cursor line;
	size_t len;

	*set = (struct rrset){calloc(max, sizeof(*set->record)), 0, malloc(cursor_len(&rest) + 1)};
	if (set->record == NULL || set->bytes == NULL) {
		rrset_clear(set);
		return false;
	}
	for (out = set->bytes; txtline_next(&rest, &line); out += len) {
		if (txtline_unquote(line, out, &len)) {
			set->record[set->n++] = cursor_of(out, len);
			continue;
		}
		len = 0;
		warn_unquoted(inv, line, set->n + 1);
		set->record[set->n++] = line;
	}
	return true;
}

/* The whole answer: with an id there is a policy to be fetched, with a reason there is none. */
static int
print_record(const struct invocation *inv, const char *id, const char *reason)
{
	if (inv->json)
		return command_print_json(
		    inv, json_pack("{s:s, s:o, s:o}", "result", id != NULL ? "policy" : "none",
			     "id", command_text(id), "reason", command_text(reason)));
	if (id != NULL)
		fprintf(inv->out, "policy: id %s\n", id);
	else
		fprintf(inv->out, "none: %s\n", reason);
	return EX_OK;
}

int
command_parse_record(const struct invocation *inv)
{
	char id[TXT_ID_MAX + 1];
	struct errmsg em = {""};
	struct input input;
	struct rrset set;
	int code = read_operand(inv, TXTLINE_BYTES_MAX + 1, &input);

	if (code != EX_OK)
		return code;
	if (input.len > TXTLINE_BYTES_MAX)
		code = print_record(inv, NULL, "more bytes than a DNS answer can hold");
	else if (!rrset_read(inv, input_cursor(&input), &set))
		code = command_fail(inv, EX_OSERR, "out of memory");
	else {
		bool found = txt_select(set.record, set.n, id, &em) == TXT_RECORD;
		code = print_record(inv, found ? id : NULL, found ? NULL : em.text);
		rrset_clear(&set);
	}
	input_clear(&input);
	return code;
}

static json_t *
lint_json(const struct policy *p, const struct findings *f)
{
	json_t *mx = p != NULL ? command_texts(p->n_mx, p->mx) : json_array();

	return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "valid", p != NULL, "mode",
	    command_text(p != NULL ? mode_name(p->mode) : NULL), "max_age",
	    p != NULL ? json_integer(p->max_age_s) : json_null(), "mx", mx, "errors",
	    command_texts(f->n_errors, f->errors), "warnings",
	    command_texts(f->n_warnings, f->warnings));
}

static void
lint_print(FILE *out, const struct policy *p, const struct findings *f)
{
	if (p != NULL) {
		fprintf(out, "valid: mode %s, max_age %lu\n", mode_name(p->mode),
		    (unsigned long)p->max_age_s);
		for (size_t i = 0; i < p->n_mx; i++)
			fprintf(out, "  mx       %s\n", p->mx[i]);
	} else
		fprintf(out, "not valid: senders act as though there were no policy\n");
	for (size_t i = 0; i < f->n_errors; i++)
		fprintf(out, "  error    %s\n", f->errors[i]);
	for (size_t i = 0; i < f->n_warnings; i++)
		fprintf(out, "  warning  %s\n", f->warnings[i]);
}

int
command_lint(const struct invocation *inv)
{
	struct findings findings = {0};
	struct errmsg em;
	struct input input;
	struct policy *p;
	/* one byte more: policy_parse() tells of too many */
	int code = read_operand(inv, POLICY_BODY_MAX + 1, &input);

	if (code != EX_OK)
		return code;
	p = policy_parse(input_cursor(&input), &findings, &em);
	if (inv->json)
		code = command_print_json(inv, lint_json(p, &findings));
	else
		lint_print(inv->out, p, &findings);
	if (code == EX_OK && p == NULL)
		code = EX_DATAERR;
	policy_free(p);
	findings_clear(&findings);
	input_clear(&input);
	return code;
}

enum { MATCH_NO = 1 };

static int
print_match(const struct invocation *inv, const char *pattern, const char *host, bool match,
    const char *why)
{
	if (inv->json)
		command_print_json(inv, json_pack("{s:b, s:o, s:o, s:o}", "match", match, "pattern",
					    command_text(pattern), "host", command_text(host),
					    "reason", command_text(why)));
	else if (why != NULL)
		fprintf(inv->out, "no match: %s\n", why);
	else
		fprintf(
		    inv->out, "%s %s %s\n", pattern, match ? "matches" : "does not match", host);
	return match ? EX_OK : MATCH_NO;
}

int
command_match(const struct invocation *inv)
{
	const char *pattern = inv->operand[0], *host = inv->operand[1];
	char pattern_out[MX_PATTERN_MAX + 1], host_out[HOST_MAX + 1];
	struct errmsg em;

	/* What is no pattern or no host name matches nothing: an answer, not a misuse. */
	if (!mx_pattern_normalize(pattern, strlen(pattern), pattern_out, &em) ||
	    host_normalize(host, strlen(host), host_out, &em) != DOMAIN_OK)
		return print_match(inv, pattern, host, false, em.text);
	return print_match(inv, pattern_out, host_out, mx_match(pattern_out, host_out), NULL);
}
