/* SPDX-License-Identifier: MIT */
/* Certificates that a server sends: is one of them a DERP meta certificate, and which key does it name? */
#include <stdlib.h>
#include <string.h>

#include "daemon/cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t key[KEY_SIZE], again[KEY_SIZE], version = 0, version2 = 0;

	if (cert_meta_parse(data, size, key, &version) != 0)
		return 0;
	/* Reading it twice gives the same. */
	if (cert_meta_parse(data, size, again, &version2) != 0 ||
	    memcmp(key, again, sizeof(key)) != 0 || version != version2)
		abort();
	return 0;
}
