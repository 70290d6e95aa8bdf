/* SPDX-License-Identifier: MIT */
/* The probes of a network report, see netcheck.h. */
#include "path/netcheck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "path/netcheck_int.h"

enum {
	FULL_TRIES = 3,
	FULL_STEP_MS = 100,   /* netcheck 2.1 */
	LATER_STEP_MS = 200,
	LATE_EXTRA_MS = 50,   /* per try after the second, netcheck 2.4 */
	FASTEST = 3,          /* regions of an incremental plan, beside home */
};

struct netcheck *netcheck_new(const struct env *env)
{
	struct netcheck *n = calloc(1, sizeof(*n));

	if (n) {
		n->env = env;
		n->next_stream = 1;
	}
	return n;
}

static void run_free(struct netcheck *n)
{
	for (size_t i = 0; n->regions && i < n->map.n_regions; i++)
		free(n->regions[i].https.http);
	free(n->regions);
	free(n->sets);
	n->regions = NULL;
	n->sets = NULL;
	n->n_sets = 0;
}

void netcheck_free(struct netcheck *n)
{
	if (!n)
		return;
	run_free(n);
	derp_map_wipe(&n->map);
	derp_map_wipe(&n->next_map);
	free(n->report.latency);
	for (size_t i = 0; i < n->n_past; i++)
		free(n->past[i].lat);
	free(n);
}

int netcheck_set_map(struct netcheck *n, const struct derp_map *map)
{
	struct derp_map copy = { 0 };
	int err = derp_map_copy(&copy, map);

	if (err)
		return err;
	if (n->phase == NETCHECK_IDLE) {
		derp_map_wipe(&n->map);
		n->map = copy;
		return 0;
	}
	derp_map_wipe(&n->next_map);
	n->next_map = copy;
	n->has_next_map = true;
	return 0;
}

void netcheck_heard(struct netcheck *n, uint32_t region, struct mono at)
{
	size_t i = 0;

	while (i < n->n_heard && n->heard[i].region != region)
		i++;
	if (i == NETCHECK_HEARD_MAX)
		return;
	if (i == n->n_heard)
		n->n_heard++;
	n->heard[i] = (struct netcheck_heard_row){ region, at };
}

void netcheck_set_portmap(struct netcheck *n, enum tri upnp, enum tri pmp, enum tri pcp)
{
	n->upnp = upnp;
	n->pmp = pmp;
	n->pcp = pcp;
}

bool netcheck_is_running(const struct netcheck *n)
{
	return n->phase != NETCHECK_IDLE;
}

void netcheck_forget(struct netcheck *n)
{
	for (size_t i = 0; i < n->n_past; i++)
		free(n->past[i].lat);
	n->n_past = 0;
	n->last_full = MONO_ZERO;
	n->has_report = false;
}

void netcheck_set_home(struct netcheck *n, uint32_t region)
{
	n->home = region;
}

const struct netcheck_report *netcheck_report(const struct netcheck *n)
{
	return n->has_report ? &n->report : NULL;
}

/* --- outputs --- */

static struct netcheck_item *item_push(struct netcheck *n, enum netcheck_out_kind kind)
{
	struct netcheck_item *item;

	if (n->q_n == NETCHECK_QUEUE_MAX)
		return NULL; /* a lost probe: another one follows, or the report tells less */
	item = &n->queue[(n->q_first + n->q_n++) % NETCHECK_QUEUE_MAX];
	memset(item, 0, sizeof(*item));
	item->kind = kind;
	return item;
}

/* --- addresses --- */

static bool is_test_node(const struct derp_node *node)
{
	return node->stun_test_ip[0] || strcmp(node->ipv4, "127.0.0.1") == 0;
}

/* Does the node take probes of this family? */
static bool node_has_family(const struct netcheck *n, const struct derp_node *node, uint8_t family)
{
	const char *text = family == IP_V4 ? node->ipv4 : node->ipv6;
	bool host_has = family == IP_V4 ? n->host.has_ip4 : n->host.has_ip6;
	struct ip ip;

	if (node->stun_port <= 0)
		return false;
	if (node->stun_test_ip[0])
		return ip_parse(&ip, node->stun_test_ip, strlen(node->stun_test_ip)) == 0 && ip.family == family;
	if (text[0] && (ip_parse(&ip, text, strlen(text)) != 0 || ip.family != family))
		return false;
	if (!text[0] && ip_parse(&ip, node->host_name, strlen(node->host_name)) == 0 && ip.family != family)
		return false;
	return host_has || is_test_node(node);
}

