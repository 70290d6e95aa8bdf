/* SPDX-License-Identifier: MIT */
/* Samples are collected into one list, sorted by name and labels, and written with one TYPE and one HELP
 * line a name. The table below is the complete list of names. */
#include "daemon/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire/apijson.h"

enum { LABELS_MAX = 192, LINE_MAX_LEN = 512, SAMPLES_MIN = 64 };

struct def {
	const char *name;
	const char *type;
	const char *help;
};

enum id {
	M_ADVERTISED, M_APPROVED, M_HEALTH, M_HOME_DERP, M_IN_BYTES, M_IN_DROPPED, M_IN_PACKETS,
	M_OUT_BYTES, M_OUT_DROPPED, M_OUT_PACKETS, M_RELAY_ENDPOINTS, M_RELAY_BYTES, M_RELAY_PACKETS,
	M_BUILD, M_CONTROL, M_KEY_EXPIRY, M_NETMAP_AGE, M_RELAY_DROPPED, M_RELAY_LATENCY,
	M_PATH_CHANGES, M_RELAY_SESSIONS, M_PEERS, M_MEMORY,
	M_N,
};

static const struct def defs[M_N] = {
	[M_ADVERTISED] = { "tailscaled_advertised_routes", "gauge",
			   "Number of advertised network routes (e.g. by a subnet router)" },
	[M_APPROVED] = { "tailscaled_approved_routes", "gauge",
			 "Number of approved network routes (e.g. by a subnet router)" },
	[M_HEALTH] = { "tailscaled_health_messages", "gauge", "Number of health messages broken down by type." },
	[M_HOME_DERP] = { "tailscaled_home_derp_region_id", "gauge",
			  "DERP region ID of this node's home relay server" },
	[M_IN_BYTES] = { "tailscaled_inbound_bytes_total", "counter",
			 "Counts the number of bytes received from other peers" },
	[M_IN_DROPPED] = { "tailscaled_inbound_dropped_packets_total", "counter",
			   "Counts the number of dropped packets received by the node from other peers" },
	[M_IN_PACKETS] = { "tailscaled_inbound_packets_total", "counter",
			   "Counts the number of packets received from other peers" },
	[M_OUT_BYTES] = { "tailscaled_outbound_bytes_total", "counter",
			  "Counts the number of bytes sent to other peers" },
	[M_OUT_DROPPED] = { "tailscaled_outbound_dropped_packets_total", "counter",
			    "Counts the number of packets dropped while being sent to other peers" },
	[M_OUT_PACKETS] = { "tailscaled_outbound_packets_total", "counter",
			    "Counts the number of packets sent to other peers" },
	[M_RELAY_ENDPOINTS] = { "tailscaled_peer_relay_endpoints", "gauge",
				"Number of allocated Peer Relay endpoints" },
	[M_RELAY_BYTES] = { "tailscaled_peer_relay_forwarded_bytes_total", "counter",
			    "Number of bytes forwarded via Peer Relay" },
	[M_RELAY_PACKETS] = { "tailscaled_peer_relay_forwarded_packets_total", "counter",
			      "Number of packets forwarded via Peer Relay" },
	[M_BUILD] = { "meshd_build_info", "gauge", "Version of the daemon; always 1" },
	[M_CONTROL] = { "meshd_control_connected", "gauge",
			"Whether the map stream from the control server is up" },
	[M_KEY_EXPIRY] = { "meshd_key_expiry_timestamp_seconds", "gauge",
			   "Unix time when the node key expires; 0 is never" },
	[M_NETMAP_AGE] = { "meshd_netmap_age_seconds", "gauge",
			   "Time since the control server was last heard" },
	[M_RELAY_DROPPED] = { "meshd_peer_relay_dropped_packets_total", "counter",
			      "Packets that the peer relay server did not forward" },
	[M_RELAY_LATENCY] = { "meshd_peer_relay_latency_seconds", "gauge",
			      "Round trip through each peer relay in use" },
	[M_PATH_CHANGES] = { "meshd_peer_path_changes_total", "counter",
			     "Changes of the path to peers by kind" },
	[M_RELAY_SESSIONS] = { "meshd_peer_relay_sessions_total", "counter",
			       "Sessions that the peer relay server has allocated" },
	[M_PEERS] = { "meshd_peers", "gauge", "Number of peers by the path in use" },
	[M_MEMORY] = { "meshd_process_resident_memory_bytes", "gauge", "Resident memory of the daemon" },
};

static const char *const path_names[METRICS_PATHS] = {
	[METRICS_DIRECT_V4] = "direct_ipv4",	     [METRICS_DIRECT_V6] = "direct_ipv6",
	[METRICS_DERP] = "derp",		     [METRICS_PEER_RELAY_V4] = "peer_relay_ipv4",
	[METRICS_PEER_RELAY_V6] = "peer_relay_ipv6",
};

