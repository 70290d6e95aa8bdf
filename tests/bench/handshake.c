/* SPDX-License-Identifier: MIT */
/* Handshakes a second on one core, both sides in this process with real messages; what a responder
 * spends on bad ones; and the scalar multiplications that it cannot do without, as the ruler.
 *
 * usage: handshake SECONDS       (prints one JSON object) */
#include "config.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "base/env.h"
#include "base/mono.h"
#include "wg/cookie.h"
#include "wg/noise.h"

enum { BLOCK = 64 };

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void fill_random(void *ctx, void *dst, size_t size)
{
	(void)ctx;
	randombytes_buf(dst, size);
}

static int64_t wall_ns(void *ctx)
{
	(void)ctx;
	return now_ns();
}

static const struct env env = { .fill = fill_random, .wall_ns = wall_ns };

/* Both ends of a handshake, and the macs between them. */
struct ends {
	struct noise_self a, b;
	struct noise_peer of_a, of_b; /* a's view of b, b's of a */
	struct cookie_maker macs_of_a;
	struct cookie_checker door_of_b;
	struct wg_initiation init;
};

static void make_ends(struct ends *e)
{
	struct node_priv priv;

	randombytes_buf(priv.b, sizeof(priv.b));
	noise_self_init(&e->a, &priv);
	randombytes_buf(priv.b, sizeof(priv.b));
	noise_self_init(&e->b, &priv);
	noise_peer_init(&e->of_a, &e->b.pub, NULL);
	noise_peer_init(&e->of_b, &e->a.pub, NULL);
	cookie_maker_init(&e->macs_of_a, &e->b.pub);
	cookie_checker_init(&e->door_of_b, &e->b.pub);
}

static void must(int err)
{
	if (err) {
		(void)fprintf(stderr, "handshake: %s\n", strerror(-err));
		exit(1);
	}
}

static void shake(struct ends *e)
{
	uint8_t stamp[WGMSG_TIMESTAMP_SIZE];
	struct noise_keys ka, kb;
	struct wg_response resp;
	struct noise_hs hs;
	struct noise_rx rx;

	noise_tai64n(stamp, now_ns());
	must(noise_create_initiation(&hs, &e->a, &e->of_a, &env, stamp, 1, &e->init));
	cookie_add_macs(&e->macs_of_a, (struct mono){ now_ns() }, (uint8_t *)&e->init,
			sizeof(e->init));
	must(cookie_check_mac1(&e->door_of_b, (const uint8_t *)&e->init, sizeof(e->init))
		     ? 0
		     : -EBADMSG);
	must(noise_open_initiation(&rx, &e->b, &e->init));
	must(noise_accept_initiation(&rx, &e->b, &e->of_b, &e->init));
	must(noise_create_response(&rx, &e->of_b, &env, 2, &resp, &kb));
	must(noise_consume_response(&hs, &e->a, &e->of_a, &resp, &ka));
	must(memcmp(ka.send, kb.recv, sizeof(ka.send)) == 0 ? 0 : -EBADMSG);
}

static void reject_mac1(struct ends *e)
{
	e->init.macs.mac1[0] ^= 1;
	must(cookie_check_mac1(&e->door_of_b, (const uint8_t *)&e->init, sizeof(e->init)) ? -EBADMSG
											  : 0);
	e->init.macs.mac1[0] ^= 1;
}

/* What a responder under load does for a message with a right mac1 and no cookie. */
static void answer_cookie(struct ends *e)
{
	static const uint8_t src[6] = { 192, 0, 2, 1, 1, 1 };
	const struct mono now = { now_ns() };
	struct wg_cookie_reply reply;

	must(cookie_check_mac1(&e->door_of_b, (const uint8_t *)&e->init, sizeof(e->init))
		     ? 0
		     : -EBADMSG);
	if (!cookie_check_mac2(&e->door_of_b, now, (const uint8_t *)&e->init, sizeof(e->init), src,
			       sizeof(src)))
		cookie_reply_write(&e->door_of_b, now, &env, (const uint8_t *)&e->init,
				   sizeof(e->init), src, sizeof(src), &reply);
}

/* Each end makes one ephemeral key, and multiplies it with the other's static and ephemeral key and
 * the ephemeral key with its own static one. */
static void multiply_eight(struct ends *e)
{
	uint8_t out[32];

	for (int i = 0; i < 6; i++)
		must(crypto_scalarmult(out, e->a.priv.b, e->b.pub.b));
	for (int i = 0; i < 2; i++)
		must(crypto_scalarmult_base(out, e->a.priv.b));
}

static double per_s(void (*what)(struct ends *), struct ends *e, double seconds)
{
	const int64_t begin = now_ns(), until = begin + (int64_t)(seconds * 1e9);
	int64_t n = 0, now = begin;

	for (; now < until; now = now_ns())
		for (int i = 0; i < BLOCK; i++, n++)
			what(e);
	return (double)n * 1e9 / (double)(now - begin);
}

int main(int argc, char **argv)
{
	const double seconds = argc == 2 ? strtod(argv[1], NULL) : 0;
	struct ends e;

	if (seconds <= 0 || sodium_init() < 0) {
		(void)fprintf(stderr, "usage: handshake SECONDS\n");
		return 2;
	}
	make_ends(&e);
	shake(&e); /* the static-static secret is there from now on */
	(void)printf("{\"handshakes\": %.6g, ", per_s(shake, &e, seconds));
	(void)printf("\"multiplications\": %.6g, ", per_s(multiply_eight, &e, seconds));
	(void)printf("\"bad_mac1\": %.6g, ", per_s(reject_mac1, &e, seconds));
	(void)printf("\"cookie_replies\": %.6g}\n", per_s(answer_cookie, &e, seconds));
	return 0;
}
