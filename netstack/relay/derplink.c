/* SPDX-License-Identifier: MIT */
/* One DERP connection, see derplink.h. */
#include "relay/derplink.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum {
	IN_MAX = DERP_HEADER_SIZE + DERP_FRAME_MAX + 64 * 1024,
	REQUEST_MAX = 1024,
	DISCO_RUN = 8, /* disco packets in a row before a data packet gets its turn */
	STALE_S = 10,  /* a packet that waited so long for a connection helps nobody */
};

void derplink_init(struct derpclient_link *l, uint32_t id, struct derpclient_counters *n, const struct env *env)
{
	memset(l, 0, sizeof(*l));
	l->env = env;
	l->n = n;
	l->id = id;
	l->in.max = IN_MAX;
	l->ping_by = l->silent_since = MONO_NEVER;
}

/* Forgets everything that belongs to one connection. */
static void conn_reset(struct derpclient_link *l)
{
	l->is_open = l->is_gone = l->has_server = l->announced = false;
	l->due.write = false;
	l->in_done = 0;
	l->disco_run = 0;
	l->bucket_rate = 0;
	l->ping_by = l->silent_since = MONO_NEVER;
	memset(&l->local, 0, sizeof(l->local));
	bytes_wipe(&l->in);
	bytes_wipe(&l->ctl);
	bytes_wipe(&l->out);
	free(l->http);
	l->http = NULL;
}

void derplink_wipe(struct derpclient_link *l)
{
	conn_reset(l);
	frameq_wipe(&l->disco);
	frameq_wipe(&l->data);
	memset(l, 0, sizeof(*l));
}

/* --- dialling --- */

static bool node_usable(const struct derp_node *n)
{
	return !n->stun_only;
}

/* Index of the first usable node from 'at' on, or the number of nodes. */
static size_t next_node(const struct derp_region *r, size_t at)
{
	while (at < r->n_nodes && !node_usable(&r->nodes[at]))
		at++;
	return at;
}

/* An address field: a literal of the family forces it, "" means DNS, anything else switches the family off. */
static void family_addr(const char *text, enum ip_family family, struct ip *ip, bool *off)
{
	struct ip parsed;

	*off = false;
	memset(ip, 0, sizeof(*ip));
	if (text[0] == 0)
		return;
	if (ip_parse(&parsed, text, strlen(text)) == 0 && parsed.family == family)
		*ip = parsed;
	else
		*off = true;
}

static void tls_of(struct stream_addr *a, const struct derp_node *n)
{
	static const char pin_prefix[] = "sha256-raw:";
	size_t skip = sizeof(pin_prefix) - 1, size = 0;

	a->tls = STREAM_TLS_VERIFY;
	if (strncmp(n->cert_name, pin_prefix, skip) == 0) {
		a->tls = STREAM_TLS_PIN;
		/* A malformed pin matches nothing. */
		if (sodium_hex2bin(a->pin, sizeof(a->pin), n->cert_name + skip, strlen(n->cert_name + skip), NULL,
				   &size, NULL) != 0 ||
		    size != sizeof(a->pin))
			memset(a->pin, 0, sizeof(a->pin));
	} else if (n->cert_name[0]) {
		(void)snprintf(a->verify_name, sizeof(a->verify_name), "%s", n->cert_name);
	} else if (n->insecure_for_tests) {
		a->tls = STREAM_TLS_NOVERIFY; /* overrides nothing but an empty name: derp 3.4 */
	}
}

static void addr_of(struct stream_addr *a, const struct derp_node *n)
{
	struct ip literal;

	memset(a, 0, sizeof(*a));
	(void)snprintf(a->host, sizeof(a->host), "%s", n->host_name);
	a->port = (uint16_t)n->derp_port;
	family_addr(n->ipv4, IP_V4, &a->ip4, &a->no_ip4);
	family_addr(n->ipv6, IP_V6, &a->ip6, &a->no_ip6);
	/* A host name that is a literal suppresses the other family (derp 2.2). */
	if (ip_parse(&literal, n->host_name, strlen(n->host_name)) == 0) {
		if (literal.family == IP_V4 && !ip_is_set(&a->ip6))
			a->no_ip6 = true;
		if (literal.family == IP_V6 && !ip_is_set(&a->ip4))
			a->no_ip4 = true;
	}
	tls_of(a, n);
}

