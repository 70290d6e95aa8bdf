/* SPDX-License-Identifier: MIT */
/* The DERP server machine of derpserver.h. */
#include "relay/derpserver.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/log.h"
#include "relay/frameq.h"
#include "wire/derp.h"

enum {
	SEND_FRAME_MAX = KEY_SIZE + DERP_PACKET_MAX,
	IN_MAX = DERP_HEADER_SIZE + SEND_FRAME_MAX + 64 * 1024,
	CTL_MAX = 16 * 1024,    /* peer-gone frames of a slow reader: the rest is dropped */
	WATCHES_MAX = 4096,     /* peers whose end a connection is told of */
	GONE_PER_S = 1,         /* "not here" answers to one client, derp 6.2 */
	GONE_BURST = 3,
	DISCO_RUN = 8,          /* disco packets in a row before a data packet gets its turn */
	SWITCH_MAX = 256,       /* the 101 response */
	CHALLENGE_MAX = 64,     /* characters of a captive-portal challenge, derp 8 */
};

enum conn_state { CONN_LOGIN, CONN_UP, CONN_CLOSED };

/* What poll has to report, in this order. */
enum due {
	DUE_ONLINE = 1,
	DUE_PREFERRED = 2,
	DUE_WRITE = 4,
	DUE_RESUME = 8,
	DUE_OFFLINE = 16,
	DUE_CLOSE = 32,
};

/* Connection 'conn' is told when client 'of' has gone. */
struct watch {
	struct derpserver_conn *conn;
	struct derpserver_client *of;
	struct watch *prev, *next; /* in of->watches */
};

struct derpserver_client {
	struct node_key key;
	struct derpserver_conn *conns;  /* newest first, linked by 'sibling' */
	struct derpserver_conn *active; /* receives */
	uint32_t n_conns;
	struct watch *watches;
};

struct derpserver_conn {
	uint32_t id;
	enum conn_state state;
	struct ep remote;
	uint8_t source[9];                 /* key into 'sources' while in LOGIN */
	struct node_key key;               /* UP and after it */
	struct derpserver_client *client;  /* UP */
	struct derpserver_conn *sibling;
	struct derpserver_conn *due_next;
	unsigned due;                      /* enum due */
	bool is_due;
	bool announced;                    /* DUE_WRITE was set and the output not empty since */
	bool is_home;
	bool is_paused;                    /* rate used up */
	const char *reason;
	struct heap_node deadline;
	struct mono login_by, keep_alive_at, taken_at, resume_at;
	uint64_t sent_at;                  /* activity number of its last frame; 0 = none yet */
	struct bucket gone, rate;
	struct bytes in;
	struct bytes ctl;                  /* hello, server info, pongs, peer gone, keep alive */
	struct bytes out;                  /* frames on their way; may begin in the middle of one */
	struct frameq disco, data;
	unsigned disco_run;
	struct map watching;               /* node key -> struct watch */
};

/* --- small things --- */

static void make_due(struct derpserver *s, struct derpserver_conn *c, unsigned due)
{
	c->due |= due;
	if (c->is_due)
		return;
	c->is_due = true;
	c->due_next = NULL;
	if (s->due_last)
		s->due_last->due_next = c;
	else
		s->due = c;
	s->due_last = c;
}

static bool has_output(const struct derpserver_conn *c)
{
	return bytes_size(&c->out) > 0 || bytes_size(&c->ctl) > 0 || c->disco.n > 0 || c->data.n > 0;
}

static void conn_reschedule(struct derpserver *s, struct derpserver_conn *c)
{
	struct mono at = MONO_NEVER;

	if (c->state == CONN_LOGIN)
		at = c->login_by;
	if (c->state == CONN_UP)
		at = c->keep_alive_at;
	if (c->state != CONN_CLOSED && has_output(c))
		at = mono_min(at, mono_add_s(c->taken_at, DERPSERVER_WRITE_S));
	if (c->is_paused)
		at = mono_min(at, c->resume_at);
	/* The node was inserted when the connection opened; moving it cannot fail. */
	if (heap_set(&s->deadlines, &c->deadline, at) != 0)
		log_error(s->env->log, "derpserver: conn %u: out of memory for its deadline", c->id);
}