/* The cached name, entered if need be; null: table full. */
static struct netcheck_name *name_get(struct netcheck *n, const char *name)
{
	size_t i = 0;

	while (i < n->n_names && strcmp(n->names[i].name, name) != 0)
		i++;
	if (i == NETCHECK_NAMES_MAX || strlen(name) >= STREAM_HOST_MAX)
		return NULL;
	if (i == n->n_names) {
		memset(&n->names[i], 0, sizeof(n->names[i]));
		(void)snprintf(n->names[i].name, sizeof(n->names[i].name), "%s", name);
		n->n_names++;
	}
	return &n->names[i];
}

/* Where to probe the node: true with '*ip' set, or unset if there is no such address; false: DNS is being asked. */
static bool node_ip(struct netcheck *n, struct mono now, const struct derp_node *node, uint8_t family, struct ip *ip)
{
	const char *text = node->stun_test_ip[0] ? node->stun_test_ip : family == IP_V4 ? node->ipv4 : node->ipv6;
	struct netcheck_name *name;
	struct netcheck_item *item;

	memset(ip, 0, sizeof(*ip));
	if (!text[0])
		text = node->host_name;
	if (ip_parse(ip, text, strlen(text)) == 0) {
		if (ip->family != family)
			memset(ip, 0, sizeof(*ip));
		return true;
	}
	name = name_get(n, node->host_name);
	if (!name)
		return true;
	if (name->known && mono_since_ns(now, name->at) < NETCHECK_NAME_LIFE_S * NS_PER_S) {
		*ip = family == IP_V4 ? name->ip4 : name->ip6;
		return true;
	}
	if (!name->pending) {
		item = item_push(n, NETCHECK_RESOLVE);
		if (item)
			item->name = (size_t)(name - n->names);
		name->pending = item != NULL;
	}
	return false;
}

void netcheck_resolved(struct netcheck *n, struct mono now, const char *name, const struct ip *ip4,
		       const struct ip *ip6)
{
	struct netcheck_name *row = name_get(n, name);

	if (!row)
		return;
	row->pending = false;
	/* A failed lookup is asked again with the next probe. */
	row->known = ip_is_set(ip4) || ip_is_set(ip6);
	row->ip4 = *ip4;
	row->ip6 = *ip6;
	row->at = now;
	for (size_t i = 0; i < n->n_sets; i++)
		n->sets[i].waits = false;
}

/* --- the plan --- */

static void set_add(struct netcheck *n, size_t region, uint8_t family, unsigned tries, int64_t step_ms)
{
	struct netcheck_set *s = &n->sets[n->n_sets];

	if (tries == 0)
		return;
	memset(s, 0, sizeof(*s));
	s->region = region;
	s->family = family;
	s->n_tries = (uint8_t)tries;
	for (unsigned t = 0; t < tries; t++)
		s->at_ms[t] = t * step_ms + (t > 1 && !n->is_full ? t * LATE_EXTRA_MS : 0);
	n->n_sets++;
}

/* Does any node of the region take probes of the family? */
static bool region_has_family(const struct netcheck *n, const struct derp_region *r, uint8_t family)
{
	for (size_t i = 0; i < r->n_nodes; i++) {
		if (node_has_family(n, &r->nodes[i], family))
			return true;
	}
	return false;
}

static void plan_full(struct netcheck *n)
{
	for (size_t i = 0; i < n->map.n_regions; i++) {
		const struct derp_region *r = &n->map.regions[i];

		if (r->no_measure_no_home)
			continue;
		if (region_has_family(n, r, IP_V4))
			set_add(n, i, IP_V4, FULL_TRIES, FULL_STEP_MS);
		if (region_has_family(n, r, IP_V6))
			set_add(n, i, IP_V6, FULL_TRIES, FULL_STEP_MS);
	}
}

