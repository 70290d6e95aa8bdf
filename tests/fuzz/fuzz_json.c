/* SPDX-License-Identifier: MIT */
/* wire/json: first byte chooses the flags. What the check accepts must become a tree, be walkable without
 * leaving the text, and read back the same after it was written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct json_span v, const char *text, size_t size, unsigned depth)
{
	struct json_iter it;
	struct json_span name, value;

	if (depth > JSON_DEPTH_MAX || !json_iter_init(&it, v))
		return;
	while (json_iter_next(&it, &name, &value)) {
		if (value.size == 0 || value.p < text || value.p + value.size > text + size)
			abort();
		walk(value, text, size, depth + 1);
	}
}

static char *write_tree(const cJSON *tree, size_t *size)
{
	struct json_w w = { 0 };

	json_w_tree(&w, NULL, tree);
	return json_w_take(&w, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_err err = { 0 };
	cJSON *tree, *again;
	char *text, *text2;
	size_t n, n2;

	if (size < 1)
		return 0;
	tree = json_parse((const char *)data + 1, size - 1, data[0] & 3, &err);
	if (!tree) {
		if (!err.reason || err.offset > size - 1 || err.line < 1)
			abort();
		return 0;
	}
	walk((struct json_span){ .p = (const char *)data + 1, .size = size - 1 }, (const char *)data + 1, size - 1, 0);
	text = write_tree(tree, &n);
	if (!text)
		abort();
	again = json_parse(text, n, 0, NULL);
	if (!again)
		abort();
	text2 = write_tree(again, &n2);
	if (!text2 || n != n2 || memcmp(text, text2, n) != 0)
		abort();
	free(text);
	free(text2);
	cJSON_Delete(tree);
	cJSON_Delete(again);
	return 0;
}
