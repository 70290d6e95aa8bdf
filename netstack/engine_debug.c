/* SPDX-License-Identifier: MIT */
/* What support asks a node to do on purpose: new disco key, broken connections, a fresh map. */
#include <sodium.h>

#include "engine_int.h"

void engine_rotate_disco(struct engine *e, struct mono now)
{
	env_fill(e->env, e->disco_priv.b, sizeof(e->disco_priv.b));
	key_clamp(e->disco_priv.b);
	key_public(e->disco.b, e->disco_priv.b);
	log_info(e->env->log, "disco: new key");
	relayclient_set_key(&e->relayc, &e->disco_priv);
	ctlclient_set_disco(e->ctl, now, &e->disco);
	for (size_t i = 0; i < e->n_slots; i++)
		if (e->slots[i])
			ep_own_disco(e, e->slots[i]);
	er_candidates(e, now, false);
}

/* Ends the stream as if the other side had. */
static void break_stream(struct engine *e, struct mono now, uint32_t id)
{
	struct engine_out *o = eq_push(e, ENGINE_STREAM_CLOSE, NULL, 0);

	if (!o)
		return;
	o->stream = id;
	engine_closed(e, now, id, "ended on request");
}

void engine_break_streams(struct engine *e, struct mono now, bool with_control)
{
	for (size_t i = 0; i < ENGINE_STREAMS_MAX; i++) {
		const struct engine_stream *s = &e->streams[i];

		if (s->id && s->owner == ENGINE_OWNER_DERP)
			break_stream(e, now, s->id);
	}
	if (with_control)
		ctlclient_relink(e->ctl, now);
}

void engine_refetch_map(struct engine *e, struct mono now)
{
	ctlclient_relink(e->ctl, now);
}