static void dial(struct derpclient_link *l, struct mono now)
{
	const struct derp_region *r = l->region;

	conn_reset(l);
	l->generation++;
	addr_of(&l->addr, &r->nodes[l->node]);
	l->state = DERPCLIENT_OPENING;
	l->node_by = next_node(r, l->node + 1) < r->n_nodes ?
			     mono_min(mono_add_ms(now, DERPLINK_NODE_MS), l->attempt_by) :
			     l->attempt_by;
	l->due.open = true;
}

static void attempt(struct derpclient_link *l, struct mono now)
{
	l->node = l->region ? next_node(l->region, 0) : 0;
	if (!l->region || l->node >= l->region->n_nodes) {
		l->state = DERPCLIENT_IDLE;
		frameq_clear(&l->disco);
		frameq_clear(&l->data);
		return;
	}
	l->attempt_by = mono_add_ms(now, DERPLINK_ATTEMPT_MS);
	dial(l, now);
}

void derplink_want(struct derpclient_link *l, struct mono now)
{
	if (l->state == DERPCLIENT_IDLE)
		attempt(l, now);
}

static bool is_wanted(const struct derpclient_link *l, struct mono now)
{
	return l->region && (l->is_home || !mono_due(mono_add_s(l->sent, STALE_S), now));
}

/* Randomised quadratic back-off, derp 10. */
static int64_t backoff_ns(const struct derpclient_link *l)
{
	uint64_t n = l->failures < 1000 ? l->failures : 1000, ms = n * n * 10;

	if (ms > DERPLINK_BACKOFF_MAX_MS)
		ms = DERPLINK_BACKOFF_MAX_MS;
	ms = ms / 2 + env_below(l->env, ms + 1);
	if (l->restart_in_ms > 0)
		ms = l->restart_in_ms < DERPLINK_BACKOFF_MAX_MS ? l->restart_in_ms : DERPLINK_BACKOFF_MAX_MS;
	return (int64_t)ms * NS_PER_MS;
}

/* The stream is of no more use: it is closed, unless it was never asked for. */
static void stream_end(struct derpclient_link *l)
{
	if (l->state >= DERPCLIENT_OPENING && !l->due.open && !l->is_gone) {
		l->due.close = true;
		l->due.close_stream = derplink_stream(l);
	}
	l->due.open = false;
	conn_reset(l);
}

void derplink_drop(struct derpclient_link *l, struct mono now, const char *why, bool retry)
{
	if (l->state == DERPCLIENT_IDLE)
		return;
	if (l->state != DERPCLIENT_WAIT) {
		log_debug(l->env->log, "derp: region %u: %s: %s", l->id,
			  l->state == DERPCLIENT_UP ? "connection ended" : "cannot connect", why);
		/* Told once, not with every attempt. */
		if (l->state == DERPCLIENT_UP || strncmp(l->text, why, sizeof(l->text) - 1) != 0)
			l->due.state = true;
		(void)snprintf(l->text, sizeof(l->text), "%s", why);
		stream_end(l);
		l->due.health = false;
	}
	if (retry)
		l->n->failures++;
	if (!retry || !is_wanted(l, now)) {
		l->state = DERPCLIENT_IDLE;
		l->failures = retry ? l->failures + 1 : 0;
		return;
	}
	l->failures++;
	l->retry_at = mono_add_ns(now, backoff_ns(l));
	l->restart_in_ms = 0;
	l->state = DERPCLIENT_WAIT;
}

