/* Each thing that the check of LMDB's data file looks at, broken by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/audit.h"
#include "store/datafile.h"
#include "store/store.h"

enum {
	DOMAINS = 200,
	PAGE_HEADER = 16,
	/* offsets in a meta page and in a tree's description, on a machine of 64 bits */
	META_FREE_ROOT = 80,
	META_MAIN_ROOT = 128,
	META_TXN_ID = 144,
	TREE_ENTRIES = 32,
	TREE_ROOT = 40
};

static unsigned char *image; /* of a whole store; each test changes a copy */
static size_t image_len, page_size;

/* Some commits, so that the file has branches, a big value and free pages. */
static void
fill_store(struct store *st)
{
	static char names[600][24];
	static const char *mx[600];
	struct entry big = {.state = ENTRY_POLICY}, none = {.state = ENTRY_NONE};
	struct store_txn *txn;
	struct errmsg em;
	char domain[32];

	for (int i = 0; i < 600; i++) {
		snprintf(names[i], sizeof(names[i]), "mx%d.test", i);
		mx[i] = names[i];
	}
	big.policy = policy_new(MODE_ENFORCE, 86400, 600, mx);
	for (int commit = 0; commit < 4; commit++) {
		assert_int_equal(store_begin(st, &txn, &em), STORE_OK);
		for (int i = 0; i < DOMAINS; i++) {
			snprintf(domain, sizeof(domain), "d%d.test", i);
			assert_int_equal(
			    store_put(txn, domain, i == 7 ? &big : &none, commit, &em), STORE_OK);
		}
		assert_int_equal(store_commit(&txn, &em), STORE_OK);
	}
	entry_clear(&big);
}

static void
load(const char *path)
{
	struct stat sb;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0 && fstat(fd, &sb) == 0);
	image_len = (size_t)sb.st_size;
	image = malloc(image_len);
	assert_non_null(image);
	assert_int_equal(read(fd, image, image_len), image_len);
	close(fd);
}

static int
make_image(void **state UNUSED)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "writer.lock"};
	char dir[] = "/tmp/test_datafile.XXXXXX", path[64];
	struct store_config config = {dir, (size_t)64 << 20};
	struct store *st;
	struct errmsg em;
	bool recovered;

	if (sizeof(size_t) != 8 || mkdtemp(dir) == NULL ||
	    store_open(&config, &st, &recovered, &em) != STORE_OK)
		return -1;
	fill_store(st);
	store_close(&st);
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	load(path);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	page_size = (size_t)sysconf(_SC_PAGESIZE);
	return rmdir(dir);
}

static int
free_image(void **state UNUSED)
{
	free(image);
	return 0;
}

/* --- finding the way in the image --- */

static uint64_t
word(const unsigned char *at)
{
	uint64_t w;

	memcpy(&w, at, sizeof(w));
	return w;
}

static unsigned
half(const unsigned char *at)
{
	uint16_t h;

	memcpy(&h, at, sizeof(h));
	return h;
}

static unsigned char *
page_at(unsigned char *file, uint64_t page)
{
	assert_true(page < image_len / page_size);
	return file + page * page_size;
}

static unsigned char *
meta_of(unsigned char *file)
{
	return word(file + META_TXN_ID) > word(file + page_size + META_TXN_ID) ? file
									       : file + page_size;
}

/* The description of the tree of entries, in the leaf of names. */
static unsigned char *
entry_tree(unsigned char *file)
{
	unsigned char *names = page_at(file, word(meta_of(file) + META_MAIN_ROOT));
	unsigned char *at = memmem(names, page_size, STORE_DB_ENTRY, strlen(STORE_DB_ENTRY));

	assert_non_null(at);
	return at + strlen(STORE_DB_ENTRY);
}

static unsigned char *
entry_root(unsigned char *file)
{
	return page_at(file, word(entry_tree(file) + TREE_ROOT));
}

static unsigned char *
node_at(unsigned char *page, size_t i)
{
	return page + half(page + PAGE_HEADER + 2 * i);
}

