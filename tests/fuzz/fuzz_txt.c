/* TXT records of one name, a line each. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "policy/txt.h"
#include "util/ascii.h"

enum { RECORDS_MAX = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
begins_as_ours(struct cursor record)
{
	return cursor_take(&record, "v=STSv1;");
}

/* What must hold of a record that was accepted, said without the parser. */
static void
check_id(struct cursor record, const char *id)
{
	size_t len = strlen(id);
	const unsigned char *at = memmem(record.p, cursor_len(&record), "id=", 3);

	assert(len >= 1 && len <= TXT_ID_MAX);
	for (size_t i = 0; i < len; i++)
		assert(ascii_alnum((unsigned char)id[i]));
	while (at != NULL && (at[-1] != ';' && at[-1] != ' ' && at[-1] != '\t'))
		at = memmem(at + 1, (size_t)(record.end - at - 1), "id=", 3);
	assert(at != NULL && memcmp(at + 3, id, len) == 0);
	for (const unsigned char *p = record.p; p < record.end; p++)
		assert(*p == '\t' || (*p >= 0x20 && *p < 0x7f));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor records[RECORDS_MAX], rest = cursor_of(data, size);
	const struct cursor *ours = NULL;
	char id[TXT_ID_MAX + 1] = "";
	struct errmsg em = {""};
	enum txt_result result;
	size_t n = 0, n_ours = 0;

	while (n < RECORDS_MAX && rest.p < rest.end) {
		const unsigned char *lf = memchr(rest.p, '\n', cursor_len(&rest));

		records[n].p = rest.p;
		records[n].end = lf != NULL ? lf : rest.end;
		rest.p = lf != NULL ? lf + 1 : rest.end;
		if (begins_as_ours(records[n])) {
			ours = &records[n];
			n_ours++;
		}
		n++;
	}
	result = txt_select(records, n, id, &em);
	assert(result != TXT_TEMPFAIL);
	assert((result == TXT_ABSENT) == (n_ours == 0));
	assert(result == TXT_RECORD ? n_ours == 1 : em.text[0] != '\0');
	if (result == TXT_RECORD)
		check_id(*ours, id);
	else
		assert(id[0] == '\0');
	return 0;
}
