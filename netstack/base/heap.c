/* SPDX-License-Identifier: MIT */
/* Binary min-heap of intrusive nodes. */
#include "base/heap.h"

#include <errno.h>
#include <stdlib.h>

static void place(struct heap *h, struct heap_node *node, size_t i)
{
	h->nodes[i] = node;
	node->at = i + 1;
}

static void sift_up(struct heap *h, size_t i)
{
	struct heap_node *node = h->nodes[i];

	while (i > 0 && mono_before(node->deadline, h->nodes[(i - 1) / 2]->deadline)) {
		place(h, h->nodes[(i - 1) / 2], i);
		i = (i - 1) / 2;
	}
	place(h, node, i);
}

static void sift_down(struct heap *h, size_t i)
{
	struct heap_node *node = h->nodes[i];
	size_t c;

	while ((c = 2 * i + 1) < h->n) {
		if (c + 1 < h->n && mono_before(h->nodes[c + 1]->deadline, h->nodes[c]->deadline))
			c++;
		if (!mono_before(h->nodes[c]->deadline, node->deadline))
			break;
		place(h, h->nodes[c], i);
		i = c;
	}
	place(h, node, i);
}

void heap_del(struct heap *h, struct heap_node *node)
{
	size_t i = node->at - 1;
	struct heap_node *last;

	if (!node->at)
		return;
	node->at = 0;
	node->deadline = MONO_NEVER;
	last = h->nodes[--h->n];
	if (last == node)
		return;
	place(h, last, i);
	sift_up(h, i);
	sift_down(h, last->at - 1);
}

int heap_set(struct heap *h, struct heap_node *node, struct mono deadline)
{
	if (mono_is_never(deadline)) {
		heap_del(h, node);
		return 0;
	}
	if (!node->at) {
		if (h->n == h->cap) {
			size_t cap = h->cap ? h->cap * 2 : 16;
			struct heap_node **p = realloc(h->nodes, cap * sizeof(struct heap_node *));

			if (!p)
				return -ENOMEM;
			h->nodes = p;
			h->cap = cap;
		}
		node->deadline = deadline;
		place(h, node, h->n++);
		sift_up(h, h->n - 1);
		return 0;
	}
	node->deadline = deadline;
	sift_up(h, node->at - 1);
	sift_down(h, node->at - 1);
	return 0;
}

struct heap_node *heap_first(const struct heap *h)
{
	return h->n ? h->nodes[0] : NULL;
}

struct mono heap_deadline(const struct heap *h)
{
	return h->n ? h->nodes[0]->deadline : MONO_NEVER;
}

void heap_wipe(struct heap *h)
{
	free((void *)h->nodes);
	*h = (struct heap){ 0 };
}