/* Step between two tries: a little more than the last round trip. */
static int64_t step_of(const struct netcheck *n, uint32_t region)
{
	int64_t last = netcheckreport_last_ns(n, region);

	return last < 0 ? LATER_STEP_MS : last * 6 / 5 / NS_PER_MS + 1;
}

static const struct netcheck_latency *last_of(const struct netcheck *n, uint32_t region)
{
	for (size_t i = 0; n->has_report && i < n->report.n_latency; i++) {
		if (n->report.latency[i].region == region)
			return &n->report.latency[i];
	}
	return NULL;
}

/* Number of tries per family for the region of rank 'rank' (0 = fastest), netcheck 2.4. */
static void tries_of(const struct netcheck *n, const struct derp_region *r, size_t rank, unsigned *v4, unsigned *v6)
{
	const struct netcheck_latency *last = last_of(n, r->id);
	bool had4 = last && last->v4_ns >= 0, had6 = last && last->v6_ns >= 0;

	if (r->id == n->home) {
		*v4 = *v6 = NETCHECK_TRIES_MAX;
	} else if (rank < 2) {
		*v4 = *v6 = 2;
	} else if (had4 && had6) {
		*v4 = rank % 2 == 0;
		*v6 = rank % 2 == 1;
	} else {
		*v4 = 1;
		*v6 = n->report.ipv6;
	}
	/* No IPv6 latency last time: one try is enough to notice that it works now. */
	if (!n->report.ipv6 && *v6 > 1)
		*v6 = 1;
}

static void plan_region(struct netcheck *n, size_t index, size_t rank)
{
	const struct derp_region *r = &n->map.regions[index];
	unsigned v4, v6;

	tries_of(n, r, rank, &v4, &v6);
	if (region_has_family(n, r, IP_V4))
		set_add(n, index, IP_V4, v4, step_of(n, r->id));
	if (region_has_family(n, r, IP_V6))
		set_add(n, index, IP_V6, v6, step_of(n, r->id));
}

static void plan_incremental(struct netcheck *n)
{
	bool has_home = n->home == 0;
	int64_t after = -1;
	size_t rank = 0;

	/* The fastest regions in order; equal latencies are told apart by the index alone, so each comes once. */
	for (size_t last = SIZE_MAX; rank < FASTEST; rank++) {
		size_t best = SIZE_MAX;
		int64_t best_ns = 0;

		for (size_t i = 0; i < n->map.n_regions; i++) {
			const struct derp_region *r = &n->map.regions[i];
			int64_t ns = netcheckreport_last_ns(n, r->id);

			ns = ns < 0 ? INT64_MAX : ns; /* unmeasured last */
			if (r->no_measure_no_home || (r->avoid && r->id != n->home))
				continue;
			if (last != SIZE_MAX && (ns < after || (ns == after && i <= last)))
				continue;
			if (best == SIZE_MAX || ns < best_ns) {
				best = i;
				best_ns = ns;
			}
		}
		if (best == SIZE_MAX)
			break;
		last = best;
		after = best_ns;
		has_home = has_home || n->map.regions[best].id == n->home;
		plan_region(n, best, rank);
	}
	for (size_t i = 0; !has_home && i < n->map.n_regions; i++) {
		if (n->map.regions[i].id == n->home && !n->map.regions[i].no_measure_no_home)
			plan_region(n, i, rank);
	}
}

/* --- running --- */

