/* SPDX-License-Identifier: MIT */
/* control/h2: the first byte chooses the side and how the input is cut. The server answers what it gets; events stay
 * consistent, and what one connection holds stays bounded. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct h2 *h, const struct h2_event *ev)
{
	const bool whole = ev->size % 2 == 0;

	if (strlen(ev->path) >= H2_PATH_MAX || strlen(ev->method) >= H2_METHOD_MAX || ev->size > H2_BODY_MAX)
		abort();
	if (h2_respond(h, ev->stream, 200, "text/plain", "hello", 5, whole) == 0 && !whole)
		(void)!h2_send(h, ev->stream, "more", 4, ev->size % 3 == 0);
}

static void events(struct h2 *h)
{
	struct h2_event ev;

	while (h2_poll(h, &ev)) {
		switch (ev.kind) {
		case H2_EV_REQUEST:
			answer(h, &ev);
			break;
		case H2_EV_DATA:
			if (ev.size == 0 || ev.stream <= 0)
				abort();
			break;
		case H2_EV_RESPONSE:
			if (ev.status < 200)
				abort();
			break;
		case H2_EV_END:
		case H2_EV_CLOSED:
		case H2_EV_GOAWAY:
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const bool is_client = size > 0 && (data[0] & 1);
	const size_t step = size > 0 && data[0] >> 1 ? data[0] >> 1 : 1000;
	struct h2 *h = is_client ? h2_client_new("a") : h2_server_new();
	int err = 0;

	if (!h)
		abort();
	if (is_client && (h2_request(h, "POST", "/machine/map", NULL, 0, "{}", 2) != 1 ||
			  h2_request(h, "HEAD", "/x", NULL, 0, NULL, 0) != 3))
		abort();
	for (size_t at = 1; at < size && !err; at += step) {
		struct bytes out = { 0 };

		err = h2_input(h, MONO_ZERO, data + at, size - at < step ? size - at : step);
		events(h);
		if (h2_output(h, &out, 1 << 20) != 0)
			abort();
		if (h2_streams(h) > H2_STREAMS_MAX + 1)
			abort();
		bytes_wipe(&out);
	}
	h2_free(h);
	return 0;
}
