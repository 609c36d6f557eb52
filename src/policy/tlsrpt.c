#include "policy/tlsrpt.h"

#include <stdbool.h>

#include "policy/grammar.h"

static void
copy_rua(struct cursor value, char rua[TLSRPT_RUA_MAX])
{
	size_t n;

	for (n = 0; n < TLSRPT_RUA_MAX - 1 && value.p < value.end; n++, value.p++)
		rua[n] = (char)(*value.p < 0x20 || *value.p >= 0x7f ? '?' : *value.p);
	rua[n] = '\0';
}

/* The rua of the fields behind the version; false: there is none. */
static bool
find_rua(struct cursor c, char rua[TLSRPT_RUA_MAX])
{
	while (c.p < c.end) {
		struct cursor value;

		grammar_skip_wsp(&c);
		value.p = c.p;
		while (c.p < c.end && *c.p != ';')
			c.p++;
		value.end = c.p;
		if (cursor_take(&value, "rua=") && cursor_len(&value) > 0) {
			copy_rua(value, rua);
			return true;
		}
		if (c.p < c.end)
			c.p++;
	}
	return false;
}

enum txt_result
tlsrpt_select(const struct cursor *records, size_t n, char rua[TLSRPT_RUA_MAX], struct errmsg *em)
{
	struct cursor ours = {NULL, NULL};
	size_t n_ours = 0;

	for (size_t i = 0; i < n; i++) {
		struct cursor c = records[i];

		if (!cursor_take(&c, "v=TLSRPTv1;"))
			continue;
		ours = c;
		n_ours++;
	}
	if (n_ours == 0) {
		errmsg_set(em, "no TXT record begins with \"v=TLSRPTv1;\"");
		return TXT_ABSENT;
	}
	if (n_ours > 1) {
		errmsg_set(
		    em, "%zu TXT records begin with \"v=TLSRPTv1;\"; there must be one", n_ours);
		return TXT_INVALID;
	}
	if (!find_rua(ours, rua)) {
		errmsg_set(em, "the record has no rua");
		return TXT_INVALID;
	}
	return TXT_RECORD;
}