/* This attempt failed: the region's next node, else back-off. */
static void fail(struct derpclient_link *l, struct mono now, const char *why)
{
	size_t next = l->region ? next_node(l->region, l->node + 1) : 0;

	if (l->state == DERPCLIENT_OPENING && l->region && next < l->region->n_nodes &&
	    mono_before(now, l->attempt_by)) {
		log_debug(l->env->log, "derp: region %u: %s: %s", l->id, l->region->nodes[l->node].name, why);
		stream_end(l);
		l->node = next;
		dial(l, now);
		return;
	}
	derplink_drop(l, now, why, true);
}

/* --- output --- */

static bool has_output(const struct derpclient_link *l)
{
	return bytes_size(&l->out) > 0 || bytes_size(&l->ctl) > 0 ||
	       (l->has_server && (l->disco.n > 0 || l->data.n > 0));
}

static void wake(struct derpclient_link *l)
{
	if (!l->is_open || l->announced || !has_output(l))
		return;
	l->announced = true;
	l->due.write = true;
}

/* Queues a control frame or the request; false if out of memory. */
static bool ctl_put(struct derpclient_link *l, const struct wr *w, const uint8_t *buf, size_t cap)
{
	if (w->bad || bytes_append(&l->ctl, buf, wr_used(w, cap)) != 0)
		return false;
	wake(l);
	return true;
}

static void note_preferred(struct derpclient_link *l)
{
	uint8_t frame[DERP_HEADER_SIZE + 1];
	struct wr w = WR(frame, sizeof(frame));

	derp_note_preferred_write(&w, l->is_home);
	if (!ctl_put(l, &w, frame, sizeof(frame)))
		log_warn(l->env->log, "derp: region %u: out of memory", l->id);
}

void derplink_set_home(struct derpclient_link *l, struct mono now, bool is_home)
{
	bool changed = l->is_home != is_home;

	/* Peers learn of the new home a little later. */
	if (l->is_home && !is_home)
		l->sent = now;
	l->is_home = is_home;
	if (is_home)
		derplink_want(l, now);
	if (changed && l->has_server)
		note_preferred(l);
}

/* Client info, and that this is home if it is; everything may follow directly. */
static bool client_info(struct derpclient_link *l, const struct node_priv *priv)
{
	uint8_t frame[DERP_HEADER_SIZE + DERP_INFO_MIN + DERP_TAG_SIZE + 64], nonce[DERP_NONCE_SIZE];
	struct wr w = WR(frame, sizeof(frame));

	env_fill(l->env, nonce, sizeof(nonce));
	if (derp_client_info_write(&w, priv, &l->server, nonce) != 0 || !ctl_put(l, &w, frame, sizeof(frame)))
		return false;
	l->has_server = true;
	if (l->is_home)
		note_preferred(l);
	wake(l);
	return true;
}

static bool request(struct derpclient_link *l, bool fast_start)
{
	const struct derp_region *r = l->region;
	uint8_t buf[REQUEST_MAX];
	struct wr w = WR(buf, sizeof(buf));
	char host[STREAM_HOST_MAX + 16];
	bool is_ip6 = strchr(l->addr.host, ':') != NULL;
	const char *ideal = l->node > 0 ? r->nodes[0].name : NULL;

	if (l->addr.port == 443)
		(void)snprintf(host, sizeof(host), is_ip6 ? "[%s]" : "%s", l->addr.host);
	else
		(void)snprintf(host, sizeof(host), is_ip6 ? "[%s]:%u" : "%s:%u", l->addr.host, l->addr.port);
	http1_write_request(&w, "GET", "/derp", host);
	http1_write_header(&w, "User-Agent", "meshd");
	http1_write_header(&w, "Connection", "Upgrade");
	if (fast_start)
		http1_write_header(&w, "Derp-Fast-Start", "1");
	if (ideal)
		http1_write_header(&w, "Ideal-Node", ideal);
	http1_write_header(&w, "Upgrade", "DERP");
	http1_write_end(&w);
	return ctl_put(l, &w, buf, sizeof(buf));
}

