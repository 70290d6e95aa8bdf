/* SPDX-License-Identifier: MIT */
/* Disco: the input as a sealed packet for a fixed pair of keys, and as a cleartext. Whatever parses
 * must write and parse again to the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/disco.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The keys of vectors/disco.json: alice's private, alice's and bob's public. */
static const struct disco_priv ALICE_PRIV = { { 0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
						0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10,
						0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
						0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x60 } };
static const struct disco_key BOB = { { 0x64, 0xb1, 0x01, 0xb1, 0xd0, 0xbe, 0x5a, 0x87,
					0x04, 0xbd, 0x07, 0x8f, 0x98, 0x95, 0x00, 0x1f,
					0xc0, 0x3e, 0x8e, 0x9f, 0x95, 0x22, 0xf1, 0x88,
					0xdd, 0x12, 0x8d, 0x98, 0x46, 0xd4, 0x84, 0x66 } };

static void check_clear(const uint8_t *data, size_t size)
{
	static uint8_t first[1 << 17], second[1 << 17];
	struct disco_msg msg, again;
	int n;

	if (disco_msg_parse(&msg, data, size) != 0)
		return;
	/* Padding behind an absent (zero) node key would itself be read as that key. */
	if (msg.type == DISCO_PING && !msg.ping.has_node_key && msg.ping.padding >= KEY_SIZE)
		return;
	if (msg.type == DISCO_PING && msg.ping.padding > sizeof(first) / 2)
		return;
	n = disco_msg_write(&msg, first, sizeof(first));
	if (n < 0)
		abort();
	/* An endpoint without addresses (unknown version) is not a valid message to send. */
	if (disco_msg_parse(&again, first, (size_t)n) != 0) {
		if (msg.type == DISCO_CALL_ME_MAYBE_VIA || msg.type == DISCO_ALLOC_RESPONSE)
			return;
		abort();
	}
	if (disco_msg_write(&again, second, sizeof(second)) != n ||
	    memcmp(first, second, (size_t)n) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct disco_key self, sender;
	struct disco_box box;
	struct disco_msg msg;
	uint8_t *copy;

	check_clear(data, size);
	if (!disco_is_packet(data, size))
		return 0;
	sender = disco_sender(data);
	key_public(self.b, ALICE_PRIV.b);
	/* A packet of alice to bob opens with the same shared key from her side. */
	if (disco_key_eq(&sender, &self))
		sender = BOB;
	if (disco_box_init(&box, &ALICE_PRIV, &self, &sender) != 0)
		return 0;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	if (disco_open(&box, copy, size, &msg) == 0)
		check_clear(copy + DISCO_HDR_SIZE, size - DISCO_OVERHEAD);
	free(copy);
	return 0;
}
