/*
 * maps/mapkey.h: keys and values of the Sendmail policy map, as mtasts.conf(5) tells them. No I/O.
 */
#ifndef MAPS_MAPKEY_H
#define MAPS_MAPKEY_H

#include "policy/entry.h"
#include "util/cursor.h"
#include "util/errmsg.h"

/* Sendmail cuts what it looks up to 255 bytes, so FEATURE(`mtasts') looks up no key of that length. */
enum { MAPKEY_MAX = 254 };
enum { MAPVALUE_MAX = 32 }; /* bytes with the NUL */

#define MAPKEY_READY ":ready:" /* one of the three values below */
#define MAPKEY_ALIVE ":alive:" /* the heartbeat: epoch seconds */
/* ours alone: the mtime that the file was given last, whatever a crash made of it */
#define MAPKEY_MTIME ":mtime:"

/*
 * Behind it a pattern of the site's rules, but for "*", the rule for all the rest: that is the prefix
 * alone, and there whenever there is any rule. Such a key goes through a sink as a domain does.
 */
#define MAPKEY_RULE ":site:"

#define MAPVALUE_YES "yes"
#define MAPVALUE_OBSERVE "obs"
#define MAPVALUE_NOT "not" /* as long as the others: it is written over them in their place */
#define MAPVALUE_MX "mx"

enum mapkey_kind {
	MAPKEY_DOMAIN,  /* good.test */
	MAPKEY_PATTERN, /* good.test:mxa.good.test, good.test:.example.net */
	MAPKEY_SITE,    /* :site:.example.com, :user:bob:.example.com */
	MAPKEY_STATE,   /* :ready: and the like */
	MAPKEY_STRANGE  /* nothing that we write */
};

struct mapkey {
	char domain[MAPKEY_MAX + 1];  /* DOMAIN and PATTERN; SITE: the whole key */
	char pattern[MAPKEY_MAX + 2]; /* PATTERN: as the policy has it, "*.example.net" */
};

/* Takes the bytes of a key apart; no terminator is expected. */
enum mapkey_kind mapkey_parse(struct cursor key, struct mapkey *out);

/* False: the key of a domain. True: that of a rule, also of a set (policy/choice.h). */
bool mapkey_is_rule(const char *key);

/* The key of a pattern of the site's rules, and back: NULL when it is none. */
void mapkey_rule(const char *pattern, char out[MAPKEY_MAX + 1]);
const char *mapkey_rule_pattern(const char *key);

/* The key of one MX pattern of a domain; false: longer than Sendmail can look up. */
MUST_USE bool mapkey_pattern(const char *domain, const char *pattern, char out[MAPKEY_MAX + 1]);

/* "enforce EXPIRES", "none GOOD_UNTIL"; of a rule "optional", "hold", "refuse", "disable". Read are only the
 * first two; anything else is REQUIRE_UNKNOWN. The patterns are not part of it. */
void mapvalue_print(const struct requirement *r, char out[MAPVALUE_MAX]);
struct requirement mapvalue_parse(struct cursor value);

#endif