/* Output was queued: tell the owner, and start the clock of a reader that does not read. */
static void conn_wake(struct derpserver *s, struct mono now, struct derpserver_conn *c)
{
	if (c->announced || c->state == CONN_CLOSED || !has_output(c))
		return;
	c->announced = true;
	c->taken_at = now;
	make_due(s, c, DUE_WRITE);
	conn_reschedule(s, c);
}

static void conn_send_ctl(struct derpserver *s, struct mono now, struct derpserver_conn *c, const struct wr *w,
			  const uint8_t *frame, size_t cap)
{
	assert(!w->bad);
	if (bytes_append(&c->ctl, frame, wr_used(w, cap)) == 0)
		conn_wake(s, now, c);
}

static void source_of(uint8_t source[static 9], const struct ep *remote)
{
	memset(source, 0, 9);
	source[0] = remote->ip.family;
	memcpy(source + 1, remote->ip.b, remote->ip.family == IP_V4 ? 4 : 8);
}

/* Unfinished logins of a source, as a number kept in the map's value. */
static uintptr_t source_count(const struct derpserver *s, const uint8_t source[static 9])
{
	return (uintptr_t)map_get(&s->sources, source);
}

static void login_ended(struct derpserver *s, struct derpserver_conn *c)
{
	uintptr_t n = source_count(s, c->source);

	s->n_logins--;
	if (n > 1 && map_put(&s->sources, c->source, (void *)(n - 1)) == 0)
		return;
	(void)map_del(&s->sources, c->source);
}

/* --- watches: who is told that a client has gone --- */

static void watch_free(struct watch *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		w->of->watches = w->next;
	if (w->next)
		w->next->prev = w->prev;
	(void)map_del(&w->conn->watching, w->of->key.b);
	free(w);
}

/* 'to' got a packet of client 'from'. Out of memory only loses a later peer gone, which nobody may rely on. */
static void watch_add(struct derpserver_conn *to, struct derpserver_client *from)
{
	struct watch *w;

	if (map_get(&to->watching, from->key.b))
		return;
	w = calloc(1, sizeof(*w));
	if (!w || map_put(&to->watching, from->key.b, w) != 0) {
		free(w);
		return;
	}
	w->conn = to;
	w->of = from;
	w->next = from->watches;
	if (w->next)
		w->next->prev = w;
	from->watches = w;
}

static void peer_gone(struct derpserver *s, struct mono now, struct derpserver_conn *to, const struct node_key *key,
		      enum derp_gone_reason reason)
{
	uint8_t frame[DERP_HEADER_SIZE + KEY_SIZE + 1];
	struct wr w = WR(frame, sizeof(frame));

	derp_peer_gone_write(&w, key, reason);
	conn_send_ctl(s, now, to, &w, frame, sizeof(frame));
}

/* --- connections of a client --- */

/* The most recent sender; among those that never sent, the oldest (derp 6.5). */
static struct derpserver_conn *pick_active(const struct derpserver_client *cl)
{
	struct derpserver_conn *best = cl->conns;

	for (struct derpserver_conn *c = cl->conns; c; c = c->sibling) {
		if (c->sent_at >= best->sent_at)
			best = c;
	}
	return best;
}

static int client_join(struct derpserver *s, struct derpserver_conn *c, const struct node_key *key)
{
	struct derpserver_client *cl = map_get(&s->clients, key->b);

	if (!cl) {
		cl = calloc(1, sizeof(*cl));
		if (!cl)
			return -ENOMEM;
		cl->key = *key;
		if (map_put(&s->clients, key->b, cl) != 0) {
			free(cl);
			return -ENOMEM;
		}
		make_due(s, c, DUE_ONLINE);
	}
	c->client = cl;
	c->key = *key;
	c->sibling = cl->conns;
	cl->conns = c;
	cl->n_conns++;
	cl->active = c;
	return 0;
}

