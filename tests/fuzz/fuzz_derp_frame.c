/* SPDX-License-Identifier: MIT */
/* DERP frames as parsers: header and every payload. What parses and can be written is written again the same. */
#include <stdlib.h>
#include <string.h>

#include "wire/derp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void payload(const struct derp_hdr *hdr, const uint8_t *p)
{
	struct node_priv priv = { { 1 } };
	struct derp_restarting restarting;
	struct derp_client_info client;
	struct derp_server_info server;
	struct derp_peer_gone gone;
	struct derp_packet pkt;
	struct node_key key = { { 9 } };
	uint8_t buf[DERP_PACKET_FRAME_MAX];
	struct wr w = WR(buf, sizeof(buf));

	if (derp_server_key_parse(&key, p, hdr->size) == 0)
		require(hdr->size >= DERP_SERVER_KEY_MIN && hdr->size <= DERP_SERVER_KEY_MAX);
	if (derp_packet_parse(&pkt, p, hdr->size) == 0) {
		derp_packet_write(&w, DERP_SEND_PACKET, &pkt.peer, pkt.data, pkt.size);
		require(!w.bad && wr_used(&w, sizeof(buf)) == DERP_HEADER_SIZE + (size_t)hdr->size);
		require(memcmp(buf + DERP_HEADER_SIZE, p, hdr->size) == 0);
		(void)derp_looks_like_disco(pkt.data, pkt.size);
	}
	(void)!derp_peer_gone_parse(&gone, p, hdr->size);
	(void)!derp_restarting_parse(&restarting, p, hdr->size);
	(void)!derp_client_info_open(&client, &key, p, hdr->size, &priv);
	(void)!derp_server_info_open(&server, p, hdr->size, &key, &priv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct derp_hdr hdr;
	size_t at = 0;

	while (derp_hdr_parse(&hdr, data + at, size - at, DERP_FRAME_MAX) == 0) {
		at += DERP_HEADER_SIZE;
		if (hdr.size > size - at)
			break;
		payload(&hdr, data + at);
		at += hdr.size;
	}
	return 0;
}
