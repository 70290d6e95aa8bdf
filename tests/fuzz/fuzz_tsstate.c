/* SPDX-License-Identifier: MIT */
/* A state file of tailscaled. The corpus holds the file as JSON with plain values: a value that is JSON or text
 * there is encoded here, so that a mutation reaches the inner parsers; a text that begins with '=' is taken as
 * it is. A refusal has a sentence without a key; what is accepted has both keys. */
#include <errno.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"
#include "wire/prefval.h"
#include "wire/tsstate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t size)
{
	char err[TSSTATE_ERR_MAX] = "", masked[TSSTATE_ERR_MAX];
	struct tsstate t;
	int ret = tsstate_parse(&t, text, size, err);

	memcpy(masked, err, sizeof(masked));
	prefval_mask_secrets(masked);
	if (ret && (!err[0] || strcmp(err, masked) != 0))
		abort();
	if (ret && !key_is_zero(t.node.b))
		abort();
	if (!ret && (key_is_zero(t.machine.b) || key_is_zero(t.node.b) || !t.profile))
		abort();
	tsstate_wipe(&t);
}

static void encode(struct json_w *w, const char *name, const char *text)
{
	const size_t cap = sodium_base64_encoded_len(strlen(text), sodium_base64_VARIANT_ORIGINAL);
	char *b64 = malloc(cap);

	if (!b64)
		abort();
	sodium_bin2base64(b64, cap, (const uint8_t *)text, strlen(text), sodium_base64_VARIANT_ORIGINAL);
	json_w_str(w, name, b64);
	free(b64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cJSON *tree = json_parse((const char *)data, size, 0, NULL);
	struct json_w w = { 0 };
	const cJSON *item;
	size_t len;
	char *text;

	parse((const char *)data, size);
	if (!cJSON_IsObject(tree)) {
		cJSON_Delete(tree);
		return 0;
	}
	json_w_obj(&w, NULL);
	cJSON_ArrayForEach(item, tree) {
		char *inner = cJSON_IsString(item) ? NULL : cJSON_PrintUnformatted(item);

		if (inner)
			encode(&w, item->string, inner);
		else if (item->valuestring && item->valuestring[0] == '=')
			json_w_str(&w, item->string, item->valuestring + 1);
		else
			encode(&w, item->string, item->valuestring ? item->valuestring : "");
		free(inner);
	}
	json_w_end(&w);
	text = json_w_take(&w, &len);
	if (text)
		parse(text, len);
	free(text);
	cJSON_Delete(tree);
	return 0;
}
