/* SPDX-License-Identifier: MIT */
/* The coordinator role: see coordinator.h. Settings and keys are in coordsettings.c. */
#include "coordinator.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "coord/admin.h"
#include "coordint.h"
#include "wire/json.h"

enum {
	DERP_CHUNK = 32 << 10, /* bytes taken from the DERP server for one SEND */
	CLOSE_S = 5,           /* a closing connection may flush for so long */
	SWEEP_S = 60,
	SOURCES_MAX = 65536,
};

/* ---- life ---- */

struct coordinator *coordinator_new(const struct coordinator_cfg *cfg, const struct env *env)
{
	struct coordinator *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->env = env;
	c->conns_due = c->sweep_at = MONO_NEVER;
	map_init(&c->conns, sizeof(uint32_t), COORDINATOR_CONNS_MAX, env);
	map_init(&c->sources, sizeof(struct ip), SOURCES_MAX, env);
	if (coord_set_cfg(c, cfg) == 0) {
		const struct ctlserver_cfg ctl = { .url = c->url, .domain = c->domain, .pool4 = cfg->pool4,
						   .pool6 = cfg->pool6, .node_expiry_s = cfg->node_expiry_s,
						   .derp = &c->map };

		c->ctl = ctlserver_new(&ctl, env);
	}
	if (!c->ctl) {
		coordinator_free(c);
		return NULL;
	}
	return c;
}

static void call_free(struct coord_call *call)
{
	if (!call)
		return;
	bytes_wipe(&call->body);
	free(call);
}

static void conn_free(struct coordinator *c, struct mono now, struct coord_conn *conn);

void coordinator_free(struct coordinator *c)
{
	void *source;
	size_t it = 0;

	if (!c)
		return;
	while (c->first)
		conn_free(c, MONO_ZERO, c->first);
	while ((source = map_next(&c->sources, &it, NULL)))
		free(source);
	map_wipe(&c->sources);
	map_wipe(&c->conns);
	while (c->calls) {
		struct coord_call *call = c->calls;

		c->calls = call->next;
		call_free(call);
	}
	call_free(c->given);
	if (c->has_derp)
		derpserver_wipe(&c->derp);
	ctlserver_free(c->ctl);
	key_wipe(c->noise_priv.b);
	key_wipe(c->derp_priv.b);
	key_wipe(c->ctx.noise_priv.b);
	derp_map_wipe(&c->extra);
	derp_map_wipe(&c->map);
	free(c->url);
	free(c->domain);
	free(c->derp_host);
	free(c->derp_pin);
	free(c);
}

int coordinator_load(struct coordinator *c, struct mono now, enum reg_table table, int64_t id, const char *data)
{
	if (table == REG_SETTINGS && id != REG_SET_COUNTERS)
		return coord_load_setting(c, id, data);
	return ctlserver_load(c->ctl, now, table, id, data);
}

int coordinator_start(struct coordinator *c, struct mono now)
{
	const struct derpserver_cfg derp = { .admit_all = false };
	int err = coord_make_keys(c);

	if (!err)
		err = derpserver_init(&c->derp, &derp, &c->derp_priv, c->env);
	if (err)
		return err;
	c->has_derp = true;
	c->ctx = (struct coordconn_ctx){ .env = c->env, .ctl = c->ctl, .noise_priv = c->noise_priv,
					 .noise_pub = c->noise_pub };
	err = coord_configure(c, now);
	if (!err)
		err = ctlserver_start(c->ctl, now);
	if (err)
		return err;
	bucket_fill(&c->rate, now, COORDINATOR_RATE_TOTAL, 2 * COORDINATOR_RATE_TOTAL);
	c->start_ticket = registry_ticket(ctlserver_registry(c->ctl));
	c->is_started = true;
	return 0;
}

int coordinator_configure(struct coordinator *c, struct mono now, const struct coordinator_cfg *cfg)
{
	int err = coord_set_cfg(c, cfg);

	return err ? err : coord_configure(c, now);
}

const struct machine_key *coordinator_noise_key(const struct coordinator *c)
{
	return &c->noise_pub;
}

const struct node_key *coordinator_derp_key(const struct coordinator *c)
{
	return &c->derp.pub;
}

int coordinator_put_setting(struct coordinator *c, enum reg_setting id, const char *data)
{
	return registry_write(ctlserver_registry(c->ctl), REG_SETTINGS, id, data);
}