static void run_begin(struct netcheck *n, struct mono now, bool full)
{
	size_t count = n->map.n_regions;

	if (n->has_next_map) {
		derp_map_wipe(&n->map);
		n->map = n->next_map;
		memset(&n->next_map, 0, sizeof(n->next_map));
		n->has_next_map = false;
		count = n->map.n_regions;
	}
	n->began = now;
	n->stun_end = mono_add_ms(now, NETCHECK_STUN_MS);
	n->sent4 = n->sent6 = n->failed4 = n->failed6 = 0;
	memset(n->probes, 0, sizeof(n->probes));
	memset(&n->now_report, 0, sizeof(n->now_report));
	n->is_full = full || !n->has_report || n->report.n_latency == 0 || mono_is_zero(n->last_full) ||
		     mono_since_ns(now, n->last_full) >= NETCHECK_FULL_S * NS_PER_S;
	n->regions = calloc(count + 1, sizeof(*n->regions));
	n->sets = calloc(2 * count + 1, sizeof(*n->sets));
	n->phase = NETCHECK_STUN;
	if (!n->regions || !n->sets)
		return; /* no sets: the report is empty and ends at once */
	for (size_t i = 0; i < count; i++)
		n->regions[i].lat = (struct netcheck_latency){ n->map.regions[i].id, -1, -1, -1 };
	if (n->is_full) {
		n->last_full = now;
		plan_full(n);
	} else {
		plan_incremental(n);
	}
}

void netcheck_start(struct netcheck *n, struct mono now, const struct netcheck_host *host, bool full)
{
	n->host = *host;
	if (n->phase != NETCHECK_IDLE) {
		n->pending_full = n->pending_full || full;
		n->is_pending = true;
		return;
	}
	run_begin(n, now, full);
	netcheck_tick(n, now);
}

/* Just before sending: is the answer still worth a probe? netcheck 2.5 */
static bool probe_wanted(const struct netcheck *n, const struct netcheck_set *s)
{
	const struct netcheck_report *r = &n->now_report;

	if (n->regions[s->region].lat.ns < 0)
		return true;
	if (s->family == IP_V6)
		return !r->ipv6;
	return r->mapping_varies == TRI_UNSET;
}

static void probe_send(struct netcheck *n, struct mono now, size_t set, const struct derp_node *node,
		       const struct ip *ip)
{
	struct netcheck_probe *p = &n->probes[0];
	struct netcheck_item *item = item_push(n, NETCHECK_SEND);

	if (!item)
		return;
	/* The table is bounded: the oldest request gives way. */
	for (size_t i = 0; i < NETCHECK_PROBES_MAX && p->used; i++) {
		if (!n->probes[i].used || mono_before(n->probes[i].sent, p->sent))
			p = &n->probes[i];
	}
	*p = (struct netcheck_probe){ .sent = now, .region = n->sets[set].region, .set = set, .used = true };
	env_fill(n->env, p->txid.b, sizeof(p->txid.b));
	item->txid = p->txid;
	item->to = (struct ep){ .ip = *ip, .port = (uint16_t)node->stun_port };
}

/* Sends what is due of one set. */
static void set_run(struct netcheck *n, struct mono now, size_t index)
{
	struct netcheck_set *s = &n->sets[index];
	const struct derp_region *r = &n->map.regions[s->region];

	while (!s->done && s->next < s->n_tries && mono_due(mono_add_ms(n->began, s->at_ms[s->next]), now)) {
		const struct derp_node *node = &r->nodes[s->next % r->n_nodes];
		struct ip ip;

		if (!probe_wanted(n, s)) {
			s->done = true;
			return;
		}
		if (node_has_family(n, node, s->family)) {
			s->waits = !node_ip(n, now, node, s->family, &ip);
			if (s->waits)
				return; /* goes on when the name is known */
			if (ip_is_set(&ip)) {
				probe_send(n, now, index, node, &ip);
				s->has_sent = true;
			}
		}
		s->next++;
	}
	/* Nothing could be sent: nothing is waited for. */
	if (s->next == s->n_tries && !s->has_sent)
		s->done = true;
}

static bool sets_done(const struct netcheck *n)
{
	for (size_t i = 0; i < n->n_sets; i++) {
		if (!n->sets[i].done)
			return false;
	}
	return true;
}

static size_t measured(const struct netcheck *n)
{
	size_t count = 0;

	for (size_t i = 0; i < n->map.n_regions; i++)
		count += n->regions[i].lat.ns >= 0;
	return count;
}

uint32_t netcheck_best_so_far(const struct netcheck *n)
{
	const struct netcheck_region *best = NULL;

	for (size_t i = 0; n->phase != NETCHECK_IDLE && n->regions && i < n->map.n_regions; i++) {
		const struct netcheck_region *r = &n->regions[i];

		if (r->lat.ns >= 0 && (!best || r->lat.ns < best->lat.ns))
			best = r;
	}
	return best ? best->lat.region : 0;
}

