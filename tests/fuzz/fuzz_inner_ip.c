/* SPDX-License-Identifier: MIT */
/* Inner packets: whatever parses lies inside the buffer, and a checksum that was set is found
 * right. */
#include <stdlib.h>
#include <string.h>

#include "wire/echo.h"
#include "wire/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ip_pkt p, again;
	uint8_t *copy, id[ECHO_ID_SIZE];
	size_t addr_size;

	if (ip_pkt_parse(&p, data, size) != 0)
		return 0;
	addr_size = p.family == IP_V4 ? 4 : 16;
	if (p.size > size || p.l4 > p.size || p.l4 < (p.family == IP_V4 ? 20 : 40) ||
	    p.data != data || p.src < data || p.src + addr_size > data + p.l4 || p.dst < data ||
	    p.dst + addr_size > data + p.l4 || (p.frag_off > 0 && (p.has_l4 || !p.is_frag)) ||
	    (size_t)p.frag_off + p.size - p.l4 > IP_PKT_SIZE_MAX)
		abort();
	(void)ip_csum_l4_ok(&p);
	if (echo_is_answer(&p, id) && p.size - p.l4 != 8 + 8 + ECHO_ID_SIZE)
		abort();
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	if (ip_pkt_parse(&again, copy, size) != 0 || again.l4 != p.l4 || again.proto != p.proto)
		abort();
	if (ip_csum_l4_set(copy, &again) && !ip_csum_l4_ok(&again))
		abort();
	free(copy);
	return 0;
}
