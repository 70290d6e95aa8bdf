/* SPDX-License-Identifier: MIT */
/* Data messages against a key pair: index, counter, padding, tag. What does not open leaves the
 * replay window and the counters alone; what opens is the message that was sealed. The input is cut
 * into messages of up to 255 bytes (a length byte each), which are opened as one batch. */
#include <stdlib.h>
#include <string.h>

#include "wg/keypair.h"
#include "wire/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct crypto reference = { .aead = &aead_sodium };
static const struct aead_thread no_thread = { 0 };

enum { BATCH = 16 };

static struct keypair *make(void)
{
	struct keypair_cfg cfg = { .crypto = &reference,
				   .local_index = 0x22,
				   .remote_index = 0x11,
				   .peer = { 0, 1 },
				   .created = { NS_PER_S } };
	struct keypair *kp;

	memset(cfg.recv_key, 1, sizeof(cfg.recv_key));
	memset(cfg.send_key, 2, sizeof(cfg.send_key));
	kp = keypair_new(&cfg);
	if (!kp)
		abort();
	return kp;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct mono now = { 2 * NS_PER_S };
	struct keypair *kp = make();
	struct keypair_pkt pkts[BATCH];
	uint8_t bufs[BATCH][256];
	uint64_t counters[BATCH], ok, fresh;
	struct replay before = kp->replay;
	size_t n = 0;

	while (size > 0 && n < BATCH) {
		size_t len = data[0] < size ? data[0] : size - 1;

		memcpy(bufs[n], data + 1, len);
		pkts[n] = (struct keypair_pkt){ .data = bufs[n], .size = (uint32_t)len };
		data += 1 + len;
		size -= 1 + len;
		n++;
	}
	if (n == 0) {
		keypair_put(kp);
		return 0;
	}
	ok = keypair_open_n(kp, 0, &no_thread, now, pkts, n);
	if (ok & ~aead_all(n) || memcmp(&before, &kp->replay, sizeof(before)) != 0)
		abort();
	for (size_t i = 0; i < n; i++) {
		struct ip_pkt ip;

		counters[i] = pkts[i].counter;
		if (!(ok >> i & 1) && pkts[i].data != bufs[i])
			abort();
		if (ok >> i & 1 && pkts[i].size > 0)
			(void)!ip_pkt_parse(&ip, pkts[i].data, pkts[i].size);
	}
	fresh = replay_accept_n(&kp->replay, counters, n, ok);
	if (fresh & ~ok || (ok == 0 && memcmp(&before, &kp->replay, sizeof(before)) != 0))
		abort();
	keypair_put(kp);
	return 0;
}
