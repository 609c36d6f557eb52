#include "milter/tag.h"

#include <stdbool.h>

#include "util/ascii.h"
#include "util/errmsg.h"

enum { DOMAIN_TEXT_MAX = 1024 }; /* bytes; in UTF-8 a name is longer than its A-labels */

/* Where in an address the reader stands; LOCAL is everything before the '@', display names too. */
enum place { LOCAL, WANT_LABEL, AFTER_LABEL, AFTER_DOT, DONE, BAD };

struct reader {
	struct cursor c;
	enum place place;
	bool in_angle, local; /* local: a local part was read, RFC 5322 section 3.4.1 */
	char text[DOMAIN_TEXT_MAX];
	size_t len;
	tag_shown_fn *shown;
	void *arg;
};

static const struct {
	const char *verdict;
	enum tag tag;
} verdicts[] = {
    {"enforce", TAG_ENFORCE},
    {"testing", TAG_TESTING},
    {"none", TAG_NONE},
};

enum tag
tag_of_verdict(const char *verdict)
{
	for (size_t i = 0; verdict != NULL && i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
		if (strcmp(verdict, verdicts[i].verdict) == 0)
			return verdicts[i].tag;
	return TAG_PENDING;
}

const char *
tag_value(enum tag tag)
{
	switch (tag) {
	case TAG_ENFORCE:
		return "enforce";
	case TAG_PENDING:
		return "pending";
	case TAG_TESTING:
		return "testing";
	case TAG_NONE:
		return "none";
	case TAG_ABSENT:
		break;
	}
	return "";
}

static void
restart(struct reader *r)
{
	r->place = LOCAL;
	r->local = false;
	r->len = 0;
}

/* A local part, an '@' and a domain that ends here. */
static bool
spec_ends(const struct reader *r)
{
	return r->local && (r->place == AFTER_LABEL || r->place == AFTER_DOT);
}

/* The address is complete: a ',', ';' or the end of the value was read. */
static void
finish(struct reader *r)
{
	char domain[DOMAIN_MAX + 1];
	bool whole = r->place == DONE || (!r->in_angle && spec_ends(r));

	if (whole && domain_normalize(r->text, r->len, domain, NULL) == DOMAIN_OK)
		r->shown(domain, r->arg);
	restart(r);
	r->in_angle = false;
}

/*
 * The first byte of a quoted string, comment or literal is taken; steps behind its end. False: it
 * has no end.
 */
static bool
skip_to(struct cursor *c, unsigned char open, unsigned char close)
{
	for (size_t depth = 1; c->p < c->end;) {
		unsigned char b = *c->p++;

		if (b == '\\' && c->p < c->end)
			c->p++; /* quoted-pair, RFC 5322 section 3.2.1 */
		else if (b == close && --depth == 0)
			return true;
		else if (b == open && open != close)
			depth++;
	}
	return false;
}

/* atext of RFC 5322 section 3.2.3 and, by RFC 6532, every byte of UTF-8 beyond ASCII. */
static bool
is_atext(unsigned char b)
{
	return ascii_alnum(b) || b >= 0x80 ||
	       (b != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", b) != NULL);
}

static bool
is_white(unsigned char b)
{
	return b == ' ' || b == '\t' || b == '\r' || b == '\n';
}

static void
append(struct reader *r, unsigned char b)
{
	if (r->len < sizeof(r->text))
		r->text[r->len++] = (char)b;
	else
		r->place = BAD;
}

/*
 * One atom. In a domain it is a label, and two of them need a dot between (obs-domain allows white
 * space and comments around it).
 */
static void
atom(struct reader *r, unsigned char first)
{
	bool label = r->place == WANT_LABEL || r->place == AFTER_DOT;

	if (!label && r->place != LOCAL && r->place != DONE)
		r->place = BAD;
	if (r->place == LOCAL)
		r->local = true;
	if (label) {
		r->place = AFTER_LABEL;
		append(r, first);
	}
	for (; r->c.p < r->c.end && is_atext(*r->c.p); r->c.p++)
		if (r->place == AFTER_LABEL)
			append(r, *r->c.p);
}

static void
dot(struct reader *r)
{
	if (r->place == AFTER_LABEL) {
		r->place = AFTER_DOT;
		append(r, '.');
	} else if (r->place != LOCAL && r->place != DONE) {
		r->place = BAD;
	}
}

static void
angle(struct reader *r, bool open)
{
	if (open == r->in_angle || r->place == DONE) {
		r->place = BAD;
	} else if (open) {
		restart(r); /* what came before was a display name */
	} else {
		r->place = spec_ends(r) ? DONE : BAD;
	}
	r->in_angle = open;
}

/* A ':' ends a group's name outside of angle brackets, a source route (obs-route) within. */
static void
colon(struct reader *r)
{
	if (r->place == DONE)
		r->place = BAD;
	else
		restart(r);
}

/* ',' or ';'. Within angle brackets a ',' can only part the hosts of a source route. */
static void
separator(struct reader *r, unsigned char b)
{
	if (r->in_angle && b == ',')
		restart(r);
	else
		finish(r);
}

static void
at_sign(struct reader *r)
{
	r->place = r->place == LOCAL ? WANT_LABEL : BAD;
}

/* '"', '(' or '[' was taken. Only a comment leaves a domain as it was. */
static bool
bracketed(struct reader *r, unsigned char b)
{
	if (b == '(')
		return skip_to(&r->c, '(', ')');
	if (r->place == LOCAL && b == '"')
		r->local = true;
	else if (r->place != DONE)
		r->place = BAD; /* an address literal, or no domain: no policy either way */
	return b == '"' ? skip_to(&r->c, '"', '"') : skip_to(&r->c, '\0', ']');
}

/* Reads one token. False: a bracket that never closes hides the rest, the address begun with it. */
static bool
token(struct reader *r)
{
	unsigned char b = *r->c.p++;

	switch (b) {
	case '"':
	case '(':
	case '[':
		return bracketed(r, b);
	case '<':
	case '>':
		angle(r, b == '<');
		return true;
	case ',':
	case ';':
		separator(r, b);
		return true;
	case ':':
		colon(r);
		return true;
	case '@':
		at_sign(r);
		return true;
	case '.':
		dot(r);
		return true;
	default:
		if (is_atext(b))
			atom(r, b);
		else if (!is_white(b))
			r->place = BAD;
		return true;
	}
}

size_t
tag_addresses(struct cursor value, size_t *budget, tag_shown_fn *shown, void *arg)
{
	size_t len = cursor_len(&value), use = len < *budget ? len : *budget;
	struct reader r = {.c = cursor_of(value.p, use), .shown = shown, .arg = arg};

	*budget -= use;
	while (r.c.p < r.c.end)
		if (!token(&r))
			return len - use;
	if (use == len)
		finish(&r);
	return len - use;
}