static const char *const out_drop_names[METRICS_OUT_DROPS] = {
	[METRICS_OUT_ERROR] = "error",
	[METRICS_OUT_MULTICAST] = "multicast",
	[METRICS_OUT_LINK_LOCAL] = "link_local_unicast",
	[METRICS_OUT_TOO_SHORT] = "too_short",
	[METRICS_OUT_UNKNOWN_PROTOCOL] = "unknown_protocol",
};

static const char *const relay_drop_names[METRICS_RELAY_DROPS] = {
	[METRICS_RELAY_UNKNOWN_VNI] = "unknown_vni", [METRICS_RELAY_BAD_SOURCE] = "bad_source",
	[METRICS_RELAY_NOT_BOUND] = "not_bound",     [METRICS_RELAY_RATE_LIMIT] = "rate_limit",
	[METRICS_RELAY_SEND_ERROR] = "send_error",
};

static const char *const rung_names[METRICS_RUNGS] = {
	[METRICS_RUNG_NONE] = "none",
	[METRICS_RUNG_DERP] = "derp",
	[METRICS_RUNG_PEER_RELAY] = "peer_relay",
	[METRICS_RUNG_DIRECT] = "direct",
};

struct sample {
	enum id id;
	char labels[LABELS_MAX]; /* with braces; "" = none */
	double value;
};

struct samples {
	struct sample *list;
	size_t n, cap;
	int err;
};

MESH_PRINTF(4, 5)
static void add(struct samples *s, enum id id, double value, const char *fmt, ...)
{
	va_list ap;

	if (s->n == s->cap && !s->err) {
		size_t cap = s->cap ? 2 * s->cap : SAMPLES_MIN;
		struct sample *list = realloc(s->list, cap * sizeof(*list));

		if (list) {
			s->list = list;
			s->cap = cap;
		} else {
			s->err = -ENOMEM;
		}
	}
	if (s->err)
		return;
	s->list[s->n].id = id;
	s->list[s->n].value = value;
	va_start(ap, fmt);
	(void)vsnprintf(s->list[s->n].labels, LABELS_MAX, fmt, ap);
	va_end(ap);
	s->n++;
}

/* A label's value: backslash, quote and newline are escaped. */
static void escape(char *out, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n + 3 < size; text++) {
		if (*text == '\\' || *text == '"' || *text == '\n')
			out[n++] = '\\';
		out[n++] = *text == '\n' ? 'n' : *text;
	}
	out[n] = 0;
}

static void add_traffic(struct samples *s, const struct metrics_input *in)
{
	for (size_t i = 0; i < METRICS_PATHS; i++) {
		const char *p = path_names[i];

		add(s, M_IN_PACKETS, (double)in->in[i].packets, "{path=\"%s\"}", p);
		add(s, M_IN_BYTES, (double)in->in[i].bytes, "{path=\"%s\"}", p);
		add(s, M_OUT_PACKETS, (double)in->out[i].packets, "{path=\"%s\"}", p);
		add(s, M_OUT_BYTES, (double)in->out[i].bytes, "{path=\"%s\"}", p);
		add(s, M_PEERS, (double)in->peers[i], "{path=\"%s\"}", p);
	}
	add(s, M_PEERS, (double)in->peers_idle, "{path=\"idle\"}");
	add(s, M_PEERS, (double)in->peers_offline, "{path=\"offline\"}");
	add(s, M_IN_DROPPED, (double)in->in_dropped_acl, "{reason=\"acl\"}");
	add(s, M_IN_DROPPED, (double)in->in_dropped_error, "{reason=\"error\"}");
	for (size_t i = 0; i < METRICS_OUT_DROPS; i++)
		add(s, M_OUT_DROPPED, (double)in->out_dropped[i], "{reason=\"%s\"}", out_drop_names[i]);
	for (size_t i = 0; i < METRICS_RUNGS; i++)
		for (size_t j = 0; j < METRICS_RUNGS; j++)
			if (in->path_changes[i][j])
				add(s, M_PATH_CHANGES, (double)in->path_changes[i][j],
				    "{from=\"%s\",to=\"%s\"}", rung_names[i], rung_names[j]);
}

