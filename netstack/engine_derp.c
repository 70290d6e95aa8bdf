/* SPDX-License-Identifier: MIT */
/* Byte streams of all machines under one numbering, and what comes and goes by DERP. */
#include <string.h>

#include "engine_int.h"
#include "wire/disco.h"
#include "wire/wgmsg.h"

/* ---- streams ---- */

uint32_t edp_stream(struct engine *e, enum engine_owner owner, uint32_t inner)
{
	for (size_t i = 0; i < ENGINE_STREAMS_MAX; i++) {
		struct engine_stream *s = &e->streams[i];

		if (s->id)
			continue;
		if (++e->next_stream == 0)
			e->next_stream = 1;
		*s = (struct engine_stream){ .id = e->next_stream, .inner = inner, .owner = owner };
		return s->id;
	}
	return 0;
}

struct engine_stream *edp_find(struct engine *e, uint32_t id)
{
	for (size_t i = 0; id && i < ENGINE_STREAMS_MAX; i++)
		if (e->streams[i].id == id)
			return &e->streams[i];
	return NULL;
}

uint32_t edp_id(const struct engine *e, enum engine_owner owner, uint32_t inner)
{
	for (size_t i = 0; i < ENGINE_STREAMS_MAX; i++) {
		const struct engine_stream *s = &e->streams[i];

		if (s->id && s->owner == owner && s->inner == inner)
			return s->id;
	}
	return 0;
}

void edp_forget(struct engine *e, uint32_t id)
{
	struct engine_stream *s = edp_find(e, id);

	if (s)
		s->id = 0;
}

void engine_opened(struct engine *e, struct mono now, uint32_t stream, const struct stream_info *info)
{
	const struct engine_stream *s = edp_find(e, stream);

	if (!s)
		return;
	switch (s->owner) {
	case ENGINE_OWNER_CTL:
		ctlclient_connected(e->ctl, now, s->inner);
		break;
	case ENGINE_OWNER_DERP:
		derpclient_opened(&e->derp, now, s->inner, info);
		break;
	case ENGINE_OWNER_NETCHECK:
		netcheck_opened(e->net, now, s->inner, info);
		break;
	}
}

void engine_stream_input(struct engine *e, struct mono now, uint32_t stream, const uint8_t *data, size_t size)
{
	const struct engine_stream *s = edp_find(e, stream);

	if (!s)
		return;
	switch (s->owner) {
	case ENGINE_OWNER_CTL:
		ctlclient_input(e->ctl, now, s->inner, data, size);
		break;
	case ENGINE_OWNER_DERP:
		derpclient_input(&e->derp, now, s->inner, data, size);
		break;
	case ENGINE_OWNER_NETCHECK:
		netcheck_stream_input(e->net, now, s->inner, data, size);
		break;
	}
}

void engine_closed(struct engine *e, struct mono now, uint32_t stream, const char *reason)
{
	struct engine_stream *s = edp_find(e, stream);
	struct engine_stream was;

	if (!s)
		return;
	was = *s;
	s->id = 0;
	switch (was.owner) {
	case ENGINE_OWNER_CTL:
		ctlclient_closed(e->ctl, now, was.inner, reason);
		break;
	case ENGINE_OWNER_DERP:
		derpclient_closed(&e->derp, now, was.inner, reason);
		break;
	case ENGINE_OWNER_NETCHECK:
		netcheck_stream_closed(e->net, now, was.inner);
		break;
	}
}

size_t engine_take(struct engine *e, struct mono now, uint32_t stream, uint8_t *buf, size_t size)
{
	const struct engine_stream *s = edp_find(e, stream);

	return s && s->owner == ENGINE_OWNER_DERP ? derpclient_take(&e->derp, now, s->inner, buf, size) : 0;
}

/* ---- DERP ---- */

static void recv_handshake(struct engine *e, struct mono now, const struct derpclient_out *d)
{
	const struct path_addr from = path_derp(d->region);

	if (e->has_device)
		(void)!device_input(&e->device, now, d->data, d->size, &from, &d->peer);
}

