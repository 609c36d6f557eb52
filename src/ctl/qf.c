#include "ctl/qf.h"

#include <stdlib.h>
#include <string.h>

#include "util/ascii.h"

/* Takes the next line without its LF; false when none is left. */
static bool
next_line(struct cursor *rest, struct cursor *line)
{
	const unsigned char *lf;

	if (cursor_len(rest) == 0)
		return false;
	lf = memchr(rest->p, '\n', cursor_len(rest));
	line->p = rest->p;
	line->end = lf != NULL ? lf : rest->end;
	rest->p = lf != NULL ? lf + 1 : rest->end;
	return true;
}

static void
copy_text(struct cursor c, char out[QF_TEXT_MAX])
{
	size_t n = cursor_len(&c) < QF_TEXT_MAX - 1 ? cursor_len(&c) : QF_TEXT_MAX - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = c.p[i] < 0x20 || c.p[i] >= 0x7f ? '?' : (char)c.p[i];
	out[n] = '\0';
}

static unsigned long
take_number(struct cursor c)
{
	unsigned long value = 0;

	for (; cursor_len(&c) > 0 && ascii_digit(*c.p) && value < 1UL << 40; c.p++)
		value = value * 10 + (unsigned long)(*c.p - '0');
	return value;
}

bool
qf_domain(struct cursor address, char out[DOMAIN_MAX + 1])
{
	const unsigned char *at = address.end;

	if (cursor_len(&address) > 0 && address.end[-1] == '>')
		address.end--;
	while (at > address.p && at[-1] != '@')
		at--;
	if (at == address.p || at >= address.end)
		return false;
	return domain_normalize((const char *)at, (size_t)(address.end - at), out, NULL) ==
	       DOMAIN_OK;
}

/* "R", flags, a colon, the address; flags came with version 1 of the format. */
static bool
add_rcpt(struct qf *qf, struct cursor line, const char *reason)
{
	struct cursor flags = line;
	struct qf_rcpt *rcpt;

	if (qf->n_rcpts >= QF_RCPTS_MAX) {
		qf->n_more++;
		return true;
	}
	if ((qf->n_rcpts & (qf->n_rcpts - 1)) == 0) {
		size_t room = qf->n_rcpts == 0 ? 1 : qf->n_rcpts * 2;
		struct qf_rcpt *grown = realloc(qf->rcpts, room * sizeof(*grown));

		if (grown == NULL)
			return false;
		qf->rcpts = grown;
	}
	while (cursor_len(&flags) > 0 && ascii_alpha(*flags.p))
		flags.p++;
	if (cursor_take(&flags, ":"))
		line = flags;
	if (cursor_len(&line) > 1 && *line.p == '<' && line.end[-1] == '>') {
		line.p++;
		line.end--;
	}
	rcpt = &qf->rcpts[qf->n_rcpts++];
	copy_text(line, rcpt->address);
	if (!qf_domain(line, rcpt->domain))
		rcpt->domain[0] = '\0';
	memcpy(rcpt->reason, reason, QF_TEXT_MAX);
	return true;
}

bool
qf_parse(struct cursor bytes, struct qf *out)
{
	char reason[QF_TEXT_MAX] = "";
	struct cursor line;
	bool sender_seen =
	    false; /* an M line before it is about the message, then about the next R */

	memset(out, 0, sizeof(*out));
	if (cursor_len(&bytes) > QF_BYTES_MAX)
		bytes.end = bytes.p + QF_BYTES_MAX;
	while (next_line(&bytes, &line)) {
		if (cursor_len(&line) == 0)
			continue;
		switch (*line.p++) {
		case '.': /* the end; what follows is left of an older, longer file */
			return true;
		case 'T':
			out->created = (time_t)take_number(line);
			break;
		case 'K':
			out->tried = (time_t)take_number(line);
			break;
		case 'N':
			out->tries = take_number(line);
			break;
		case 'M':
			copy_text(line, sender_seen ? reason : out->reason);
			break;
		case 'q':
			copy_text(line, out->quarantine);
			break;
		case 'S':
			sender_seen = true;
			break;
		case 'R':
			if (!add_rcpt(out, line, reason))
				return false;
			memset(reason, 0, sizeof(reason));
			break;
		default:
			break;
		}
	}
	return true;
}

void
qf_clear(struct qf *qf)
{
	free(qf->rcpts);
	memset(qf, 0, sizeof(*qf));
}
