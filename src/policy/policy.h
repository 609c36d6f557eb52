/*
 * policy/policy.h: the policy body at https://mta-sts.<domain>/.well-known/mta-sts.txt.
 * RFC 8461 section 3.2.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stddef.h>
#include <stdint.h>

#include "util/cursor.h"
#include "util/errmsg.h"

enum { POLICY_BODY_MAX = 64 * 1024 };   /* bytes; section 3.3 suggests the limit */
enum { POLICY_MAX_AGE_MAX = 31557600 }; /* seconds, section 3.2 */

enum mode { MODE_NONE, MODE_TESTING, MODE_ENFORCE };

/* A policy as published; free with policy_free(). */
struct policy {
	enum mode mode;
	uint32_t max_age_s;
	size_t n_mx;
	char **mx; /* MX patterns, lower case A-labels, "*.example.com" as written; no duplicates */
};

/* Wrong or doubtful lines of a body, for `mtastsctl lint`. Free with findings_clear(). */
struct findings {
	size_t n_errors, n_warnings;
	char **errors, **warnings;
};

/*
 * Parses a body to the letter of the ABNF. An empty line, a second final line end and a blank at
 * the start of a line are errors; U-labels in "mx" too.
 *   body      untrusted bytes; more than POLICY_BODY_MAX is an error
 *   findings  NULL, or filled with all errors and warnings (100 of each at most)
 *   em        set when NULL is returned: the first error, with its line number
 * Returns a policy for the caller to free, or NULL: no valid policy (sts-policy-invalid). When
 * memory is out the process ends.
 */
MUST_USE struct policy *policy_parse(
    struct cursor body, struct findings *findings, struct errmsg *em);

MUST_USE struct policy *policy_new(
    enum mode mode, uint32_t max_age_s, size_t n_mx, const char *const *mx);
MUST_USE struct policy *policy_copy(const struct policy *p);
void policy_free(struct policy *p); /* NULL-safe */
void findings_clear(struct findings *f);

const char *mode_name(enum mode mode); /* "none", "testing", "enforce" */

#endif