/* ---- connections ---- */

static struct coord_conn *find(const struct coordinator *c, uint32_t id)
{
	return map_get(&c->conns, &id);
}

static void make_due(struct coordinator *c, struct coord_conn *conn)
{
	if (conn->is_due)
		return;
	conn->is_due = true;
	conn->next_due = NULL;
	if (c->due_last)
		c->due_last->next_due = conn;
	else
		c->due = conn;
	c->due_last = conn;
}

static void unlink_due(struct coordinator *c, struct coord_conn *conn)
{
	struct coord_conn **at = &c->due, *last = NULL;

	if (!conn->is_due)
		return;
	while (*at) {
		if (*at == conn) {
			*at = conn->next_due;
			continue;
		}
		last = *at;
		at = &last->next_due;
	}
	c->due_last = last;
	conn->is_due = false;
}

static void no_stranger(struct coordinator *c, struct coord_conn *conn)
{
	if (!conn->is_stranger)
		return;
	conn->is_stranger = false;
	c->n_strangers--;
	conn->source->n_strangers--;
}

static void conn_free(struct coordinator *c, struct mono now, struct coord_conn *conn)
{
	uint32_t id = conn->id;

	unlink_due(c, conn);
	no_stranger(c, conn);
	if (conn->source)
		conn->source->n_conns--;
	if (conn->is_derp)
		derpserver_closed(&c->derp, now, id);
	coordconn_free(conn->http, now);
	bytes_wipe(&conn->derp_out);
	(void)map_del(&c->conns, &id);
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		c->first = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	c->n.n_conns--;
	free(conn);
}

/* IPv6: a whole /64 is one source. */
static struct coord_source *get_source(struct coordinator *c, struct mono now, const struct ep *from)
{
	struct ip key = from->ip;
	struct coord_source *s;

	if (key.family == IP_V6)
		memset(key.b + 8, 0, 8);
	s = map_get(&c->sources, &key);
	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s || map_put(&c->sources, &key, s) != 0) {
		free(s);
		return NULL;
	}
	s->key = key;
	bucket_fill(&s->rate, now, COORDINATOR_RATE_SOURCE, 2 * COORDINATOR_RATE_SOURCE);
	if (mono_is_never(c->sweep_at))
		c->sweep_at = mono_add_s(now, SWEEP_S);
	return s;
}

/* Limits for strangers (RELIABILITY 5). Null: refused. */
static struct coord_source *admit(struct coordinator *c, struct mono now, const struct ep *from)
{
	struct coord_source *s = get_source(c, now, from);

	if (!s)
		return NULL;
	if (!bucket_take(&s->rate, now, COORDINATOR_RATE_SOURCE, 2 * COORDINATOR_RATE_SOURCE, 1) ||
	    !bucket_take(&c->rate, now, COORDINATOR_RATE_TOTAL, 2 * COORDINATOR_RATE_TOTAL, 1)) {
		c->n.refused_rate++;
		return NULL;
	}
	if (s->n_strangers >= COORDINATOR_HALF_OPEN_SOURCE || c->n_strangers >= COORDINATOR_HALF_OPEN_MAX) {
		c->n.refused_half_open++;
		return NULL;
	}
	return s;
}

int coordinator_accept(struct coordinator *c, struct mono now, uint32_t id, const struct ep *from, bool tls, bool own)
{
	struct coord_source *source = NULL;
	struct coord_conn *conn;

	if (!c->is_started || !registry_is_durable(ctlserver_registry(c->ctl), c->start_ticket))
		return -EAGAIN;
	if (!own) {
		source = admit(c, now, from);
		if (!source)
			return -EAGAIN;
	}
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return -ENOMEM;
	conn->http = coordconn_new(&c->ctx, id, now, from, tls, own);
	if (!conn->http || find(c, id) || map_put(&c->conns, &id, conn) != 0) {
		coordconn_free(conn->http, now);
		free(conn);
		return -ENOMEM;
	}
	conn->id = id;
	conn->from = *from;
	conn->close_at = MONO_NEVER;
	conn->source = source;
	if (source) {
		conn->is_stranger = true;
		source->n_conns++;
		source->n_strangers++;
		c->n_strangers++;
	}
	conn->next = c->first;
	if (c->first)
		c->first->prev = conn;
	c->first = conn;
	c->n.n_conns++;
	c->conns_due = mono_min(c->conns_due, coordconn_deadline(conn->http));
	return 0;
}

