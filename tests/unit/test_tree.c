/* test_tree.c: things found by their domain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "util/errmsg.h"
#include "util/tree.h"

struct node {
	char domain[32];
	int value;
};

static void
a_domain_is_there_once_and_found_until_removed(void **state UNUSED)
{
	struct node a = {"a.example", 1}, same = {"a.example", 2}, b = {"b.example", 3};
	void *root = NULL;

	assert_null(tree_find(&root, "a.example"));
	assert_true(tree_insert(&root, &a));
	assert_true(tree_insert(&root, &b));
	assert_false(tree_insert(&root, &same));
	assert_ptr_equal(tree_find(&root, "a.example"), &a);
	tree_remove(&root, &a);
	assert_null(tree_find(&root, "a.example"));
	assert_ptr_equal(tree_find(&root, "b.example"), &b);
	tree_remove(&root, &b);
	assert_null(root);
}

static void
clearing_leaves_the_nodes_to_their_owner(void **state UNUSED)
{
	struct node nodes[100];
	void *root = NULL;

	for (int i = 0; i < 100; i++) {
		snprintf(nodes[i].domain, sizeof(nodes[i].domain), "d%d.example", i);
		nodes[i].value = i;
		assert_true(tree_insert(&root, &nodes[i]));
	}
	tree_clear(&root);
	assert_null(root);
	assert_null(tree_find(&root, "d7.example"));
	assert_int_equal(nodes[99].value, 99);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_domain_is_there_once_and_found_until_removed),
	    cmocka_unit_test(clearing_leaves_the_nodes_to_their_owner)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