static void state_changed(struct engine *e, struct mono now, const struct derpclient_out *d)
{
	if (d->is_up)
		log_info(e->env->log, "derp: region %u: connected", d->region);
	else
		log_info(e->env->log, "derp: region %u: disconnected: %s", d->region, d->text);
	if (d->region == e->home)
		e->home_lost = d->is_up ? MONO_NEVER : mono_min(e->home_lost, now);
	ep_derp_changed(e, now, d->is_up);
	/* A home that fails may be the first sign of another network. */
	if (!d->is_up && d->region == e->home)
		en_start(e, now, false);
	e->state_due = true;
}

/* The peer came to the region, or is not there: then what we sent was lost, but it may be about to connect. */
static void peer_at_derp(struct engine *e, struct mono now, const struct derpclient_out *d, enum hasten_why why)
{
	const struct epeer *p = ep_by_key(e, &d->peer);

	if (p)
		ep_hint(e, now, p, why);
}

static void open_stream(struct engine *e, struct mono now, const struct derpclient_out *d)
{
	uint32_t id = edp_stream(e, ENGINE_OWNER_DERP, d->stream);
	struct engine_out *o = id ? eq_push(e, ENGINE_OPEN, NULL, 0) : NULL;
	struct engine_item *item;

	if (!o) {
		edp_forget(e, id);
		derpclient_closed(&e->derp, now, d->stream, "too many streams");
		return;
	}
	item = CONTAINER_OF(o, struct engine_item, out);
	item->addr = *d->addr;
	o->addr = &item->addr;
	o->stream = id;
}

/* True: '*out' is to be given out by engine_poll() directly. */
static bool derp_output(struct engine *e, struct mono now, const struct derpclient_out *d,
			struct engine_out *out)
{
	const struct path_addr from = path_derp(d->region);
	struct engine_out *o;
	uint32_t id;

	switch (d->kind) {
	case DERPCLIENT_OPEN:
		open_stream(e, now, d);
		return false;
	case DERPCLIENT_WRITE:
		*out = (struct engine_out){ .kind = ENGINE_STREAM_READY,
					    .stream = edp_id(e, ENGINE_OWNER_DERP, d->stream) };
		return out->stream != 0;
	case DERPCLIENT_CLOSE:
		id = edp_id(e, ENGINE_OWNER_DERP, d->stream);
		o = id ? eq_push(e, ENGINE_STREAM_CLOSE, NULL, 0) : NULL;
		if (o)
			o->stream = id;
		edp_forget(e, id);
		return false;
	case DERPCLIENT_RECV:
		if (d->is_new)
			peer_at_derp(e, now, d, HASTEN_REACHED);
		if (disco_is_packet(d->data, d->size)) {
			ed_input(e, now, &from, false, &d->peer, d->data, d->size);
			return false;
		}
		if (d->size == 0 || d->data[0] != WGMSG_DATA) {
			recv_handshake(e, now, d);
			return false;
		}
		*out = (struct engine_out){
			.kind = ENGINE_DERP_IN, .region = d->region, .data = d->data, .size = d->size
		};
		return true;
	case DERPCLIENT_GONE:
		peer_at_derp(e, now, d, HASTEN_ABSENT);
		return false;
	case DERPCLIENT_STATE:
		state_changed(e, now, d);
		return false;
	case DERPCLIENT_HEALTH:
		if (*d->text)
			log_warn(e->env->log, "derp: region %u: %s", d->region, d->text);
		return false;
	}
	return false;
}

bool edp_poll(struct engine *e, struct mono now, struct engine_out *out)
{
	struct derpclient_out d;

	while (!e->first && derpclient_poll(&e->derp, now, &d))
		if (derp_output(e, now, &d, out))
			return true;
	return false;
}

int64_t engine_n_derps(const struct engine *e)
{
	int64_t n = 0;

	for (size_t i = 0; i < ENGINE_STREAMS_MAX; i++)
		n += e->streams[i].id && e->streams[i].owner == ENGINE_OWNER_DERP;
	return n;
}

void engine_input_derp_out(struct engine *e, struct mono now, struct peer_id peer, uint32_t region,
			   const uint8_t *data, size_t size)
{
	const struct epeer *p = ep_get(e, peer);
	uint32_t via;

	if (!p)
		return;
	via = derpclient_route(&e->derp, &p->key, region ? region : p->node->home_derp);
	(void)!derpclient_send(&e->derp, now, via, &p->key, data, size); /* counted there */
}
