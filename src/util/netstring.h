/* util/netstring.h: the frames of the socketmap protocol: "LENGTH:BYTES,". */
#ifndef UTIL_NETSTRING_H
#define UTIL_NETSTRING_H

#include "util/cursor.h"
#include "util/errmsg.h"

enum netstring_result {
	NETSTRING_OK,
	NETSTRING_MORE, /* so far so good, but not whole yet */
	NETSTRING_BAD   /* not a netstring, or longer than max: the connection is of no more use */
};

/*
 * Takes one netstring off the front of c.
 *   max   bytes of body allowed; less than 10^9
 *   body  set on OK to the bytes between ':' and ','; c then stands behind the ','. Otherwise c has
 *         not moved.
 */
MUST_USE enum netstring_result netstring_take(struct cursor *c, size_t max, struct cursor *body);

#endif
