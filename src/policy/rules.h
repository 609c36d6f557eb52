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
	/* Nothing is delivered but over a connection that a valid policy of the domain allows; one of mode
	 * testing is taken for enforce. While there is none, mail waits, or is refused for good. */
	RULE_HOLD,
	RULE_REFUSE,
	RULE_DISABLE /* no policy counts */
};

/* "example.com", ".example.com" or "*": what rules_add() makes of a pattern. */
enum { RULE_PATTERN_MAX = DOMAIN_MAX - 6 }; /* bytes; a map has a prefix of 6 before it */

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

/* The same with a key of the caller's own in the place of a pattern, for rules_get() alone. */
MUST_USE bool rules_put(struct rules *rules, const char *key, enum rule rule, struct errmsg *em);

/* The rule for a normalised domain. pattern: unless NULL set to that of the rule, borrowed, or NULL. */
enum rule rules_find(const struct rules *rules, const char *domain, const char **pattern);

size_t rules_count(const struct rules *rules);
/* The i-th, in the order of strcmp(); borrowed. rule: may be NULL. */
const char *rules_pattern(const struct rules *rules, size_t i, enum rule *rule);
/* That of exactly this pattern; false: there is none. */
bool rules_get(const struct rules *rules, const char *pattern, enum rule *rule);

/* False: it fits more than one domain. */
bool rule_is_exact(const char *pattern);
bool rule_requires(enum rule rule); /* a policy: HOLD or REFUSE */

const char *rule_name(enum rule rule); /* "optional", "hold", "refuse", "disable" */

#endif
