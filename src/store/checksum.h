/* store/checksum.h: SipHash-2-4 with a fixed key: finds accidents, not forgers; who can write the
 * store can write the checksum too. */
#ifndef STORE_CHECKSUM_H
#define STORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of bytes, whose meaning also depends on seed (a domain's own checksum, or 0). */
uint64_t checksum(uint64_t seed, const void *bytes, size_t len);

#endif
