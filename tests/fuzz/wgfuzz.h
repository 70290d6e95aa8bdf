/* SPDX-License-Identifier: MIT */
/* Two WireGuard devices with fixed keys and a fixed generator, for fuzz targets: whatever one of
 * them sends is the same in every run, so a corpus can hold real messages. */
#ifndef TESTS_FUZZ_WGFUZZ_H
#define TESTS_FUZZ_WGFUZZ_H

#include "base/env.h"
#include "wg/device.h"

struct wgfuzz {
	struct env env;
	uint64_t state;
	struct device device;
	struct device_peer *peer;
	struct path_addr path;
	struct mono now;
};

/* Device number 'self' (1 or 2), which knows the other. */
void wgfuzz_init(struct wgfuzz *f, uint8_t self);
void wgfuzz_wipe(struct wgfuzz *f);
/* Makes mac1 of an initiation or response right for receiver 'to'. */
void wgfuzz_fix_mac1(uint8_t to, uint8_t *msg, size_t size);
/* Drops outputs; key pairs are freed as the data plane would. Returns how many were messages to
 * send. */
unsigned wgfuzz_drain(struct wgfuzz *f);

#endif
