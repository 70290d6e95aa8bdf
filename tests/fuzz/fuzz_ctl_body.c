/* SPDX-License-Identifier: MIT */
/* Request bodies behind a Noise session, which anybody can open: the first byte chooses the path. Every request gets
 * exactly one answer or an open poll, and strangers change nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coord/ctlserver.h"
#include "tests/unit/testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const paths[] = { "/machine/register", "/machine/map", "/machine/set-dns", "/machine/ssh/action/1/to/2",
				     "/", "/machine/map?x" };

static struct ctlserver *make(const struct env *env)
{
	struct derp_map derp = { 0 };
	struct ctlserver_cfg cfg = { .url = "http://192.0.2.1:443", .domain = "mesh.internal", .derp = &derp };
	struct ctlserver *s;

	cfg.pool4 = (struct prefix){ ip4(100, 64, 0, 0), 10 };
	cfg.pool6 = (struct prefix){ { .family = IP_V6, .b = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 } }, 48 };
	s = ctlserver_new(&cfg, env);
	if (!s || ctlserver_start(s, MONO_ZERO) != 0)
		abort();
	return s;
}

/* Counts answers to request 'id'. */
static unsigned drain(struct ctlserver *s, struct mono now, uint64_t id)
{
	struct ctlserver_out o;
	unsigned n = 0;

	while (ctlserver_poll(s, now, &o)) {
		if (o.kind == CTLSERVER_BATCH)
			ctlserver_persisted(s, now, o.batch->ticket);
		else if (o.kind == CTLSERVER_RESPOND && o.id == id)
			n++;
		else if (o.kind == CTLSERVER_CHUNK)
			ctlserver_drained(s, now, o.id);
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctlserver_req req = { .id = 7, .method = "POST", .version = 131 };
	struct mono now = mono_add_s(MONO_ZERO, 10);
	struct test_env env;
	struct ctlserver *s;
	unsigned answers;

	if (size < 1)
		return 0;
	test_env_init(&env, 1);
	s = make(&env.env);
	req.path = paths[data[0] % ARRAY_LEN(paths)];
	req.own = (data[0] & 0x80) != 0; /* a member without a key: the body reaches further */
	req.body = data + 1;
	req.body_size = size - 1;
	memset(req.machine.b, 9, KEY_SIZE);
	(void)drain(s, now, 0);
	ctlserver_request(s, now, &req);
	answers = drain(s, now, req.id);
	if (answers > 1 || (answers == 0 && ctlserver_n_streams(s) == 0 && !strstr((const char *)req.path, "register")))
		abort();
	if (!req.own && registry_n_nodes(ctlserver_registry(s)) != 0)
		abort();
	/* The same again, then time passes and the connection ends. */
	req.id = 8;
	ctlserver_request(s, now, &req);
	(void)drain(s, now, 8);
	ctlserver_tick(s, mono_add_s(now, 1000));
	(void)drain(s, mono_add_s(now, 1000), 8);
	ctlserver_request_closed(s, mono_add_s(now, 1000), 7);
	ctlserver_request_closed(s, mono_add_s(now, 1000), 8);
	(void)drain(s, mono_add_s(now, 1000), 8);
	ctlserver_free(s);
	return 0;
}
