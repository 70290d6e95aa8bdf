/* SPDX-License-Identifier: MIT */
/* The port mapper under random sequences of (advance time, gateway, port, answer, poll). One job at a time; what is
 * shown as reachable is never an address that the internet cannot reach, and not from another gateway. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "path/portmapper.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void fill(void *ctx, void *dst, size_t size)
{
	(void)ctx;
	memset(dst, 7, size);
}

static int64_t wall_ns(void *ctx)
{
	(void)ctx;
	return 0;
}

static void poll_all(struct portmapper *p, struct mono now, struct portmapper_job *job, bool *is_out)
{
	struct portmapper_out out;

	for (int i = 0; portmapper_poll(p, now, &out); i++) {
		require(i < 16);
		if (out.kind != PORTMAPPER_JOB)
			continue;
		require(!*is_out); /* one at a time */
		*is_out = true;
		*job = out.job;
		require(job->kind == PORTMAPPER_PROBE ? job->methods != 0 : job->port != 0);
		require(job->method != PORTMAPPER_UPNP || job->kind == PORTMAPPER_PROBE || job->external.port != 0);
	}
	for (unsigned s = 0; s < PORTMAPPER_SLOTS; s++) {
		const struct ep ep = portmapper_external(p, (enum portmapper_slot)s);

		require(!ep_is_set(&ep) || (ep.port && !ip_is_private(&ep.ip) && !ip_is_loopback(&ep.ip)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct env env = { .fill = fill, .wall_ns = wall_ns };
	struct rd r = { .p = data, .left = size };
	struct mono now = mono_add_s(MONO_ZERO, 1);
	struct portmapper_job job = { .id = 0 };
	struct portmapper p;
	bool is_out = false;

	portmapper_init(&p, &env);
	while (r.left > 0 && !r.bad) {
		const uint8_t what = rd_u8(&r);
		const struct ip gw = ip4(192, 168, rd_u8(&r), 1), self = ip4(192, 168, 1, 9);
		struct portmapper_result res = { .id = job.id };

		switch (what % 8) {
		case 0:
			now = mono_add_ms(now, rd_be24(&r));
			portmapper_tick(&p, now);
			break;
		case 1:
			portmapper_set_gateway(&p, now, &gw, &self);
			break;
		case 2:
			portmapper_allow(&p, now, rd_u8(&r) & PORTMAPPER_ALL);
			break;
		case 3:
			portmapper_set_port(&p, now, (enum portmapper_slot)(what / 8 % PORTMAPPER_SLOTS), rd_be16(&r));
			break;
		case 4:
			portmapper_want(&p, now, what & 8);
			break;
		default:
			if (!is_out)
				break;
			is_out = false;
			res.err = what & 8 ? -ETIMEDOUT : what & 16 ? -EACCES : 0;
			res.found = rd_u8(&r);
			res.has_epoch = what & 32;
			res.epoch = rd_be32(&r);
			res.life_s = rd_be16(&r);
			res.external.ip = ip4(rd_u8(&r), rd_u8(&r), 100, 1);
			res.external.port = rd_be16(&r);
			portmapper_done(&p, now, &res);
		}
		poll_all(&p, now, &job, &is_out);
	}
	return 0;
}
