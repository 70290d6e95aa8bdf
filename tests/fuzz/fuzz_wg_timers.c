/* SPDX-License-Identifier: MIT */
/* Two devices under a script of sends, pauses, loss, cuts and restarts, two bytes a step.
 * Afterwards the wire behaves: data must flow within 15 s, and nothing may ever have arrived twice.
 */
#include <stdlib.h>

#include "tests/unit/wgworld.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 100 };

static void step(struct wgworld *w, uint8_t what, uint8_t n, uint32_t *seq)
{
	unsigned side = what >> 7;

	switch (what % 8) {
	case 0:
	case 1:
		wgworld_send(w, side, 1 - side, (*seq)++);
		break;
	case 2:
		wgworld_run(w, n);
		break;
	case 3:
		wgworld_run(w, n * 1000);
		break;
	case 4:
		w->loss_permille = n * 4u;
		w->jitter_ms = n * 2;
		break;
	case 5:
		w->cut[side][1 - side] = n % 2;
		break;
	case 6:
		w->dup_permille = n * 4u;
		break;
	case 7:
		if (n % 4 == 0)
			wgworld_restart(w, side);
		else
			device_queue_depth(&w->node[side].device, w->now, n, 64);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wgworld *w = wgworld_new(2, 1);
	uint32_t seq = 0;

	for (size_t i = 0; i + 1 < size && i < STEPS_MAX * 2; i += 2)
		step(w, data[i], data[i + 1], &seq);
	w->loss_permille = w->dup_permille = 0;
	w->jitter_ms = 0;
	w->cut[0][1] = w->cut[1][0] = false;
	for (int i = 0; i < 17; i++) {
		wgworld_send(w, 0, 1, seq++);
		wgworld_run(w, 500);
		wgworld_send(w, 1, 0, seq++);
		wgworld_run(w, 500);
	}
	if (mono_since_ms(w->now, w->node[1].last_data[0]) > 2000 ||
	    mono_since_ms(w->now, w->node[0].last_data[1]) > 2000)
		abort();
	for (uint32_t i = 0; i < seq; i++) {
		if (w->node[0].received[i] > 1 || w->node[1].received[i] > 1)
			abort();
	}
	wgworld_free(w);
	return 0;
}
