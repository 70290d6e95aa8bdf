/* SPDX-License-Identifier: MIT */
/* PCP answers as hostile datagrams: what a MAP answer says can be asked for, byte for byte the same. */
#include <stdlib.h>
#include <string.h>

#include "wire/pcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[PCP_MAP_SIZE];
	struct pcp_answer a;
	struct pcp_map map = { .life_s = 0 };

	if (pcp_answer_parse(&a, data, size) < 0)
		return 0;
	require(size >= PCP_HEADER_SIZE && a.op <= PCP_OP_MAP);
	if (a.op != PCP_OP_MAP || a.result != PCP_SUCCESS || a.external.ip.family != IP_V4)
		return 0;
	require(size >= PCP_MAP_SIZE);
	memcpy(map.nonce, a.nonce, sizeof(map.nonce));
	map.port = a.port;
	map.external = a.external;
	pcp_map_write(out, &map);
	require(memcmp(out + PCP_HEADER_SIZE, data + PCP_HEADER_SIZE, 13) == 0);
	require(memcmp(out + 40, data + 40, PCP_MAP_SIZE - 40) == 0);
	return 0;
}
