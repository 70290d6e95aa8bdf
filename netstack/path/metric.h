/* SPDX-License-Identifier: MIT */
/* Comparison of two paths, exactly the reference's rule, so that both ends of a pair that run
 * different programs agree. Pure functions. Spec: path-selection 4; vectors/path-selection.json. */
#ifndef NETSTACK_PATH_METRIC_H
#define NETSTACK_PATH_METRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/pathaddr.h"

enum { METRIC_SAFE_MTU = 1360 }; /* wire MTU of a path without a probe (path-selection 16) */

struct metric {
	struct path_addr path; /* PATH_DIRECT, PATH_RELAY; PATH_NONE = no path */
	int64_t latency_ns;
	uint32_t mtu; /* proven wire MTU; 0 = nothing known */
};

/* Should 'a' replace 'b'? Never true both ways. */
bool metric_is_better(const struct metric *a, const struct metric *b);

/* Probe of a wire MTU: size of the disco packet and, returned, its padding (disco 8). */
size_t metric_mtu_padding(uint32_t wire_mtu, bool is_v6, size_t *packet_size);

#endif
