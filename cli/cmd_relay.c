/* SPDX-License-Identifier: MIT */
/* relay: the peer relay of this node and those it may use. Spec: cli 6. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/relay.h"
#include "wire/apijson.h"

static const struct flag json_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

static const struct flag sessions_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
	{ "watch", FLAG_BOOL, "false", "print them again every second", NULL, false },
};

static int fetch(struct cli *c, struct client_reply *r, struct relayinfo *info)
{
	int err = client_get(c, "meshd/relay", r);

	if (err)
		return err;
	if (relayinfo_parse(info, (const char *)bytes_data(&r->body), bytes_size(&r->body))) {
		client_reply_wipe(r);
		return out_error(c, "unexpected answer of the daemon about the relay");
	}
	return EXIT_OK;
}

/* --- status --- */

/* Bytes a second with a prefix: "1.2 MB/s". */
static char *rate_text(char *buf, size_t size, uint64_t bytes_s)
{
	static const char *const units[] = { "B/s", "kB/s", "MB/s", "GB/s" };
	double v = (double)bytes_s;
	size_t i = 0;

	for (; v >= 1000 && i + 1 < ARRAY_LEN(units); i++)
		v /= 1000;
	(void)snprintf(buf, size, i ? "%.1f %s" : "%.0f %s", v, units[i]);
	return buf;
}

static void print_status(struct cli *c, const struct relayinfo *r)
{
	char ep[EP_TEXT_MAX], safe[400], rate[32];

	if (!r->on) {
		(void)fprintf(c->out, "Server: off\n");
		return;
	}
	if (!r->bound_port) {
		(void)fprintf(c->out, "Server: on, not running: %s\n",
			      r->error ? out_safe(safe, sizeof(safe), r->error) : "starting");
		return;
	}
	(void)fprintf(c->out, "Server: on, udp %u (%s%s%s)\n", r->bound_port, r->has_v4 ? "v4" : "",
		      r->has_v4 && r->has_v6 ? ", " : "", r->has_v6 ? "v6" : "");
	if (r->error)
		(void)fprintf(c->out, "Warning: %s\n", out_safe(safe, sizeof(safe), r->error));
	(void)fprintf(c->out, "Advertised:\n");
	for (size_t i = 0; i < r->n_endpoints; i++) {
		(void)fprintf(c->out, "  %s (%s)", ep_write(ep, &r->endpoints[i].ep),
			      out_safe(safe, sizeof(safe), r->endpoints[i].origin));
		(void)fputc('\n', c->out);
	}
	(void)fprintf(c->out, "Sessions: %lld open, %lld connecting\n", (long long)r->open,
		      (long long)r->connecting);
	(void)fprintf(c->out, "Forwarded: %llu packets, %llu bytes, now %s\n", (unsigned long long)r->packets,
		      (unsigned long long)r->bytes, rate_text(rate, sizeof(rate), r->bytes_s));
	(void)fprintf(c->out, "May use it: %lld peers\n", (long long)r->allowed_peers);
	if (r->firewall_note)
		(void)fprintf(c->out, "Warning: %s\n", out_safe(safe, sizeof(safe), r->firewall_note));
	if (r->firewall_hint)
		(void)fprintf(c->out, "Firewall: a firewall is active; to open the port: %s\n",
			      out_safe(safe, sizeof(safe), r->firewall_hint));
}

static int run_status(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct relayinfo info = { 0 };
	struct client_reply r;
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected non-flag arguments to '%s relay status'", c->prog);
	err = fetch(c, &r, &info);
	if (err)
		return err;
	if (flags_bool(f, "json"))
		err = out_json(c, (const char *)bytes_data(&r.body), bytes_size(&r.body), "  ", true);
	else
		print_status(c, &info);
	relayinfo_wipe(&info);
	client_reply_wipe(&r);
	return err;
}

/* --- sessions --- */

static const char *client_name(char *buf, size_t size, const struct relayinfo_client *p)
{
	char name[200], text[IP_TEXT_MAX];

	if (p->name && *p->name)
		return out_safe(buf, size, p->name);
	if (ip_is_set(&p->ip))
		(void)snprintf(buf, size, "%s", ip_write(text, &p->ip));
	else
		(void)snprintf(buf, size, "%s", out_safe(name, sizeof(name), p->short_disco));
	return buf;
}

