/* SPDX-License-Identifier: MIT */
/* TSMP packets: whatever parses, except a rejection, must write and parse again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/tsmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tsmp_msg msg, again;
	uint8_t buf[TSMP_SIZE_MAX];
	int n;

	if (tsmp_parse(&msg, data, size) != 0)
		return 0;
	if (!tsmp_is_packet(data, size))
		abort();
	n = tsmp_write(buf, sizeof(buf), &msg);
	if (n < 0) {
		/* A rejection is never written; mapped addresses make a mixed pair of families. */
		if (msg.kind != TSMP_REJECT && msg.src.family == msg.dst.family)
			abort();
		return 0;
	}
	if (tsmp_parse(&again, buf, (size_t)n) != 0 ||
	    memcmp(&msg.id, &again.id, sizeof(msg.id)) != 0)
		abort();
	return 0;
}