/* The DERP server takes over; what came behind the HTTP head is its first input. */
static void start_derp(struct coordinator *c, struct mono now, struct coord_conn *conn, const uint8_t *rest, size_t size)
{
	bool fast = coordconn_derp_fast_start(conn->http);

	coordconn_free(conn->http, now);
	conn->http = NULL;
	if (derpserver_open(&c->derp, now, conn->id, &conn->from, fast) != 0) {
		conn->is_closing = true;
		conn->close_at = now;
		make_due(c, conn);
		return;
	}
	conn->is_derp = true;
	/* The DERP server has limits of its own for those that have not logged in. */
	no_stranger(c, conn);
	if (size)
		derpserver_input(&c->derp, now, conn->id, rest, size);
}

void coordinator_bytes(struct coordinator *c, struct mono now, uint32_t id, const uint8_t *data, size_t size)
{
	struct coord_conn *conn = find(c, id);
	size_t used = 0;

	if (!conn || conn->is_closing)
		return;
	if (conn->is_derp) {
		derpserver_input(&c->derp, now, id, data, size);
		return;
	}
	if (coordconn_input(conn->http, now, data, size, &used) != 0)
		c->n.bad_input++;
	make_due(c, conn);
	if (coordconn_state(conn->http) == COORDCONN_DERP) {
		start_derp(c, now, conn, data + used, size - used);
		return;
	}
	if (conn->is_stranger && coordconn_is_established(conn->http))
		no_stranger(c, conn);
	c->conns_due = mono_min(c->conns_due, coordconn_deadline(conn->http));
}

static struct bytes *conn_output(struct coordinator *c, struct mono now, struct coord_conn *conn)
{
	if (!conn->is_derp)
		return conn->http ? coordconn_output(conn->http, now) : &conn->derp_out;
	if (!bytes_size(&conn->derp_out)) {
		uint8_t *room = bytes_room(&conn->derp_out, DERP_CHUNK);

		if (room)
			bytes_commit(&conn->derp_out, derpserver_take(&c->derp, now, conn->id, room, DERP_CHUNK));
	}
	return &conn->derp_out;
}

void coordinator_sent(struct coordinator *c, struct mono now, uint32_t id, size_t size)
{
	struct coord_conn *conn = find(c, id);
	struct bytes *out;

	if (!conn)
		return;
	out = conn->is_derp || !conn->http ? &conn->derp_out : coordconn_output(conn->http, now);
	bytes_consume(out, size);
	conn->is_blocked = bytes_size(out) > 0;
	if (!conn->is_blocked)
		make_due(c, conn);
}

void coordinator_writable(struct coordinator *c, struct mono now, uint32_t id)
{
	struct coord_conn *conn = find(c, id);

	(void)now;
	if (!conn)
		return;
	conn->is_blocked = false;
	make_due(c, conn);
}

void coordinator_closed(struct coordinator *c, struct mono now, uint32_t id)
{
	struct coord_conn *conn = find(c, id);

	if (conn)
		conn_free(c, now, conn);
}

/* ---- storage and administration ---- */

void coordinator_stored(struct coordinator *c, struct mono now, uint64_t ticket)
{
	ctlserver_persisted(c->ctl, now, ticket);
}

uint64_t coordinator_ticket(const struct coordinator *c)
{
	return registry_ticket(ctlserver_registry(c->ctl));
}

bool coordinator_is_durable(const struct coordinator *c, uint64_t ticket)
{
	return registry_is_durable(ctlserver_registry(c->ctl), ticket);
}

int coordinator_admin(struct coordinator *c, struct mono now, uint64_t call, const char *verb, const char *body,
		      size_t size)
{
	const uint64_t writes = registry_n_writes(ctlserver_registry(c->ctl));
	struct coord_call *w = calloc(1, sizeof(*w)), **at = &c->calls;

	if (!w)
		return -ENOMEM;
	w->call = call;
	w->status = coord_derp_call(c, now, verb, body, size, &w->body);
	if (w->status)
		w->ticket = registry_ticket(ctlserver_registry(c->ctl));
	else
		w->status = admin_call(c->ctl, now, verb, body, size, &w->body, &w->ticket);
	w->changes = writes != registry_n_writes(ctlserver_registry(c->ctl));
	while (*at)
		at = &(*at)->next;
	*at = w;
	return 0;
}