static void note_min(int64_t *best, int64_t ns)
{
	if (*best < 0 || ns < *best)
		*best = ns;
}

static void global_count(struct netcheck_global *list, size_t *n, const struct ep *ep)
{
	for (size_t i = 0; i < *n; i++) {
		if (ep_eq(&list[i].ep, ep)) {
			list[i].count++;
			return;
		}
	}
	if (*n < NETCHECK_GLOBALS_MAX)
		list[(*n)++] = (struct netcheck_global){ *ep, 1 };
}

static void note_answer(struct netcheck *n, const struct netcheck_probe *p, const struct ep *mapped, int64_t ns)
{
	struct netcheck_latency *lat = &n->regions[p->region].lat;
	struct netcheck_report *r = &n->now_report;

	r->udp = true;
	note_min(&lat->ns, ns);
	if (mapped->ip.family == IP_V6) {
		r->ipv6 = true;
		note_min(&lat->v6_ns, ns);
		r->global6 = *mapped;
		global_count(r->v6, &r->n_v6, mapped);
		return;
	}
	r->ipv4 = true;
	note_min(&lat->v4_ns, ns);
	global_count(r->v4, &r->n_v4, mapped);
	if (!ep_is_set(&r->global4))
		r->global4 = *mapped;
	else if (!ep_eq(&r->global4, mapped))
		r->mapping_varies = TRI_TRUE;
	else if (r->mapping_varies == TRI_UNSET)
		r->mapping_varies = TRI_FALSE;
}

/* Enough regions: wait a little for the others, then stop. */
static void stop_early(struct netcheck *n, struct mono now)
{
	int64_t slowest = 0;

	for (size_t i = 0; i < n->map.n_regions; i++) {
		if (n->regions[i].lat.ns > slowest)
			slowest = n->regions[i].lat.ns;
	}
	n->stun_end = mono_min(n->stun_end, mono_add_ns(now, n->is_full ? 2 * slowest : slowest));
}

int netcheck_input(struct netcheck *n, struct mono now, const uint8_t *buf, size_t size)
{
	struct netcheck_probe *p = NULL;
	struct stun_txid txid;
	struct ep mapped;
	bool was_new;

	if (stun_response_parse(&txid, &mapped, buf, size) != 0)
		return -EBADMSG;
	for (size_t i = 0; i < NETCHECK_PROBES_MAX && !p; i++) {
		if (n->probes[i].used && memcmp(n->probes[i].txid.b, txid.b, sizeof(txid.b)) == 0)
			p = &n->probes[i];
	}
	if (!p || n->phase != NETCHECK_STUN || mono_since_ns(now, p->sent) > NETCHECK_TXID_LIFE_S * NS_PER_S)
		return -ENOENT;
	p->used = false;
	was_new = n->regions[p->region].lat.ns < 0;
	n->sets[p->set].done = true;
	note_answer(n, p, &mapped, mono_since_ns(now, p->sent));
	if (was_new && measured(n) == NETCHECK_ENOUGH_REGIONS)
		stop_early(n, now);
	return 0;
}

void netcheck_send_failed(struct netcheck *n, const struct ep *to)
{
	if (to->ip.family == IP_V4)
		n->failed4++;
	else
		n->failed6++;
}

/* --- HTTPS latency, when UDP does not work --- */

static void https_addr(struct stream_addr *a, const struct derp_node *node)
{
	struct ip ip;

	memset(a, 0, sizeof(*a));
	(void)snprintf(a->host, sizeof(a->host), "%s", node->host_name);
	a->port = (uint16_t)node->derp_port;
	/* Nothing secret is sent and nothing believed but the time it took: the certificate does not matter. */
	a->tls = STREAM_TLS_NOVERIFY;
	if (node->ipv4[0]) {
		a->no_ip4 = ip_parse(&ip, node->ipv4, strlen(node->ipv4)) != 0 || ip.family != IP_V4;
		if (!a->no_ip4)
			a->ip4 = ip;
	}
	if (node->ipv6[0]) {
		a->no_ip6 = ip_parse(&ip, node->ipv6, strlen(node->ipv6)) != 0 || ip.family != IP_V6;
		if (!a->no_ip6)
			a->ip6 = ip;
	}
}

