/* SPDX-License-Identifier: MIT */
/* The coordinator inside the world, and streams with delay. */
#include "tests/unit/testing.h"

#include "tests/sim/wcoord.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator.h"
#include "relay/stunserver.h"
#include "tests/sim/world.h"

enum { STREAMS_MAX = 64, RETRANSMIT_MS = 200, URL_MAX = 64 };

/* What travels is known from the first bytes the client sends. */
enum stream_kind { KIND_UNKNOWN, KIND_CONTROL, KIND_DERP };

struct wstream {
	struct node *n;  /* null: slot is free */
	uint32_t id;     /* the node's name for it */
	uint32_t conn;   /* the coordinator's */
	struct ip local; /* the node's address when it opened: a move breaks the connection */
	struct nat *nat;
	enum stream_kind kind;
	bool is_open;
	bool is_server_closed;
	struct mono to_server, to_node; /* arrival of the last byte: streams keep their order */
};

struct wcoord {
	struct world *w;
	struct host *host;
	struct coordinator *c;
	struct stunserver stun;
	char url[URL_MAX];
	struct wstream streams[STREAMS_MAX];
	uint32_t next_conn;
	uint64_t next_call;
	unsigned int status; /* of the last answered admin call */
	char reply[8192];
};

/* Bytes, or the end, on their way. */
struct chunk {
	uint32_t conn;
	bool to_node;
	bool is_end;
	size_t size;
	uint8_t data[];
};

static void pump(struct wcoord *c);

static struct mono now_of(const struct wcoord *c)
{
	return c->w->net->now;
}

static struct wstream *by_conn(struct wcoord *c, uint32_t conn)
{
	for (size_t i = 0; i < STREAMS_MAX; i++)
		if (c->streams[i].n && c->streams[i].conn == conn)
			return &c->streams[i];
	return NULL;
}

static struct wstream *by_id(struct wcoord *c, const struct node *n, uint32_t id)
{
	for (size_t i = 0; i < STREAMS_MAX; i++)
		if (c->streams[i].n == n && c->streams[i].id == id)
			return &c->streams[i];
	return NULL;
}

static bool is_refused(const struct wcoord *c, const struct wstream *s)
{
	return (s->kind == KIND_DERP && (c->w->derp_down || s->n->derp_down)) ||
	       (s->kind == KIND_CONTROL && c->w->control_down);
}

/* The connection's old address is gone: segments vanish, both sides find out by their own timers.
 */
static bool is_broken(const struct wstream *s)
{
	return !ip_eq(&s->local, &s->n->host->addrs[0]) || s->nat != s->n->host->nat;
}

/* ---- on the way --------------------------------------------------------------------------------
 */

static void arrives(void *ctx, void *arg);

static void travel(struct wcoord *c, struct wstream *s, struct chunk *k)
{
	struct mono *last = k->to_node ? &s->to_node : &s->to_server;
	struct mono at = mono_add_ms(now_of(c), c->host->delay_ms + s->n->host->delay_ms);

	at = mono_max(at, *last);
	*last = at;
	net_after(c->w->net, mono_since_ns(at, now_of(c)), arrives, c, k);
}

static struct chunk *chunk_new(uint32_t conn, bool to_node, const uint8_t *data, size_t size)
{
	struct chunk *k = malloc(sizeof(*k) + size);

	assert_non_null(k);
	*k = (struct chunk){ .conn = conn, .to_node = to_node, .size = size };
	if (size)
		memcpy(k->data, data, size);
	return k;
}

static void end_at_node(struct wcoord *c, struct wstream *s, const char *why)
{
	struct node *n = s->n;
	const uint32_t id = s->id, conn = s->conn;
	const bool tell = s->is_open && !s->is_server_closed;

	s->n = NULL;
	if (tell)
		coordinator_closed(c->c, now_of(c), conn);
	whole_closed(n, id, why);
}

static void classify_stream(struct wstream *s, const struct chunk *k)
{
	static const char derp[] = "GET /derp";

	if (s->kind == KIND_UNKNOWN && k->size >= sizeof(derp) - 1)
		s->kind = memcmp(k->data, derp, sizeof(derp) - 1) == 0 ? KIND_DERP : KIND_CONTROL;
}

