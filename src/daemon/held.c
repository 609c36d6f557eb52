#include "daemon/held.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "util/log.h"
#include "util/tree.h"

enum { HELD_MAX = 20000 }; /* domains; the next ones wait just as well, but are not listed */

struct node {
	struct held_domain held; /* first, and its domain first in it: util/tree.h */
	TAILQ_ENTRY(node) link;
};
TAILQ_HEAD(node_list, node);

struct held {
	void *tree;
	struct node_list list;
	size_t n;
	bool full_logged;
};

struct held *
held_new(void)
{
	struct held *h = calloc(1, sizeof(*h));

	if (h != NULL)
		TAILQ_INIT(&h->list);
	return h;
}

static void
remove_node(struct held *h, struct node *node)
{
	tree_remove(&h->tree, node);
	TAILQ_REMOVE(&h->list, node, link);
	h->n--;
	free(node);
}

void
held_free(struct held **h)
{
	if (*h == NULL)
		return;
	while (!TAILQ_EMPTY(&(*h)->list))
		remove_node(*h, TAILQ_FIRST(&(*h)->list));
	free(*h);
	*h = NULL;
}

static struct node *
add(struct held *h, const char *domain)
{
	struct node *node;

	if (h->n >= HELD_MAX) {
		if (!h->full_logged)
			log_line(LOG_WARNING,
			    "held: more than %d domains wait; the others are held but not listed",
			    HELD_MAX);
		h->full_logged = true;
		return NULL;
	}
	node = calloc(1, sizeof(*node));
	if (node == NULL)
		return NULL;
	memcpy(node->held.domain, domain, strlen(domain) + 1);
	node->held.since = time(NULL);
	(void)tree_insert(&h->tree, node);
	TAILQ_INSERT_TAIL(&h->list, node, link);
	h->n++;
	return node;
}

static void
note_id(struct held_domain *d, const char *queue_id)
{
	for (size_t i = 0; i < d->n_ids; i++)
		if (strcmp(d->ids[i], queue_id) == 0)
			return;
	if (d->n_ids == HELD_QUEUE_IDS_MAX || strlen(queue_id) > QUEUE_ID_MAX)
		d->n_more++;
	else
		memcpy(d->ids[d->n_ids++], queue_id, strlen(queue_id) + 1);
}

void
held_note(struct held *h, const char *domain, const char *queue_id)
{
	struct node *node = tree_find(&h->tree, domain);

	if (node == NULL)
		node = add(h, domain);
	if (node == NULL)
		return;
	node->held.last = time(NULL);
	if (queue_id != NULL && queue_id[0] != '\0')
		note_id(&node->held, queue_id);
}

bool
held_release(struct held *h, const char *domain)
{
	struct node *node = tree_find(&h->tree, domain);

	if (node == NULL)
		return false;
	remove_node(h, node);
	h->full_logged = false;
	return true;
}

void
held_expire(struct held *h, time_t since)
{
	struct node *node, *next;

	for (node = TAILQ_FIRST(&h->list); node != NULL; node = next) {
		next = TAILQ_NEXT(node, link);
		if (node->held.last < since)
			remove_node(h, node);
	}
}

size_t
held_count(const struct held *h)
{
	return h->n;
}

void
held_each(const struct held *h, held_cb *cb, void *arg)
{
	const struct node *node;

	TAILQ_FOREACH (node, &h->list, link)
		cb(&node->held, arg);
}
