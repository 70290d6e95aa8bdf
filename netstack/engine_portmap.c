/* SPDX-License-Identifier: MIT */
/* Port mappings at the gateway: when they are wanted, and what follows from them. */
#include <errno.h>

#include "engine_int.h"

/* May and shall this node ask? The administrator's switches, and the attribute by which nothing but TCP 443 is used. */
static unsigned wanted_methods(const struct engine *e)
{
	const struct map_node *self = e->map ? netmap_self(e->map) : NULL;
	unsigned methods = e->portmap_methods;

	if (!e->is_started || !e->prefs.want_running || (self && map_node_has_cap(self, "only-tcp-443")))
		return 0;
	if (self && map_node_has_cap(self, "debug-disable-upnp"))
		methods &= ~(1U << PORTMAPPER_UPNP);
	return methods;
}

void epm_update(struct engine *e, struct mono now)
{
	const uint16_t port = e->relays.state == RELAYSERVER_ON ? e->relays.port[0] : 0;

	portmapper_allow(&e->pm, now, wanted_methods(e));
	portmapper_set_port(&e->pm, now, PORTMAPPER_MAIN, e->port4);
	portmapper_set_port(&e->pm, now, PORTMAPPER_RELAY, port == e->port4 ? 0 : port);
}

void epm_relay_addrs(struct engine *e)
{
	const struct ep ep = portmapper_external(&e->pm, PORTMAPPER_RELAY);

	relayserver_set_addrs(&e->relays, RELAYSERVER_PORTMAP, &ep,
			      e->relays.state == RELAYSERVER_ON && ep_is_set(&ep) ? 1 : 0);
}

static void changed(struct engine *e, struct mono now)
{
	const struct ep ep = portmapper_external(&e->pm, PORTMAPPER_MAIN);

	netcheck_set_portmap(e->net, portmapper_found(&e->pm, PORTMAPPER_UPNP),
			     portmapper_found(&e->pm, PORTMAPPER_PMP), portmapper_found(&e->pm, PORTMAPPER_PCP));
	epm_relay_addrs(e);
	if (ep_eq(&ep, &e->portmap_told))
		return;
	/* What is no longer mapped leads nowhere: peers would ask it in vain for minutes. */
	for (size_t i = e->n_cached_eps; i-- > 0;)
		if (e->cached_eps[i].type == EP_TYPE_PORTMAP)
			e->cached_eps[i] = e->cached_eps[--e->n_cached_eps];
	e->portmap_told = ep;
	en_endpoints(e, now);
	em_hostinfo(e, now);
}

void epm_pump(struct engine *e, struct mono now)
{
	struct portmapper_out out;
	struct engine_item *item;
	struct engine_out *o;

	while (portmapper_poll(&e->pm, now, &out)) {
		switch (out.kind) {
		case PORTMAPPER_CHANGED:
			changed(e, now);
			break;
		case PORTMAPPER_JOB:
			o = eq_push(e, ENGINE_PORTMAP, NULL, 0);
			if (!o) {
				const struct portmapper_result r = { .id = out.job.id, .err = -ENOMEM };

				portmapper_done(&e->pm, now, &r);
				break;
			}
			item = CONTAINER_OF(o, struct engine_item, out);
			item->portmap = out.job;
			o->portmap = &item->portmap;
			break;
		}
	}
}

void engine_set_gateway(struct engine *e, struct mono now, const struct ip *gateway, const struct ip *self)
{
	portmapper_set_gateway(&e->pm, now, gateway, self);
}

void engine_portmap_done(struct engine *e, struct mono now, const struct portmapper_result *r)
{
	portmapper_done(&e->pm, now, r);
}
