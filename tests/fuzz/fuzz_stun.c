/* SPDX-License-Identifier: MIT */
/* STUN requests and responses as hostile datagrams. What parses is written again and must parse to the same. */
#include <stdlib.h>
#include <string.h>

#include "wire/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[STUN_RESPONSE_MAX], req[STUN_REQUEST_SIZE];
	struct stun_txid txid, again;
	struct ep ep, ep2;
	size_t n;

	if (stun_request_parse(&txid, data, size) == 0) {
		require(stun_is_stun(data, size) && !stun_is_response(data, size));
		stun_request_write(req, &txid);
		require(stun_request_parse(&again, req, sizeof(req)) == 0);
		require(memcmp(&txid, &again, sizeof(txid)) == 0);
	}
	if (stun_response_parse(&txid, &ep, data, size) == 0) {
		require(stun_is_response(data, size));
		n = stun_response_write(out, &txid, &ep);
		require(n <= sizeof(out) && stun_response_parse(&again, &ep2, out, n) == 0);
		require(memcmp(&txid, &again, sizeof(txid)) == 0 && ep_eq(&ep, &ep2));
	}
	return 0;
}