static void add_relay(struct samples *s, const struct metrics_input *in)
{
	char name[LABELS_MAX / 2];

	for (size_t i = 0; i < in->n_relay_latency; i++) {
		escape(name, sizeof(name), in->relay_latency[i].relay);
		add(s, M_RELAY_LATENCY, in->relay_latency[i].seconds, "{relay=\"%s\"}", name);
	}
	if (!in->relay_ran)
		return;
	for (int i = 0; i < 2; i++) {
		for (int j = 0; j < 2; j++) {
			const struct metrics_count *c = &in->relay_forwarded[i][j];
			const int from = i ? 6 : 4, to = j ? 6 : 4;

			add(s, M_RELAY_PACKETS, (double)c->packets,
			    "{transport_in=\"udp%d\",transport_out=\"udp%d\"}", from, to);
			add(s, M_RELAY_BYTES, (double)c->bytes,
			    "{transport_in=\"udp%d\",transport_out=\"udp%d\"}", from, to);
		}
	}
	add(s, M_RELAY_ENDPOINTS, (double)in->relay_connecting, "{state=\"connecting\"}");
	add(s, M_RELAY_ENDPOINTS, (double)in->relay_open, "{state=\"open\"}");
	add(s, M_RELAY_SESSIONS, (double)in->relay_sessions_total, "%s", "");
	for (size_t i = 0; i < METRICS_RELAY_DROPS; i++)
		add(s, M_RELAY_DROPPED, (double)in->relay_dropped[i], "{reason=\"%s\"}",
		    relay_drop_names[i]);
}

static double resident_bytes(void)
{
	unsigned long long size = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	char line[128] = "", *p;

	if (!f)
		return 0;
	if (fgets(line, sizeof(line), f)) {
		size = strtoull(line, &p, 10);
		pages = strtoull(p, NULL, 10);
	}
	(void)fclose(f);
	return size ? (double)pages * (double)sysconf(_SC_PAGESIZE) : 0;
}

static void add_node(struct samples *s, const struct metrics_input *in)
{
	add(s, M_ADVERTISED, (double)in->advertised_routes, "%s", "");
	add(s, M_APPROVED, (double)in->approved_routes, "%s", "");
	add(s, M_HEALTH, (double)in->health_warnings, "{type=\"warning\"}");
	add(s, M_HOME_DERP, (double)in->home_derp, "%s", "");
	add(s, M_BUILD, 1, "{version=\"%s\"}", API_MESHD_VERSION);
	add(s, M_CONTROL, in->control_connected, "%s", "");
	add(s, M_KEY_EXPIRY, (double)in->key_expiry_s, "%s", "");
	if (in->netmap_age_s >= 0)
		add(s, M_NETMAP_AGE, (double)in->netmap_age_s, "%s", "");
	add(s, M_MEMORY, resident_bytes(), "%s", "");
}

static int by_name_and_labels(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;
	int d = strcmp(defs[x->id].name, defs[y->id].name);

	return d ? d : strcmp(x->labels, y->labels);
}

static int put_line(struct bytes *out, const char *fmt, ...) MESH_PRINTF(2, 3);

static int put_line(struct bytes *out, const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line))
		return -ENOBUFS;
	return bytes_append(out, line, (size_t)n);
}

/* Whole numbers without a point, others with as many digits as they need. */
static void number(char text[static 40], double v)
{
	if (fabs(v) < 1e15 && floor(v) == v)
		(void)snprintf(text, 40, "%.0f", v);
	else
		(void)snprintf(text, 40, "%.15g", v);
}

int metrics_write(struct bytes *out, const struct metrics_input *in)
{
	const char *last = "";
	struct samples s = { 0 };

	add_node(&s, in);
	add_traffic(&s, in);
	add_relay(&s, in);
	if (!s.err)
		qsort(s.list, s.n, sizeof(*s.list), by_name_and_labels);
	for (size_t i = 0; i < s.n && !s.err; i++) {
		const struct sample *m = &s.list[i];
		const struct def *d = &defs[m->id];
		char value[40];

		if (strcmp(d->name, last) != 0)
			s.err = put_line(out, "# TYPE %s %s\n# HELP %s %s\n", d->name, d->type, d->name,
					 d->help);
		last = d->name;
		number(value, m->value);
		if (!s.err)
			s.err = put_line(out, "%s%s %s\n", d->name, m->labels, value);
	}
	free(s.list);
	return s.err;
}

static int by_name(const void *a, const void *b)
{
	const struct metrics_counter *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int metrics_write_counters(struct bytes *out, const struct metrics_input *in)
{
	struct metrics_counter *list;
	int err = 0;

	if (!in->n_counters)
		return 0;
	list = calloc(in->n_counters, sizeof(*list));
	if (!list)
		return -ENOMEM;
	memcpy(list, in->counters, in->n_counters * sizeof(*list));
	qsort(list, in->n_counters, sizeof(*list), by_name);
	for (size_t i = 0; i < in->n_counters && !err; i++)
		err = put_line(out, "# TYPE %s %s\n%s %llu\n", list[i].name,
			       list[i].is_gauge ? "gauge" : "counter", list[i].name,
			       (unsigned long long)list[i].value);
	free(list);
	return err;
}
