/* SPDX-License-Identifier: MIT */
/* The relay's bandwidth limits, see relayfair.h. */
#include "relay/relayfair.h"

#include <string.h>

/* Bytes saved up at a rate. */
static uint64_t burst_of(uint64_t rate)
{
	uint64_t burst = rate * RELAYFAIR_BURST_MS / 1000;

	return burst > RELAYFAIR_BURST_MIN ? burst : RELAYFAIR_BURST_MIN;
}

void relayfair_init(struct relayfair *f, struct mono now, uint64_t bytes_per_s, uint64_t session_bytes_per_s)
{
	memset(f, 0, sizeof(*f));
	f->bytes_per_s = bytes_per_s;
	f->session_bytes_per_s = session_bytes_per_s;
	f->epoch_at = now;
	f->epoch = 2; /* a zeroed slot was active in none */
	if (bytes_per_s)
		bucket_fill(&f->total, now, bytes_per_s, burst_of(bytes_per_s));
}

static void epoch_roll(struct relayfair *f, struct mono now)
{
	int64_t passed = mono_since_ns(now, f->epoch_at) / (RELAYFAIR_EPOCH_MS * NS_PER_MS);

	if (passed <= 0)
		return;
	f->n_before = passed == 1 ? f->n_now : 0;
	f->n_now = 0;
	f->epoch++;
	f->epoch_at = now;
}

static struct relayfair_slot *slot_of(struct relayfair *f, struct mono now, uint32_t vni)
{
	struct relayfair_slot *slot = &f->slots[vni % RELAYFAIR_SLOTS];

	if (slot->epoch == f->epoch)
		return slot;
	if (slot->epoch + 1 < f->epoch) {
		/* It was silent: it begins with nothing saved of its share, but may use what is spare. */
		slot->share = (struct bucket){ .last = now };
		if (f->session_bytes_per_s && slot->epoch == 0)
			bucket_fill(&slot->own, now, f->session_bytes_per_s, burst_of(f->session_bytes_per_s));
	}
	slot->epoch = f->epoch;
	f->n_now++;
	return slot;
}

bool relayfair_take(struct relayfair *f, struct mono now, uint32_t vni, size_t size)
{
	uint64_t rate = f->bytes_per_s, burst = burst_of(rate), share, n;
	struct relayfair_slot *slot;

	if (!relayfair_is_on(f))
		return true;
	epoch_roll(f, now);
	slot = slot_of(f, now, vni);
	if (f->session_bytes_per_s && !bucket_has(&slot->own, now, f->session_bytes_per_s,
						  burst_of(f->session_bytes_per_s), size))
		return false;
	if (rate) {
		n = f->n_now > f->n_before ? f->n_now : f->n_before;
		share = rate / n > 0 ? rate / n : 1;
		/* All shares together save up half of the total, which they alone may use. */
		if (!bucket_has(&f->total, now, rate, burst, size) ||
		    (!bucket_take(&slot->share, now, share, burst / 2 / n + 1, size) &&
		     !bucket_has(&f->total, now, rate, burst, burst / 2 + size)))
			return false;
		(void)bucket_take(&f->total, now, rate, burst, size);
	}
	if (f->session_bytes_per_s)
		(void)bucket_take(&slot->own, now, f->session_bytes_per_s, burst_of(f->session_bytes_per_s), size);
	return true;
}