/* {"Error":why} in place of the answer, which may hold a key that a restart would not know. */
static void set_error(struct coord_call *w, unsigned status, const char *why)
{
	struct json_w json = { 0 };
	size_t size;
	char *text;

	json_w_obj(&json, NULL);
	json_w_str(&json, "Error", why);
	json_w_end(&json);
	text = json_w_take(&json, &size);
	bytes_wipe(&w->body);
	if (text)
		(void)!bytes_append(&w->body, text, size); /* out of memory: the status must do */
	free(text);
	w->status = status;
}

void coordinator_refused(struct coordinator *c, uint64_t ticket, unsigned status, const char *why)
{
	for (struct coord_call *w = c->calls; w; w = w->next) {
		if (w->ticket > ticket || registry_is_durable(ctlserver_registry(c->ctl), w->ticket))
			continue;
		if (w->changes)
			set_error(w, status, why);
		w->ticket = 0; /* waits no longer */
	}
}

/* ---- outputs ---- */

/* The first answer whose rows are stored. */
static bool poll_call(struct coordinator *c, struct coordinator_out *out)
{
	struct coord_call **at = &c->calls;

	call_free(c->given);
	c->given = NULL;
	while (*at && !registry_is_durable(ctlserver_registry(c->ctl), (*at)->ticket))
		at = &(*at)->next;
	if (!*at)
		return false;
	c->given = *at;
	*at = c->given->next;
	*out = (struct coordinator_out){ .kind = COORDINATOR_REPLY, .call = c->given->call,
					 .status = c->given->status, .data = bytes_data(&c->given->body),
					 .size = bytes_size(&c->given->body) };
	return true;
}

/* Carries outputs of the control server to connections and DERP. True: 'out' is for the owner. */
static bool poll_ctl(struct coordinator *c, struct mono now, struct coordinator_out *out)
{
	struct ctlserver_out o;

	while (ctlserver_poll(c->ctl, now, &o)) {
		struct coord_conn *conn;

		switch (o.kind) {
		case CTLSERVER_RESPOND:
		case CTLSERVER_CHUNK:
		case CTLSERVER_END:
			conn = find(c, (uint32_t)(o.id >> 32));
			if (conn && conn->http) {
				coordconn_response(conn->http, now, (uint32_t)o.id, &o);
				if (conn->is_stranger && coordconn_is_established(conn->http))
					no_stranger(c, conn);
				make_due(c, conn);
			}
			break;
		case CTLSERVER_BATCH:
			*out = (struct coordinator_out){ .kind = COORDINATOR_STORE, .batch = o.batch };
			return true;
		case CTLSERVER_ADMIT:
			if (derpserver_admit(&c->derp, &o.key) != 0)
				log_error(c->env->log, "coord: DERP: a node is not admitted: out of memory");
			break;
		case CTLSERVER_KICK:
			derpserver_remove(&c->derp, now, &o.key);
			break;
		}
	}
	return false;
}

static void poll_derp(struct coordinator *c, struct mono now)
{
	struct derpserver_out o;

	while (derpserver_poll(&c->derp, now, &o)) {
		struct coord_conn *conn = find(c, o.conn);

		switch (o.kind) {
		case DERPSERVER_WRITE:
		case DERPSERVER_RESUME:
			if (conn)
				make_due(c, conn);
			break;
		case DERPSERVER_CLOSE:
			if (!conn)
				break;
			log_debug(c->env->log, "coord: DERP connection closed: %s", o.reason);
			conn->is_derp = false; /* forgotten there already */
			conn->is_closing = true;
			conn->close_at = now;
			make_due(c, conn);
			break;
		case DERPSERVER_PREFERRED:
			if (o.is_home)
				ctlserver_preferred(c->ctl, now, &o.key, COORDINATOR_REGION);
			break;
		case DERPSERVER_ONLINE:
		case DERPSERVER_OFFLINE:
			break; /* presence follows the map streams */
		}
	}
}

