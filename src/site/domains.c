#include "site/domains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool
white(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

enum domains_result
domains_parse(struct cursor line, char out[DOMAIN_MAX + 1], struct errmsg *em)
{
	const unsigned char *comment = memchr(line.p, '#', cursor_len(&line));

	if (comment != NULL)
		line.end = comment;
	while (line.p < line.end && white(*line.p))
		line.p++;
	while (line.p < line.end && white(line.end[-1]))
		line.end--;
	if (line.p == line.end)
		return DOMAINS_BLANK;
	switch (domain_normalize((const char *)line.p, cursor_len(&line), out, em)) {
	case DOMAIN_OK:
		return DOMAINS_OK;
	case DOMAIN_NO_POLICY:
		return DOMAINS_BLANK;
	case DOMAIN_INVALID:
		break;
	}
	return DOMAINS_INVALID;
}

bool
domains_add(struct config_list *list, const char *domain)
{
	/* doubled whenever the number is a power of two */
	if ((list->n & (list->n - 1)) == 0) {
		size_t room = list->n == 0 ? 1 : list->n * 2;
		char **grown = realloc(list->item, room * sizeof(*grown));

		if (grown == NULL)
			return false;
		list->item = grown;
	}
	list->item[list->n] = strdup(domain);
	return list->item[list->n] != NULL && ++list->n > 0;
}

void
domains_clear(struct config_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->item[i]);
	free(list->item);
	*list = (struct config_list){0};
}

static void
skip_line(FILE *f)
{
	int c;

	while ((c = getc(f)) != EOF && c != '\n')
		;
}

bool
domains_read(FILE *f, const char *name, FILE *err, struct config_list *out, struct errmsg *em)
{
	char line[DOMAINS_LINE_MAX], domain[DOMAIN_MAX + 1];
	struct errmsg why = {""};

	for (unsigned long number = 1; fgets(line, sizeof(line), f) != NULL; number++) {
		size_t len = strlen(line);
		enum domains_result rc = domains_parse(cursor_of(line, len), domain, &why);

		if (len == sizeof(line) - 1 && line[len - 1] != '\n') {
			skip_line(f);
			errmsg_set(&why, "longer than %d bytes", DOMAINS_LINE_MAX - 1);
			rc = DOMAINS_INVALID;
		}
		if (rc == DOMAINS_INVALID)
			fprintf(err, "%s:%lu: %s; passed over\n", name, number, why.text);
		if (rc != DOMAINS_OK)
			continue;
		if (out->n >= DOMAINS_MAX || !domains_add(out, domain)) {
			errmsg_set(
			    em, "%s: more than %d domains, or out of memory", name, DOMAINS_MAX);
			return false;
		}
	}
	if (!ferror(f))
		return true;
	errmsg_set(em, "%s: cannot be read: %s", name, strerror(errno));
	return false;
}
