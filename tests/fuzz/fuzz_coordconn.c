/* SPDX-License-Identifier: MIT */
/* Bytes of strangers on the coordinator's port, before any session: the first byte says how they are cut. The role
 * stays whole, answers in bounds, and lets go of the connection in the end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator.h"
#include "tests/unit/testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct coordinator *make(const struct env *env)
{
	struct coordinator_cfg cfg = { .url = "http://192.0.2.1:443", .domain = "mesh.internal", .derp_host = "192.0.2.1",
				       .derp_port = 443, .derp_pin = "", .stun_port = 3478 };
	struct coordinator *c;

	cfg.pool4 = (struct prefix){ ip4(100, 64, 0, 0), 10 };
	cfg.pool6 = (struct prefix){ { .family = IP_V6, .b = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 } }, 48 };
	c = coordinator_new(&cfg, env);
	if (!c || coordinator_start(c, MONO_ZERO) != 0)
		abort();
	return c;
}

/* True once the connection was closed. */
static bool drain(struct coordinator *c, struct mono now, size_t *sent)
{
	struct coordinator_out o;
	bool closed = false;

	while (coordinator_poll(c, now, &o)) {
		switch (o.kind) {
		case COORDINATOR_SEND:
			if (closed)
				abort();
			*sent += o.size;
			coordinator_sent(c, now, o.conn, o.size);
			break;
		case COORDINATOR_CLOSE:
			closed = true;
			break;
		case COORDINATOR_STORE:
			coordinator_stored(c, now, o.batch->ticket);
			break;
		case COORDINATOR_REPLY:
			abort(); /* nobody asked */
		}
	}
	return closed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ep from = { .ip = ip4(198, 51, 100, 7), .port = 1 };
	struct mono now = mono_add_s(MONO_ZERO, 10);
	struct coordinator_stats st;
	size_t sent = 0, step;
	struct test_env env;
	struct coordinator *c;
	bool closed = false;

	if (size < 1)
		return 0;
	test_env_init(&env, 2);
	c = make(&env.env);
	(void)drain(c, now, &sent);
	if (coordinator_accept(c, now, 5, &from, false, false) != 0)
		abort();
	step = data[0] ? data[0] : size;
	for (size_t at = 1; at < size && !closed; at += step) {
		coordinator_bytes(c, now, 5, data + at, size - at < step ? size - at : step);
		closed = drain(c, now, &sent);
	}
	if (sent > 64 * size + 65536) /* no amplification worth the name */
		abort();
	for (int i = 0; i < 100 && !closed; i++) {
		now = mono_add_s(now, 10);
		coordinator_tick(c, now);
		closed = drain(c, now, &sent);
	}
	coordinator_stats(c, &st);
	if (!closed || st.n_conns != 0 || st.n_nodes != 0)
		abort();
	coordinator_free(c);
	return 0;
}
