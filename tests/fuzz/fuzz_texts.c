/* SPDX-License-Identifier: MIT */
/* Text forms: keys, times, addresses, endpoints, prefixes. The first byte chooses one; what parses is written and
 * parses back to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/ep.h"
#include "base/key.h"
#include "wire/rfc3339.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void key(enum key_kind kind, const char *p, size_t size)
{
	uint8_t a[KEY_SIZE], b[KEY_SIZE];
	char text[KEY_TEXT_MAX];

	if (key_parse(a, kind, p, size) != 0)
		return;
	key_write(text, kind, a);
	if (strlen(text) != size || key_parse(b, kind, text, strlen(text)) != 0 || memcmp(a, b, KEY_SIZE) != 0)
		abort();
}

static void time_text(const char *p, size_t size)
{
	char text[RFC3339_TEXT_MAX];
	int64_t a, b;
	int32_t ns, ns2;

	if (rfc3339_parse(&a, &ns, p, size) != 0)
		return;
	rfc3339_write(text, a, ns);
	/* An offset may lead out of the years that can be written. */
	if (rfc3339_parse(&b, &ns2, text, strlen(text)) != 0 || ns != ns2 ||
	    (a != b && a >= RFC3339_ZERO_S && a <= INT64_C(253402300799)))
		abort();
}

static void addresses(unsigned kind, const char *p, size_t size)
{
	char text[EP_TEXT_MAX + PREFIX_TEXT_MAX];
	struct ip ip, ip2;
	struct ep ep, ep2;
	struct prefix x, y;

	if (kind == 0 && ip_parse(&ip, p, size) == 0) {
		ip_write(text, &ip);
		if (ip_parse(&ip2, text, strlen(text)) != 0 || !ip_eq(&ip, &ip2))
			abort();
	} else if (kind == 1 && ep_parse(&ep, p, size) == 0) {
		ep_write(text, &ep);
		if (ep_parse(&ep2, text, strlen(text)) != 0 || !ep_eq(&ep, &ep2))
			abort();
	} else if (kind == 2 && prefix_parse(&x, p, size, true) == 0) {
		prefix_write(text, &x);
		if (prefix_parse(&y, text, strlen(text), false) != 0 || !prefix_eq(&x, &y))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data + 1;

	if (size < 1)
		return 0;
	switch (data[0] % 9) {
	case 0:
		key(KEY_NODE, p, size - 1);
		break;
	case 1:
		key(KEY_MACHINE, p, size - 1);
		break;
	case 2:
		key(KEY_DISCO, p, size - 1);
		break;
	case 3:
		key(KEY_CHALLENGE, p, size - 1);
		break;
	case 4:
		key(KEY_PRIVATE, p, size - 1);
		break;
	case 5:
		time_text(p, size - 1);
		break;
	default:
		addresses(data[0] % 9 - 6u, p, size - 1);
	}
	return 0;
}