static unsigned char *
entry_leaf(unsigned char *file)
{
	return page_at(file, half(node_at(entry_root(file), 1)));
}

/* --- ways to break it --- */

static void
swap_two_items(unsigned char *file)
{
	unsigned char *ptrs = entry_leaf(file) + PAGE_HEADER, first[2];

	memcpy(first, ptrs, 2);
	memcpy(ptrs, ptrs + 2, 2);
	memcpy(ptrs + 2, first, 2);
}

static void
repeat_an_item(unsigned char *file)
{
	unsigned char *ptrs = entry_leaf(file) + PAGE_HEADER;

	memcpy(ptrs, ptrs + 2, 2);
}

static void
count_one_more(unsigned char *file)
{
	entry_tree(file)[TREE_ENTRIES]++;
}

static void
renumber_a_page(unsigned char *file)
{
	entry_leaf(file)[0]++;
}

static void
make_a_leaf_a_branch(unsigned char *file)
{
	entry_leaf(file)[10] = 1;
}

/* As one that LMDB keeps back from writing. */
static void
set_another_flag_of_a_page(unsigned char *file)
{
	entry_leaf(file)[11] = 0x80;
}

static void
lead_twice_to_a_page(unsigned char *file)
{
	memcpy(node_at(entry_root(file), 2), node_at(entry_root(file), 1), 2);
}

static void
lead_beyond_all_pages(unsigned char *file)
{
	memset(node_at(entry_root(file), 1), 0xff, 4);
}

static void
lower_a_separator(unsigned char *file)
{
	unsigned char *key = node_at(entry_root(file), 2) + 8;

	assert_true(key[0] == 'd');
	key[0] = 'a';
}

static void
free_a_used_page(unsigned char *file)
{
	unsigned char *leaf = page_at(file, word(meta_of(file) + META_FREE_ROOT));
	unsigned char *list = node_at(leaf, 0) + 8 + 8;
	uint64_t used = word(entry_tree(file) + TREE_ROOT);

	assert_true(word(list) > 0);
	memcpy(list + 8, &used, sizeof(used));
}

static void
lengthen_a_free_list(unsigned char *file)
{
	unsigned char *leaf = page_at(file, word(meta_of(file) + META_FREE_ROOT));

	memset(node_at(leaf, 0) + 8 + 8, 0x7f, 8);
}

static void
put_an_item_outside(unsigned char *file)
{
	memset(entry_leaf(file) + PAGE_HEADER, 0xff, 2);
}

static void
lengthen_a_key(unsigned char *file)
{
	memset(node_at(entry_leaf(file), 0) + 6, 0xff, 2);
}

static void
lengthen_a_value(unsigned char *file)
{
	node_at(entry_leaf(file), 0)[2] = 1;
}

static void
widen_the_bounds(unsigned char *file)
{
	memset(entry_leaf(file) + 12, 0xff, 2);
}

static void
empty_a_page(unsigned char *file)
{
	unsigned char *leaf = entry_leaf(file);

	leaf[12] = PAGE_HEADER;
	leaf[13] = 0;
}

static void
break_the_big_value(unsigned char *file)
{
	unsigned char *leaf, *node, *key = NULL;

	for (size_t page = 2; page < image_len / page_size; page++) { /* also in old pages */
		leaf = page_at(file, page);
		if (half(leaf + 10) != 2 || (key = memmem(leaf, page_size, "d7.test", 7)) == NULL)
			continue;
		node = key - 8;
		if (half(node + 4) == 1)
			page_at(file, word(key + 7))[12]++;
	}
}

static void
describe_a_tree_too_deep(unsigned char *file)
{
	entry_tree(file)[6] = 200;
}

/* LMDB ends the process over the one, and takes the other for a database opened wrongly. */
static void
give_the_free_pages_duplicates(unsigned char *file)
{
	meta_of(file)[META_FREE_ROOT - 36] ^= 4;
}

static void
give_the_names_duplicates(unsigned char *file)
{
	meta_of(file)[META_MAIN_ROOT - 36] ^= 4;
}