static void client_leave(struct derpserver *s, struct mono now, struct derpserver_conn *c)
{
	struct derpserver_client *cl = c->client;
	struct derpserver_conn **at = &cl->conns;

	while (*at != c)
		at = &(*at)->sibling;
	*at = c->sibling;
	cl->n_conns--;
	c->sibling = NULL;
	c->client = NULL;
	if (cl->active == c && cl->conns)
		cl->active = pick_active(cl);
	if (cl->conns)
		return;
	while (cl->watches) {
		peer_gone(s, now, cl->watches->conn, &cl->key, DERP_GONE_DISCONNECTED);
		watch_free(cl->watches);
	}
	(void)map_del(&s->clients, cl->key.b);
	free(cl);
	make_due(s, c, DUE_OFFLINE);
}

static void conn_free(struct derpserver_conn *c)
{
	map_wipe(&c->watching);
	bytes_wipe(&c->in);
	bytes_wipe(&c->ctl);
	bytes_wipe(&c->out);
	frameq_wipe(&c->disco);
	frameq_wipe(&c->data);
	free(c);
}

/* Ends the connection. Its struct lives until poll has reported what there is to report. */
static void conn_close(struct derpserver *s, struct mono now, struct derpserver_conn *c, const char *reason,
		       bool tell_owner)
{
	struct watch *w;
	size_t it;

	if (c->state == CONN_CLOSED)
		return;
	log_debug(s->env->log, "derpserver: conn %u: closed: %s", c->id, reason);
	if (c->state == CONN_LOGIN)
		login_ended(s, c);
	c->state = CONN_CLOSED;
	c->reason = reason;
	s->n.closes++;
	for (it = 0; (w = map_next(&c->watching, &it, NULL)); it = 0)
		watch_free(w);
	c->due &= ~(unsigned)(DUE_WRITE | DUE_RESUME);
	if (c->client)
		client_leave(s, now, c);
	if (tell_owner)
		make_due(s, c, DUE_CLOSE);
	(void)map_del(&s->conns, &c->id);
	heap_del(&s->deadlines, &c->deadline);
	frameq_wipe(&c->disco);
	frameq_wipe(&c->data);
	if (!c->is_due)
		conn_free(c);
}

/* One member must not take the places of all. The newest connection is the one that works, as far as anybody knows;
 * the one that goes has not sent for longest: the oldest of those that never did (a list from the newest on). */
static void make_place(struct derpserver *s, struct mono now, const struct node_key *key)
{
	const struct derpserver_client *cl = map_get(&s->clients, key->b);
	struct derpserver_conn *last = cl ? cl->conns : NULL;

	if (!cl || cl->n_conns < DERPSERVER_CONNS_PER_KEY)
		return;
	for (struct derpserver_conn *c = cl->conns; c; c = c->sibling)
		if (c->sent_at <= last->sent_at)
			last = c;
	s->n.crowded++;
	conn_close(s, now, last, "too many connections of its key", true);
}

/* --- frames --- */

static bool next_frame(struct derpserver *s, struct derpserver_conn *c);

/* What one read from a sender brings is more than a queue holds. As long as little waits to be written, frames go on
 * to there, as they would if the writer were another thread. */
static void spill(struct derpserver *s, struct derpserver_conn *c)
{
	while (c->data.n + c->disco.n > FRAMEQ_PACKETS / 2 && bytes_size(&c->out) < DERP_SPILL && next_frame(s, c))
		;
}

