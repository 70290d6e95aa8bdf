/* SPDX-License-Identifier: MIT */
/* The compiled filter against the slow reference: the input makes rules, peers, own addresses and
 * packets. */
#include <stdlib.h>

#include "tests/unit/filterref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct stream {
	const uint8_t *p;
	size_t left;
};

static uint8_t next_byte(void *ctx)
{
	struct stream *s = ctx;

	if (s->left == 0)
		return 0;
	s->left--;
	return *s->p++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream s = { data, size };
	struct filterref_world w;
	struct filter *f;

	filterref_make(&w, next_byte, &s);
	f = filter_new(&w.cfg);
	if (!f)
		abort();
	do {
		bool jailed = next_byte(&s) % 8 == 0;
		uint8_t buf[128];
		size_t n = filterref_packet(buf, next_byte, &s);
		struct ip_pkt pkt;

		if (ip_pkt_parse(&pkt, buf, n) == 0 &&
		    filter_check(f, &pkt, jailed) != filterref_check(&w.cfg, &pkt, jailed))
			abort();
	} while (s.left > 0);
	filter_free(f);
	filterref_wipe(&w);
	return 0;
}
