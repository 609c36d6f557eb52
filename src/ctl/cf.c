#include "ctl/cf.h"

#include <stdlib.h>
#include <strings.h>

struct line {
	char kind;  /* 'O', 'K', 'X', 'R' */
	char *name; /* option, map, milter; of 'R' the ruleset; borrowed from cf->text */
	char *value;
};

struct cf {
	char *text; /* the whole file, cut into strings */
	struct line *lines;
	size_t n, room;
	bool has_version; /* V10/Berkeley: every .cf begins so */
};

static bool
blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Cuts the next logical line, its continuation lines joined, out of *rest; NULL at the end. */
static char *
next_line(char **rest)
{
	char *line = *rest, *p = line;

	if (*line == '\0')
		return NULL;
	for (; *p != '\0'; p++) {
		if (*p != '\n')
			continue;
		if (!blank(p[1]))
			break;
		*p = ' ';
	}
	*rest = *p == '\0' ? p : p + 1;
	*p = '\0';
	return line;
}

/* A '#' after a blank begins a comment; "$#" does not. Tabs become blanks, for messages. */
static void
cut_comment(char *line)
{
	size_t n;

	for (char *p = line; *p != '\0'; p++)
		if (*p == '\t') {
			*p = ' ';
		} else if (*p == '#' && (p == line || blank(p[-1]))) {
			*p = '\0';
			break;
		}
	for (n = strlen(line); n > 0 && (blank(line[n - 1]) || line[n - 1] == '\r'); n--)
		line[n - 1] = '\0';
}

/* Ends the name at s before any of stop and returns what follows that one, without blanks. */
static char *
split(char *s, const char *stop)
{
	char *end = s + strcspn(s, stop);
	char *rest = end + (*end != '\0');

	while (end > s && blank(end[-1]))
		end--;
	*end = '\0';
	return rest + strspn(rest, " \t");
}

static bool
add_line(struct cf *cf, char kind, char *name, char *value)
{
	if (cf->n == cf->room) {
		size_t room = cf->room == 0 ? 256 : cf->room * 2;
		struct line *grown = realloc(cf->lines, room * sizeof(*grown));

		if (grown == NULL)
			return false;
		cf->lines = grown;
		cf->room = room;
	}
	cf->lines[cf->n++] = (struct line){kind, name, value};
	return true;
}

/* Notes one logical line; *ruleset is the one that R lines belong to. */
static bool
parse_line(struct cf *cf, char *line, char **ruleset)
{
	char *name = line + 1;

	switch (line[0]) {
	case 'O':
		if (!blank(*name))
			return true; /* "Ox": the short form of options that do not matter here */
		name += strspn(name, " \t");
		return add_line(cf, 'O', name, split(name, "="));
	case 'K':
		name += strspn(name, " \t");
		return add_line(cf, 'K', name, split(name, " \t"));
	case 'X':
		return add_line(cf, 'X', name, split(name, ","));
	case 'S':
		name += strspn(name, " \t");
		split(name, " \t=");
		*ruleset = name;
		return true;
	case 'R':
		return add_line(cf, 'R', *ruleset, name);
	case 'V':
		cf->has_version = true;
		return true;
	default:
		return true;
	}
}

static bool
parse_lines(struct cf *cf)
{
	char *rest = cf->text, *ruleset = cf->text + strlen(cf->text), *line;

	while ((line = next_line(&rest)) != NULL) {
		cut_comment(line);
		if (*line != '\0' && !parse_line(cf, line, &ruleset))
			return false;
	}
	return true;
}

static bool
copy_text(struct cf *cf, struct cursor bytes)
{
	size_t len = cursor_len(&bytes);

	if ((cf->text = malloc(len + 1)) == NULL)
		return false;
	memcpy(cf->text, bytes.p, len);
	cf->text[len] = '\0';
	return true;
}

struct cf *
cf_parse(struct cursor bytes, struct errmsg *em)
{
	struct cf *cf;

	if (cursor_len(&bytes) == 0 || cursor_len(&bytes) > CF_BYTES_MAX ||
	    memchr(bytes.p, '\0', cursor_len(&bytes)) != NULL) {
		errmsg_set(em, "no configuration file of Sendmail: empty, binary, or over %d bytes",
		    CF_BYTES_MAX);
		return NULL;
	}
	cf = calloc(1, sizeof(*cf));
	if (cf == NULL || !copy_text(cf, bytes) || !parse_lines(cf)) {
		errmsg_set(em, "out of memory");
		cf_free(&cf);
	} else if (!cf->has_version) {
		errmsg_set(em, "no configuration file of Sendmail: it has no V line");
		cf_free(&cf);
	}
	return cf;
}

void
cf_free(struct cf **cf)
{
	if (*cf == NULL)
		return;
	free((*cf)->text);
	free((*cf)->lines);
	free(*cf);
	*cf = NULL;
}

/* The last line of a kind with a name. */
static const char *
last_value(
    const struct cf *cf, char kind, const char *name, int (*compare)(const char *, const char *))
{
	for (size_t i = cf->n; i-- > 0;)
		if (cf->lines[i].kind == kind && compare(cf->lines[i].name, name) == 0)
			return cf->lines[i].value;
	return NULL;
}

const char *
cf_option(const struct cf *cf, const char *name)
{
	return last_value(cf, 'O', name, strcasecmp);
}

bool
cf_option_true(const struct cf *cf, const char *name)
{
	const char *value = cf_option(cf, name);

	return value != NULL && (*value == '\0' || strchr("tTyY1", *value) != NULL);
}

const char *
cf_map(const struct cf *cf, const char *name)
{
	return last_value(cf, 'K', name, strcasecmp); /* Sendmail's symbol table folds case */
}

const char *
cf_milter(const struct cf *cf, const char *name)
{
	return last_value(cf, 'X', name, strcasecmp);
}

const char *
cf_rule(const struct cf *cf, const char *ruleset, size_t i)
{
	for (size_t at = 0; at < cf->n; at++)
		if (cf->lines[at].kind == 'R' && strcasecmp(cf->lines[at].name, ruleset) == 0 &&
		    i-- == 0)
			return cf->lines[at].value;
	return NULL;
}

bool
cf_list_has(const char *list, const char *word)
{
	static const char separators[] = ",; \t";

	for (size_t n; *(list += strspn(list, separators)) != '\0'; list += n) {
		n = strcspn(list, separators);
		if (n == strlen(word) && strncasecmp(list, word, n) == 0)
			return true;
	}
	return false;
}

bool
cf_equate(const char *equates, char letter, char *out, size_t size)
{
	for (size_t n; *(equates += strspn(equates, ", \t")) != '\0'; equates += n) {
		const char *value = strchr(equates, '=');
		size_t len;

		n = strcspn(equates, ",");
		if (*equates != letter || value == NULL || value > equates + n)
			continue;
		value += 1 + strspn(value + 1, " \t");
		len = value < equates + n ? (size_t)(equates + n - value) : 0;
		while (len > 0 && blank(value[len - 1]))
			len--;
		if (len >= size)
			return false;
		memcpy(out, value, len);
		out[len] = '\0';
		return true;
	}
	return false;
}
