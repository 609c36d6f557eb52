/*
 * policy/rules.h: what this site makes of policies, on top of RFC 8461: a set of rules, each for one
 * domain, for all names below one, or for all the rest. No I/O. Read-only once it is filled.
 */
#ifndef POLICY_RULES_H
#define POLICY_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "policy/domain.h"
#include "util/errmsg.h"

enum rule {
	RULE_OPTIONAL, /* as the domain wishes: RFC 8461 */
	RULE_DISABLE   /* no policy counts */
};

/* "example.com", ".example.com" or "*": what rules_add() makes of a pattern. */
enum { RULE_PATTERN_MAX = 240 }; /* bytes; Sendmail looks up no longer ones behind our prefix */

struct rules; /* NULL is a set without rules */

struct rules *rules_new(void);         /* NULL: out of memory */
void rules_free(struct rules **rules); /* NULL-safe */

/*
 * Adds a rule. The order does not matter: of those that fit a domain the longest pattern wins.
 *   pattern  "example.com": that domain alone; ".example.com": the names below it, at any depth;
 *            "*": all that no other pattern fits; in any spelling that domain_normalize() takes
 * False with a reason: no such pattern can be, or it is there already.
 */
MUST_USE bool rules_add(
    struct rules *rules, const char *pattern, enum rule rule, struct errmsg *em);

/* The rule for a normalised domain. */
enum rule rules_find(const struct rules *rules, const char *domain);

size_t rules_count(const struct rules *rules);
/* The i-th, in the order of strcmp(); borrowed. */
const char *rules_pattern(const struct rules *rules, size_t i, enum rule *rule);
/* That of exactly this pattern; false: there is none. */
bool rules_get(const struct rules *rules, const char *pattern, enum rule *rule);

/* False: it fits more than one domain. */
bool rule_is_exact(const char *pattern);
const char *rule_name(enum rule rule); /* "optional", "disable" */

#endif
