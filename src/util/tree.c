#include "util/tree.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "util/errmsg.h"

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

void *
tree_find(void *const *root, const char *domain)
{
	void *found = tfind(domain, root, compare);

	return found == NULL ? NULL : *(void **)found;
}

bool
tree_insert(void **root, void *node)
{
	void *found = tsearch(node, root, compare);

	if (found == NULL)
		abort();
	return *(void **)found == node;
}

void
tree_remove(void **root, void *node)
{
	tdelete(node, root, compare);
}

static void
keep(void *node UNUSED)
{
}

void
tree_clear(void **root)
{
	tdestroy(*root, keep);
	*root = NULL;
}
