#include "maps/hashfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Offsets in bytes. The first page's own fields follow the ones that each page has. */
enum {
	META_MAGIC = 12,
	META_VERSION = 16,
	META_PAGE_SIZE = 20,
	META_FLAGS = 26,
	META_FREE = 28,
	META_LAST_PAGE = 32,
	META_MAX_BUCKET = 72,
	META_HIGH_MASK = 76,
	META_LOW_MASK = 80,
	META_PAIRS = 88,
	META_SPARES =
	    96, /* where each doubling's pages begin, less the number of its first bucket */
	META_LEN = 224,
	PAGE_NUMBER = 8,
	PAGE_PREVIOUS = 12,
	PAGE_NEXT = 16,
	PAGE_ENTRIES = 20,
	PAGE_TYPE = 25,
	PAGE_HEAD_LEN = 26,
	PAGE_CHECKSUM = 28,    /* in files with checksums, behind two unused bytes */
	PAGE_CHECKSUM_LEN = 6, /* so much longer is the head there */
};

enum { HASH_MAGIC = 0x061561, HASH_VERSION = 9, N_SPARES = 32 };
enum { PAGE_FREE = 0, PAGE_HASH_UNSORTED = 2, PAGE_HASH = 13 };
enum { ITEM_IN_PAGE = 1 }; /* the first byte of an item: key or value follow */
enum { META_FLAG_CHECKSUM = 1 };
enum { PAGE_SIZE_OURS = 4096, PAGE_SIZE_MIN = 512, PAGE_SIZE_MAX = 65536 };

struct layout {
	int fd;
	const char *name;
	bool checksums;
	uint32_t page_size, last_page, free, max_bucket, high_mask, low_mask, pairs;
	uint32_t spares[N_SPARES];
};