static void https_begin(struct netcheck *n)
{
	n->phase = NETCHECK_HTTPS;
	for (size_t i = 0; i < n->map.n_regions; i++) {
		const struct derp_region *r = &n->map.regions[i];
		struct netcheck_https *h = &n->regions[i].https;
		struct netcheck_item *item;
		size_t k = 0;

		while (k < r->n_nodes && r->nodes[k].stun_only)
			k++;
		if (r->avoid || r->no_measure_no_home || k == r->n_nodes)
			continue;
		item = item_push(n, NETCHECK_OPEN);
		if (!item)
			return;
		h->stream = n->next_stream++;
		https_addr(&h->addr, &r->nodes[k]);
		item->stream = h->stream;
		item->region = i;
	}
}

static struct netcheck_region *https_find(struct netcheck *n, uint32_t stream)
{
	for (size_t i = 0; n->phase == NETCHECK_HTTPS && i < n->map.n_regions; i++) {
		if (stream && n->regions[i].https.stream == stream)
			return &n->regions[i];
	}
	return NULL;
}

static void https_end(struct netcheck *n, struct netcheck_https *h, bool tell_owner)
{
	struct netcheck_item *item = tell_owner ? item_push(n, NETCHECK_CLOSE) : NULL;

	if (item)
		item->stream = h->stream;
	h->stream = 0;
	free(h->http);
	h->http = NULL;
}

void netcheck_opened(struct netcheck *n, struct mono now, uint32_t stream, const struct stream_info *info)
{
	struct netcheck_region *r = https_find(n, stream);
	struct netcheck_item *item;

	if (!r)
		return;
	r->https.http = malloc(sizeof(*r->https.http));
	item = r->https.http ? item_push(n, NETCHECK_WRITE) : NULL;
	if (!item) {
		https_end(n, &r->https, true);
		return;
	}
	http1_init(r->https.http, HTTP1_RESPONSES, 4096);
	r->https.sent = now; /* the request alone is measured: not dialling, not TLS */
	r->https.family = info->peer.ip.family == IP_V6 ? IP_V6 : IP_V4;
	item->stream = stream;
	item->region = (size_t)(r - n->regions);
}

void netcheck_stream_input(struct netcheck *n, struct mono now, uint32_t stream, const uint8_t *buf, size_t size)
{
	struct netcheck_region *r = https_find(n, stream);
	enum http1_event ev = HTTP1_MORE;
	size_t used;

	if (!r || !r->https.http)
		return;
	while (size > 0 && ev != HTTP1_HEAD) {
		if (http1_input(r->https.http, buf, size, &used, &ev) != 0) {
			https_end(n, &r->https, true);
			return;
		}
		buf += used;
		size -= used;
	}
	if (ev != HTTP1_HEAD)
		return;
	if (r->https.http->status < 300) {
		note_min(&r->lat.ns, mono_since_ns(now, r->https.sent));
		n->now_report.ipv4 = n->now_report.ipv4 || r->https.family == IP_V4;
		n->now_report.ipv6 = n->now_report.ipv6 || r->https.family == IP_V6;
	}
	https_end(n, &r->https, true);
}

void netcheck_stream_closed(struct netcheck *n, struct mono now, uint32_t stream)
{
	struct netcheck_region *r = https_find(n, stream);

	(void)now;
	if (r)
		https_end(n, &r->https, false);
}

static bool https_done(const struct netcheck *n)
{
	for (size_t i = 0; i < n->map.n_regions; i++) {
		if (n->regions[i].https.stream)
			return false;
	}
	return true;
}

/* --- output and time --- */

