#include "store/datafile.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The layout is that of LMDB's own structs: native byte order and word size. */
enum {
	MAGIC = (int)0xBEEFC0DE,
	FORMAT = 1,
	FORMAT_MAX = 99, /* more is a broken number, not a newer LMDB */
	PAGE_BRANCH = 0x01,
	PAGE_LEAF = 0x02,
	PAGE_OVERFLOW = 0x04,
	PAGE_META = 0x08,
	NODE_BIG = 0x01,  /* the value is on overflow pages */
	NODE_TREE = 0x02, /* the value is a struct datafile_tree */
	TREE_INTEGER_KEY = 0x08,
	N_META = 2,
	DEPTH_MAX = 32,
	PAGE_SIZE_MIN = 512,
	PAGE_SIZE_MAX = 65536,
	KEY_MAX = 511,
	NAME_MAX_LEN = 32 /* of our databases */
};
#define NO_ROOT SIZE_MAX

struct page_header {
	size_t page;
	uint16_t pad, flags;
	union {
		struct {
			uint16_t lower, upper;
		} bounds;
		uint32_t n_overflow;
	} u;
};

struct meta {
	uint32_t magic, format;
	void *address;
	size_t map_size;
	struct datafile_tree free, main;
	size_t last_page, txn_id;
};

struct node_header {
	uint16_t low, high, flags, key_len;
};

/* ---- the two meta pages ---- */

