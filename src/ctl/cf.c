#include "ctl/cf.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "util/ascii.h"

struct line {
	char kind;        /* 'D', 'O', 'K', 'X', 'Q', 'R', 'S' */
	const char *name; /* of 'R' the ruleset; borrowed from cf->text */
	const char *value;
};

enum { NAME_MAX_LEN = 31, NAMES_MAX = 1024 };

struct cf {
	char *text; /* the whole file, cut into strings */
	struct line *lines;
	size_t n, room;
	bool has_version; /* V10/Berkeley: every .cf begins so */
	size_t n_names;
	char name[NAMES_MAX][NAME_MAX_LEN + 1];
};

static bool
blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Cuts the next logical line, with its continuation lines, out of *rest; NULL at the end. */
static char *
next_line(char **rest)
{
	char *line = *rest, *p = line;

	if (*line == '\0')
		return NULL;
	while (*p != '\0' && (*p != '\n' || blank(p[1])))
		p++;
	*rest = *p == '\0' ? p : p + 1;
	*p = '\0';
	return line;
}

/*
 * A '#' begins a comment that goes to the end of its own line, unless it belongs to a "$#" or a
 * backslash stands before it; white space before it and at the end of all goes with it.
 */
static void
cut_comments(char *line)
{
	char *out = line;

	for (const char *p = line; *p != '\0'; p++) {
		if (*p == '#' && out > line && out[-1] == '\\') {
			out[-1] = '#';
			continue;
		}
		if (*p == '#') {
			while (out > line && blank(out[-1]))
				out--;
			if (*(p += strcspn(p, "\n")) == '\0')
				break;
		}
		*out++ = *p;
		if (*p == '$' && p[1] != '\0')
			*out++ = *++p;
	}
	while (out > line && strchr(" \t\r\n", out[-1]) != NULL)
		out--;
	*out = '\0';
}

/* A tab parts the two sides of a rule, and a comment from the right one. False: no rule. */
static bool
cut_rule(char *rule)
{
	char *right = strchr(rule, '\t');

	if (right == NULL)
		return false;
	right += strspn(right, "\t");
	right[strcspn(right, "\t")] = '\0';
	return true;
}

