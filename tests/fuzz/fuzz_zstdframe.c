/* SPDX-License-Identifier: MIT */
/* wire/zstdframe: whatever the frame claims, no more than the cap comes out, and a failure leaves nothing behind. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/zstdframe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CAP = 1 << 18 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes out = { 0 }, frame = { 0 };
	int err;

	if (bytes_append(&out, "before", 6) != 0)
		abort();
	err = zstdframe_decode(&out, data, size, CAP);
	if (bytes_size(&out) > 6 + CAP || (err && bytes_size(&out) != 6) || memcmp(bytes_data(&out), "before", 6) != 0)
		abort();
	if (!err) { /* our own frame of the same bytes gives them back */
		struct bytes again = { 0 };

		if (zstdframe_encode(&frame, bytes_data(&out), bytes_size(&out)) != 0 ||
		    zstdframe_decode(&again, bytes_data(&frame), bytes_size(&frame), bytes_size(&out)) != 0 ||
		    bytes_size(&again) != bytes_size(&out) ||
		    memcmp(bytes_data(&again), bytes_data(&out), bytes_size(&out)) != 0)
			abort();
		bytes_wipe(&again);
	}
	bytes_wipe(&frame);
	bytes_wipe(&out);
	return 0;
}
