/* SPDX-License-Identifier: MIT */
/* The set of DERP connections of derpclient.h; each one is a derplink. */
#include "relay/derpclient.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "relay/derplink.h"

int derpclient_init(struct derpclient *c, const struct env *env)
{
	memset(c, 0, sizeof(*c));
	c->env = env;
	map_init(&c->routes, KEY_SIZE, DERPCLIENT_ROUTES_MAX, env);
	return 0;
}

static struct derpclient_link *link_find(const struct derpclient *c, uint32_t region)
{
	for (size_t i = 0; i < c->n_links; i++) {
		if (c->links[i]->id == region)
			return c->links[i];
	}
	return NULL;
}

/* The link whose present stream this is. */
static struct derpclient_link *link_of_stream(const struct derpclient *c, uint32_t stream)
{
	struct derpclient_link *l = link_find(c, stream >> 16);

	return l && derplink_stream(l) == stream && l->state >= DERPCLIENT_OPENING ? l : NULL;
}

/* The link to a region of the map, made if need be; null: no such region or no memory. */
static struct derpclient_link *link_get(struct derpclient *c, uint32_t region)
{
	const struct derp_region *r = derp_map_region(&c->map, region);
	struct derpclient_link *l = link_find(c, region), **links;

	if (l || !r || region > UINT16_MAX || c->n_links >= DERPCLIENT_LINKS_MAX)
		return r ? l : NULL;
	links = realloc(c->links, (c->n_links + 1) * sizeof(struct derpclient_link *));
	if (!links)
		return NULL;
	c->links = links;
	l = malloc(sizeof(*l));
	if (!l)
		return NULL;
	derplink_init(l, region, &c->n, c->env);
	l->region = r;
	c->links[c->n_links++] = l;
	return l;
}

/* Forgets which peers were heard on this link. The map may not change under an iteration, so keys are
 * collected in batches. */
static void routes_forget(struct derpclient *c, const struct derpclient_link *l)
{
	struct node_key keys[64];
	const void *key;
	size_t n, it;
	void *at;

	do {
		n = it = 0;
		while (n < ARRAY_LEN(keys) && (at = map_next(&c->routes, &it, &key))) {
			if (at == l)
				memcpy(keys[n++].b, key, KEY_SIZE);
		}
		for (size_t i = 0; i < n; i++)
			(void)map_del(&c->routes, keys[i].b);
	} while (n == ARRAY_LEN(keys));
}

/* True: it was not known to be there. */
static bool route_learn(struct derpclient *c, const struct node_key *peer, struct derpclient_link *l)
{
	if (map_get(&c->routes, peer->b) == l)
		return false;
	/* Full: start over; routes are learnt again from the next packets. */
	if (map_put(&c->routes, peer->b, l) == -ENOBUFS) {
		map_wipe(&c->routes);
		map_init(&c->routes, KEY_SIZE, DERPCLIENT_ROUTES_MAX, c->env);
	}
	return true;
}

void derpclient_set_key(struct derpclient *c, struct mono now, const struct node_priv *priv)
{
	if (priv && c->has_key && sodium_memcmp(priv->b, c->priv.b, KEY_SIZE) == 0)
		return;
	for (size_t i = 0; i < c->n_links; i++) {
		frameq_clear(&c->links[i]->disco);
		frameq_clear(&c->links[i]->data);
		derplink_drop(c->links[i], now, "node key changed", false);
	}
	c->has_key = priv != NULL;
	key_wipe(c->priv.b);
	if (!priv)
		return;
	c->priv = *priv;
	key_public(c->pub.b, c->priv.b);
	derpclient_set_home(c, now, c->home);
}

static bool region_eq(struct derp_region *a, struct derp_region *b)
{
	struct derp_map ma = { .regions = a, .n_regions = 1 }, mb = { .regions = b, .n_regions = 1 };

	return derp_map_eq(&ma, &mb);
}

static struct derp_region *region_mut(const struct derp_map *m, uint32_t id)
{
	for (size_t i = 0; i < m->n_regions; i++) {
		if (m->regions[i].id == id)
			return &m->regions[i];
	}
	return NULL;
}

int derpclient_set_map(struct derpclient *c, struct mono now, const struct derp_map *map)
{
	struct derp_map copy = { 0 };
	int err = derp_map_copy(&copy, map);

	if (err)
		return err;
	for (size_t i = 0; i < c->n_links; i++) {
		struct derpclient_link *l = c->links[i];
		struct derp_region *old = region_mut(&c->map, l->id), *new = region_mut(&copy, l->id);

		l->region = new;
		if (!new || !old || !region_eq(old, new)) {
			if (!new)
				l->is_home = false;
			derplink_drop(l, now, "region changed", false);
		}
	}
	derp_map_wipe(&c->map);
	c->map = copy;
	if (c->home && !derp_map_region(&c->map, c->home))
		c->home = 0;
	derpclient_set_home(c, now, c->home);
	return 0;
}

