/*
 * milter/tag.h: the header that says how well a message is protected, and whom it may speak of.
 *
 * Only recipients whose domain the message's own To or Cc shows count, so that nothing about a Bcc
 * can be read from the value: with and without the Bcc it is the same.
 */
#ifndef MILTER_TAG_H
#define MILTER_TAG_H

#include <stddef.h>

#include "policy/domain.h"
#include "util/cursor.h"

/* The bytes of To and Cc of one message that are looked at; what is beyond shows nothing. */
enum { TAG_HEADERS_MAX = 64 * 1024 };

/*
 * From the weakest to the strongest. A pending domain may yet turn out to enforce, so it ranks
 * above what is known to be less: "testing" or "none" on a message is never taken back by what we
 * learn later. A domain known to enforce cannot be outdone, so it ranks above pending.
 */
enum tag { TAG_ABSENT, TAG_NONE, TAG_TESTING, TAG_PENDING, TAG_ENFORCE };

/* The verdict of a control answer ("enforce", "testing", "none"; anything else is pending). */
enum tag tag_of_verdict(const char *verdict);

/* The header's value; TAG_ABSENT has none and gives "". */
const char *tag_value(enum tag tag);

/* Called with each domain found, as domain_normalize() leaves it; a domain may come repeatedly. */
typedef void tag_shown_fn(const char *domain, void *arg);

/*
 * Finds the domains of the addresses in the value of one To or Cc header: RFC 5322 section 3.4 with
 * its obsolete forms, folded or not. What does not parse shows nothing, and neither do comments,
 * display names and quoted strings.
 *   value   bytes from outside
 *   budget  how many bytes may yet be looked at; lessened by what was looked at. An address that
 *           the budget cuts in two is not shown.
 * Returns the number of bytes left out.
 */
size_t tag_addresses(struct cursor value, size_t *budget, tag_shown_fn *shown, void *arg);

#endif
