#include "policy/policy.h"

#include <search.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/grammar.h"
#include "policy/mx.h"
#include "util/ascii.h"
#include "util/when.h"

enum {
	FINDINGS_MAX = 100, /* of each kind; a hostile body of 64 KiB could have 65536 */
	TEXT_MAX = 160,     /* bytes of one finding with its NUL */
	WEEK_S = 7 * WHEN_DAY_S
};

/* A parse under way. */
struct parse {
	struct cursor rest;
	size_t line;
	bool have_version, have_mode, have_max_age;
	bool failed;
	struct policy *policy;
	size_t room;    /* slots of policy->mx */
	void *mx_known; /* tree of policy->mx, which may be thousands */
	struct findings *findings;
	struct errmsg *em;
};

static const char *const mode_names[] = {
    [MODE_NONE] = "none", [MODE_TESTING] = "testing", [MODE_ENFORCE] = "enforce"};

const char *
mode_name(enum mode mode)
{
	return mode_names[mode];
}

/* Memory that is out must not look like the publisher's fault: mail would go unprotected. */
static void *
need(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

/* ---- findings ---- */

static void
finding_add(char ***list, size_t *n, const char *text)
{
	char **grown;

	if (*n >= FINDINGS_MAX || (grown = realloc(*list, (*n + 1) * sizeof(*grown))) == NULL)
		return;
	*list = grown;
	grown[*n] = strdup(text);
	if (grown[*n] != NULL)
		++*n;
}

static void parse_error(struct parse *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void parse_warning(struct parse *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void
finding_print(char out[TEXT_MAX], size_t line, const char *fmt, va_list ap)
{
	int n = line == 0 ? 0 : snprintf(out, TEXT_MAX, "line %zu: ", line);

	vsnprintf(out + n, TEXT_MAX - (size_t)n, fmt, ap);
}

static void
parse_error(struct parse *p, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	finding_print(text, p->line, fmt, ap);
	va_end(ap);
	if (!p->failed)
		errmsg_set(p->em, "%s", text);
	p->failed = true;
	if (p->findings != NULL)
		finding_add(&p->findings->errors, &p->findings->n_errors, text);
}

static void
parse_warning(struct parse *p, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	if (p->findings == NULL)
		return;
	va_start(ap, fmt);
	finding_print(text, p->line, fmt, ap);
	va_end(ap);
	finding_add(&p->findings->warnings, &p->findings->n_warnings, text);
}

void
findings_clear(struct findings *f)
{
	for (size_t i = 0; i < f->n_errors; i++)
		free(f->errors[i]);
	for (size_t i = 0; i < f->n_warnings; i++)
		free(f->warnings[i]);
	free(f->errors);
	free(f->warnings);
	memset(f, 0, sizeof(*f));
}

/* ---- the grammar of one line: sts-policy-field *WSP ---- */

/* The next line without its LF or CRLF. A CR elsewhere stays in it, where no field allows it. */
static struct cursor
take_line(struct parse *p)
{
	struct cursor line = p->rest;
	const unsigned char *lf = memchr(line.p, '\n', cursor_len(&line));

	p->line++;
	line.end = lf != NULL ? lf : p->rest.end;
	p->rest.p = lf != NULL ? lf + 1 : p->rest.end;
	if (lf != NULL && line.end > line.p && line.end[-1] == '\r')
		line.end--;
	return line;
}

/* UTF8-2, UTF8-3 or UTF8-4 of RFC 3629 section 4: no overlong form, no surrogate. 0: no such. */
static size_t
utf8_len(const unsigned char *s, size_t left)
{
	size_t n = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
		   : (s[0] & 0xf0) == 0xe0        ? 3
		   : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
						  : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* sts-policy-ext-value: visible characters and single spaces inside; ends are already trimmed. */
static bool
value_is_text(struct cursor v)
{
	while (v.p < v.end) {
		size_t n = *v.p >= 0x20 && *v.p <= 0x7e ? 1 : utf8_len(v.p, cursor_len(&v));

		if (n == 0)
			return false;
		v.p += n;
	}
	return true;
}

/* name ":" *WSP value *WSP; every field of the standard has this form. */
static bool
split_field(struct parse *p, struct cursor line, struct cursor *name, struct cursor *value)
{
	if (cursor_len(&line) == 0) {
		parse_error(p, "an empty line");
		return false;
	}
	if (!grammar_take_name(&line, name) || !cursor_take(&line, ":")) {
		parse_error(p, "not \"name: value\"");
		return false;
	}
	grammar_skip_wsp(&line);
	while (line.end > line.p && grammar_wsp(line.end[-1]))
		line.end--;
	*value = line;
	if (cursor_len(value) == 0 || !value_is_text(*value)) {
		parse_error(p, "the value of \"%.*s\" %s", (int)cursor_len(name),
		    (const char *)name->p,
		    cursor_len(value) == 0 ? "is empty" : "has a control byte or is not UTF-8");
		return false;
	}
	return true;
}

/* ---- the fields ---- */

static bool
is_word(const struct cursor *c, const char *word)
{
	return cursor_len(c) == strlen(word) && memcmp(c->p, word, cursor_len(c)) == 0;
}

/* Section 3.2: of every field but "mx" the first counts. */
static bool
first_of(struct parse *p, const char *name, bool *have)
{
	if (*have)
		parse_warning(p, "a second \"%s\"; the first counts", name);
	return !*have && (*have = true);
}

static void
field_version(struct parse *p, struct cursor v)
{
	if (first_of(p, "version", &p->have_version) && !is_word(&v, "STSv1"))
		parse_error(p, "the version is not \"STSv1\"");
}

static void
field_mode(struct parse *p, struct cursor v)
{
	if (!first_of(p, "mode", &p->have_mode))
		return;
	for (enum mode m = MODE_NONE; m <= MODE_ENFORCE; m++)
		if (is_word(&v, mode_names[m])) {
			p->policy->mode = m;
			return;
		}
	parse_error(p, "the mode is not \"enforce\", \"testing\" or \"none\"");
}

/* 1*10(DIGIT), in decimal whatever zeros it begins with. */
static void
field_max_age(struct parse *p, struct cursor v)
{
	uint64_t n = 0;
	size_t len = cursor_len(&v);

	if (!first_of(p, "max_age", &p->have_max_age))
		return;
	for (; v.p < v.end && len <= 10 && ascii_digit(*v.p); v.p++)
		n = n * 10 + (uint64_t)(*v.p - '0');
	if (v.p < v.end)
		parse_error(p, "max_age is not a number of 1 to 10 digits");
	else if (n > POLICY_MAX_AGE_MAX)
		parse_error(p, "max_age is more than %d seconds", POLICY_MAX_AGE_MAX);
	else
		p->policy->max_age_s = (uint32_t)n;
}

static int
mx_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
mx_keep_in_tree(void *mx)
{
	(void)mx; /* policy->mx owns it */
}

/* Takes over mx. */
static void
mx_add(struct parse *p, char *mx)
{
	struct policy *policy = p->policy;
	char ***known = need(tsearch(mx, &p->mx_known, mx_compare));

	if (*(char **)known != mx) {
		parse_warning(p, "\"mx: %s\" was there before", mx);
		free(mx);
		return;
	}
	if (policy->n_mx == p->room) {
		p->room = p->room == 0 ? 8 : 2 * p->room;
		policy->mx = need(realloc(policy->mx, p->room * sizeof(*policy->mx)));
	}
	policy->mx[policy->n_mx++] = mx;
}

/* Domain, RFC 5321 section 4.1.2: ASCII, no final dot. host_normalize() is kinder to people. */
static bool
is_plain(struct cursor v)
{
	for (; v.p < v.end; v.p++)
		if (*v.p >= 0x80)
			return false;
	return v.end[-1] != '.';
}

static void
field_mx(struct parse *p, struct cursor v)
{
	char pattern[MX_PATTERN_MAX + 1];
	struct errmsg why = {"not in ASCII, or with a final dot"};

	if (!is_plain(v) ||
	    !mx_pattern_normalize((const char *)v.p, cursor_len(&v), pattern, &why)) {
		parse_error(p, "the MX pattern is no host name: %s", why.text);
		return;
	}
	mx_add(p, need(strdup(pattern)));
}

static void
parse_line(struct parse *p, struct cursor line)
{
	struct cursor name, value;

	if (!split_field(p, line, &name, &value))
		return;
	if (is_word(&name, "version"))
		field_version(p, value);
	else if (is_word(&name, "mode"))
		field_mode(p, value);
	else if (is_word(&name, "max_age"))
		field_max_age(p, value);
	else if (is_word(&name, "mx"))
		field_mx(p, value);
	else
		parse_warning(p, "the field \"%.*s\" is not in the standard; senders ignore it",
		    (int)cursor_len(&name), (const char *)name.p);
}

/* ---- the whole ---- */

static void
check_complete(struct parse *p)
{
	p->line = 0;
	if (!p->have_version)
		parse_error(p, "there is no \"version\"");
	if (!p->have_mode)
		parse_error(p, "there is no \"mode\"");
	if (!p->have_max_age)
		parse_error(p, "there is no \"max_age\"");
	if (p->policy->mode != MODE_NONE && p->policy->n_mx == 0)
		parse_error(
		    p, "there is no valid \"mx\"; mode %s needs one", mode_name(p->policy->mode));
}

/* Advice of sections 3.2 and 8.3; a short life is right for a policy that is being withdrawn. */
static void
check_advice(struct parse *p)
{
	const struct policy *policy = p->policy;

	if (policy->mode == MODE_NONE && policy->n_mx > 0)
		parse_warning(p, "mode none does not use \"mx\"");
	if (policy->mode == MODE_NONE)
		return;
	if (policy->max_age_s < WHEN_DAY_S)
		parse_warning(
		    p, "max_age is less than a day: senders forget the policy between messages");
	else if (policy->mode == MODE_ENFORCE && policy->max_age_s < WEEK_S)
		parse_warning(p, "max_age is less than a week; the standard expects weeks or more");
}

static void
parse_body(struct parse *p)
{
	static const char bom[] = "\xef\xbb\xbf";

	if (cursor_len(&p->rest) > POLICY_BODY_MAX) {
		parse_error(p, "the body has more than %d bytes", POLICY_BODY_MAX);
		return;
	}
	if (cursor_take(&p->rest, bom)) {
		p->line = 1;
		parse_error(p, "the body begins with a byte order mark");
		p->line = 0;
	}
	while (p->rest.p < p->rest.end && (!p->failed || p->findings != NULL))
		parse_line(p, take_line(p));
	if (p->failed && p->findings == NULL)
		return;
	check_complete(p);
	if (!p->failed)
		check_advice(p);
}

struct policy *
policy_parse(struct cursor body, struct findings *findings, struct errmsg *em)
{
	struct parse p = {.rest = body, .findings = findings, .em = em};

	p.policy = need(calloc(1, sizeof(*p.policy)));
	parse_body(&p);
	tdestroy(p.mx_known, mx_keep_in_tree);
	if (p.failed) {
		policy_free(p.policy);
		return NULL;
	}
	return p.policy;
}

struct policy *
policy_new(enum mode mode, uint32_t max_age_s, size_t n_mx, const char *const *mx)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->mode = mode;
	p->max_age_s = max_age_s;
	if (n_mx > 0 && (p->mx = calloc(n_mx, sizeof(*p->mx))) == NULL)
		goto fail;
	for (; p->n_mx < n_mx; p->n_mx++)
		if ((p->mx[p->n_mx] = strdup(mx[p->n_mx])) == NULL)
			goto fail;
	return p;
fail:
	policy_free(p);
	return NULL;
}

struct policy *
policy_copy(const struct policy *p)
{
	return policy_new(p->mode, p->max_age_s, p->n_mx, (const char *const *)p->mx);
}

void
policy_free(struct policy *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->n_mx; i++)
		free(p->mx[i]);
	free(p->mx);
	free(p);
}