void derplink_opened(struct derpclient_link *l, struct mono now, const struct stream_info *info,
		     const struct node_priv *priv)
{
	bool fast = info->is_tls13 && info->has_derp_key, ok;

	if (l->state != DERPCLIENT_OPENING || l->due.open)
		return;
	l->is_open = true;
	l->local = info->local;
	l->heard = now;
	ok = request(l, fast);
	if (fast) {
		memcpy(l->server.b, info->derp_key, sizeof(l->server.b));
		l->state = DERPCLIENT_LOGIN;
		ok = ok && client_info(l, priv);
	} else {
		l->http = malloc(sizeof(*l->http));
		if (l->http)
			http1_init(l->http, HTTP1_RESPONSES, 64 * 1024);
		l->state = DERPCLIENT_UPGRADING;
		ok = ok && l->http;
	}
	if (!ok)
		derplink_drop(l, now, "out of memory or unusable server key", true);
}

static bool next_frame(struct derpclient_link *l, struct mono now);

int derplink_send(struct derpclient_link *l, struct mono now, const struct node_key *peer, const uint8_t *data,
		  size_t size)
{
	struct frameq *q = derp_looks_like_disco(data, size) ? &l->disco : &l->data;
	uint64_t dropped = q->dropped;
	int err = frameq_push(q, now, peer, data, size);

	l->n->drop_queue += q->dropped - dropped;
	/* A super-packet is more than the queue holds. */
	while (l->is_open && l->data.n + l->disco.n > FRAMEQ_PACKETS / 2 && bytes_size(&l->out) < DERP_SPILL &&
	       next_frame(l, now))
		;
	l->sent = now;
	if (l->state == DERPCLIENT_UP && mono_is_never(l->silent_since))
		l->silent_since = now;
	derplink_want(l, now);
	wake(l);
	return err;
}

/* Moves the next frame to 'out'. */
static bool next_frame(struct derpclient_link *l, struct mono now)
{
	const struct frameq_slot *slot;
	struct frameq *q = &l->data;
	uint8_t *room;
	struct wr w;
	size_t size = bytes_size(&l->ctl);

	if (size > 0) {
		if (bytes_append(&l->out, bytes_data(&l->ctl), size) != 0)
			return false;
		bytes_consume(&l->ctl, size);
		return true;
	}
	if (l->disco.n > 0 && (l->disco_run < DISCO_RUN || l->data.n == 0))
		q = &l->disco;
	slot = l->has_server ? frameq_first(q) : NULL;
	if (!slot)
		return false;
	l->disco_run = q == &l->disco ? l->disco_run + 1 : 0;
	size = DERP_HEADER_SIZE + KEY_SIZE + (size_t)slot->size;
	if (mono_since_ns(now, slot->at) > STALE_S * NS_PER_S) {
		l->n->drop_queue++;
		frameq_pop(q);
		return true;
	}
	if (l->bucket_rate && !bucket_take(&l->bucket, now, l->bucket_rate, l->bucket_burst, size)) {
		l->n->drop_bucket++;
		frameq_pop(q);
		return true;
	}
	room = bytes_room(&l->out, size);
	if (!room)
		return false;
	w = WR(room, size);
	derp_packet_write(&w, DERP_SEND_PACKET, &slot->peer, slot->buf, slot->size);
	bytes_commit(&l->out, size);
	l->n->sent_pkts++;
	l->n->sent_bytes += slot->size;
	frameq_pop(q);
	return true;
}

size_t derplink_take(struct derpclient_link *l, struct mono now, uint8_t *buf, size_t size)
{
	size_t n;

	if (!l->is_open)
		return 0;
	while (bytes_size(&l->out) < size && next_frame(l, now))
		;
	n = bytes_size(&l->out) < size ? bytes_size(&l->out) : size;
	if (n > 0) {
		memcpy(buf, bytes_data(&l->out), n);
		bytes_consume(&l->out, n);
	}
	if (!has_output(l))
		l->announced = false;
	return n;
}

