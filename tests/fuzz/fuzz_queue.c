/* The beginning of a quarantined message's control file, which holds what its sender chose. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "release/queue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct queue_message m;

	if (queue_read_head(cursor_of(data, size), &m) == QUEUE_OURS) {
		if (strncmp(m.reason, REASON_PREFIX, strlen(REASON_PREFIX)) != 0 || m.since < 0)
			abort();
		for (const char *p = m.reason; *p != '\0'; p++)
			if (*p < ' ' || *p > '~')
				abort();
	}
	return 0;
}