static void forward(struct derpserver *s, struct mono now, struct derpserver_conn *c, const struct derp_packet *pkt)
{
	bool is_disco = derp_looks_like_disco(pkt->data, pkt->size);
	struct derpserver_client *cl = map_get(&s->clients, pkt->peer.b);
	struct frameq *q;
	uint64_t dropped;

	s->n.in_pkts++;
	s->n.in_bytes += pkt->size;
	if (!cl) {
		s->n.drop_unknown++;
		if (is_disco && bucket_take(&c->gone, now, GONE_PER_S, GONE_BURST, 1))
			peer_gone(s, now, c, &pkt->peer, DERP_GONE_NOT_HERE);
		return;
	}
	q = is_disco ? &cl->active->disco : &cl->active->data;
	dropped = q->dropped;
	if (frameq_push(q, now, &c->client->key, pkt->data, pkt->size) != 0)
		log_debug(s->env->log, "derpserver: conn %u: out of memory for a packet", cl->active->id);
	s->n.drop_queue += q->dropped - dropped;
	spill(s, cl->active);
	watch_add(cl->active, c->client);
	conn_wake(s, now, cl->active);
}

static void pong(struct derpserver *s, struct mono now, struct derpserver_conn *c, const uint8_t *data)
{
	uint8_t frame[DERP_HEADER_SIZE + DERP_PING_SIZE];
	struct wr w = WR(frame, sizeof(frame));

	s->n.pings++;
	/* A client that pings faster than it reads gets no further answers until it has read. */
	if (bytes_size(&c->ctl) > sizeof(frame))
		return;
	derp_ping_write(&w, DERP_PONG, data);
	conn_send_ctl(s, now, c, &w, frame, sizeof(frame));
}

/* The key in the clear is asked for first, so that strangers cost no cryptography. */
static const char *login(struct derpserver *s, struct mono now, struct derpserver_conn *c, const uint8_t *p,
			 size_t size)
{
	uint8_t frame[DERP_HEADER_SIZE + DERP_NONCE_SIZE + DERP_TAG_SIZE + 64], nonce[DERP_NONCE_SIZE];
	struct wr w = WR(frame, sizeof(frame));
	struct derp_client_info info;
	struct node_key key;

	if (size < DERP_INFO_MIN || size > DERP_INFO_MAX) {
		s->n.login_failed++;
		return "client info of wrong size";
	}
	if (!s->cfg.admit_all && !map_get(&s->admitted, p)) {
		s->n.rejected_key++;
		return "key is not registered";
	}
	if (derp_client_info_open(&info, &key, p, size, &s->priv) != 0) {
		s->n.login_failed++;
		return "client info does not open";
	}
	make_place(s, now, &key);
	env_fill(s->env, nonce, sizeof(nonce));
	if (derp_server_info_write(&w, &s->priv, &key, nonce) != 0 || client_join(s, c, &key) != 0) {
		s->n.login_failed++;
		return "out of memory";
	}
	login_ended(s, c);
	c->state = CONN_UP;
	c->keep_alive_at = mono_add_ns(mono_add_s(now, DERPSERVER_KEEP_ALIVE_S),
				       (int64_t)env_below(s->env, 5 * (uint64_t)NS_PER_S));
	conn_send_ctl(s, now, c, &w, frame, sizeof(frame));
	conn_reschedule(s, c);
	return NULL;
}

/* One frame. Returns null, or why the connection has to be closed. */
static const char *frame(struct derpserver *s, struct mono now, struct derpserver_conn *c, uint8_t type,
			 const uint8_t *p, size_t size)
{
	struct derp_packet pkt;

	if (c->state == CONN_LOGIN)
		return type == DERP_CLIENT_INFO ? login(s, now, c, p, size) : "first frame is no client info";
	c->sent_at = ++s->activity;
	c->client->active = c;
	switch (type) {
	case DERP_SEND_PACKET:
		if (derp_packet_parse(&pkt, p, size) != 0)
			return "send packet of wrong size";
		forward(s, now, c, &pkt);
		return NULL;
	case DERP_NOTE_PREFERRED:
		if (size != 1)
			return "note preferred of wrong size";
		c->is_home = p[0] != 0;
		make_due(s, c, DUE_PREFERRED);
		return NULL;
	case DERP_PING:
		if (size < DERP_PING_SIZE || size > DERP_CONTROL_MAX)
			return "ping of wrong size";
		pong(s, now, c, p);
		return NULL;
	case DERP_FORWARD_PACKET:
	case DERP_WATCH_CONNS:
	case DERP_CLOSE_PEER:
		return "mesh frame without permission";
	default:
		return NULL; /* pong, unknown: skipped */
	}
}

