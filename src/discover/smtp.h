/*
 * discover/smtp.h: reads the replies of an SMTP server, which may send anything. RFC 5321 section
 * 4.2.
 */
#ifndef DISCOVER_SMTP_H
#define DISCOVER_SMTP_H

#include <stdbool.h>
#include <stddef.h>

#include "util/cursor.h"
#include "util/errmsg.h"

enum {
	/* RFC 5321 section 4.5.3.1.5 has 512 with the line end; more is seen and does no harm */
	SMTP_LINE_MAX = 2048,
	SMTP_LINES_MAX = 128, /* of one reply */
	SMTP_TEXT_MAX = 200   /* bytes kept of a reply's first line, with the NUL */
};

struct smtp_reply {
	int code;                 /* 200 to 599 */
	char text[SMTP_TEXT_MAX]; /* the first line behind the code; odd bytes are '?' */
	bool starttls;            /* a line behind the first is the keyword STARTTLS, RFC 3207 */
};

/* A reply on its way; all zero at first, and again for the next one. */
struct smtp_reader {
	char line[SMTP_LINE_MAX];
	size_t len;
	unsigned lines;
	struct smtp_reply reply;
};

enum smtp_result {
	SMTP_MORE,  /* all bytes are taken; the reply goes on */
	SMTP_REPLY, /* reader->reply is whole; what follows it is left in *bytes */
	SMTP_BAD    /* no SMTP, or beyond the limits: em says what */
};

MUST_USE enum smtp_result smtp_read(
    struct smtp_reader *reader, struct cursor *bytes, struct errmsg *em);

#endif
