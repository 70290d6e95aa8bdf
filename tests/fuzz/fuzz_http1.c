/* SPDX-License-Identifier: MIT */
/* wire/http1: the first byte chooses the side and how the rest is cut. Whatever the cuts, the same events come,
 * the head stays inside its storage and bodies inside their bound. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 4096 };

/* A checksum over everything that was reported; where bodies are cut does not count. */
static uint64_t run(const uint8_t *data, size_t size, enum http1_role role, size_t step, int *err)
{
	struct http1 *h = malloc(sizeof(*h));
	uint64_t sum = 1469598103934665603u;
	size_t at = 0, avail = 0, body = 0;

	http1_init(h, role, BODY_MAX);
	*err = 0;
	while (at < size) {
		enum http1_event ev;
		size_t used;

		avail = avail ? avail : step;
		avail = avail > size - at ? size - at : avail;
		*err = http1_input(h, data + at, avail, &used, &ev);
		if (*err)
			break;
		if (used > avail || (ev == HTTP1_MORE && used != avail))
			abort();
		at += used;
		avail -= used;
		if (h->n_headers > HTTP1_HEADERS_MAX || h->text_used > HTTP1_HEAD_MAX)
			abort();
		for (size_t i = 0; ev == HTTP1_BODY && i < h->body_size; i++, body++)
			sum = (sum ^ h->body[i]) * 1099511628211u;
		if (body > BODY_MAX)
			abort();
		if (ev == HTTP1_HEAD) {
			body = 0;
			sum = (sum ^ strlen(h->target) ^ h->status) * 1099511628211u;
			(void)http1_get(h, "Upgrade");
			(void)http1_has_token(h, "Connection", "upgrade");
		}
		if (ev == HTTP1_END || ev == HTTP1_UPGRADE)
			sum = (sum ^ (uint64_t)ev) * 1099511628211u;
		if (ev == HTTP1_UPGRADE)
			break;
	}
	free(h);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum http1_role role;
	int err1, err2;
	uint64_t a, b;

	if (size < 1)
		return 0;
	role = data[0] & 1 ? HTTP1_RESPONSES : HTTP1_REQUESTS;
	a = run(data + 1, size - 1, role, size, &err1);
	b = run(data + 1, size - 1, role, (size_t)(data[0] >> 1) % 7 + 1, &err2);
	/* On an error the larger cut may have reported less before it, and of two errors find the other one. */
	if ((err1 == 0) != (err2 == 0) || (!err1 && a != b))
		abort();
	return 0;
}