void derplink_again(struct derpclient_link *l, struct mono now, const char *why)
{
	derplink_drop(l, now, why, true);
	if (l->state != DERPCLIENT_WAIT)
		return;
	l->failures = 0;
	l->retry_at = now;
}

static void send_ping(struct derpclient_link *l, struct mono now)
{
	uint8_t frame[DERP_HEADER_SIZE + DERP_PING_SIZE], payload[DERP_PING_SIZE];
	struct wr w = WR(frame, sizeof(frame));

	env_fill(l->env, payload, sizeof(payload));
	derp_ping_write(&w, DERP_PING, payload);
	if (ctl_put(l, &w, frame, sizeof(frame)))
		l->ping_by = mono_add_ms(now, DERPLINK_PING_MS);
	l->silent_since = MONO_NEVER;
}

void derplink_ping(struct derpclient_link *l, struct mono now)
{
	if (l->state == DERPCLIENT_UP)
		send_ping(l, now);
	else if (l->state != DERPCLIENT_IDLE)
		derplink_again(l, now, "network changed");
}

/* --- input --- */

/* The HTTP response. False if the connection was dropped. */
static bool upgrade_input(struct derpclient_link *l, struct mono now, const uint8_t **buf, size_t *size)
{
	enum http1_event ev = HTTP1_MORE;
	char why[64];
	size_t used;

	while (*size > 0 && ev != HTTP1_UPGRADE) {
		if (http1_input(l->http, *buf, *size, &used, &ev) != 0) {
			fail(l, now, "answer is not HTTP");
			return false;
		}
		*buf += used;
		*size -= used;
		if (ev == HTTP1_HEAD && l->http->status != 101) {
			(void)snprintf(why, sizeof(why), "server answered %u", l->http->status);
			fail(l, now, why);
			return false;
		}
	}
	if (ev == HTTP1_UPGRADE) {
		free(l->http);
		l->http = NULL;
		l->state = DERPCLIENT_LOGIN;
	}
	return true;
}

void derplink_input(struct derpclient_link *l, struct mono now, const uint8_t *buf, size_t size)
{
	if (!l->is_open)
		return;
	if (l->state == DERPCLIENT_UPGRADING && !upgrade_input(l, now, &buf, &size))
		return;
	if (size > 0 && bytes_append(&l->in, buf, size) != 0)
		fail(l, now, "out of memory");
}

void derplink_closed(struct derpclient_link *l, struct mono now, const char *reason)
{
	if (l->state < DERPCLIENT_OPENING || l->due.open)
		return;
	l->is_gone = true;
	fail(l, now, reason);
}

/* --- frames --- */

/* Frames of the hello exchange. Null, or why it failed. */
static const char *hello(struct derpclient_link *l, const struct node_priv *priv, const struct derp_hdr *hdr,
			 const uint8_t *p, struct mono now)
{
	struct derp_server_info info;

	if (!l->has_server) {
		if (hdr->type != DERP_SERVER_KEY || derp_server_key_parse(&l->server, p, hdr->size) != 0)
			return "first frame is no server key";
		return client_info(l, priv) ? NULL : "unusable server key";
	}
	if (hdr->type != DERP_SERVER_INFO)
		return NULL;
	if (derp_server_info_open(&info, p, hdr->size, &l->server, priv) != 0)
		return "server info does not open";
	if (info.bucket_bytes_per_s > 0) {
		l->bucket_rate = info.bucket_bytes_per_s;
		l->bucket_burst = info.bucket_burst_bytes;
		bucket_fill(&l->bucket, now, l->bucket_rate, l->bucket_burst);
	}
	if (l->state != DERPCLIENT_UP) {
		l->state = DERPCLIENT_UP;
		l->text[0] = 0;
		l->n->connects++;
		l->due.state = true;
		log_debug(l->env->log, "derp: region %u: connected to %s", l->id, l->addr.host);
	}
	return NULL;
}