static void arrives(void *ctx, void *arg)
{
	struct wcoord *c = ctx;
	struct chunk *k = arg;
	struct wstream *s = by_conn(c, k->conn);

	if (!s || is_broken(s)) {
		free(k);
		return;
	}
	if (s->n->host->is_down || c->host->is_down) { /* TCP tries again, and what follows waits */
		struct mono *last = k->to_node ? &s->to_node : &s->to_server;

		*last = mono_max(*last, mono_add_ms(now_of(c), RETRANSMIT_MS));
		net_after(c->w->net, RETRANSMIT_MS * NS_PER_MS, arrives, c, k);
		return;
	}
	if (!k->to_node)
		classify_stream(s, k);
	if (is_refused(c, s)) {
		end_at_node(c, s, "connection reset");
	} else if (k->is_end) {
		end_at_node(c, s, "closed by the server");
	} else if (k->to_node) {
		whole_bytes(s->n, s->id, k->data, k->size);
	} else if (!s->is_server_closed) {
		coordinator_bytes(c->c, now_of(c), s->conn, k->data, k->size);
	}
	free(k);
	pump(c);
}

/* ---- the coordinator's outputs -----------------------------------------------------------------
 */

static void out_send(struct wcoord *c, const struct coordinator_out *o)
{
	struct wstream *s = by_conn(c, o->conn);
	const uint32_t conn = o->conn;
	const size_t size = o->size;

	if (s)
		travel(c, s, chunk_new(conn, true, o->data, size));
	coordinator_sent(c->c, now_of(c), conn, size);
}

static void out_close(struct wcoord *c, uint32_t conn)
{
	struct wstream *s = by_conn(c, conn);
	struct chunk *k;

	if (!s)
		return;
	s->is_server_closed = true;
	k = chunk_new(conn, true, NULL, 0);
	k->is_end = true;
	travel(c, s, k);
}

static void pump(struct wcoord *c)
{
	struct coordinator_out o;

	while (coordinator_poll(c->c, now_of(c), &o)) {
		switch (o.kind) {
		case COORDINATOR_SEND:
			out_send(c, &o);
			break;
		case COORDINATOR_CLOSE:
			out_close(c, o.conn);
			break;
		case COORDINATOR_STORE:
			coordinator_stored(c->c, now_of(c), o.batch->ticket);
			break;
		case COORDINATOR_REPLY:
			c->status = o.status;
			assert_true(o.size < sizeof(c->reply));
			memcpy(c->reply, o.data, o.size);
			c->reply[o.size] = 0;
			break;
		}
	}
}

struct mono wcoord_deadline(const struct wcoord *c)
{
	return coordinator_deadline(c->c);
}

void wcoord_tick(struct wcoord *c)
{
	coordinator_tick(c->c, now_of(c));
	pump(c);
}

/* ---- set-up ------------------------------------------------------------------------------------
 */

static void stun_recv(void *ctx, uint16_t port, const struct ep *from, uint8_t *buf, size_t size)
{
	struct wcoord *c = ctx;
	uint8_t answer[STUN_RESPONSE_MAX];
	size_t n;

	if (port != WCOORD_STUN_PORT)
		return;
	n = stunserver_answer(&c->stun, now_of(c), from, buf, size, answer);
	if (n)
		(void)net_send(c->host, WCOORD_STUN_PORT, from, answer, n);
}

struct wcoord *wcoord_new(struct world *w, const char *addr)
{
	struct wcoord *c = calloc(1, sizeof(*c));
	struct coordinator_cfg cfg = { .domain = "mesh.example",
				       .derp_host = addr,
				       .derp_port = WCOORD_PORT,
				       .derp_pin = "",
				       .stun_port = WCOORD_STUN_PORT };

	assert_non_null(c);
	c->w = w;
	c->next_conn = 1;
	(void)snprintf(c->url, sizeof(c->url), "http://%s:%d", addr, WCOORD_PORT);
	cfg.url = c->url;
	cfg.pool4 = (struct prefix){ .ip = ip4(100, 64, 0, 0), .bits = 10 };
	cfg.pool6 = (struct prefix){ .ip = { IP_V6, { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 } },
				     .bits = 48 };
	c->host = net_host(w->net, "coordinator", addr, NULL);
	c->host->recv = stun_recv;
	c->host->ctx = c;
	stunserver_init(&c->stun, &w->net->env);
	c->c = coordinator_new(&cfg, &w->net->env);
	assert_non_null(c->c);
	assert_int_equal(coordinator_start(c->c, now_of(c)), 0);
	pump(c);
	w->coord = c;
	return c;
}

void wcoord_free(struct wcoord *c)
{
	if (!c)
		return;
	coordinator_free(c->c);
	free(c);
}

const char *wcoord_url(const struct wcoord *c)
{
	return c->url;
}

size_t wcoord_n_derp(const struct wcoord *c)
{
	struct coordinator_stats st;

	coordinator_stats(c->c, &st);
	return st.n_derp;
}

