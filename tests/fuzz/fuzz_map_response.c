/* SPDX-License-Identifier: MIT */
/* Map messages, one a line: the first is applied as a full map, the others as deltas. Whatever was applied, the map
 * written as one complete message reads back as the same map; a refused message leaves no trace. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/netmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct netmap *a, const struct netmap *b)
{
	struct netmap_change c;

	if (netmap_diff(a, b, &c) != 0 || c.bits != 0)
		abort();
	netmap_change_wipe(&c);
}

static char *written(const struct ctl_map_response *m)
{
	struct json_w w = { 0 };
	char *text;

	ctl_map_response_write(&w, m);
	text = json_w_take(&w, NULL);
	if (!text)
		abort();
	return text;
}

/* In pieces, however they are cut, the message means what it means as a whole. */
static void same_in_pieces(const struct ctl_map_response *whole, int err, const char *text, size_t size)
{
	const size_t step = 1 + size % 13;
	struct ctl_map_reader *r = ctl_map_reader_new();
	struct ctl_map_response m;
	struct ctl_why why = { "" };
	char *a, *b;

	if (!r)
		abort();
	for (size_t at = 0; at < size; at += step)
		(void)ctl_map_reader_push(r, text + at, size - at < step ? size - at : step);
	if (ctl_map_reader_finish(r, &m, &why) != err || (err && !why.text[0]))
		abort();
	if (err)
		return;
	a = written(whole);
	b = written(&m);
	if (strcmp(a, b) != 0)
		abort();
	free(a);
	free(b);
	ctl_map_response_wipe(&m);
}

static struct netmap *apply(const struct netmap *old, const char *text, size_t size, bool must)
{
	struct ctl_map_response msg;
	struct netmap_change change;
	struct netmap *next = NULL;
	struct ctl_why why = { "" };
	const int err = ctl_map_response_parse(&msg, text, size, &why);

	same_in_pieces(&msg, err, text, size);
	if (err) {
		if (!why.text[0] || must)
			abort();
		return NULL;
	}
	if (netmap_apply(old, &msg, old ? NETMAP_DELTA : NETMAP_FULL, 1767323045, &next, &change) != 0) {
		if (next || must)
			abort();
	}
	netmap_change_wipe(&change);
	ctl_map_response_wipe(&msg);
	return next;
}

/* What is stored reads back as the same map. */
static void check_saved(const struct netmap *m)
{
	struct bytes saved = { .max = CTLJSON_MAP_MAX };
	struct ctl_map_response msg;
	struct netmap_change change;
	struct netmap *again;

	if (netmap_save(m, &saved) != 0 || netmap_load(bytes_data(&saved), bytes_size(&saved), &msg) != 0 ||
	    netmap_apply(NULL, &msg, NETMAP_FULL, 1767323045, &again, &change) != 0)
		abort();
	same(m, again);
	netmap_change_wipe(&change);
	ctl_map_response_wipe(&msg);
	netmap_put(again);
	bytes_wipe(&saved);
}

static void check(const struct netmap *m)
{
	struct json_w w = { 0 };
	struct netmap *again;
	size_t size, it = 0, n = 0;
	const struct map_node *p;
	int64_t last = INT64_MIN;
	char *text;

	while ((p = netmap_next(m, &it))) {
		if (p->id <= last || netmap_peer(m, p->id) != p)
			abort();
		last = p->id;
		n++;
	}
	if (n != netmap_n_peers(m))
		abort();
	netmap_write(&w, m);
	text = json_w_take(&w, &size);
	if (!text)
		abort();
	again = apply(NULL, text, size, true);
	same(m, again);
	netmap_put(again);
	free(text);
	check_saved(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct netmap *m = NULL;

	while (size > 0) {
		const uint8_t *nl = memchr(data, '\n', size);
		const size_t n = nl ? (size_t)(nl - data) : size;
		struct netmap *next = apply(m, (const char *)data, n, false);

		if (next) {
			netmap_put(m);
			m = next;
			check(m);
		}
		data += nl ? n + 1 : n;
		size -= nl ? n + 1 : n;
	}
	netmap_put(m);
	return 0;
}