static void
white_to_blanks(char *line)
{
	for (; *line != '\0'; line++)
		if (*line == '\t' || *line == '\n')
			*line = ' ';
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
add_line(struct cf *cf, char kind, const char *name, const char *value)
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

/* "O Name=value", or a letter for the name: of those that matter here three have one. */
static bool
add_option(struct cf *cf, char *text)
{
	static const struct {
		char letter;
		const char *name;
	} letters[] = {
	    {'k', "ConnectionCacheSize"}, {'O', "DaemonPortOptions"}, {'Q', "QueueDirectory"}};

	for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
		if (*text == letters[i].letter)
			return add_line(cf, 'O', letters[i].name, text + 1);
	if (!blank(*text))
		return true;
	text += strspn(text, " ");
	return add_line(cf, 'O', text, split(text, "="));
}

/* Notes one logical line; *ruleset is the one that R lines belong to. */
static bool
parse_line(struct cf *cf, char *line, const char **ruleset)
{
	char *name = line + 1;

	if (line[0] == 'R' && !cut_rule(line))
		return true;
	white_to_blanks(line);
	switch (line[0]) {
	case 'O':
		return add_option(cf, name);
	case 'K':
		name += strspn(name, " ");
		return add_line(cf, 'K', name, split(name, " "));
	case 'X':
	case 'Q':
		return add_line(cf, line[0], name, split(name, ", "));
	case 'S':
		name += strspn(name, " ");
		split(name, " =");
		*ruleset = name;
		return add_line(cf, 'S', name, "");
	case 'D':
		if (*name == '{')
			return add_line(cf, 'D', name + 1, split(name + 1, "}"));
		if (*name == '\0')
			return true;
		line[0] = *name; /* a letter, and the value behind it */
		*name = '\0';
		return add_line(cf, 'D', line, name + 1);
	case 'R':
		return add_line(cf, 'R', *ruleset, name);
	case 'V':
		cf->has_version = true;
		return true;
	default:
		return true;
	}
}

static void
note_name(struct cf *cf, const char *text, size_t len)
{
	char name[NAME_MAX_LEN + 1];

	if (len > NAME_MAX_LEN)
		len = NAME_MAX_LEN;
	memcpy(name, text, len);
	name[len] = '\0';
	for (size_t i = 0; i < cf->n_names; i++)
		if (strcasecmp(cf->name[i], name) == 0)
			return;
	if (cf->n_names < NAMES_MAX)
		memcpy(cf->name[cf->n_names++], name, len + 1);
}

/* {name} wherever it stands; {2,3} is a regular expression's. */
static void
note_names(struct cf *cf, const char *line)
{
	while ((line = strchr(line, '{')) != NULL) {
		size_t len = 0;

		line++;
		while (ascii_alnum((unsigned char)line[len]) || line[len] == '_')
			len++;
		if (len > 0 && line[len] == '}' && !ascii_digit((unsigned char)line[0]))
			note_name(cf, line, len);
	}
}

static bool
parse_lines(struct cf *cf)
{
	char *rest = cf->text, *line;
	const char *ruleset = "";

	while ((line = next_line(&rest)) != NULL) {
		cut_comments(line);
		note_names(cf, line);
		if (!parse_line(cf, line, &ruleset))
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

typedef int compare_fn(const char *written, const char *name);

/* The last line of a kind with a name. */
static const char *
last_value(const struct cf *cf, char kind, const char *name, compare_fn *compare)
{
	for (size_t i = cf->n; i-- > 0;)
		if (cf->lines[i].kind == kind && compare(cf->lines[i].name, name) == 0)
			return cf->lines[i].value;
	return NULL;
}

static const char *
next_value(const struct cf *cf, char kind, const char *name, compare_fn *compare, size_t *at)
{
	while (*at < cf->n) {
		const struct line *line = &cf->lines[(*at)++];

		if (line->kind == kind && compare(line->name, name) == 0)
			return line->value;
	}
	return NULL;
}

/* Sendmail takes a beginning of an option's name that no other one (of 8.17) has. */
static int
compare_option(const char *written, const char *name)
{
	static const struct {
		const char *name;
		size_t shortest;
	} t[] = {{"ConnectionCacheSize", strlen("ConnectionCacheS")},
	    {"DontExpandCnames", strlen("DontE")}, {"SetCertAltnames", strlen("Set")},
	    {"InputMailFilters", strlen("Inp")}, {"CACertFile", strlen("CACertF")},
	    {"CACertPath", strlen("CACertP")}, {"RunAsUser", strlen("Ru")},
	    {"DaemonPortOptions", strlen("Dae")}, {"QueueDirectory", strlen("QueueD")}};
	size_t len = strlen(written);

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (strcmp(name, t[i].name) == 0 && len >= t[i].shortest)
			return strncasecmp(written, name, len);
	return strcasecmp(written, name);
}

const char *
cf_option(const struct cf *cf, const char *name)
{
	return last_value(cf, 'O', name, compare_option);
}

const char *
cf_next_option(const struct cf *cf, const char *name, size_t *at)
{
	return next_value(cf, 'O', name, compare_option, at);
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

/* Where the word at s ends, and the blanks behind it. */
static const char *
next_word(const char *s)
{
	s += strcspn(s, " ");
	return s + strspn(s, " ");
}

const char *
cf_map_flag(const char *map, char letter)
{
	const char *found = NULL;

	for (const char *p = next_word(map); *p == '-'; p = next_word(p))
		if (p[1] == letter)
			found = p + 2;
	return found;
}

bool
cf_map_file(const char *map, char *out, size_t size)
{
	const char *p = next_word(map);
	int n;

	while (*p == '-')
		p = next_word(p);
	n = snprintf(out, size, "%.*s", (int)strcspn(p, " "), p);
	return n > 0 && (size_t)n < size;
}

const char *
cf_milter(const struct cf *cf, const char *name)
{
	return last_value(cf, 'X', name, strcasecmp);
}

const char *
cf_next_queue_group(const struct cf *cf, size_t *at)
{
	while (*at < cf->n) {
		const struct line *line = &cf->lines[(*at)++];

		if (line->kind == 'Q')
			return line->value;
	}
	return NULL;
}

const char *
cf_next_rule(const struct cf *cf, const char *ruleset, size_t *at)
{
	return next_value(cf, 'R', ruleset, strcasecmp, at);
}

const char *
cf_next_rule_of_any(const struct cf *cf, const char **ruleset, size_t *at)
{
	while (*at < cf->n) {
		const struct line *line = &cf->lines[(*at)++];

		if (line->kind != 'R')
			continue;
		*ruleset = line->name;
		return line->value;
	}
	return NULL;
}

size_t
cf_count(const struct cf *cf, enum cf_kind kind, const char *name)
{
	size_t n = 0;

	for (size_t at = 0; next_value(cf, (char)kind, name, strcasecmp, &at) != NULL;)
		n++;
	return n;
}

const char *
cf_next_name(const struct cf *cf, enum cf_kind kind, size_t *at)
{
	while (*at < cf->n) {
		const struct line *line = &cf->lines[(*at)++];

		if (line->kind == (char)kind)
			return line->name;
	}
	return NULL;
}

const char *
cf_macro(const struct cf *cf, const char *name)
{
	return last_value(cf, 'D', name, name[1] == '\0' ? strcmp : strcasecmp);
}

const char *
cf_next_macro_name(const struct cf *cf, size_t *at)
{
	return *at < cf->n_names ? cf->name[(*at)++] : NULL;
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
