/* SPDX-License-Identifier: MIT */
/* RFC 6479: a ring of words indexed by counter / 64. Words that the window enters are cleared when
 * it moves, so that nothing is ever shifted. */
#include "wg/replay.h"

#include <errno.h>
#include <string.h>

enum { WORDS = REPLAY_WINDOW / 64 + 1 };

void replay_init(struct replay *r)
{
	memset(r, 0, sizeof(*r));
}

bool replay_check(const struct replay *r, uint64_t counter)
{
	if (counter >= REPLAY_COUNTER_END)
		return false;
	if (counter >= r->next)
		return true;
	if (r->next - 1 - counter > REPLAY_WINDOW)
		return false;
	return !(r->bits[counter / 64 % WORDS] >> counter % 64 & 1);
}

/* Moves the window so that 'counter' is its head. */
static void advance(struct replay *r, uint64_t counter)
{
	uint64_t head = r->next > 0 ? (r->next - 1) / 64 : 0, to = counter / 64;

	if (to - head >= WORDS) {
		memset(r->bits, 0, sizeof(r->bits));
	} else {
		for (uint64_t i = head + 1; i <= to; i++)
			r->bits[i % WORDS] = 0;
	}
	r->next = counter + 1;
}

int replay_accept(struct replay *r, uint64_t counter)
{
	if (!replay_check(r, counter))
		return -ESTALE;
	if (counter >= r->next)
		advance(r, counter);
	r->bits[counter / 64 % WORDS] |= UINT64_C(1) << counter % 64;
	return 0;
}

uint64_t replay_accept_n(struct replay *r, const uint64_t *counters, size_t n, uint64_t mask)
{
	uint64_t fresh = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t bit = UINT64_C(1) << i;

		if ((mask & bit) && replay_accept(r, counters[i]) == 0)
			fresh |= bit;
	}
	return fresh;
}
