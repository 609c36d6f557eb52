#include "discover/smtp.h"

#include <stdio.h>

#include "util/ascii.h"

/* Is it this keyword of an EHLO reply, alone or before its parameters? */
static bool
is_keyword(struct cursor c, const char *upper)
{
	for (; *upper != '\0'; upper++, c.p++)
		if (c.p == c.end || ascii_lower(*c.p) != ascii_lower((unsigned char)*upper))
			return false;
	return c.p == c.end || *c.p == ' ';
}

/* Reply-code = %x32-35 %x30-35 %x30-39; the second digit is not held against anybody. */
static int
take_code(struct cursor *c)
{
	int code;

	if (cursor_len(c) < 3 || c->p[0] < '2' || c->p[0] > '5' || !ascii_digit(c->p[1]) ||
	    !ascii_digit(c->p[2]))
		return 0;
	code = (c->p[0] - '0') * 100 + (c->p[1] - '0') * 10 + (c->p[2] - '0');
	c->p += 3;
	return code;
}

static enum smtp_result
bad_line(struct cursor line, struct errmsg *em)
{
	errmsg_set(em, "want an SMTP reply, have \"%.*s\"",
	    (int)(cursor_len(&line) < 80 ? cursor_len(&line) : 80), (const char *)line.p);
	return SMTP_BAD;
}

/* A line without its end. */
static enum smtp_result
take_line(struct smtp_reader *reader, struct cursor line, struct errmsg *em)
{
	struct cursor c = line;
	int code = take_code(&c);
	bool last = !cursor_take(&c, "-");

	if (code == 0 || (reader->lines > 0 && code != reader->reply.code))
		return bad_line(line, em);
	if (last && cursor_len(&c) > 0 && !cursor_take(&c, " "))
		return bad_line(line, em);
	reader->reply.code = code;
	if (reader->lines++ == 0) {
		struct errmsg text;

		errmsg_set(&text, "%.*s", (int)cursor_len(&c), (const char *)c.p);
		snprintf(reader->reply.text, SMTP_TEXT_MAX, "%.*s", SMTP_TEXT_MAX - 1, text.text);
	} else if (is_keyword(c, "STARTTLS"))
		reader->reply.starttls = true;
	if (last)
		return SMTP_REPLY;
	if (reader->lines < SMTP_LINES_MAX)
		return SMTP_MORE;
	errmsg_set(em, "a reply of more than %d lines", SMTP_LINES_MAX);
	return SMTP_BAD;
}

/* Lines end with CRLF; a bare LF is taken too, as MTAs do. */
enum smtp_result
smtp_read(struct smtp_reader *reader, struct cursor *bytes, struct errmsg *em)
{
	enum smtp_result result = SMTP_MORE;

	while (result == SMTP_MORE && bytes->p < bytes->end) {
		char c = (char)*bytes->p++;

		if (c == '\n') {
			size_t n = reader->len;

			if (n > 0 && reader->line[n - 1] == '\r')
				n--;
			reader->len = 0;
			result = take_line(reader, cursor_of(reader->line, n), em);
		} else if (reader->len < sizeof(reader->line)) {
			reader->line[reader->len++] = c;
		} else {
			errmsg_set(em, "a line of more than %d bytes", SMTP_LINE_MAX);
			result = SMTP_BAD;
		}
	}
	return result;
}
