#include "ctl/maillog.h"

#include "ctl/qf.h"
#include "util/ascii.h"

/* Steps behind the first word of the rest; false: it is not there. */
static bool
find(struct cursor *c, const char *word)
{
	const unsigned char *at = memmem(c->p, cursor_len(c), word, strlen(word));

	if (at == NULL)
		return false;
	c->p = at + strlen(word);
	return true;
}

static bool
take_queue_id(struct cursor *c)
{
	const unsigned char *begin = c->p;

	while (cursor_len(c) > 0 && ascii_alnum(*c->p))
		c->p++;
	return c->p - begin >= 8 && c->p - begin <= 31;
}

/* esmtp, smtp, smtp8, dsmtp: those that look for MX hosts. */
static bool
is_smtp(struct cursor fields)
{
	if (!find(&fields, ", mailer="))
		return false;
	(void)(cursor_take(&fields, "e") || cursor_take(&fields, "d"));
	if (!cursor_take(&fields, "smtp"))
		return false;
	(void)cursor_take(&fields, "8");
	return cursor_take(&fields, ",");
}

bool
maillog_parse(struct cursor line, struct cursor *rcpts)
{
	struct cursor fields;

	if (!find(&line, "]: ") || !take_queue_id(&line) || !cursor_take(&line, ": to="))
		return false;
	fields = line;
	if (!find(&fields, ", ")) /* recipients are joined without a blank */
		return false;
	*rcpts = (struct cursor){line.p, fields.p - 2};
	fields.p -= 2;
	return is_smtp(fields) && find(&fields, ", relay=");
}

bool
maillog_next(struct cursor *rcpts, char out[DOMAIN_MAX + 1])
{
	while (cursor_len(rcpts) > 0) {
		const unsigned char *comma = memchr(rcpts->p, ',', cursor_len(rcpts));
		struct cursor one = {rcpts->p, comma != NULL ? comma : rcpts->end};

		rcpts->p = comma != NULL ? comma + 1 : rcpts->end;
		if (qf_domain(one, out))
			return true;
	}
	return false;
}
