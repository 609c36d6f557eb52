#include "ctl/txtline.h"

#include "util/ascii.h"

bool
txtline_next(struct cursor *rest, struct cursor *line)
{
	while (cursor_len(rest) > 0) {
		const unsigned char *lf = memchr(rest->p, '\n', cursor_len(rest));

		line->p = rest->p;
		line->end = lf != NULL ? lf : rest->end;
		rest->p = lf != NULL ? lf + 1 : rest->end;
		if (line->end > line->p && line->end[-1] == '\r')
			line->end--;
		if (line->end > line->p)
			return true;
	}
	return false;
}

/* One byte of a quoted string: plain, \X or \DDD. False: no whole one is left. */
static bool
take_byte(struct cursor *c, unsigned char *byte)
{
	unsigned value = 0;

	if (!cursor_take(c, "\\")) {
		*byte = *c->p++;
		return true;
	}
	if (cursor_len(c) == 0)
		return false;
	if (!ascii_digit(*c->p)) {
		*byte = *c->p++;
		return true;
	}
	if (cursor_len(c) < 3)
		return false;
	for (int i = 0; i < 3; i++, c->p++) {
		if (!ascii_digit(*c->p))
			return false;
		value = value * 10 + (*c->p - '0');
	}
	*byte = (unsigned char)value;
	return value <= 255;
}

static void
skip_blanks(struct cursor *c)
{
	while (cursor_take(c, " ") || cursor_take(c, "\t"))
		;
}

bool
txtline_unquote(struct cursor line, unsigned char *out, size_t *len)
{
	size_t n = 0;

	skip_blanks(&line);
	if (cursor_len(&line) == 0)
		return false;
	while (cursor_take(&line, "\"")) {
		while (!cursor_take(&line, "\"")) {
			if (cursor_len(&line) == 0 || !take_byte(&line, &out[n]))
				return false;
			n++;
		}
		skip_blanks(&line);
	}
	*len = n;
	return cursor_len(&line) == 0;
}