/* Handles the whole frames at the head of 'buf'; '*used' bytes are done with. */
static const char *frames(struct derpserver *s, struct mono now, struct derpserver_conn *c, const uint8_t *buf,
			  size_t size, size_t *used)
{
	const char *why = NULL;
	struct derp_hdr hdr;
	int err;

	*used = 0;
	while (!why) {
		err = derp_hdr_parse(&hdr, buf + *used, size - *used,
				     c->state == CONN_LOGIN ? (size_t)DERP_INFO_MAX : (size_t)SEND_FRAME_MAX);
		if (err == -EBADMSG)
			return "frame too large";
		if (err || size - *used < DERP_HEADER_SIZE + (size_t)hdr.size)
			break;
		why = frame(s, now, c, hdr.type, buf + *used + DERP_HEADER_SIZE, hdr.size);
		*used += DERP_HEADER_SIZE + (size_t)hdr.size;
	}
	return why;
}

static void charge(struct derpserver *s, struct mono now, struct derpserver_conn *c, size_t size)
{
	uint64_t rate = s->cfg.rate_bytes_per_s, burst = s->cfg.rate_burst_bytes;

	if (rate == 0 || c->state != CONN_UP || bucket_take(&c->rate, now, rate, burst, size))
		return;
	/* Read already: paid off before more is read. */
	c->is_paused = true;
	c->resume_at = bucket_ready_at(&c->rate, rate, size);
	c->rate.level_ns -= bucket_cost_ns(rate, size);
	conn_reschedule(s, c);
}

void derpserver_input(struct derpserver *s, struct mono now, uint32_t conn, const uint8_t *buf, size_t size)
{
	struct derpserver_conn *c = map_get(&s->conns, &conn);
	const char *why;
	size_t used = 0;

	if (!c || size == 0)
		return;
	charge(s, now, c, size);
	if (bytes_size(&c->in) == 0) {
		/* Whole frames are handled where they are. */
		why = frames(s, now, c, buf, size, &used);
		if (!why && bytes_append(&c->in, buf + used, size - used) != 0)
			why = "out of memory";
	} else if (bytes_append(&c->in, buf, size) != 0) {
		why = "input queue full";
	} else {
		why = frames(s, now, c, bytes_data(&c->in), bytes_size(&c->in), &used);
		bytes_consume(&c->in, used);
	}
	if (!why)
		return;
	if (c->state == CONN_UP)
		s->n.bad_frames++;
	conn_close(s, now, c, why, true);
}

/* --- HTTP --- */

static enum derpserver_verdict answer(char *text, size_t size, const char *status, const char *headers,
				      const char *body)
{
	(void)snprintf(text, size, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body),
		       body);
	return DERPSERVER_ANSWER;
}

/* The captive-portal check: proves to a client that it talks to us and not to a sign-in page. */
static enum derpserver_verdict answer_204(char *text, size_t size, const char *challenge)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_:";
	size_t len = strlen(challenge);
	bool ok = len > 0 && len <= CHALLENGE_MAX && strspn(challenge, set) == len;

	(void)snprintf(text, size,
		       "HTTP/1.1 204 No Content\r\nCache-Control: no-cache, no-store, must-revalidate, no-transform, "
		       "max-age=0\r\n%s%s%s\r\n",
		       ok ? "X-Tailscale-Response: response " : "", ok ? challenge : "", ok ? "\r\n" : "");
	return DERPSERVER_ANSWER;
}

enum derpserver_verdict derpserver_http(const struct derpserver_http *req, char *text, size_t size)
{
	static const char plain[] = "Content-Type: text/plain; charset=utf-8\r\n";
	bool is_read = strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0;

