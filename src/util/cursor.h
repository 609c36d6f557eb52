/* util/cursor.h: a view of bytes from outside: borrowed, bounded, not terminated. */
#ifndef UTIL_CURSOR_H
#define UTIL_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct cursor {
	const unsigned char *p, *end;
};

static inline struct cursor
cursor_of(const void *bytes, size_t len)
{
	return (struct cursor){bytes, (const unsigned char *)bytes + len};
}

static inline size_t
cursor_len(const struct cursor *c)
{
	return (size_t)(c->end - c->p);
}

/* Steps over word when it is next; false leaves c where it was. */
static inline bool
cursor_take(struct cursor *c, const char *word)
{
	size_t n = strlen(word);

	if (cursor_len(c) < n || memcmp(c->p, word, n) != 0)
		return false;
	c->p += n;
	return true;
}

#endif
