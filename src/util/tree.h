/*
 * util/tree.h: things found by a name, most often a domain: tsearch(3) behind a name of its own, as
 * <search.h> has a struct entry too. A node is any struct whose first member is `char domain[]`;
 * the caller owns it.
 */
#ifndef UTIL_TREE_H
#define UTIL_TREE_H

#include <stdbool.h>

void *tree_find(void *const *root, const char *domain); /* NULL: not there */
bool tree_insert(
    void **root, void *node); /* false: its domain is there already; aborts without memory */
void tree_remove(void **root, void *node);
void tree_clear(void **root); /* nodes stay with their owners */

#endif