static void
repeat_keys_in_a_tree_of_duplicates(unsigned char *file)
{
	entry_tree(file)[4] = 4;
}

/* --- the tests --- */

static bool
any_item(const char *db UNUSED, struct cursor key UNUSED, struct cursor value UNUSED, void *arg)
{
	++*(size_t *)arg;
	return true;
}

static enum datafile_result
walk_copy(void (*change)(unsigned char *), size_t len, size_t *items, struct errmsg *em)
{
	unsigned char *copy = malloc(image_len);
	int fd = memfd_create("data.mdb", MFD_CLOEXEC);
	struct datafile_head head;
	enum datafile_result r;

	assert_true(copy != NULL && fd >= 0);
	memcpy(copy, image, image_len);
	if (change != NULL)
		change(copy);
	assert_int_equal(write(fd, copy, len), len);
	free(copy);
	r = datafile_head(fd, &head, em);
	if (r == DATAFILE_OK)
		r = datafile_walk(fd, &head, any_item, items, em);
	close(fd);
	return r;
}

static void
a_whole_file_is_walked_to_its_last_item(void **state UNUSED)
{
	struct errmsg em = {""};
	size_t items = 0;

	if (walk_copy(NULL, image_len, &items, &em) != DATAFILE_OK)
		fail_msg("%s", em.text);
	assert_int_equal(items, 2 * DOMAINS + 3); /* entry, due, and three of meta */
}

static void
each_thing_broken_by_itself_is_found(void **state UNUSED)
{
	static const struct {
		void (*change)(unsigned char *);
		const char *what;
	} t[] = {
	    {swap_two_items, "out of order"},
	    {repeat_an_item, "out of order"},
	    {lower_a_separator, "out of order"},
	    {count_one_more, "should have"},
	    {renumber_a_page, "holds another page"},
	    {make_a_leaf_a_branch, "wrong kind"},
	    {set_another_flag_of_a_page, "wrong kind"},
	    {lead_twice_to_a_page, "used twice"},
	    {lead_beyond_all_pages, "does not exist"},
	    {free_a_used_page, "used twice"},
	    {lengthen_a_free_list, "wrong list of free pages"},
	    {put_an_item_outside, "outside itself"},
	    {lengthen_a_key, "key beyond its end"},
	    {lengthen_a_value, "item beyond its end"},
	    {widen_the_bounds, "wrong bounds"},
	    {empty_a_page, "wrong bounds"},
	    {break_the_big_value, "not the big value"},
	    {describe_a_tree_too_deep, "described wrongly"},
	    {repeat_keys_in_a_tree_of_duplicates, "does not make"},
	    {give_the_free_pages_duplicates, "contradict themselves"},
	    {give_the_names_duplicates, "contradict themselves"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct errmsg em = {""};
		size_t items = 0;
		enum datafile_result r = walk_copy(t[i].change, image_len, &items, &em);

		if (r != DATAFILE_DAMAGED || strstr(em.text, t[i].what) == NULL)
			fail_msg("row %zu (%s): %d, %s", i, t[i].what, (int)r, em.text);
	}
}

static void
a_page_that_the_file_no_longer_has_is_found(void **state UNUSED)
{
	struct errmsg em = {""};
	size_t items = 0, last = image_len;

	while (last > 3 * page_size) /* to the middle, where pages are used */
		last -= page_size;
	assert_int_equal(walk_copy(NULL, last, &items, &em), DATAFILE_DAMAGED);
	assert_int_equal(walk_copy(NULL, 100, &items, &em), DATAFILE_DAMAGED);
	assert_int_equal(walk_copy(NULL, 0, &items, &em), DATAFILE_DAMAGED);
	assert_non_null(strstr(em.text, "meta page 0"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_whole_file_is_walked_to_its_last_item),
	    cmocka_unit_test(each_thing_broken_by_itself_is_found),
	    cmocka_unit_test(a_page_that_the_file_no_longer_has_is_found),
	};

	return cmocka_run_group_tests(tests, make_image, free_image);
}