static void request_write(struct netcheck *n, const struct netcheck_item *item, struct netcheck_out *out)
{
	struct wr w = WR(n->buf, sizeof(n->buf));

	http1_write_request(&w, "GET", "/derp/latency-check", n->regions[item->region].https.addr.host);
	http1_write_header(&w, "User-Agent", "meshd");
	http1_write_end(&w);
	out->data = n->buf;
	out->size = w.bad ? 0 : wr_used(&w, sizeof(n->buf));
}

static void item_out(struct netcheck *n, const struct netcheck_item *item, struct netcheck_out *out)
{
	*out = (struct netcheck_out){ .kind = item->kind, .to = item->to, .stream = item->stream };
	switch (item->kind) {
	case NETCHECK_SEND:
		if (item->to.ip.family == IP_V4)
			n->sent4++;
		else
			n->sent6++;
		stun_request_write(n->buf, &item->txid);
		out->data = n->buf;
		out->size = STUN_REQUEST_SIZE;
		break;
	case NETCHECK_RESOLVE:
		out->name = n->names[item->name].name;
		break;
	case NETCHECK_OPEN:
		n->addr = n->regions[item->region].https.addr;
		out->addr = &n->addr;
		break;
	case NETCHECK_WRITE:
		request_write(n, item, out);
		break;
	case NETCHECK_CLOSE:
	case NETCHECK_DONE:
		break;
	}
}

/* Is the item about a stream of this report that is still wanted? */
static bool item_is_stale(const struct netcheck *n, const struct netcheck_item *item)
{
	if (item->kind != NETCHECK_OPEN && item->kind != NETCHECK_WRITE)
		return false;
	return n->phase != NETCHECK_HTTPS || n->regions[item->region].https.stream != item->stream;
}

bool netcheck_poll(struct netcheck *n, struct mono now, struct netcheck_out *out)
{
	netcheck_tick(n, now);
	while (n->q_n > 0) {
		struct netcheck_item item = n->queue[n->q_first];

		n->q_first = (n->q_first + 1) % NETCHECK_QUEUE_MAX;
		n->q_n--;
		if (item_is_stale(n, &item))
			continue;
		item_out(n, &item, out);
		return true;
	}
	return false;
}

struct mono netcheck_deadline(const struct netcheck *n)
{
	struct mono at;

	if (n->phase == NETCHECK_IDLE)
		return MONO_NEVER;
	at = mono_add_ms(n->began, NETCHECK_REPORT_MS);
	if (n->phase == NETCHECK_HTTPS)
		return at;
	at = mono_min(at, n->stun_end);
	for (size_t i = 0; i < n->n_sets; i++) {
		const struct netcheck_set *s = &n->sets[i];

		if (!s->done && !s->waits && s->next < s->n_tries)
			at = mono_min(at, mono_add_ms(n->began, s->at_ms[s->next]));
	}
	return at;
}

static void run_end(struct netcheck *n, struct mono now)
{
	struct netcheck_item *item;

	n->now_report.ipv4_can_send = n->sent4 > n->failed4;
	n->now_report.ipv6_can_send = n->sent6 > n->failed6;
	for (size_t i = 0; n->regions && i < n->map.n_regions; i++) {
		if (n->regions[i].https.stream)
			https_end(n, &n->regions[i].https, true);
	}
	netcheckreport_finish(n, now);
	run_free(n);
	n->phase = NETCHECK_IDLE;
	item = item_push(n, NETCHECK_DONE);
	if (!item)
		log_warn(n->env->log, "netcheck: outputs are not taken");
	if (!n->is_pending)
		return;
	n->is_pending = false;
	run_begin(n, now, n->pending_full);
	n->pending_full = false;
}

void netcheck_tick(struct netcheck *n, struct mono now)
{
	if (n->phase == NETCHECK_STUN) {
		for (size_t i = 0; i < n->n_sets; i++)
			set_run(n, now, i);
		if (!sets_done(n) && !mono_due(n->stun_end, now))
			return;
		if (n->now_report.udp || n->host.only_stun || !n->regions) {
			run_end(n, now);
			return;
		}
		https_begin(n);
	}
	if (n->phase == NETCHECK_HTTPS &&
	    (https_done(n) || mono_due(mono_add_ms(n->began, NETCHECK_REPORT_MS), now)))
		run_end(n, now);
}
