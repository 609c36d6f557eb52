/* Log lines hold what strangers wrote; the same bytes are also tried as a line of a domain list. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/maillog.h"
#include "site/domains.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const char *domain)
{
	char again[DOMAIN_MAX + 1];

	if (domain_normalize(domain, strlen(domain), again, NULL) != DOMAIN_OK ||
	    strcmp(domain, again) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor line = cursor_of(data, size), rcpts;
	char domain[DOMAIN_MAX + 1];

	if (maillog_parse(line, &rcpts)) {
		if (rcpts.p < line.p || rcpts.end > line.end || rcpts.end < rcpts.p)
			abort();
		while (maillog_next(&rcpts, domain))
			check(domain);
	}
	if (domains_parse(line, domain, NULL) == DOMAINS_OK)
		check(domain);
	return 0;
}