static uint32_t
number_at(const unsigned char *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

static size_t
short_at(const unsigned char *p)
{
	uint16_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

static enum sink_result
damaged(const struct layout *l, const char *what, uint32_t page, struct errmsg *em)
{
	errmsg_set(em,
	    "%s: page %lu %s; mtastsd rebuilds it by itself; if this comes again, check the disk",
	    l->name, (unsigned long)page, what);
	return SINK_DAMAGED;
}

static enum sink_result
read_at(const struct layout *l, void *buf, size_t len, uint32_t page, struct errmsg *em)
{
	ssize_t n = pread(l->fd, buf, len, (off_t)page * l->page_size);

	if (n == (ssize_t)len)
		return SINK_OK;
	if (n >= 0)
		return damaged(l, "is cut off", page, em);
	errmsg_set(em, "%s: cannot read page %lu: %s; check the disk", l->name, (unsigned long)page,
	    strerror(errno));
	return errno == EIO ? SINK_DAMAGED : SINK_FAILED;
}

static enum sink_result
read_layout(struct layout *l, struct errmsg *em)
{
	unsigned char meta[META_LEN];
	struct stat st;
	enum sink_result r = read_at(l, meta, sizeof(meta), 0, em);

	if (r != SINK_OK)
		return r;
	l->page_size = number_at(meta + META_PAGE_SIZE);
	l->checksums = (meta[META_FLAGS] & META_FLAG_CHECKSUM) != 0;
	l->last_page = number_at(meta + META_LAST_PAGE);
	l->free = number_at(meta + META_FREE);
	l->max_bucket = number_at(meta + META_MAX_BUCKET);
	l->high_mask = number_at(meta + META_HIGH_MASK);
	l->low_mask = number_at(meta + META_LOW_MASK);
	l->pairs = number_at(meta + META_PAIRS);
	for (size_t i = 0; i < N_SPARES; i++)
		l->spares[i] = number_at(meta + META_SPARES + i * sizeof(uint32_t));
	if (number_at(meta + META_MAGIC) != HASH_MAGIC ||
	    number_at(meta + META_VERSION) != HASH_VERSION || l->page_size < PAGE_SIZE_MIN ||
	    l->page_size > PAGE_SIZE_MAX || l->max_bucket > l->last_page)
		return damaged(l, "is not the head of a hash map of version 9", 0, em);
	if (fstat(l->fd, &st) == 0 && st.st_size < ((off_t)l->last_page + 1) * l->page_size)
		return damaged(l, "is cut off", l->last_page, em);
	return SINK_OK;
}

/* Doubling d has buckets 2^(d-1) to 2^d - 1; the pages of one doubling lie side by side. */
static uint32_t
page_of(const struct layout *l, uint32_t bucket)
{
	unsigned doubling = 0;

	while (doubling < N_SPARES - 1 && (UINT64_C(1) << doubling) < (uint64_t)bucket + 1)
		doubling++;
	return bucket + l->spares[doubling];
}

/* libdb's own: a byte string hash over the page, the checksum itself taken as zeros. */
static bool
checksum_fits(const unsigned char *page, size_t len)
{
	uint32_t h = 0;

	for (size_t i = 0; i < len; i++)
		h = h * 33 + (i >= PAGE_CHECKSUM && i < PAGE_CHECKSUM + sizeof(h) ? 0 : page[i]);
	return h == number_at(page + PAGE_CHECKSUM);
}

static bool
is_hash(unsigned char type)
{
	return type == PAGE_HASH || type == PAGE_HASH_UNSORTED;
}

static bool
is_free(unsigned char type)
{
	return type == PAGE_FREE;
}

/* A page that another one leads to. buf: room for it. */
static enum sink_result
read_page(const struct layout *l, uint32_t page, bool (*is_kind)(unsigned char type),
    unsigned char *buf, struct errmsg *em)
{
	enum sink_result r;

	if (page > l->last_page)
		return damaged(l, "does not exist, but another one leads there", page, em);
	if ((r = read_at(l, buf, l->page_size, page, em)) != SINK_OK)
		return r;
	if (number_at(buf + PAGE_NUMBER) != page || !is_kind(buf[PAGE_TYPE]))
		return damaged(l, "was lost: it holds something else", page, em);
	if (l->checksums && !checksum_fits(buf, l->page_size))
		return damaged(l, "was changed by somebody else: its checksum is wrong", page, em);
	return SINK_OK;
}

/* A bucket's page and those that it overflows to; *pairs grows by what they hold. */
static enum sink_result
check_bucket(
    const struct layout *l, uint32_t bucket, unsigned char *buf, uint32_t *pairs, struct errmsg *em)
{
	uint32_t page = page_of(l, bucket), previous = 0;
	enum sink_result r;

	do {
		if ((r = read_page(l, page, is_hash, buf, em)) != SINK_OK)
			return r;
		if (number_at(buf + PAGE_PREVIOUS) != previous) /* so no chain bites its tail */
			return damaged(l, "belongs elsewhere than another one says", page, em);
		*pairs += (uint32_t)short_at(buf + PAGE_ENTRIES) / 2;
		previous = page;
		page = number_at(buf + PAGE_NEXT);
	} while (page != 0);
	return SINK_OK;
}

/* The first pages of the list of free ones: libdb takes from there what a bucket needs. */
static enum sink_result
check_free(const struct layout *l, uint32_t max, unsigned char *buf, struct errmsg *em)
{
	uint32_t page = l->free;
	enum sink_result r;

	for (uint32_t n = 0; page != 0 && n < max; n++) {
		if (n > l->last_page)
			return damaged(l, "is free twice", page, em);
		if ((r = read_page(l, page, is_free, buf, em)) != SINK_OK)
			return r;
		page = number_at(buf + PAGE_NEXT);
	}
	return SINK_OK;
}

static enum sink_result
no_memory(const char *name, struct errmsg *em)
{
	errmsg_set(em, "%s: cannot check: out of memory; free some", name);
	return SINK_FAILED;
}

/* Lays it out; *buf: room for a page, to be freed. */
static enum sink_result
begin(struct layout *l, int fd, const char *name, unsigned char **buf, struct errmsg *em)
{
	enum sink_result r;

	*l = (struct layout){.fd = fd, .name = name};
	*buf = NULL;
	if ((r = read_layout(l, em)) != SINK_OK)
		return r;
	return (*buf = malloc(l->page_size)) != NULL ? SINK_OK : no_memory(name, em);
}

enum sink_result
hashfile_check(int fd, const char *name, uint32_t *bucket, uint32_t n, struct errmsg *em)
{
	struct layout l;
	unsigned char *buf;
	uint32_t first = *bucket, b, pairs = 0;
	enum sink_result r = begin(&l, fd, name, &buf, em);

	*bucket = 0;
	if (r == SINK_OK && first > l.max_bucket)
		first = 0;
	for (b = first; r == SINK_OK && n > 0 && b <= l.max_bucket; b++, n--)
		r = check_bucket(&l, b, buf, &pairs, em);
	if (r == SINK_OK && b <= l.max_bucket)
		*bucket = b;
	else if (r == SINK_OK && first == 0 && pairs != l.pairs)
		r = damaged(&l, "counts more keys than there are: some were lost", 0, em);
	if (r == SINK_OK && *bucket == 0)
		r = check_free(&l, UINT32_MAX, buf, em);
	free(buf);
	return r;
}

/* libdb's own, and how it finds the bucket. */
static uint32_t
bucket_of(const struct layout *l, const char *key)
{
	uint32_t h = 0, bucket;

	for (; *key != '\0'; key++)
		h = h * 16777619 ^ (unsigned char)*key;
	bucket = h & l->high_mask;
	return bucket > l->max_bucket ? bucket & l->low_mask : bucket;
}

enum sink_result
hashfile_check_key(int fd, const char *name, const char *key, struct errmsg *em)
{
	struct layout l;
	unsigned char *buf;
	uint32_t pairs = 0;
	enum sink_result r = begin(&l, fd, name, &buf, em);

	if (r == SINK_OK)
		r = check_bucket(&l, bucket_of(&l, key), buf, &pairs, em);
	free(buf);
	return r;
}

enum sink_result
hashfile_check_free(int fd, const char *name, uint32_t n, struct errmsg *em)
{
	struct layout l;
	unsigned char *buf;
	enum sink_result r = begin(&l, fd, name, &buf, em);

	if (r == SINK_OK)
		r = check_free(&l, n, buf, em);
	free(buf);
	return r;
}

/* --- salvage --- */

struct page {
	const unsigned char *bytes;
	size_t size, index; /* where the offsets of its items begin */
};

/* Items fill the page from its end: item i reaches from its offset to where item i - 1 begins. */
static bool
item_at(const struct page *p, size_t i, struct cursor *out)
{
	size_t begin = short_at(p->bytes + p->index + i * 2);
	size_t end = i == 0 ? p->size : short_at(p->bytes + p->index + (i - 1) * 2);

	if (begin >= end || end > p->size || begin < p->index || p->bytes[begin] != ITEM_IN_PAGE)
		return false;
	*out = cursor_of(p->bytes + begin + 1, end - begin - 1);
	return true;
}

static bool
salvage_page(const struct page *p, bool (*each)(struct cursor key, struct cursor value, void *arg),
    void *arg)
{
	size_t n = short_at(p->bytes + PAGE_ENTRIES);
	struct cursor key, value;

	if (p->bytes[PAGE_TYPE] != PAGE_HASH && p->bytes[PAGE_TYPE] != PAGE_HASH_UNSORTED)
		return true;
	for (size_t i = 0; i + 1 < n && p->index + (i + 2) * 2 <= p->size; i += 2)
		if (item_at(p, i, &key) && item_at(p, i + 1, &value) && !each(key, value, arg))
			return false;
	return true;
}

/* Without a first page to tell it, the file is taken for one that we made. */
static struct page
page_form(const struct layout *l, enum sink_result r)
{
	struct page p = {.size = PAGE_SIZE_OURS, .index = PAGE_HEAD_LEN + PAGE_CHECKSUM_LEN};

	if (r != SINK_OK)
		return p;
	p.size = l->page_size;
	if (!l->checksums)
		p.index = PAGE_HEAD_LEN;
	return p;
}

enum sink_result
hashfile_salvage(int fd, const char *name,
    bool (*each)(struct cursor key, struct cursor value, void *arg), void *arg, struct errmsg *em)
{
	struct layout l = {.fd = fd, .name = name};
	struct page p = page_form(&l, read_layout(&l, NULL));
	unsigned char *bytes = malloc(p.size);
	bool more = true;
	ssize_t n = 0;

	if (bytes == NULL)
		return no_memory(name, em);
	p.bytes = bytes;
	for (off_t at = 0; more; at += (off_t)p.size) {
		memset(bytes, 0, p.size); /* a page that ends early has no more items */
		n = pread(fd, bytes, p.size, at);
		if (n == 0 || (n < 0 && errno != EIO))
			break;
		more = salvage_page(&p, each, arg);
	}
	free(bytes);
	if (n >= 0 || errno == EIO)
		return SINK_OK;
	errmsg_set(em, "%s: cannot read: %s; check the disk", name, strerror(errno));
	return SINK_FAILED;
}