	if (strcmp(req->path, "/derp") == 0) {
		/* WebSocket without the subprotocol is an ancient client that speaks plain frames. */
		if (strcasecmp(req->upgrade, "derp") == 0 ||
		    (strcasecmp(req->upgrade, "websocket") == 0 && !strstr(req->ws_protocol, "derp")))
			return DERPSERVER_UPGRADE;
		return answer(text, size, "426 Upgrade Required", plain, "DERP requires connection upgrade\n");
	}
	if (strcmp(req->path, "/derp/probe") == 0 || strcmp(req->path, "/derp/latency-check") == 0) {
		if (!is_read)
			return answer(text, size, "405 Method Not Allowed", plain, "bogus probe method\n");
		return answer(text, size, "200 OK", "Access-Control-Allow-Origin: *\r\n", "");
	}
	if (strcmp(req->path, "/generate_204") == 0)
		return answer_204(text, size, req->challenge);
	return DERPSERVER_NOT_OURS;
}

/* --- opening and closing --- */

int derpserver_init(struct derpserver *s, const struct derpserver_cfg *cfg, const struct node_priv *priv,
		    const struct env *env)
{
	memset(s, 0, sizeof(*s));
	s->env = env;
	s->cfg = *cfg;
	if (s->cfg.rate_burst_bytes < IN_MAX)
		s->cfg.rate_burst_bytes = IN_MAX;
	s->priv = *priv;
	key_public(s->pub.b, priv->b);
	map_init(&s->conns, sizeof(uint32_t), DERPSERVER_CONNS_MAX, env);
	map_init(&s->clients, KEY_SIZE, DERPSERVER_CONNS_MAX, env);
	map_init(&s->admitted, KEY_SIZE, 1u << 20, env);
	map_init(&s->sources, 9, DERPSERVER_LOGINS_MAX, env);
	return 0;
}

int derpserver_admit(struct derpserver *s, const struct node_key *key)
{
	return map_put(&s->admitted, key->b, s);
}

void derpserver_remove(struct derpserver *s, struct mono now, const struct node_key *key)
{
	struct derpserver_client *cl = map_get(&s->clients, key->b);
	struct derpserver_conn *next;

	(void)map_del(&s->admitted, key->b);
	for (struct derpserver_conn *c = cl ? cl->conns : NULL; c; c = next) {
		next = c->sibling;
		conn_close(s, now, c, "key is no longer registered", true);
	}
}

/* Registers the connection in the tables. */
static int conn_enter(struct derpserver *s, struct derpserver_conn *c)
{
	uintptr_t n = source_count(s, c->source);

	if (map_put(&s->conns, &c->id, c) != 0)
		return -ENOMEM;
	if (map_put(&s->sources, c->source, (void *)(n + 1)) != 0) {
		(void)map_del(&s->conns, &c->id);
		return -ENOMEM;
	}
	s->n_logins++;
	if (heap_set(&s->deadlines, &c->deadline, c->login_by) != 0) {
		login_ended(s, c);
		(void)map_del(&s->conns, &c->id);
		return -ENOMEM;
	}
	return 0;
}

/* The answer to an ordinary upgrade; it leaves in one piece with the server key (derp 3.3). */
static void switch_write(struct wr *w, const struct node_key *pub)
{
	char text[SWITCH_MAX], hex[2 * KEY_SIZE + 1];
	int len = snprintf(text, sizeof(text),
			   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
			   "Derp-Version: %d\r\nDerp-Public-Key: %s\r\n\r\n",
			   DERP_VERSION, sodium_bin2hex(hex, sizeof(hex), pub->b, KEY_SIZE));

	wr_bytes(w, text, (size_t)len);
}

