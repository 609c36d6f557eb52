/* The reason of a quarantine: an administrator may have written it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "site/reason.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char domains[REASON_DOMAINS_MAX][DOMAIN_MAX + 1], again[REASON_MAX];
	const char *names[REASON_DOMAINS_MAX];
	size_t n = reason_parse(cursor_of(data, size), domains);

	for (size_t i = 0; i < n; i++)
		names[i] = domains[i];
	if (n == 0)
		return 0;
	reason_print(names, n, again); /* one that parses is one that we print */
	if (strlen(again) != size || memcmp(again, data, size) != 0)
		abort();
	return 0;
}