static void print_sessions(struct cli *c, const struct relayinfo *r)
{
	char a[200], b[200], ea[EP_TEXT_MAX], eb[EP_TEXT_MAX], age[OUT_DURATION_MAX], idle[OUT_DURATION_MAX];
	struct out_table t;

	if (!r->n_sessions) {
		(void)fprintf(c->out, "no sessions\n");
		return;
	}
	out_table_init(&t, 0, 2);
	out_table_add(&t, "VNI\tCLIENT 1\tENDPOINT\tCLIENT 2\tENDPOINT\tPACKETS\tBYTES\tAGE\tIDLE\n");
	for (size_t i = 0; i < r->n_sessions; i++) {
		const struct relayinfo_session *s = &r->sessions[i];

		out_table_add(&t, "%u\t%s\t%s\t%s\t%s\t%llu\t%llu\t%s\t%s\n", s->vni,
			      client_name(a, sizeof(a), &s->client1),
			      ep_is_set(&s->client1.ep) ? ep_write(ea, &s->client1.ep) : "-",
			      client_name(b, sizeof(b), &s->client2),
			      ep_is_set(&s->client2.ep) ? ep_write(eb, &s->client2.ep) : "-",
			      (unsigned long long)(s->client1.packets + s->client2.packets),
			      (unsigned long long)(s->client1.bytes + s->client2.bytes),
			      out_duration(age, out_round(s->age_ms * 1000000, 1000000000)),
			      s->idle_ms < 0 ? "-" :
					       out_duration(idle, out_round(s->idle_ms * 1000000, 1000000000)));
	}
	out_table_flush(&t, c->out);
}

