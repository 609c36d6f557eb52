/* site/describe.h: what we know of a domain, as JSON: the entries of mtasts-control(5), made by the
 * daemon, and by mtastsctl when there is none. */
#ifndef SITE_DESCRIBE_H
#define SITE_DESCRIBE_H

#include <jansson.h>

#include "policy/ruling.h"
#include "util/errmsg.h"

/*
 * The object that `query` answers with; the caller's to json_decref().
 *   e         NULL: never asked for
 *   rules     the site's
 *   pushed    the maps say what follows
 */
json_t *describe_entry(
    const char *domain, const struct entry *e, const struct rules *rules, bool pushed, time_t now);

json_t *describe_time(time_t t); /* RFC 3339, null for 0 */

#endif