static ssize_t
read_at(int fd, void *buf, size_t len, off_t at)
{
	size_t have = 0;
	ssize_t n;

	while (have < len) {
		n = pread(fd, (char *)buf + have, len - have, at + (off_t)have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static enum datafile_result
read_meta(int fd, size_t page, off_t at, struct meta *meta, struct errmsg *em)
{
	unsigned char bytes[sizeof(struct page_header) + sizeof(*meta)];
	struct page_header header;
	ssize_t n = read_at(fd, bytes, sizeof(bytes), at);

	if (n < 0) {
		errmsg_set(em, "reading failed: %s", strerror(errno));
		return DATAFILE_FAILED;
	}
	memcpy(&header, bytes, sizeof(header));
	memcpy(meta, bytes + sizeof(header), sizeof(*meta));
	if ((size_t)n != sizeof(bytes) || header.page != page || header.flags != PAGE_META ||
	    meta->magic != (uint32_t)MAGIC) {
		errmsg_set(em, "its meta page %zu is not one of LMDB", page);
		return DATAFILE_DAMAGED;
	}
	if (meta->format == FORMAT)
		return DATAFILE_OK;
	errmsg_set(em, "it has LMDB's format %u, and this program knows %d",
	    (unsigned int)meta->format, FORMAT);
	return meta->format > FORMAT && meta->format <= FORMAT_MAX ? DATAFILE_NEWER
								   : DATAFILE_DAMAGED;
}

static bool
page_size_valid(size_t size)
{
	return size >= PAGE_SIZE_MIN && size <= PAGE_SIZE_MAX && (size & (size - 1)) == 0;
}

static enum datafile_result
read_metas(int fd, struct meta meta[N_META], struct errmsg *em)
{
	enum datafile_result rc = read_meta(fd, 0, 0, &meta[0], em), second;

	if (rc == DATAFILE_DAMAGED || rc == DATAFILE_FAILED)
		return rc;
	if (!page_size_valid(meta[0].free.pad)) {
		errmsg_set(em, "its page size of %u cannot be", meta[0].free.pad);
		return rc == DATAFILE_NEWER ? rc : DATAFILE_DAMAGED;
	}
	second = read_meta(fd, 1, (off_t)meta[0].free.pad, &meta[1], rc == DATAFILE_OK ? em : NULL);
	if (rc == DATAFILE_NEWER) /* one of them alone is damage */
		return second == DATAFILE_OK ? DATAFILE_DAMAGED : rc;
	return second == DATAFILE_NEWER ? DATAFILE_DAMAGED : second;
}

enum datafile_result
datafile_head(int fd, struct datafile_head *head, struct errmsg *em)
{
	struct meta meta[N_META], *newer;
	enum datafile_result rc;
	struct stat sb;

	if (fstat(fd, &sb) != 0) {
		errmsg_set(em, "fstat failed: %s", strerror(errno));
		return DATAFILE_FAILED;
	}
	if ((rc = read_metas(fd, meta, em)) != DATAFILE_OK)
		return rc;
	newer = meta[0].txn_id < meta[1].txn_id ? &meta[1] : &meta[0];
	*head = (struct datafile_head){.page_size = meta[0].free.pad,
	    .last_page = newer->last_page,
	    .txn_id = newer->txn_id,
	    .file_size = sb.st_size,
	    .free = newer->free,
	    .main = newer->main};
	if (meta[1].free.pad != meta[0].free.pad || head->last_page < N_META - 1 ||
	    head->free.flags != TREE_INTEGER_KEY || head->main.flags != 0 ||
	    head->last_page >= (size_t)INT64_MAX / head->page_size) {
		errmsg_set(em, "its meta pages contradict themselves");
		return DATAFILE_DAMAGED;
	}
	return DATAFILE_OK;
}

/* ---- the walk ---- */

struct walk {
	int fd;
	const struct datafile_head *head;
	unsigned char *seen; /* a bit a page */
	datafile_item_cb *cb;
	void *arg;
	struct errmsg *em;
	bool failed; /* to read, or no memory: not the file's fault */
};

/* One tree under way. */
struct tree {
	const struct datafile_tree *db;
	const char *name;    /* NULL: the free pages; "": the names of the others */
	unsigned char *path; /* the pages from the root to the one under way */
	size_t branch_pages, leaf_pages, overflow_pages, entries;
	unsigned char last[KEY_MAX]; /* the last key seen, in order of the walk */
	size_t last_len;
	bool have_last, last_is_separator;
};

static bool walk_tree(struct walk *w, const struct datafile_tree *db, const char *name);

static bool
damaged(struct walk *w, size_t page, const char *what)
{
	errmsg_set(w->em, "page %zu %s", page, what);
	return false;
}

static bool
claim(struct walk *w, size_t page)
{
	unsigned char bit = (unsigned char)(1 << page % 8);

	if (page < N_META || page > w->head->last_page)
		return damaged(w, page, "does not exist");
	if ((w->seen[page / 8] & bit) != 0)
		return damaged(w, page, "is used twice");
	w->seen[page / 8] |= bit;
	return true;
}

/* Reads len bytes from the start of a page. */
static bool
read_page(struct walk *w, size_t page, void *buf, size_t len)
{
	ssize_t n = read_at(w->fd, buf, len, (off_t)(page * w->head->page_size));

	if (n < 0) {
		errmsg_set(w->em, "reading page %zu failed: %s", page, strerror(errno));
		w->failed = true;
		return false;
	}
	return (size_t)n == len || damaged(w, page, "lies beyond the end of the file");
}

static void *
walk_alloc(struct walk *w, size_t len)
{
	void *p = calloc(1, len);

	if (p == NULL) {
		errmsg_set(w->em, "no memory to check it");
		w->failed = true;
	}
	return p;
}

static int
compare_keys(const struct tree *t, const struct cursor *key)
{
	size_t len = cursor_len(key), n = len < t->last_len ? len : t->last_len;
	size_t a, b;
	int diff;

	if (t->db->flags & TREE_INTEGER_KEY) {
		memcpy(&a, t->last, sizeof(a));
		memcpy(&b, key->p, sizeof(b));
		return a < b ? -1 : a > b;
	}
	diff = n > 0 ? memcmp(t->last, key->p, n) : 0;
	return diff != 0 ? diff : t->last_len < len ? -1 : t->last_len > len;
}

/* Keys rise strictly; only a separator may equal the first key of the page that it leads to. */
static bool
in_order(struct walk *w, struct tree *t, size_t page, struct cursor key, bool separator)
{
	size_t len = cursor_len(&key);

	if (len == 0 || len > KEY_MAX ||
	    ((t->db->flags & TREE_INTEGER_KEY) && len != sizeof(size_t)))
		return damaged(w, page, "has a key of a wrong length");
	if (t->have_last) {
		int order = compare_keys(t, &key);

		if (order > 0 || (order == 0 && (separator || !t->last_is_separator)))
			return damaged(w, page, "has a key out of order");
	}
	memcpy(t->last, key.p, len);
	t->last_len = len;
	t->have_last = true;
	t->last_is_separator = separator;
	return true;
}

/* A list of free pages, of one transaction: their number, then the pages. */
static bool
free_list(struct walk *w, size_t page, struct cursor value)
{
	size_t n, free_page;

	if (cursor_len(&value) < sizeof(n))
		return damaged(w, page, "has a short list of free pages");
	memcpy(&n, value.p, sizeof(n));
	if (n > cursor_len(&value) / sizeof(n) - 1)
		return damaged(w, page, "has a wrong list of free pages");
	for (size_t i = 1; i <= n; i++) {
		memcpy(&free_page, value.p + i * sizeof(n), sizeof(n));
		if (!claim(w, free_page))
			return false;
	}
	return true;
}

static bool
item_found(struct walk *w, struct tree *t, size_t page, struct cursor key, struct cursor value)
{
	return t->name == NULL ? free_list(w, page, value)
			       : w->cb(t->name, key, value, w->arg) ||
				     damaged(w, page, "holds what the store cannot have written");
}

/* A value on pages of its own. */
static bool
big_value(struct walk *w, struct tree *t, struct cursor key, size_t page, size_t len)
{
	size_t n = (sizeof(struct page_header) - 1 + len) / w->head->page_size + 1;
	struct page_header header;
	unsigned char *bytes;
	bool ok;

	if (page > w->head->last_page || n > w->head->last_page + 1 - page)
		return damaged(w, page, "does not exist");
	for (size_t i = 0; i < n; i++)
		if (!claim(w, page + i))
			return false;
	if ((bytes = walk_alloc(w, sizeof(header) + len)) == NULL)
		return false;
	ok = read_page(w, page, bytes, sizeof(header) + len);
	memcpy(&header, bytes, sizeof(header));
	if (ok &&
	    (header.page != page || header.flags != PAGE_OVERFLOW || header.u.n_overflow != n))
		ok = damaged(w, page, "is not the big value that it should be");
	t->overflow_pages += n;
	ok = ok && item_found(w, t, page, key, cursor_of(bytes + sizeof(header), len));
	free(bytes);
	return ok;
}

/* A database inside the main tree. */
static bool
named_tree(struct walk *w, size_t page, struct cursor key, struct cursor value)
{
	struct datafile_tree db;
	char name[NAME_MAX_LEN + 1] = "";

	if (cursor_len(&value) != sizeof(db) || cursor_len(&key) > NAME_MAX_LEN)
		return damaged(w, page, "describes a database wrongly");
	memcpy(&db, value.p, sizeof(db));
	memcpy(name, key.p, cursor_len(&key));
	if (db.flags != 0)
		return damaged(w, page, "describes a database that the store does not make");
	return walk_tree(w, &db, name);
}

static bool
leaf_node(
    struct walk *w, struct tree *t, size_t page, const struct node_header *node, struct cursor rest)
{
	struct cursor key = {rest.p, rest.p + node->key_len}, value = {key.end, rest.end};
	size_t len = (size_t)node->low | (size_t)node->high << 16, big;
	bool names = t->name != NULL && t->name[0] == '\0';

	if (!in_order(w, t, page, key, false))
		return false;
	t->entries++;
	if (names != (node->flags == NODE_TREE) || (node->flags & ~(NODE_BIG | NODE_TREE)) != 0)
		return damaged(w, page, "has an item of a wrong kind");
	if (node->flags == NODE_BIG) {
		if (cursor_len(&value) < sizeof(big))
			return damaged(w, page, "has an item beyond its end");
		memcpy(&big, value.p, sizeof(big));
		return big_value(w, t, key, big, len);
	}
	if (cursor_len(&value) < len)
		return damaged(w, page, "has an item beyond its end");
	value.end = value.p + len;
	return names ? named_tree(w, page, key, value) : item_found(w, t, page, key, value);
}

static bool walk_page(struct walk *w, struct tree *t, size_t page, unsigned int depth);

static bool
branch_node(struct walk *w, struct tree *t, size_t page, const struct node_header *node,
    struct cursor rest, unsigned int depth, bool first)
{
	size_t child = (size_t)node->low | (size_t)node->high << 16;

	if (sizeof(child) > 4)
		child |= (size_t)node->flags << (sizeof(child) > 4 ? 32 : 0);
	rest.end = rest.p + node->key_len;
	return (first || in_order(w, t, page, rest, true)) && walk_page(w, t, child, depth + 1);
}

/* The nodes of a page that is already known to be a leaf or a branch. */
static bool
walk_nodes(struct walk *w, struct tree *t, const unsigned char *bytes, unsigned int depth)
{
	struct page_header header;
	struct node_header node;
	size_t n, size = w->head->page_size;
	uint16_t at;

	memcpy(&header, bytes, sizeof(header));
	n = (header.u.bounds.lower - sizeof(header)) / sizeof(at);
	for (size_t i = 0; i < n; i++) {
		memcpy(&at, bytes + sizeof(header) + i * sizeof(at), sizeof(at));
		if (at < header.u.bounds.upper || at + sizeof(node) > size)
			return damaged(w, header.page, "has an item outside itself");
		memcpy(&node, bytes + at, sizeof(node));
		struct cursor rest = {bytes + at + sizeof(node), bytes + size};
		if (node.key_len > cursor_len(&rest))
			return damaged(w, header.page, "has a key beyond its end");
		if (!(header.flags == PAGE_LEAF
			    ? leaf_node(w, t, header.page, &node, rest)
			    : branch_node(w, t, header.page, &node, rest, depth, i == 0)))
			return false;
	}
	return true;
}

static bool
page_valid(struct walk *w, struct tree *t, size_t page, const unsigned char *bytes, bool leaf)
{
	struct page_header header;
	size_t lower, upper, least = leaf || t->name == NULL ? 1 : 2;

	memcpy(&header, bytes, sizeof(header));
	lower = header.u.bounds.lower;
	upper = header.u.bounds.upper;
	if (header.page != page)
		return damaged(w, page, "holds another page, or nothing");
	/* no other bit: LMDB would take the page for one that it is changing, and not write it */
	if (header.flags != (leaf ? PAGE_LEAF : PAGE_BRANCH))
		return damaged(w, page, "is of a wrong kind");
	if (lower < sizeof(header) + least * sizeof(uint16_t) || lower > upper ||
	    upper > w->head->page_size || lower % 2 != 0)
		return damaged(w, page, "has wrong bounds");
	return true;
}

static bool
walk_page(struct walk *w, struct tree *t, size_t page, unsigned int depth)
{
	bool leaf = depth + 1 == t->db->depth;
	unsigned char *bytes = t->path + depth * w->head->page_size;

	if (leaf)
		t->leaf_pages++;
	else
		t->branch_pages++;
	return claim(w, page) && read_page(w, page, bytes, w->head->page_size) &&
	       page_valid(w, t, page, bytes, leaf) && walk_nodes(w, t, bytes, depth);
}

static bool
walk_tree(struct walk *w, const struct datafile_tree *db, const char *name)
{
	struct tree *t;
	bool ok;

	if (db->depth > DEPTH_MAX || (db->root == NO_ROOT) != (db->depth == 0)) {
		errmsg_set(w->em, "database \"%s\" is described wrongly", name == NULL ? "" : name);
		return false;
	}
	if ((t = walk_alloc(w, sizeof(*t))) == NULL)
		return false;
	t->db = db;
	t->name = name;
	ok = db->root == NO_ROOT ||
	     ((t->path = walk_alloc(w, db->depth * w->head->page_size)) != NULL &&
		 walk_page(w, t, db->root, 0));
	if (ok && (t->entries != db->entries || t->branch_pages != db->branch_pages ||
		      t->leaf_pages != db->leaf_pages || t->overflow_pages != db->overflow_pages)) {
		errmsg_set(w->em, "database \"%s\" has %zu items and should have %zu",
		    name == NULL ? "" : name, t->entries, db->entries);
		ok = false;
	}
	free(t->path);
	free(t);
	return ok;
}

enum datafile_result
datafile_walk(
    int fd, const struct datafile_head *head, datafile_item_cb *cb, void *arg, struct errmsg *em)
{
	struct walk w = {.fd = fd, .head = head, .cb = cb, .arg = arg, .em = em};
	size_t pages_in_file = (size_t)head->file_size / head->page_size;
	bool ok;

	/* Pages that were free at once may never have been written; whole megabytes of them,
	 * hardly. */
	if (head->last_page / 2 > pages_in_file + 1024) {
		errmsg_set(em, "%zu pages are there and there should be %zu", pages_in_file,
		    head->last_page + 1);
		return DATAFILE_DAMAGED;
	}
	if ((w.seen = walk_alloc(&w, head->last_page / 8 + 1)) == NULL)
		return DATAFILE_FAILED;
	ok = walk_tree(&w, &head->free, NULL) && walk_tree(&w, &head->main, "");
	free(w.seen);
	return ok ? DATAFILE_OK : w.failed ? DATAFILE_FAILED : DATAFILE_DAMAGED;
}