void wcoord_admin(struct wcoord *c, const char *verb, const char *body)
{
	c->status = 0;
	assert_int_equal(coordinator_admin(c->c, now_of(c), ++c->next_call, verb, body, strlen(body)), 0);
	pump(c);
	if (c->status != 200)
		fail_msg("%s %s: status %u: %s", verb, body, c->status,
			 c->status ? c->reply : "no answer");
}

void wcoord_key(struct wcoord *c, const char *tag, char key[static WCOORD_KEY_MAX])
{
	char body[128];
	cJSON *doc;

	(void)snprintf(body, sizeof(body), "{\"Reusable\":true,\"ExpirationS\":86400%s%s%s}",
		       tag ? ",\"Tags\":[\"" : "", tag ? tag : "", tag ? "\"]" : "");
	wcoord_admin(c, "keys.create", body);
	doc = cJSON_Parse(c->reply);
	assert_non_null(doc);
	(void)snprintf(key, WCOORD_KEY_MAX, "%s", test_str(doc, "Key"));
	cJSON_Delete(doc);
}

/* ---- streams of nodes --------------------------------------------------------------------------
 */

static void connected(void *ctx, void *arg)
{
	struct wcoord *c = ctx;
	struct chunk *k = arg;
	struct wstream *s = by_conn(c, k->conn);
	struct stream_info info = { .peer = { .ip = c->host->addrs[0], .port = WCOORD_PORT } };
	struct ep from;

	free(k);
	if (!s)
		return;
	from = (struct ep){ .ip = s->nat ? s->nat->pub : s->local,
			    .port = (uint16_t)(10000 + s->conn % 50000) };
	if (is_broken(s) || s->n->host->is_down || c->host->is_down ||
	    coordinator_accept(c->c, now_of(c), s->conn, &from, false, false) != 0) {
		end_at_node(c, s, "connection refused");
		return;
	}
	s->is_open = true;
	pump(c);
	whole_opened(s->n, s->id, &info);
}

static void refused(void *ctx, void *arg)
{
	struct chunk *k = arg;
	struct wstream *s = by_conn(ctx, k->conn);

	free(k);
	if (s)
		end_at_node(ctx, s, "connection refused");
}

static bool is_ours(const struct wcoord *c, const struct stream_addr *addr)
{
	struct ip ip;

	if (addr->port != WCOORD_PORT)
		return false;
	if (ip_parse(&ip, addr->host, strlen(addr->host)) == 0)
		return ip_eq(&ip, &c->host->addrs[0]);
	return ip_eq(&addr->ip4, &c->host->addrs[0]);
}

void wcoord_open(struct wcoord *c, struct node *n, uint32_t stream, const struct stream_addr *addr)
{
	const int64_t rtt_ms = 2 * (c->host->delay_ms + n->host->delay_ms);
	struct wstream *s = NULL;

	for (size_t i = 0; i < STREAMS_MAX && !s; i++)
		if (!c->streams[i].n)
			s = &c->streams[i];
	assert_non_null(s);
	*s = (struct wstream){ .n = n,
			       .id = stream,
			       .conn = c->next_conn++,
			       .local = n->host->addrs[0],
			       .nat = n->host->nat };
	net_after(c->w->net, rtt_ms * NS_PER_MS, is_ours(c, addr) ? connected : refused, c,
		  chunk_new(s->conn, true, NULL, 0));
}

void wcoord_send(struct wcoord *c, struct node *n, uint32_t stream, const uint8_t *data,
		 size_t size)
{
	struct wstream *s = by_id(c, n, stream);

	world_watch(c->w, data, size);
	if (s && s->is_open)
		travel(c, s, chunk_new(s->conn, false, data, size));
}

static void drop(struct wcoord *c, struct wstream *s)
{
	const uint32_t conn = s->conn;
	const bool tell = s->is_open && !s->is_server_closed;

	s->n = NULL;
	if (tell)
		coordinator_closed(c->c, now_of(c), conn);
}

void wcoord_close(struct wcoord *c, struct node *n, uint32_t stream)
{
	struct wstream *s = by_id(c, n, stream);

	if (s)
		drop(c, s);
	pump(c);
}

void wcoord_forget(struct wcoord *c, struct node *n)
{
	for (size_t i = 0; i < STREAMS_MAX; i++)
		if (c->streams[i].n == n)
			drop(c, &c->streams[i]);
	pump(c);
}

void wcoord_reset(struct wcoord *c, bool derp)
{
	for (size_t i = 0; i < STREAMS_MAX; i++)
		if (c->streams[i].n && c->streams[i].kind == (derp ? KIND_DERP : KIND_CONTROL))
			end_at_node(c, &c->streams[i], "connection reset");
	pump(c);
}
