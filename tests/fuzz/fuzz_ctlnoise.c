/* SPDX-License-Identifier: MIT */
/* control/ctlnoise: the first byte chooses what a stranger sends to: a server waiting for an initiation, a client
 * waiting for a response, or either side of an open connection. Nothing forged may open or give plain bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "control/ctlnoise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill(void *ctx, void *dst, size_t size)
{
	memset(dst, *(const uint8_t *)ctx, size);
}

/* A client and a server that finished the handshake; 'wait' gets the client before it did. */
static void make_pair(struct ctlnoise *wait, struct ctlnoise *c, struct ctlnoise *s)
{
	uint8_t one = 1, two = 2, initiation[CTLFRAME_INITIATION_SIZE], response[CTLFRAME_RESPONSE_SIZE];
	const struct env client_env = { .fill = fill, .ctx = &one }, server_env = { .fill = fill, .ctx = &two };
	struct machine_priv client = { .b = { 8, 3 } }, server = { .b = { 8, 4 } };
	struct machine_key server_pub;
	struct bytes plain = { 0 };

	key_public(server_pub.b, server.b);
	if (ctlnoise_client_init(wait, &client, &server_pub, 131, &client_env, initiation) != 0)
		abort();
	if (ctlnoise_server_init(s, &server, initiation, sizeof(initiation), &server_env, response) != 0)
		abort();
	*c = *wait;
	if (ctlnoise_input(c, response, sizeof(response), &plain) != 0 || c->state != CTLNOISE_OPEN)
		abort();
}

static void server_handshake(const uint8_t *data, size_t size)
{
	uint8_t two = 2, response[CTLFRAME_RESPONSE_SIZE];
	const struct env env = { .fill = fill, .ctx = &two };
	struct machine_priv server = { .b = { 8, 4 } };
	struct ctlnoise s;

	if (ctlnoise_server_init(&s, &server, data, size, &env, response) != 0 && s.state != CTLNOISE_DEAD)
		abort();
	ctlnoise_wipe(&s);
}

/* In two pieces: where the cut is must not matter to the outcome. */
static void stream(struct ctlnoise n, const uint8_t *data, size_t size, size_t cut)
{
	struct ctlnoise m = n;
	struct bytes a = { 0 }, b = { 0 };
	int err;

	cut = cut < size ? cut : size;
	err = ctlnoise_input(&n, data, cut, &a);
	if (!err)
		err = ctlnoise_input(&n, data + cut, size - cut, &a);
	if (ctlnoise_input(&m, data, size, &b) != err || m.state != n.state || bytes_size(&a) != bytes_size(&b))
		abort();
	/* Keys of this test are fixed, so only a replay of our own records could be authentic. */
	if (err && n.state != CTLNOISE_DEAD)
		abort();
	bytes_wipe(&a);
	bytes_wipe(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctlnoise wait, c, s;

	if (size < 2)
		return 0;
	if ((data[0] & 3) == 0) {
		server_handshake(data + 1, size - 1);
		return 0;
	}
	make_pair(&wait, &c, &s);
	stream((data[0] & 3) == 1 ? wait : (data[0] & 3) == 2 ? c : s, data + 2, size - 2, data[1]);
	return 0;
}
