/*
 * ctl/cf.h: a sendmail.cf, as far as `mtastsctl doctor` looks at it: read as Sendmail's readcf.c
 * does, so that nothing that counts there goes unseen here. Pure: bytes in, questions answered.
 */
#ifndef CTL_CF_H
#define CTL_CF_H

#include <stdbool.h>
#include <stddef.h>

#include "util/cursor.h"
#include "util/errmsg.h"

enum { CF_BYTES_MAX = 4 * 1024 * 1024 }; /* a large one has 100 KiB */

struct cf; /* opaque: lines by kind and name */

/*
 * Parses a file's bytes. NULL with a reason: too large, no configuration file of Sendmail, or out
 * of memory.
 */
MUST_USE struct cf *cf_parse(struct cursor bytes, struct errmsg *em);
void cf_free(struct cf **cf); /* NULL-safe */

/*
 * The value of an option (O Name=value), any case, abbreviated or by its letter; the last one
 * counts, as for Sendmail. NULL: not set.
 */
const char *cf_option(const struct cf *cf, const char *name);

/*
 * True when a boolean option is set, as Sendmail reads it: an empty value, or one that begins with
 * t, y or 1.
 */
bool cf_option_true(const struct cf *cf, const char *name);

/* Of an option that may be there many times, the next value from *at (0 at first) on; or NULL. */
const char *cf_next_option(const struct cf *cf, const char *name, size_t *at);

/*
 * What follows a map's name (Kname class flags file), or a milter's (Xname, equates). NULL: not
 * defined.
 */
const char *cf_map(const struct cf *cf, const char *name);
const char *cf_milter(const struct cf *cf, const char *name);

/* The equates of the next queue group (Qname, equates) from *at (0 at first) on; or NULL. */
const char *cf_next_queue_group(const struct cf *cf, size_t *at);

/* What follows the letter of a flag, as in -T<TMPF>, in the value of a map. NULL: no such flag. */
const char *cf_map_flag(const char *map, char letter);

/* The file or socket in the value of a map; false: none, or it does not fit in size bytes. */
bool cf_map_file(const char *map, char *out, size_t size);

/*
 * The next rule from *at (0 at first) on of a ruleset, whose rules may stand in several places:
 * left and right side, with blanks for tabs. NULL: no more.
 */
const char *cf_next_rule(const struct cf *cf, const char *ruleset, size_t *at);

/* The same of all rulesets; *ruleset is the one that the rule belongs to. */
const char *cf_next_rule_of_any(const struct cf *cf, const char **ruleset, size_t *at);

/* What is defined in lines of its own, by the letter that such a line begins with. */
enum cf_kind { CF_MAP = 'K', CF_MILTER = 'X', CF_RULESET = 'S' };

/* How often something is defined: of maps and milters the last definition counts, rulesets grow. */
size_t cf_count(const struct cf *cf, enum cf_kind kind, const char *name);

/* The next name from *at (0 at first) on that is defined; NULL: no more. */
const char *cf_next_name(const struct cf *cf, enum cf_kind kind, size_t *at);

/* The value of a macro with a long name (D{name}value); NULL: not defined. */
const char *cf_macro(const struct cf *cf, const char *name);

/* The next macro or class name in braces, without them, from *at (0 at first) on; each once, as
 * Sendmail compares them, in any case. NULL: no more. */
const char *cf_next_macro_name(const struct cf *cf, size_t *at);

/* True when a list such as "a, b;c" has the word. */
bool cf_list_has(const char *list, const char *word);

/*
 * The value of an equate, "S" in "S=local:/x, F=T"; false when there is none or it does not fit in
 * size bytes.
 */
bool cf_equate(const char *equates, char letter, char *out, size_t size);

#endif
