/* To and Cc values, and how much of them may be looked at: the first two bytes are the budget. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "milter/tag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool
contains(const struct cursor *value, const char *label, size_t n)
{
	for (const unsigned char *p = value->p; (size_t)(value->end - p) >= n; p++)
		if (strncasecmp((const char *)p, label, n) == 0)
			return true;
	return false;
}

static bool
is_ascii(const struct cursor *value)
{
	for (const unsigned char *p = value->p; p < value->end; p++)
		if (*p >= 0x80)
			return false;
	return true;
}

/* A domain shown is normalised, and each label of it stands in what was looked at (IDNA maps other
 * than ASCII to it). */
static void
shown(const char *domain, void *arg)
{
	char again[DOMAIN_MAX + 1];
	const struct cursor *value = arg;

	if (domain_normalize(domain, strlen(domain), again, NULL) != DOMAIN_OK ||
	    strcmp(domain, again) != 0)
		abort();
	if (!is_ascii(value))
		return;
	for (size_t n; *domain != '\0'; domain += n + (domain[n] == '.')) {
		n = strcspn(domain, ".");
		if (!contains(value, domain, n))
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t budget, before, left, use;
	struct cursor seen;

	if (len < 2)
		return 0;
	budget = before = (size_t)data[0] << 8 | data[1];
	len -= 2;
	use = len < budget ? len : budget;
	seen = cursor_of(data + 2, use);
	left = tag_addresses(cursor_of(data + 2, len), &budget, shown, &seen);
	if (left != len - use || before - budget != use)
		abort();
	return 0;
}
