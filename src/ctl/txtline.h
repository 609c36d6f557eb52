/*
 * ctl/txtline.h: TXT records as people hold them: one record a line, bare, or as quoted
 * character-strings the way dig +short and zone files (RFC 1035 section 5.1) write them.
 */
#ifndef CTL_TXTLINE_H
#define CTL_TXTLINE_H

#include <stdbool.h>

#include "util/cursor.h"

/* Bytes of input: a DNS answer has 64 KiB, each byte of it may be written "\DDD". */
enum { TXTLINE_BYTES_MAX = 256 * 1024 };

/* Takes the next line, without LF or CRLF, past empty ones; false when none is left. */
bool txtline_next(struct cursor *rest, struct cursor *line);

/*
 * Undoes quoting: character-strings in double quotes, blanks between them, with \X and \DDD inside,
 * are joined. False: line is not wholly made of quoted strings; take it as it stands.
 *   line  any bytes
 *   out   room for as many bytes as line has
 *   len   set on true
 */
bool txtline_unquote(struct cursor line, unsigned char *out, size_t *len);

#endif