void derpclient_set_home(struct derpclient *c, struct mono now, uint32_t region)
{
	struct derpclient_link *l;

	c->home = region;
	for (size_t i = 0; i < c->n_links; i++) {
		if (c->links[i]->id != region)
			derplink_set_home(c->links[i], now, false);
	}
	l = region && c->has_key ? link_get(c, region) : NULL;
	if (l)
		derplink_set_home(l, now, true);
}

void derpclient_net_changed(struct derpclient *c, struct mono now)
{
	for (size_t i = 0; i < c->n_links; i++)
		derplink_ping(c->links[i], now);
}

void derpclient_set_addrs(struct derpclient *c, struct mono now, const struct ip *ips, size_t n)
{
	for (size_t i = 0; i < c->n_links; i++) {
		struct derpclient_link *l = c->links[i];
		bool is_there = !l->is_open || !ip_is_set(&l->local) || ip_is_loopback(&l->local);

		for (size_t k = 0; k < n && !is_there; k++)
			is_there = ip_eq(&l->local, &ips[k]);
		if (!is_there)
			derplink_again(l, now, "local address is gone");
	}
}

uint32_t derpclient_route(const struct derpclient *c, const struct node_key *peer, uint32_t peer_home)
{
	const struct derpclient_link *home = peer_home ? link_find(c, peer_home) : NULL, *heard;

	if (home && home->state == DERPCLIENT_UP)
		return peer_home;
	heard = map_get(&c->routes, peer->b);
	if (heard && heard->state == DERPCLIENT_UP)
		return heard->id;
	return peer_home;
}

int derpclient_send(struct derpclient *c, struct mono now, uint32_t region, const struct node_key *peer,
		    const uint8_t *data, size_t size)
{
	struct derpclient_link *l;

	if (size > DERP_PACKET_MAX)
		return -ENOBUFS;
	l = c->has_key ? link_get(c, region) : NULL;
	return l && l->region ? derplink_send(l, now, peer, data, size) : -ENOENT;
}

void derpclient_opened(struct derpclient *c, struct mono now, uint32_t stream, const struct stream_info *info)
{
	struct derpclient_link *l = link_of_stream(c, stream);

	if (l)
		derplink_opened(l, now, info, &c->priv);
}

void derpclient_input(struct derpclient *c, struct mono now, uint32_t stream, const uint8_t *buf, size_t size)
{
	struct derpclient_link *l = link_of_stream(c, stream);

	if (l)
		derplink_input(l, now, buf, size);
}

void derpclient_closed(struct derpclient *c, struct mono now, uint32_t stream, const char *reason)
{
	struct derpclient_link *l = link_of_stream(c, stream);

	if (l)
		derplink_closed(l, now, reason);
}

size_t derpclient_take(struct derpclient *c, struct mono now, uint32_t stream, uint8_t *buf, size_t size)
{
	struct derpclient_link *l = link_of_stream(c, stream);

	return l ? derplink_take(l, now, buf, size) : 0;
}

/* What an output means for the routes. */
static void note(struct derpclient *c, struct derpclient_link *l, struct derpclient_out *out)
{
	if (out->kind == DERPCLIENT_RECV)
		out->is_new = route_learn(c, &out->peer, l);
	if (out->kind == DERPCLIENT_GONE && map_get(&c->routes, out->peer.b) == l)
		(void)map_del(&c->routes, out->peer.b);
	if (out->kind == DERPCLIENT_STATE && !out->is_up)
		routes_forget(c, l);
}

bool derpclient_poll(struct derpclient *c, struct mono now, struct derpclient_out *out)
{
	for (size_t tries = 0; tries < c->n_links; tries++) {
		struct derpclient_link *l = c->links[c->turn % c->n_links];

		if (derplink_poll(l, now, &c->priv, out)) {
			note(c, l, out);
			return true;
		}
		c->turn = (c->turn + 1) % c->n_links;
	}
	return false;
}

struct mono derpclient_deadline(const struct derpclient *c)
{
	struct mono at = MONO_NEVER;

	for (size_t i = 0; i < c->n_links; i++)
		at = mono_min(at, derplink_deadline(c->links[i]));
	return at;
}

void derpclient_tick(struct derpclient *c, struct mono now)
{
	for (size_t i = 0; i < c->n_links; i++)
		derplink_tick(c->links[i], now);
}

void derpclient_wipe(struct derpclient *c)
{
	for (size_t i = 0; i < c->n_links; i++) {
		derplink_wipe(c->links[i]);
		free(c->links[i]);
	}
	free(c->links);
	map_wipe(&c->routes);
	derp_map_wipe(&c->map);
	key_wipe(c->priv.b);
	memset(c, 0, sizeof(*c));
}

enum derpclient_state derpclient_state(const struct derpclient *c, uint32_t region)
{
	const struct derpclient_link *l = link_find(c, region);

	return l ? l->state : DERPCLIENT_IDLE;
}

struct mono derpclient_heard(const struct derpclient *c, uint32_t region)
{
	const struct derpclient_link *l = link_find(c, region);

	return l ? l->heard : MONO_ZERO;
}
