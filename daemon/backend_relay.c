/* SPDX-License-Identifier: MIT */
/* The relay server for the local API: its state, and what the host's firewall means for its port. Looking at
 * the firewall runs programs, so the helper thread does it and a report waits for it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/meshd.h"

enum { NOTE_MAX = 160 };

static void send_report(struct meshd *m, struct api_token token)
{
	struct relayinfo r = { 0 };
	struct bytes doc = { 0 };
	int err = backend_relay(m, &r);

	if (!err)
		err = relayinfo_write(&doc, &r, "\t");
	if (err)
		api_reply_text(m->api, token, 500, "out of memory\n");
	else
		api_reply_json(m->api, token, &doc);
	relayinfo_wipe(&r);
	bytes_wipe(&doc);
}

static void look(void *ctx)
{
	struct meshd *m = ctx;

	m->firewall_found = nft_detect();
}

static void looked(void *ctx, bool did_run, struct mono now)
{
	struct meshd *m = ctx;
	const size_t n = m->n_relay_waiters;

	if (did_run) {
		m->firewall = m->firewall_found;
		m->firewall_at = now;
	}
	m->n_relay_waiters = 0;
	for (size_t i = 0; i < n && m->api; i++)
		send_report(m, m->relay_waiters[i]);
}

static bool is_fresh(const struct meshd *m, struct mono now)
{
	return !m->firewall_job.is_queued && !mono_is_zero(m->firewall_at) &&
	       mono_before(now, mono_add_s(m->firewall_at, MESHD_FIREWALL_S));
}

void backend_look_at_firewall(struct meshd *m, struct mono now)
{
	if (m->firewall_job.is_queued || is_fresh(m, now))
		return;
	m->firewall_job.run = look;
	m->firewall_job.done = looked;
	m->firewall_job.ctx = m;
	loop_job_post(m->loop, &m->firewall_job);
}

int backend_relay(void *ctx, struct relayinfo *r)
{
	struct meshd *m = ctx;
	char hint[NFT_HINT_MAX], note[NOTE_MAX];
	int err;

	relaystat_collect(m);
	err = engine_relayinfo(m->engine, loop_now(m->loop), r);
	if (err || !r->bound_port)
		return err;
	r->bytes_s = m->relay_bytes_s;
	nft_hint(hint, m->firewall, r->bound_port);
	r->firewall_hint = *hint ? strdup(hint) : NULL;
	if (!nft_is_tailnet_only(&m->firewall, r->bound_port))
		return 0;
	(void)snprintf(note, sizeof(note),
		       "a firewall rule opens UDP %u for 100.64.0.0/10 only; clients reach the relay from their "
		       "public addresses",
		       r->bound_port);
	r->firewall_note = strdup(note);
	return 0;
}

void backend_relay_report(void *ctx, struct api_token token)
{
	struct meshd *m = ctx;
	const struct mono now = loop_now(m->loop);

	if (!dp_relay_port(m->dp, IP_V4) || is_fresh(m, now) || m->n_relay_waiters == MESHD_WAITERS_MAX) {
		send_report(m, token);
		return;
	}
	m->relay_waiters[m->n_relay_waiters++] = token;
	backend_look_at_firewall(m, now);
}
