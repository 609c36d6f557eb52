/* store/record.h: an entry as bytes: fixed layout, little endian, checksummed. Stored bytes are
 * checked like bytes from the network. */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "policy/entry.h"
#include "util/cursor.h"

/*
 * Version 2, in this order; all numbers little endian:
 *   u8 version, u8 state, u8 mode, u8 failure type, u32 max_age
 *   i64 due, fetched, expires, confirmed, recheck, refetch, wanted, used, failure.at, failure.retry
 *   u32 failure.count, u32 n_mx
 *   u8 length of id, u8 length of failure.id, u16 length of failure.reason, u32 length of the rest
 *   i64 first, look.at
 *   u8 look.row, u8 look.txt, u8 look.fetch, u8 length of look.id, u16 length of look.reason, u16 0
 *   the rest: id, failure.id, failure.reason, look.id, look.reason, then n_mx times a u8 length and
 *   an MX pattern
 *   u64 checksum of all before it, seeded with the checksum of the domain
 * Version 1 lacks all that begins with look, and first. It is read, with these unknown, and not
 * written.
 */
enum { RECORD_MAX = 1024 * 1024 }; /* bytes; a policy of POLICY_BODY_MAX makes less than half */

/* Times outside 0 .. RECORD_TIME_MAX (the end of the year 9999) are nobody's: not encoded, and
 * damage when read. */
#define RECORD_TIME_MAX INT64_C(253402300799)

/*
 * Returns bytes for the caller to free. `domain` is part of the checksum: a record under a wrong
 * key is damaged. due is when the schedule looks at the entry next; the index by time repeats it.
 * NULL with errno ENOMEM, or EINVAL: the entry breaks its own rules (a time or a text out of
 * bounds, a policy in a state that has none).
 */
MUST_USE unsigned char *record_encode(
    const char *domain, const struct entry *e, time_t due, size_t *len);

enum record_result { RECORD_OK, RECORD_DAMAGED, RECORD_NO_MEMORY };

/* Out and due are set on RECORD_OK only; the caller clears out. DAMAGED: the bytes are not a whole
 * record of this domain. Out NULL: only check. */
MUST_USE enum record_result record_decode(
    const char *domain, struct cursor bytes, struct entry *out, time_t *due);

#endif