/* The next SEND or CLOSE. */
static bool poll_conns(struct coordinator *c, struct mono now, struct coordinator_out *out)
{
	while (c->due) {
		struct coord_conn *conn = c->due;
		struct bytes *bytes;

		c->due = conn->next_due;
		if (!c->due)
			c->due_last = NULL;
		conn->is_due = false;
		if (conn->http && coordconn_state(conn->http) == COORDCONN_DEAD && !conn->is_closing) {
			conn->is_closing = true;
			conn->close_at = mono_add_s(now, CLOSE_S);
			c->conns_due = mono_min(c->conns_due, conn->close_at);
		}
		bytes = conn_output(c, now, conn);
		if (bytes_size(bytes) && !conn->is_blocked && !(conn->is_closing && mono_due(conn->close_at, now))) {
			conn->is_blocked = true; /* until coordinator_sent() says otherwise */
			*out = (struct coordinator_out){ .kind = COORDINATOR_SEND, .conn = conn->id,
							 .data = bytes_data(bytes), .size = bytes_size(bytes) };
			return true;
		}
		if (conn->is_closing && (!bytes_size(bytes) || mono_due(conn->close_at, now))) {
			*out = (struct coordinator_out){ .kind = COORDINATOR_CLOSE, .conn = conn->id };
			conn_free(c, now, conn);
			return true;
		}
	}
	return false;
}

bool coordinator_poll(struct coordinator *c, struct mono now, struct coordinator_out *out)
{
	if (!c->is_started)
		return false;
	/* A message that was delivered releases the next one, and DERP tells home regions: go round until
	 * nothing moves. */
	do {
		if (poll_ctl(c, now, out) || poll_call(c, out))
			return true;
		poll_derp(c, now);
		if (poll_conns(c, now, out) || poll_ctl(c, now, out))
			return true;
	} while (c->due);
	return false;
}

/* ---- time ---- */

struct mono coordinator_deadline(const struct coordinator *c)
{
	struct mono at;

	if (!c->is_started)
		return MONO_NEVER;
	if (c->due)
		return MONO_ZERO;
	at = mono_min(ctlserver_deadline(c->ctl), derpserver_deadline(&c->derp));
	at = mono_min(at, c->conns_due);
	return mono_min(at, c->sweep_at);
}

static void tick_conns(struct coordinator *c, struct mono now)
{
	if (!mono_due(c->conns_due, now))
		return;
	c->conns_due = MONO_NEVER;
	for (struct coord_conn *conn = c->first; conn; conn = conn->next) {
		struct mono at = conn->close_at;

		if (conn->http && mono_due(coordconn_deadline(conn->http), now)) {
			coordconn_tick(conn->http, now);
			c->n.timeouts++;
			make_due(c, conn);
		}
		if (mono_due(at, now))
			make_due(c, conn);
		else
			c->conns_due = mono_min(c->conns_due, at);
		if (conn->http && coordconn_state(conn->http) != COORDCONN_DEAD)
			c->conns_due = mono_min(c->conns_due, coordconn_deadline(conn->http));
	}
}

/* Sources without connections and with a full bucket are as good as never seen. */
static void sweep_sources(struct coordinator *c, struct mono now)
{
	struct coord_source **idle, *s;
	size_t it = 0, n = 0;

	if (!mono_due(c->sweep_at, now))
		return;
	idle = malloc((c->sources.n + 1) * sizeof(struct coord_source *));
	while (idle && (s = map_next(&c->sources, &it, NULL)))
		if (!s->n_conns && bucket_has(&s->rate, now, COORDINATOR_RATE_SOURCE, 2 * COORDINATOR_RATE_SOURCE,
					      2 * COORDINATOR_RATE_SOURCE))
			idle[n++] = s;
	for (size_t i = 0; i < n; i++) {
		(void)map_del(&c->sources, &idle[i]->key);
		free(idle[i]);
	}
	free(idle);
	c->sweep_at = c->sources.n ? mono_add_s(now, SWEEP_S) : MONO_NEVER;
}

void coordinator_tick(struct coordinator *c, struct mono now)
{
	if (!c->is_started)
		return;
	ctlserver_tick(c->ctl, now);
	derpserver_tick(&c->derp, now);
	tick_conns(c, now);
	sweep_sources(c, now);
}

void coordinator_stats(const struct coordinator *c, struct coordinator_stats *out)
{
	const struct registry *r = ctlserver_registry(c->ctl);

	*out = c->n;
	out->n_nodes = registry_n_nodes(r);
	for (size_t i = 0; i < out->n_nodes; i++)
		out->n_online += registry_node_at(r, i)->online;
	(void)ctlserver_policy_text(c->ctl, &out->policy_revision);
	out->n_derp = c->has_derp ? derpserver_clients(&c->derp) : 0;
	out->n_control = ctlserver_n_streams(c->ctl);
}
