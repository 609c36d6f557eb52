/* util/errmsg.h: why something failed, on its way up to the edge that logs it once. */
#ifndef UTIL_ERRMSG_H
#define UTIL_ERRMSG_H

#define MUST_USE __attribute__((warn_unused_result))
#define UNUSED __attribute__((unused))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

enum { ERRMSG_MAX = 512 }; /* bytes with the final NUL; longer text is cut */

/* One line: the thing, the place, the remedy. */
struct errmsg {
	char text[ERRMSG_MAX];
};

/*
 * Sets em (NULL: nobody asked). Control bytes and non-ASCII bytes come out as '?', so that a peer
 * can forge neither log lines nor JSON.
 */
void errmsg_set(struct errmsg *em, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
