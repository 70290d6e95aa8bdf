/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/wgfuzz.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static const struct crypto reference = { .aead = &aead_sodium };

static void fill(void *ctx, void *dst, size_t size)
{
	struct wgfuzz *f = ctx;
	uint8_t *p = dst;

	for (size_t i = 0; i < size; i++) {
		f->state = f->state * UINT64_C(6364136223846793005) + 1442695040888963407;
		p[i] = (uint8_t)(f->state >> 56);
	}
}

static int64_t wall_ns(void *ctx)
{
	(void)ctx;
	return INT64_C(1767323045) * NS_PER_S;
}

static void priv_of(struct node_priv *priv, uint8_t number)
{
	memset(priv->b, number, sizeof(priv->b));
}

static struct node_key pub_of(uint8_t number)
{
	struct noise_self self;
	struct node_priv priv;

	priv_of(&priv, number);
	noise_self_init(&self, &priv);
	return self.pub;
}

void wgfuzz_init(struct wgfuzz *f, uint8_t self)
{
	struct device_cfg cfg = { .crypto = &reference, .env = &f->env };
	struct device_peer_cfg pcfg = { .id = { 0, 1 } };
	const struct ep ep = { .ip = ip4(192, 0, 2, 1), .port = 41641 };

	memset(f, 0, sizeof(*f));
	f->state = self;
	f->env = (struct env){ .fill = fill, .wall_ns = wall_ns, .ctx = f };
	f->now = (struct mono){ 1000 * NS_PER_S };
	f->path = path_direct(&ep);
	priv_of(&cfg.priv, self);
	pcfg.key = pub_of((uint8_t)(3 - self));
	if (device_init(&f->device, &cfg) != 0 || device_add(&f->device, &pcfg, &f->peer) != 0)
		abort();
}

unsigned wgfuzz_drain(struct wgfuzz *f)
{
	struct device_out o;
	unsigned n = 0;

	while (device_poll(&f->device, f->now, &o)) {
		n += o.kind == DEVICE_SEND;
		if (o.kind == DEVICE_KEYPAIR_REMOVE)
			keypair_put(o.kp);
	}
	return n;
}

void wgfuzz_wipe(struct wgfuzz *f)
{
	device_reset(&f->device, f->peer);
	(void)wgfuzz_drain(f);
	device_del(&f->device, f->peer);
	device_wipe(&f->device);
}

void wgfuzz_fix_mac1(uint8_t to, uint8_t *msg, size_t size)
{
	struct node_key pub = pub_of(to);
	struct cookie_maker m;
	uint8_t mac2[WGMSG_MAC_SIZE];

	if (size < sizeof(struct wg_macs))
		return;
	memcpy(mac2, msg + size - sizeof(mac2), sizeof(mac2));
	cookie_maker_init(&m, &pub);
	cookie_add_macs(&m, MONO_ZERO, msg, size);
	memcpy(msg + size - sizeof(mac2), mac2, sizeof(mac2));
}
