/* ctl/input.h: a bounded read of a file or of standard input, whole. */
#ifndef CTL_INPUT_H
#define CTL_INPUT_H

#include <stddef.h>
#include <stdio.h>

#include "util/cursor.h"
#include "util/errmsg.h"

struct input {
	unsigned char *bytes; /* may hold NULs */
	size_t len;
};

enum input_result {
	INPUT_OK,
	INPUT_ABSENT, /* cannot be opened */
	INPUT_FAILED  /* opened, but not read */
};

/*
 * Reads a file, or in when path is "-", up to max bytes; what follows them is left unread, so a
 * caller that wants to know of more asks for one byte more.
 *   out  set on INPUT_OK only; the caller frees it with input_clear()
 *   em   set otherwise: the path and the reason
 */
MUST_USE enum input_result input_read(
    const char *path, FILE *in, size_t max, struct input *out, struct errmsg *em);
void input_clear(struct input *input);

static inline struct cursor
input_cursor(const struct input *input)
{
	return cursor_of(input->bytes, input->len);
}

#endif