static void pong(struct derpclient_link *l, const uint8_t *payload)
{
	uint8_t frame[DERP_HEADER_SIZE + DERP_PING_SIZE];
	struct wr w = WR(frame, sizeof(frame));

	/* A server that pings faster than it reads gets no further answers until it has read. */
	if (bytes_size(&l->ctl) > sizeof(frame))
		return;
	derp_ping_write(&w, DERP_PONG, payload);
	if (!ctl_put(l, &w, frame, sizeof(frame)))
		log_warn(l->env->log, "derp: region %u: out of memory", l->id);
}

/* One frame of a working connection; true if it is an output. */
static bool frame_out(struct derpclient_link *l, const struct derp_hdr *hdr, const uint8_t *p,
		      struct derpclient_out *out)
{
	struct derp_restarting restarting;
	struct derp_peer_gone gone;
	struct derp_packet pkt;
	size_t len;

	switch (hdr->type) {
	case DERP_RECV_PACKET:
		if (derp_packet_parse(&pkt, p, hdr->size) != 0)
			break;
		l->n->rcvd_pkts++;
		l->n->rcvd_bytes += pkt.size;
		*out = (struct derpclient_out){ .kind = DERPCLIENT_RECV, .region = l->id, .peer = pkt.peer,
						.data = pkt.data, .size = pkt.size };
		return true;
	case DERP_PEER_GONE:
		if (derp_peer_gone_parse(&gone, p, hdr->size) != 0)
			break;
		*out = (struct derpclient_out){ .kind = DERPCLIENT_GONE, .region = l->id, .peer = gone.peer,
						.reason = gone.reason };
		return true;
	case DERP_PING:
		if (hdr->size < DERP_PING_SIZE)
			break;
		pong(l, p);
		return false;
	case DERP_HEALTH:
		len = hdr->size < sizeof(l->health) - 1 ? hdr->size : sizeof(l->health) - 1;
		/* Another's words in our log: printable ones only. */
		for (size_t i = 0; i < len; i++)
			l->health[i] = p[i] >= ' ' && p[i] < 0x7f ? (char)p[i] : '?';
		l->health[len] = 0;
		l->due.health = true;
		return false;
	case DERP_RESTARTING:
		if (derp_restarting_parse(&restarting, p, hdr->size) != 0)
			break;
		l->restart_in_ms = restarting.reconnect_in_ms;
		return false;
	default: /* keep-alive, pong, server key after fast start, unknown: noted as a sign of life */
		return false;
	}
	l->n->bad_frames++;
	return false;
}

/* Handles frames of 'in' until one is an output. */
static bool poll_frames(struct derpclient_link *l, struct mono now, const struct node_priv *priv,
			struct derpclient_out *out)
{
	struct derp_hdr hdr;
	const char *why;
	const uint8_t *p;
	int err;

	bytes_consume(&l->in, l->in_done);
	l->in_done = 0;
	while (l->is_open && l->state >= DERPCLIENT_LOGIN) {
		err = derp_hdr_parse(&hdr, bytes_data(&l->in), bytes_size(&l->in), DERP_FRAME_MAX);
		if (err == -EBADMSG) {
			fail(l, now, "frame too large");
			return false;
		}
		if (err || bytes_size(&l->in) < DERP_HEADER_SIZE + (size_t)hdr.size)
			return false;
		p = bytes_data(&l->in) + DERP_HEADER_SIZE;
		l->heard = now;
		l->ping_by = l->silent_since = MONO_NEVER;
		/* Not by the hello: a server that refuses our key would be called without a pause. */
		if (l->state == DERPCLIENT_UP)
			l->failures = 0;
		/* Valid until the next poll, which is when the bytes go. */
		l->in_done = DERP_HEADER_SIZE + (size_t)hdr.size;
		why = NULL;
		if (l->state == DERPCLIENT_LOGIN || hdr.type == DERP_SERVER_INFO)
			why = hello(l, priv, &hdr, p, now);
		if (why) {
			fail(l, now, why);
			return false;
		}
		if (l->state == DERPCLIENT_UP && frame_out(l, &hdr, p, out))
			return true;
		if (l->due.state || l->due.health || l->due.write)
			return false; /* told in order, before the frames behind it */
		bytes_consume(&l->in, l->in_done);
		l->in_done = 0;
	}
	return false;
}

