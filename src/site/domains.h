/* site/domains.h: a list of domains from a file: one a line, '#' begins a comment. */
#ifndef SITE_DOMAINS_H
#define SITE_DOMAINS_H

#include <stdio.h>

#include "site/config.h"
#include "util/cursor.h"

enum {
	DOMAINS_MAX = 1000000,  /* of one list */
	DOMAINS_LINE_MAX = 1024 /* bytes of a line with its LF */
};

enum domains_result {
	DOMAINS_OK,
	DOMAINS_BLANK, /* nothing but a comment, or a name that cannot have a policy */
	DOMAINS_INVALID
};

/* One line, with or without its LF. out is set on DOMAINS_OK, em on DOMAINS_INVALID. */
MUST_USE enum domains_result domains_parse(
    struct cursor line, char out[DOMAIN_MAX + 1], struct errmsg *em);

/*
 * Reads the whole of f. A line that is no domain is told on err, by name:line, and passed over.
 *   out  the caller frees it with domains_clear(), also after a failure
 *   em   set on false: the file cannot be read, or has more than DOMAINS_MAX domains
 */
MUST_USE bool domains_read(
    FILE *f, const char *name, FILE *err, struct config_list *out, struct errmsg *em);

MUST_USE bool domains_add(struct config_list *list, const char *domain); /* false: no memory */
void domains_clear(struct config_list *list);

#endif
