#include "ctl/build.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 512 };

struct build {
	char *text; /* cut into words */
	char version[BUILD_VERSION_MAX];
	const char *words[WORDS_MAX];
	size_t n;
};

/* "Version 8.17.1.9" is the first line. */
static bool
take_version(struct build *b, const char *line)
{
	static const char start[] = "Version ";
	size_t n;

	if (strncmp(line, start, strlen(start)) != 0)
		return false;
	line += strlen(start);
	n = strspn(line, "0123456789.");
	if (n == 0 || n >= sizeof(b->version) || strchr("+ \t\r\n", line[n]) == NULL)
		return false;
	memcpy(b->version, line, n);
	b->version[n] = '\0';
	return true;
}

/* The words of a line; of NEWDB=5.3 the name. */
static void
take_words(struct build *b, char *line)
{
	char *rest;

	for (char *word = strtok_r(line, " \t\r", &rest); word != NULL && b->n < WORDS_MAX;
	     word = strtok_r(NULL, " \t\r", &rest)) {
		word[strcspn(word, "=")] = '\0';
		b->words[b->n++] = word;
	}
}

/* Lines of a list begin with its title, or with a tab when they go on with it. */
static void
take_lists(struct build *b)
{
	static const char *const titles[] = {"Compiled with:", "FFR Defines:"};
	bool listed = false;
	char *rest;

	for (char *line = strtok_r(b->text, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest)) {
		char *words = line;

		if (line[0] != '\t') {
			listed = false;
			words += strspn(line, " ");
			for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
				if (strncmp(words, titles[i], strlen(titles[i])) == 0) {
					listed = true;
					words += strlen(titles[i]);
					break;
				}
		}
		if (listed)
			take_words(b, words);
	}
}

struct build *
build_parse(struct cursor output, struct errmsg *em)
{
	size_t len = cursor_len(&output);
	struct build *b = calloc(1, sizeof(*b));

	if (b == NULL || (b->text = malloc(len + 1)) == NULL) {
		errmsg_set(em, "out of memory");
		build_free(&b);
		return NULL;
	}
	if (len > 0)
		memcpy(b->text, output.p, len);
	b->text[len] = '\0';
	if (len > BUILD_BYTES_MAX || strlen(b->text) != len || !take_version(b, b->text)) {
		errmsg_set(em, "what it prints for -d0.13 is not of Sendmail");
		build_free(&b);
		return NULL;
	}
	take_lists(b);
	return b;
}

void
build_free(struct build **b)
{
	if (*b == NULL)
		return;
	free((*b)->text);
	free(*b);
	*b = NULL;
}

const char *
build_version(const struct build *b)
{
	return b->version;
}

bool
build_has(const struct build *b, const char *feature)
{
	for (size_t i = 0; i < b->n; i++)
		if (strcmp(b->words[i], feature) == 0)
			return true;
	return false;
}