int derpserver_open(struct derpserver *s, struct mono now, uint32_t conn, const struct ep *remote, bool fast_start)
{
	uint8_t hello[SWITCH_MAX + DERP_HEADER_SIZE + DERP_SERVER_KEY_MIN];
	struct wr w = WR(hello, sizeof(hello));
	struct derpserver_conn *c;
	uint8_t source[9];

	source_of(source, remote);
	if (s->n_logins >= DERPSERVER_LOGINS_MAX || source_count(s, source) >= DERPSERVER_LOGINS_PER_SOURCE ||
	    s->conns.n >= DERPSERVER_CONNS_MAX || map_get(&s->conns, &conn)) {
		s->n.rejected_limit++;
		return -ENOBUFS;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->id = conn;
	c->remote = *remote;
	memcpy(c->source, source, sizeof(c->source));
	c->login_by = mono_add_s(now, DERPSERVER_LOGIN_S);
	c->in.max = IN_MAX;
	c->ctl.max = CTL_MAX;
	bucket_fill(&c->gone, now, GONE_PER_S, GONE_BURST);
	if (s->cfg.rate_bytes_per_s)
		bucket_fill(&c->rate, now, s->cfg.rate_bytes_per_s, s->cfg.rate_burst_bytes);
	map_init(&c->watching, KEY_SIZE, WATCHES_MAX, s->env);
	if (conn_enter(s, c) != 0) {
		conn_free(c);
		return -ENOMEM;
	}
	s->n.accepts++;
	if (!fast_start)
		switch_write(&w, &s->pub);
	derp_server_key_write(&w, &s->pub);
	conn_send_ctl(s, now, c, &w, hello, sizeof(hello));
	return 0;
}

void derpserver_closed(struct derpserver *s, struct mono now, uint32_t conn)
{
	struct derpserver_conn *c = map_get(&s->conns, &conn);

	if (c)
		conn_close(s, now, c, "closed by client", false);
}

bool derpserver_may_read(const struct derpserver *s, uint32_t conn)
{
	const struct derpserver_conn *c = map_get(&s->conns, &conn);

	return c && !c->is_paused;
}

/* --- output --- */

/* Moves the next frame to 'out'. Control frames first; then disco before data, but not without end. */
static bool next_frame(struct derpserver *s, struct derpserver_conn *c)
{
	const struct frameq_slot *slot;
	struct frameq *q = &c->data;
	uint8_t *room;
	struct wr w;
	size_t size;

	if (bytes_size(&c->ctl) > 0) {
		size = bytes_size(&c->ctl);
		if (bytes_append(&c->out, bytes_data(&c->ctl), size) != 0)
			return false;
		bytes_consume(&c->ctl, size);
		return true;
	}
	if (c->disco.n > 0 && (c->disco_run < DISCO_RUN || c->data.n == 0))
		q = &c->disco;
	slot = frameq_first(q);
	if (!slot)
		return false;
	c->disco_run = q == &c->disco ? c->disco_run + 1 : 0;
	size = DERP_HEADER_SIZE + KEY_SIZE + (size_t)slot->size;
	room = bytes_room(&c->out, size);
	if (!room)
		return false;
	w = WR(room, size);
	derp_packet_write(&w, DERP_RECV_PACKET, &slot->peer, slot->buf, slot->size);
	bytes_commit(&c->out, size);
	s->n.out_pkts++;
	s->n.out_bytes += slot->size;
	frameq_pop(q);
	return true;
}

size_t derpserver_take(struct derpserver *s, struct mono now, uint32_t conn, uint8_t *buf, size_t size)
{
	struct derpserver_conn *c = map_get(&s->conns, &conn);
	size_t n;

	if (!c)
		return 0;
	while (bytes_size(&c->out) < size && next_frame(s, c))
		;
	n = bytes_size(&c->out) < size ? bytes_size(&c->out) : size;
	if (n > 0) {
		memcpy(buf, bytes_data(&c->out), n);
		bytes_consume(&c->out, n);
		c->taken_at = now;
	}
	if (!has_output(c))
		c->announced = false;
	conn_reschedule(s, c);
	return n;
}

static bool report(struct derpserver_conn *c, struct derpserver_out *out)
{
	static const struct {
		enum due due;
		enum derpserver_out_kind kind;
	} order[] = { { DUE_ONLINE, DERPSERVER_ONLINE }, { DUE_PREFERRED, DERPSERVER_PREFERRED },
		      { DUE_WRITE, DERPSERVER_WRITE },	 { DUE_RESUME, DERPSERVER_RESUME },
		      { DUE_OFFLINE, DERPSERVER_OFFLINE }, { DUE_CLOSE, DERPSERVER_CLOSE } };

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		if (!(c->due & order[i].due))
			continue;
		c->due &= ~(unsigned)order[i].due;
		memset(out, 0, sizeof(*out));
		out->kind = order[i].kind;
		out->conn = c->id;
		out->is_home = c->is_home;
		out->reason = c->reason;
		out->key = c->key;
		return true;
	}
	return false;
}

