/* SPDX-License-Identifier: MIT */
/* An initiation from a stranger who knows our public key: mac1 is made right. A message that is
 * refused changes nothing but a counter and gets no answer; under load at most a cookie reply goes
 * out. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/wgfuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const uint8_t *msg, size_t size, bool loaded)
{
	struct wgfuzz f;
	struct session before;
	unsigned n_out;
	int err;

	wgfuzz_init(&f, 1);
	if (loaded)
		device_queue_depth(&f.device, f.now, 1, 1);
	before = f.peer->session;
	err = device_input(&f.device, f.now, msg, size, &f.path, NULL);
	/* The static-static secret is a cache, not a state. */
	before.noise = f.peer->session.noise;
	if (err && memcmp(&before, &f.peer->session, sizeof(before)) != 0)
		abort();
	n_out = wgfuzz_drain(&f);
	if (n_out != (err == 0 || f.device.counters.tx_cookie_replies == 1 ? 1u : 0u))
		abort();
	/* The same again is a replay. */
	if (err == 0 && device_input(&f.device, f.now, msg, size, &f.path, NULL) == 0)
		abort();
	wgfuzz_wipe(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t msg[512];

	if (size > sizeof(msg))
		return 0;
	memcpy(msg, data, size);
	run(msg, size, false);
	wgfuzz_fix_mac1(1, msg, size);
	run(msg, size, false);
	run(msg, size, true);
	return 0;
}
