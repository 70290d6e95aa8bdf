/* SPDX-License-Identifier: MIT */
/* The small bodies of the control connection; the first byte chooses one. What parses is written, and what is
 * written parses to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Parses and writes again; null if it does not parse. */
static char *turn(unsigned kind, const char *text, size_t size, size_t *out_size)
{
	union {
		struct ctl_register_request rq;
		struct ctl_register_response rs;
		struct ctl_map_request mq;
		struct ctl_key_response k;
	} u;
	struct json_w w = { 0 };
	struct ctl_why why = { "" };
	int err;

	switch (kind % 4) {
	case 0:
		err = ctl_register_request_parse(&u.rq, text, size, &why);
		if (!err)
			ctl_register_request_write(&w, &u.rq);
		ctl_register_request_wipe(&u.rq);
		break;
	case 1:
		err = ctl_register_response_parse(&u.rs, text, size, &why);
		if (!err)
			ctl_register_response_write(&w, &u.rs);
		ctl_register_response_wipe(&u.rs);
		break;
	case 2:
		err = ctl_map_request_parse(&u.mq, text, size, &why);
		if (!err)
			ctl_map_request_write(&w, &u.mq);
		ctl_map_request_wipe(&u.mq);
		break;
	default:
		err = ctl_key_response_parse(&u.k, text, size, &why);
		if (!err)
			ctl_key_response_write(&w, &u.k);
		break;
	}
	if (err && !why.text[0])
		abort();
	return err ? NULL : json_w_take(&w, out_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n1, n2;
	char *a, *b;

	if (size < 1)
		return 0;
	a = turn(data[0], (const char *)data + 1, size - 1, &n1);
	if (!a)
		return 0;
	b = turn(data[0], a, n1, &n2);
	if (!b || n1 != n2 || memcmp(a, b, n1) != 0)
		abort();
	free(a);
	free(b);
	return 0;
}
