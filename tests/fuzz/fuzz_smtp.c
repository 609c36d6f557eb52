/* What an SMTP server sends, in pieces whose size the first byte gives. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "discover/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_reply(const struct smtp_reply *r)
{
	assert(r->code >= 200 && r->code <= 599);
	assert(strlen(r->text) < SMTP_TEXT_MAX);
	for (const char *p = r->text; *p != '\0'; p++)
		assert(*p >= 0x20 && *p < 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct smtp_reader reader;
	struct cursor rest = cursor_of(data, size);
	size_t piece = size > 0 ? (size_t)data[0] + 1 : 1;

	memset(&reader, 0, sizeof(reader));
	while (rest.p < rest.end) {
		size_t n = piece < cursor_len(&rest) ? piece : cursor_len(&rest);
		struct cursor bytes = cursor_of(rest.p, n);
		struct errmsg em = {""};

		switch (smtp_read(&reader, &bytes, &em)) {
		case SMTP_MORE:
			assert(bytes.p == bytes.end && reader.lines < SMTP_LINES_MAX);
			break;
		case SMTP_REPLY:
			assert(bytes.p > rest.p && bytes.p[-1] == '\n');
			check_reply(&reader.reply);
			memset(&reader, 0, sizeof(reader));
			break;
		case SMTP_BAD:
			assert(em.text[0] != '\0');
			return 0;
		}
		rest.p = bytes.p;
	}
	return 0;
}
