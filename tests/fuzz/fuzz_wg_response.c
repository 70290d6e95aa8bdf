/* SPDX-License-Identifier: MIT */
/* Responses and cookie replies while our initiation is in flight. Whatever is refused leaves the
 * handshake as it was: the real response still completes it. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/wgfuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const uint8_t *msg, size_t size)
{
	struct wgfuzz f;
	struct session_attempt hs;
	struct session before;
	int err;

	wgfuzz_init(&f, 1);
	device_want(&f.device, f.now, f.peer);
	if (wgfuzz_drain(&f) != 1 || !f.peer->session.hs)
		abort();
	hs = *f.peer->session.hs;
	before = f.peer->session;
	err = device_input(&f.device, f.now, msg, size, &f.path, NULL);
	if (err && (memcmp(&before, &f.peer->session, sizeof(before)) != 0 ||
		    memcmp(&hs, f.peer->session.hs, sizeof(hs)) != 0))
		abort();
	/* Nothing is ever sent in reply to either: a keepalive is the data plane's. */
	if (wgfuzz_drain(&f) != 0)
		abort();
	wgfuzz_wipe(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t msg[512];

	if (size > sizeof(msg))
		return 0;
	memcpy(msg, data, size);
	run(msg, size);
	if (size > 0 && data[0] == WGMSG_RESPONSE) {
		wgfuzz_fix_mac1(1, msg, size);
		run(msg, size);
	}
	return 0;
}
