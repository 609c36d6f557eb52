#include "util/netstring.h"

#include "util/ascii.h"

enum netstring_result
netstring_take(struct cursor *c, size_t max, struct cursor *body)
{
	const unsigned char *p = c->p;
	size_t len = 0;

	for (; p < c->end && ascii_digit(*p); p++) {
		len = len * 10 + (size_t)(*p - '0');
		if (len > max || (p > c->p && *c->p == '0')) /* too long, or a leading zero */
			return NETSTRING_BAD;
	}
	if (p == c->end)
		return NETSTRING_MORE;
	if (p == c->p || *p != ':')
		return NETSTRING_BAD;
	p++;
	if ((size_t)(c->end - p) < len + 1)
		return NETSTRING_MORE;
	if (p[len] != ',')
		return NETSTRING_BAD;
	*body = cursor_of(p, len);
	c->p = p + len + 1;
	return NETSTRING_OK;
}