/* Once; with 'is_watch' JSON is one line. */
static int show_sessions(struct cli *c, bool is_json, bool is_watch)
{
	struct relayinfo info = { 0 };
	struct client_reply r;
	struct bytes doc = { 0 };
	int err = fetch(c, &r, &info);

	if (err)
		return err;
	if (!is_json) {
		print_sessions(c, &info);
	} else if (relayinfo_write_sessions(&doc, &info, is_watch ? NULL : "  ")) {
		err = out_error(c, "out of memory");
	} else {
		(void)fprintf(c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	}
	bytes_wipe(&doc);
	relayinfo_wipe(&info);
	client_reply_wipe(&r);
	return err;
}

static int run_sessions(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	static const struct timespec pause = { .tv_sec = 1 };
	const bool is_json = flags_bool(f, "json"), is_watch = flags_bool(f, "watch");
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected non-flag arguments to '%s relay sessions'", c->prog);
	for (;;) {
		err = show_sessions(c, is_json, is_watch);
		if (err || !is_watch)
			return err;
		if (!is_json)
			(void)fputc('\n', c->out);
		if (out_is_broken(c))
			return EXIT_OK; /* cmd_main() says it */
		(void)nanosleep(&pause, NULL);
	}
}

/* --- servers --- */

static void print_servers(struct cli *c, const struct relayinfo *r)
{
	char name[200], ip[IP_TEXT_MAX], rtt[32], why[300];
	struct out_table t;

	if (!r->n_servers) {
		(void)fprintf(c->out, "no peer relays; a relay needs a grant of tailscale.com/cap/relay\n");
		return;
	}
	out_table_init(&t, 0, 2);
	out_table_add(&t, "NAME\tADDRESS\tONLINE\tRTT\tIN USE BY\tNOTE\n");
	for (size_t i = 0; i < r->n_servers; i++) {
		const struct relayinfo_server *s = &r->servers[i];

		(void)snprintf(rtt, sizeof(rtt), s->latency_ms > 0 ? "%.1fms" : "-", s->latency_ms);
		out_table_add(&t, "%s\t%s\t%s\t%s\t%lld\t%s\n", out_safe(name, sizeof(name), s->name),
			      ip_write(ip, &s->ip), s->online ? "yes" : "no", rtt, (long long)s->in_use_by,
			      out_safe(why, sizeof(why), s->why_not));
	}
	out_table_flush(&t, c->out);
}

static int run_servers(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct relayinfo info = { 0 };
	struct client_reply r;
	cJSON *json;
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected non-flag arguments to '%s relay servers'", c->prog);
	err = fetch(c, &r, &info);
	if (err)
		return err;
	json = json_parse((const char *)bytes_data(&r.body), bytes_size(&r.body), 0, NULL);
	if (flags_bool(f, "json")) {
		struct json_w w = { .indent = "  " };
		struct bytes doc = { 0 };

		json_w_tree(&w, NULL, json_get(json, "Servers"));
		if (jsonmap_finish(&w, &doc) == 0)
			(void)fprintf(c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
		bytes_wipe(&doc);
	} else {
		print_servers(c, &info);
	}
	cJSON_Delete(json);
	relayinfo_wipe(&info);
	client_reply_wipe(&r);
	return err;
}

/* --- the upstream forms, under debug --- */

static void print_debug_client(struct cli *c, const struct relayinfo_client *from,
			       const struct relayinfo_client *to)
{
	char a[EP_TEXT_MAX], b[EP_TEXT_MAX], da[40], db[40];

	(void)fprintf(c->out, "  %s(%s) --> %s(%s), Packets: %llu Bytes: %llu\n",
		      ep_is_set(&from->ep) ? ep_write(a, &from->ep) : "<no handshake>",
		      out_safe(da, sizeof(da), from->short_disco),
		      ep_is_set(&to->ep) ? ep_write(b, &to->ep) : "<no handshake>",
		      out_safe(db, sizeof(db), to->short_disco), (unsigned long long)from->packets,
		      (unsigned long long)from->bytes);
}

static int by_vni(const void *a, const void *b)
{
	const struct relayinfo_session *x = a, *y = b;

	return x->vni < y->vni ? -1 : x->vni > y->vni;
}

int relay_debug_sessions(struct cli *c)
{
	struct relayinfo r = { 0 };
	struct client_reply reply;
	int err = client_get(c, "debug-peer-relay-sessions", &reply);

	if (err)
		return err;
	if (relayinfo_parse_sessions(&r, (const char *)bytes_data(&reply.body), bytes_size(&reply.body)))
		err = out_error(c, "unexpected answer of the daemon about the relay's sessions");
	client_reply_wipe(&reply);
	if (err)
		return err;
	if (r.on)
		(void)fprintf(c->out, "Server port: %u\n", r.port);
	else
		(void)fprintf(c->out,
			      "Server port: not configured (you can configure the port with '%s set "
			      "--relay-server-port=<PORT>')\n",
			      c->prog);
	(void)fprintf(c->out, "Sessions count: %zu\n", r.n_sessions);
	if (r.n_sessions)
		qsort(r.sessions, r.n_sessions, sizeof(*r.sessions), by_vni);
	for (size_t i = 0; i < r.n_sessions; i++) {
		(void)fprintf(c->out, "\nVNI: %u\n", r.sessions[i].vni);
		print_debug_client(c, &r.sessions[i].client1, &r.sessions[i].client2);
		print_debug_client(c, &r.sessions[i].client2, &r.sessions[i].client1);
	}
	relayinfo_wipe(&r);
	return EXIT_OK;
}

static const struct cmd subs[] = {
	{ .name = "status", .usage = "relay status [--json]", .short_help = "Show the relay server of this node",
	  CMD_FLAGS(json_flags), .run = run_status },
	{ .name = "sessions", .usage = "relay sessions [--json] [--watch]", .short_help = "List the sessions of this node's relay",
	  CMD_FLAGS(sessions_flags), .run = run_sessions },
	{ .name = "servers", .usage = "relay servers [--json]", .short_help = "List the relays this node may use",
	  CMD_FLAGS(json_flags), .run = run_servers },
};

const struct cmd cmd_relay = {
	.name = "relay",
	.usage = "relay <subcommand>",
	.short_help = "Show peer relays",
	.long_help = "A peer relay carries traffic between peers that cannot reach each other. Any node can be one: "
		     "\"set --relay-server-port\" switches it on, a grant of tailscale.com/cap/relay says who may "
		     "use it.",
	CMD_SUBS(subs),
};
