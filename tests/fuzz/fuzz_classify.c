/* SPDX-License-Identifier: MIT */
/* The classifier and the Geneve header: a payload offset always lies inside the datagram. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/classify.h"
#include "wire/disco.h"
#include "wire/geneve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct classify c = classify(data, size);
	struct geneve_hdr hdr;

	if (c.offset > size || (c.is_geneve != (c.offset == GENEVE_SIZE)))
		abort();
	if (c.kind == CLASSIFY_DISCO && !disco_is_packet(data + c.offset, size - c.offset))
		abort();
	if (geneve_parse(&hdr, data, size) == 0) {
		uint8_t out[GENEVE_SIZE];

		if (hdr.vni > GENEVE_VNI_MAX || (c.is_geneve && hdr.vni != c.vni))
			abort();
		geneve_write(out, hdr.protocol, hdr.vni, hdr.control);
	} else if (c.is_geneve) {
		abort();
	}
	return 0;
}
