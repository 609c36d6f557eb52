#include "site/reason.h"

#include <stdio.h>

#define REASON_END " not known yet"

void
reason_print(const char *const *domains, size_t n, char out[REASON_MAX])
{
	size_t len = (size_t)snprintf(out, REASON_MAX, "%s%s", REASON_PREFIX, domains[0]);

	for (size_t i = 1; i < n && i < REASON_DOMAINS_MAX; i++)
		if (len + 2 + strlen(domains[i]) + sizeof(REASON_END) <= REASON_MAX)
			len += (size_t)snprintf(out + len, REASON_MAX - len, ", %s", domains[i]);
	snprintf(out + len, REASON_MAX - len, "%s", REASON_END);
}

/* Takes one name up to a comma or blank; false when it is no normalised domain. */
static bool
take_domain(struct cursor *c, char domain[DOMAIN_MAX + 1])
{
	const unsigned char *from = c->p;
	size_t len;

	while (c->p < c->end && *c->p != ',' && *c->p != ' ')
		c->p++;
	len = (size_t)(c->p - from);
	return domain_normalize((const char *)from, len, domain, NULL) == DOMAIN_OK &&
	       strlen(domain) == len && memcmp(domain, from, len) == 0;
}

size_t
reason_parse(struct cursor text, char domains[REASON_DOMAINS_MAX][DOMAIN_MAX + 1])
{
	size_t n = 0;

	if (!cursor_take(&text, REASON_PREFIX))
		return 0;
	do
		if (n == REASON_DOMAINS_MAX || !take_domain(&text, domains[n++]))
			return 0;
	while (cursor_take(&text, ", "));
	return cursor_take(&text, REASON_END) && cursor_len(&text) == 0 ? n : 0;
}
