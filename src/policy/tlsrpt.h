/* policy/tlsrpt.h: the TXT record at _smtp._tls.<domain>. RFC 8460 section 3. */
#ifndef POLICY_TLSRPT_H
#define POLICY_TLSRPT_H

#include <stddef.h>

#include "policy/txt.h"
#include "util/cursor.h"
#include "util/errmsg.h"

enum { TLSRPT_RUA_MAX = 256 }; /* bytes with the NUL; a longer list of addresses is cut */

/*
 * Finds where reports go in the TXT records of one name, for people to read: the addresses are not
 * judged, and odd bytes come out as '?'. Arguments and results are those of txt_select(); rua is
 * set on TXT_RECORD only.
 */
MUST_USE enum txt_result tlsrpt_select(
    const struct cursor *records, size_t n, char rua[TLSRPT_RUA_MAX], struct errmsg *em);

#endif