static bool poll_due(struct derpclient_link *l, struct derpclient_out *out)
{
	*out = (struct derpclient_out){ .region = l->id, .stream = derplink_stream(l), .text = "" };
	if (l->due.close) {
		l->due.close = false;
		out->kind = DERPCLIENT_CLOSE;
		out->stream = l->due.close_stream;
		return true;
	}
	if (l->due.open) {
		l->due.open = false;
		out->kind = DERPCLIENT_OPEN;
		out->addr = &l->addr;
		return true;
	}
	if (l->due.state) {
		l->due.state = false;
		out->kind = DERPCLIENT_STATE;
		out->is_up = l->state == DERPCLIENT_UP;
		out->text = out->is_up ? "" : l->text;
		return true;
	}
	if (l->due.health) {
		l->due.health = false;
		out->kind = DERPCLIENT_HEALTH;
		out->text = l->health;
		return true;
	}
	if (l->due.write) {
		l->due.write = false;
		out->kind = DERPCLIENT_WRITE;
		return true;
	}
	return false;
}

bool derplink_poll(struct derpclient_link *l, struct mono now, const struct node_priv *priv,
		   struct derpclient_out *out)
{
	if (poll_due(l, out))
		return true;
	if (poll_frames(l, now, priv, out))
		return true;
	return poll_due(l, out);
}

/* --- time --- */

/* Packets go out and nothing comes back: when to ask the server whether it lives. */
static struct mono silent_at(const struct derpclient_link *l)
{
	return mono_is_never(l->ping_by) ? mono_add_ms(l->silent_since, DERPLINK_SILENT_MS) : MONO_NEVER;
}

static struct mono idle_at(const struct derpclient_link *l)
{
	return l->is_home ? MONO_NEVER : mono_add_s(l->sent, DERPLINK_IDLE_S);
}

struct mono derplink_deadline(const struct derpclient_link *l)
{
	switch (l->state) {
	case DERPCLIENT_IDLE:
		return MONO_NEVER;
	case DERPCLIENT_WAIT:
		return l->retry_at;
	case DERPCLIENT_OPENING:
		return l->node_by;
	case DERPCLIENT_UPGRADING:
	case DERPCLIENT_LOGIN:
		return l->attempt_by;
	case DERPCLIENT_UP:
		return mono_min(mono_min(mono_min(l->ping_by, idle_at(l)), silent_at(l)),
				mono_add_s(l->heard, DERPLINK_READ_S));
	}
	return MONO_NEVER;
}

void derplink_tick(struct derpclient_link *l, struct mono now)
{
	if (!mono_due(derplink_deadline(l), now))
		return;
	switch (l->state) {
	case DERPCLIENT_IDLE:
		break;
	case DERPCLIENT_WAIT:
		if (is_wanted(l, now))
			attempt(l, now);
		else
			l->state = DERPCLIENT_IDLE;
		break;
	case DERPCLIENT_OPENING:
	case DERPCLIENT_UPGRADING:
	case DERPCLIENT_LOGIN:
		fail(l, now, "no answer in time");
		break;
	case DERPCLIENT_UP:
		if (mono_due(idle_at(l), now))
			derplink_drop(l, now, "idle", false);
		else if (mono_due(silent_at(l), now))
			send_ping(l, now);
		else
			derplink_drop(l, now, "server is silent", true);
		break;
	}
}
