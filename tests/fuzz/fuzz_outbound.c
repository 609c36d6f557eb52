/* What the MTA tells of a recipient, a line each: mailer, host, address. Anybody may write them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "milter/outbound.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cuts the next line out of *rest; NULL when there is none: the MTA does not tell. */
static char *
next(char **rest)
{
	return *rest == NULL ? NULL : strsep(rest, "\n");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), *rest = text;
	char domain[DOMAIN_MAX + 1], again[DOMAIN_MAX + 1];
	struct outbound_rcpt rcpt;
	struct errmsg why = {""};

	if (text == NULL)
		abort();
	rcpt = (struct outbound_rcpt){0};
	rcpt.mailer = next(&rest);
	rcpt.host = next(&rest);
	rcpt.addr = next(&rest);
	if (outbound_domain(&rcpt, domain, &why) == OUTBOUND_YES) {
		/* a policy domain is normalised */
		if (domain_normalize(domain, strlen(domain), again, NULL) != DOMAIN_OK ||
		    strcmp(domain, again) != 0)
			abort();
	} else if (why.text[0] == '\0')
		abort();
	free(text);
	return 0;
}
