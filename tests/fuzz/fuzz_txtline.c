/* Lines from a file or a pipe, as `mtastsctl parse-record` takes them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "ctl/txtline.h"
#include "policy/txt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor rest = cursor_of(data, size), line;
	char id[TXT_ID_MAX + 1];

	while (txtline_next(&rest, &line)) {
		/* exactly as large as the contract wants, so that a byte too many is seen */
		unsigned char *out = malloc(cursor_len(&line));
		size_t len = 0;

		if (out == NULL)
			abort();
		if (txtline_unquote(line, out, &len)) {
			struct cursor record = cursor_of(out, len);

			if (len > cursor_len(&line) ||
			    (txt_select(&record, 1, id, NULL) == TXT_RECORD && *id == '\0'))
				abort();
		}
		free(out);
	}
	return 0;
}
