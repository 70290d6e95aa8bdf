/* SPDX-License-Identifier: MIT */
/* The configuration file's text. A refused file names a reason and leaves no secret in it. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_error err = { 0 };
	struct conf c = { 0 };
	char text[PREFS_ERR_MAX];

	if (conf_parse_file(&c, "fuzz", (const char *)data, size, &err) == -EINVAL && !err.text[0])
		abort();
	conf_locked_text(&c, UINT64_MAX, text);
	conf_wipe(&c);
	return 0;
}
