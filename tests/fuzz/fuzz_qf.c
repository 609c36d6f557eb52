/* A queue file holds what strangers wrote. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/qf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(const char *text)
{
	size_t n = strnlen(text, QF_TEXT_MAX);

	if (n == QF_TEXT_MAX)
		abort();
	for (size_t i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] == 0x7f)
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qf qf;
	char again[DOMAIN_MAX + 1];

	if (!qf_parse(cursor_of(data, size), &qf))
		abort();
	check_text(qf.reason);
	for (size_t i = 0; i < qf.n_rcpts; i++) {
		const struct qf_rcpt *rcpt = &qf.rcpts[i];

		check_text(rcpt->address);
		check_text(rcpt->reason);
		if (*rcpt->domain != '\0' && (domain_normalize(rcpt->domain, strlen(rcpt->domain),
						  again, NULL) != DOMAIN_OK ||
						 strcmp(rcpt->domain, again) != 0))
			abort();
	}
	qf_clear(&qf);
	return 0;
}
