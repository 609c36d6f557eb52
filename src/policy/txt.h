/* policy/txt.h: the TXT record at _mta-sts.<domain>. RFC 8461 section 3.1. */
#ifndef POLICY_TXT_H
#define POLICY_TXT_H

#include <stddef.h>

#include "util/cursor.h"
#include "util/errmsg.h"

enum { TXT_ID_MAX = 32 };

enum txt_result {
	TXT_RECORD,  /* exactly one record, and it is well formed */
	TXT_ABSENT,  /* no record begins with "v=STSv1;" */
	TXT_INVALID, /* several do, or the one breaks the ABNF: counts as though there were none */
	TXT_TEMPFAIL /* never returned by txt_select(): the lookup itself failed */
};

/*
 * Finds the policy id in the TXT records of one name.
 *   records, n  one view a record, its character-strings joined without spaces (section 3.1)
 *   id          set on TXT_RECORD only
 *   em          set otherwise: why, for people
 */
MUST_USE enum txt_result txt_select(
    const struct cursor *records, size_t n, char id[TXT_ID_MAX + 1], struct errmsg *em);

#endif
