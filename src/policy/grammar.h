/* policy/grammar.h: what the ABNF of TXT records and of policy bodies share. RFC 8461 section 3. */
#ifndef POLICY_GRAMMAR_H
#define POLICY_GRAMMAR_H

#include "util/ascii.h"
#include "util/cursor.h"

enum { GRAMMAR_NAME_MAX = 32 }; /* characters of a field name */

static inline bool
grammar_wsp(unsigned char c)
{
	return c == ' ' || c == '\t';
}

static inline void
grammar_skip_wsp(struct cursor *c)
{
	while (c->p < c->end && grammar_wsp(*c->p))
		c->p++;
}

/*
 * sts-ext-name and sts-policy-ext-name = (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / "."); the
 * names that we know have the same form. True when name is set to one and c has stepped over it.
 */
static inline bool
grammar_take_name(struct cursor *c, struct cursor *name)
{
	name->p = c->p;
	while (c->p < c->end &&
	       (ascii_alnum(*c->p) ||
		   (c->p > name->p && (*c->p == '_' || *c->p == '-' || *c->p == '.'))))
		c->p++;
	name->end = c->p;
	return cursor_len(name) > 0 && cursor_len(name) <= GRAMMAR_NAME_MAX;
}

#endif
