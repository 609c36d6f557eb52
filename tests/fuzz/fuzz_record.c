/* The input is a record without its checksum, which is added: no mutation would get past it. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/checksum.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char domain[] = "good.test";

/* What is accepted has one spelling only, and one of version 1, which is not written. */
static void
check_again(const struct entry *e, time_t due, const unsigned char *bytes, size_t len)
{
	size_t again_len = 0;
	unsigned char *again = record_encode(domain, e, due, &again_len);

	assert(again != NULL);
	assert(bytes[0] == 1 || (again_len == len && memcmp(again, bytes, len) == 0));
	free(again);
}

static void
check(const unsigned char *bytes, size_t len)
{
	struct entry e = {0};
	time_t due, due_checked;
	enum record_result r = record_decode(domain, cursor_of(bytes, len), &e, &due);

	assert(record_decode(domain, cursor_of(bytes, len), NULL, &due_checked) == r ||
	       r == RECORD_NO_MEMORY);
	if (r != RECORD_OK)
		return;
	assert(due == due_checked);
	check_again(&e, due, bytes, len);
	entry_clear(&e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *bytes = malloc(size + 8);
	uint64_t sum = checksum(checksum(0, domain, strlen(domain)), data, size);

	assert(bytes != NULL);
	check(data, size); /* as it is: damaged, nearly always */
	memcpy(bytes, data, size);
	for (size_t i = 0; i < 8; i++)
		bytes[size + i] = (unsigned char)(sum >> (8 * i));
	check(bytes, size + 8);
	free(bytes);
	return 0;
}
