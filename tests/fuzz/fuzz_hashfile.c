/* The input is the file of a policy map, of which nothing may be believed. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "maps/hashfile.h"
#include "maps/mapkey.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	size_t pairs, bytes;
};

static bool
look_at(struct cursor key, struct cursor value, void *arg)
{
	struct seen *seen = arg;
	struct mapkey k;
	struct requirement r = mapvalue_parse(value);

	assert(r.kind != REQUIRE_UNKNOWN || r.until == 0);
	if (mapkey_parse(key, &k) == MAPKEY_DOMAIN)
		assert(k.domain[0] != '\0');
	for (const unsigned char *p = key.p; p < key.end; p++)
		seen->bytes += *p != 0; /* reads all of it */
	seen->pairs++;
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("policy.db", MFD_CLOEXEC);
	struct seen seen = {0};
	struct errmsg em = {""};
	uint32_t bucket = 0;

	assert(fd >= 0);
	assert(write(fd, data, size) == (ssize_t)size);
	if (hashfile_check(fd, "policy.db", &bucket, UINT32_MAX, &em) != SINK_OK)
		assert(em.text[0] != '\0');
	assert(bucket == 0);
	assert(hashfile_salvage(fd, "policy.db", look_at, &seen, &em) == SINK_OK);
	assert(
	    seen.pairs <= size / 4); /* a pair has two offsets; no pair is seen twice on a page */
	close(fd);
	return 0;
}
