/* SPDX-License-Identifier: MIT */
/* The listener of --metrics-listen: /metrics and /healthz over HTTP, on an IP:port or a Unix path.
 * Control thread only. Spec: cli 8. */
#ifndef DAEMON_METRICSD_H
#define DAEMON_METRICSD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct metricsd;
struct loop;
struct log;
struct metrics_input;

struct metricsd_backend {
	/* Fills '*in' (zeroed). */
	int (*metrics)(void *ctx, struct metrics_input *in);
	/* Null: healthy (Running, and the relay's port is bound where it is enabled). Else the reason. */
	const char *(*unhealthy)(void *ctx);
	void *ctx;
};

/* Listens on 'where'. Returns 0; -EINVAL (not IP:port or an absolute path); another negative errno. */
MESH_MUST_USE int metricsd_open(struct metricsd **m, struct loop *loop, const struct log *log,
				const char *where, const struct metricsd_backend *backend);
/* Null is allowed. */
void metricsd_close(struct metricsd *m);

#endif