bool derpserver_poll(struct derpserver *s, struct mono now, struct derpserver_out *out)
{
	struct derpserver_conn *c;

	(void)now;
	while ((c = s->due)) {
		if (report(c, out))
			return true;
		s->due = c->due_next;
		if (!s->due)
			s->due_last = NULL;
		c->is_due = false;
		if (c->state == CONN_CLOSED)
			conn_free(c);
	}
	return false;
}

/* --- time --- */

struct mono derpserver_deadline(const struct derpserver *s)
{
	return heap_deadline(&s->deadlines);
}

static void keep_alive(struct derpserver *s, struct mono now, struct derpserver_conn *c)
{
	uint8_t frame_buf[DERP_HEADER_SIZE];
	struct wr w = WR(frame_buf, sizeof(frame_buf));

	/* The first interval had the jitter; the others keep its phase. */
	c->keep_alive_at = mono_add_s(now, DERPSERVER_KEEP_ALIVE_S);
	s->n.keep_alives++;
	derp_keep_alive_write(&w);
	conn_send_ctl(s, now, c, &w, frame_buf, sizeof(frame_buf));
	frameq_trim(&c->disco);
	frameq_trim(&c->data);
}

static void conn_tick(struct derpserver *s, struct mono now, struct derpserver_conn *c)
{
	if (c->state == CONN_LOGIN && mono_due(c->login_by, now)) {
		s->n.login_failed++;
		conn_close(s, now, c, "no client info in time", true);
		return;
	}
	if (has_output(c) && mono_due(mono_add_s(c->taken_at, DERPSERVER_WRITE_S), now)) {
		s->n.slow_closed++;
		conn_close(s, now, c, "reads too slowly", true);
		return;
	}
	if (c->state == CONN_UP && mono_due(c->keep_alive_at, now))
		keep_alive(s, now, c);
	if (c->is_paused && mono_due(c->resume_at, now)) {
		c->is_paused = false;
		make_due(s, c, DUE_RESUME);
	}
	conn_reschedule(s, c);
}

void derpserver_tick(struct derpserver *s, struct mono now)
{
	struct heap_node *node;

	while ((node = heap_first(&s->deadlines)) && mono_due(node->deadline, now))
		conn_tick(s, now, CONTAINER_OF(node, struct derpserver_conn, deadline));
}

void derpserver_wipe(struct derpserver *s)
{
	struct derpserver_out out;
	struct derpserver_conn *c;
	size_t it;

	for (it = 0; (c = map_next(&s->conns, &it, NULL)); it = 0)
		conn_close(s, MONO_ZERO, c, "server stops", true);
	while (derpserver_poll(s, MONO_ZERO, &out))
		;
	map_wipe(&s->conns);
	map_wipe(&s->clients);
	map_wipe(&s->admitted);
	map_wipe(&s->sources);
	heap_wipe(&s->deadlines);
	key_wipe(s->priv.b);
	memset(s, 0, sizeof(*s));
}

bool derpserver_has(const struct derpserver *s, const struct node_key *key)
{
	return map_get(&s->clients, key->b) != NULL;
}

size_t derpserver_clients(const struct derpserver *s)
{
	return s->clients.n;
}
