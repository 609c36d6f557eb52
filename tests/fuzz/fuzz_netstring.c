/* Frames of the socketmap protocol: what is taken lies within the input, is bounded, and does not
 * depend on how much of the next frame has come. */
#include <assert.h>
#include <stdint.h>

#include "util/netstring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 1024 };

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor c = cursor_of(data, size), body, again;

	for (;;) {
		const unsigned char *start = c.p;
		enum netstring_result rc = netstring_take(&c, MAX, &body);
		struct cursor alone = {start, c.p};

		if (rc != NETSTRING_OK) {
			assert(c.p == start);
			assert(rc == NETSTRING_BAD || cursor_len(&c) <= MAX + 6);
			return 0;
		}
		assert(body.p > start && body.end < c.p && cursor_len(&body) <= MAX);
		assert(body.p[-1] == ':' && *body.end == ',' && body.end + 1 == c.p);
		assert(netstring_take(&alone, MAX, &again) == NETSTRING_OK);
		assert(again.p == body.p && again.end == body.end);
		alone = (struct cursor){start, c.p - 1};
		assert(netstring_take(&alone, MAX, &again) == NETSTRING_MORE);
	}
}
