/* Lines from a file or a pipe, as `mtastsctl parse-record` takes them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "ctl/txtline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor rest = cursor_of(data, size), line;

	while (txtline_next(&rest, &line)) {
		/* exactly as large as the contract wants, so that a byte too many is seen */
		unsigned char *out = malloc(cursor_len(&line));
		size_t len = 0;

		if (out == NULL || (txtline_unquote(line, out, &len) && len > cursor_len(&line)))
			abort();
		free(out);
	}
	return 0;
}
