/* SPDX-License-Identifier: MIT */
/* ping: which path a peer is reached on. Spec: cli 4. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"

static const struct flag ping_flags[] = {
	{ "c", FLAG_INT, "10", "max number of pings to send. 0 for infinity.", NULL, false },
	{ "icmp", FLAG_BOOL, "false", "do an ICMP-level ping (through WireGuard, but not the local host OS stack)", NULL,
	  false },
	{ "interval", FLAG_DURATION, "1s", "time between pings", "i", false },
	{ "json", FLAG_BOOL, "false", "one JSON object per ping, and a summary", NULL, false },
	{ "peerapi", FLAG_BOOL, "false", "try hitting the peer's peerapi HTTP server", NULL, false },
	FLAG_NOT_BUILT("all-paths", FLAG_BOOL),
	{ "precise", FLAG_BOOL, "false", "show latencies to the microsecond", NULL, false },
	{ "require", FLAG_STRING, NULL, "like --until, and fail when the last `path` is worse", NULL, false },
	{ "size", FLAG_INT, "0", "size of the ping message (disco pings only). 0 for minimum size.", NULL, false },
	{ "timeout", FLAG_DURATION, "5s", "timeout before giving up on a ping", NULL, false },
	{ "tsmp", FLAG_BOOL, "false", "do a TSMP-level ping (through WireGuard, but not either host OS stack)", NULL,
	  false },
	{ "until", FLAG_STRING, NULL, "stop once this `path` is established: direct, peer-relay or any", NULL, false },
	{ "until-direct", FLAG_BOOL, "true", "stop once a direct path is established", NULL, false },
	FLAG_NOT_BUILT("via", FLAG_STRING),
	{ "verbose", FLAG_BOOL, "false", "verbose output", NULL, false },
};

/* What is to be reached; larger is better. */
enum goal { GOAL_NONE, GOAL_ANY, GOAL_RELAY, GOAL_DIRECT };

struct ping {
	struct cli *c;
	const struct flags *f;
	enum pingresult_type type;
	enum goal goal;
	bool must_reach;      /* fail when the goal was not reached */
	const char *name;     /* as typed */
	char ip[IP_TEXT_MAX];
	/* Counts of this run. */
	int64_t sent, answered;
	double min_ms, max_ms, sum_ms;
	enum goal best;
	bool reached;
};

static int parse_goal(struct cli *c, const struct flags *f, struct ping *p)
{
	static const struct {
		const char *word;
		enum goal goal;
	} words[] = { { "direct", GOAL_DIRECT }, { "peer-relay", GOAL_RELAY }, { "any", GOAL_ANY } };
	const char *flag = flags_is_set(f, "require") ? "require" : "until";
	const char *text = flags_str(f, flag);
	char quoted[PREFVAL_QUOTE_MAX];

	p->goal = flags_bool(f, "until-direct") ? GOAL_DIRECT : GOAL_NONE;
	p->must_reach = p->goal != GOAL_NONE;
	if (!flags_is_set(f, flag))
		return EXIT_OK;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(text, words[i].word) != 0)
			continue;
		p->goal = words[i].goal;
		p->must_reach = true;
		return EXIT_OK;
	}
	return out_error(c, "invalid value %s for --%s; want direct, peer-relay or any",
			 prefval_quote(quoted, text, strlen(text)), flag);
}

static int check_flags(struct cli *c, const struct flags *f)
{
	if (flags_int(f, "c") < 0)
		return out_error(c, "invalid value \"%s\" for -c; want 0 or more", flags_str(f, "c"));
	if (flags_int(f, "timeout") <= 0)
		return out_error(c, "invalid value \"%s\" for --timeout; want more than 0",
				 flags_str(f, "timeout"));
	if (flags_int(f, "interval") <= 0)
		return out_error(c, "invalid value \"%s\" for --interval; want more than 0",
				 flags_str(f, "interval"));
	if (flags_int(f, "size") < 0 || flags_int(f, "size") > UINT16_MAX)
		return out_error(c, "invalid value \"%s\" for --size; want 0 to 65535", flags_str(f, "size"));
	if (flags_bool(f, "tsmp") + flags_bool(f, "icmp") + flags_bool(f, "peerapi") > 1)
		return out_error(c, "--tsmp, --icmp and --peerapi are mutually exclusive");
	return EXIT_OK;
}

/* Name or address to the address that is pinged. Returns EXIT_OK with 'p->ip' empty for our own. */
static int find_ip(struct ping *p, const struct status *s)
{
	const struct status_peer *peer;
	struct ip ip;
	bool is_self;

	if (ip_parse(&ip, p->name, strlen(p->name)) == 0) {
		for (size_t i = 0; i < s->n_ips; i++)
			if (ip_eq(&s->ips[i], &ip)) {
				(void)fprintf(p->c->out, "%s is local Tailscale IP\n", ip_write(p->ip, &ip));
				p->ip[0] = 0;
				return EXIT_OK;
			}
		ip_write(p->ip, &ip);
		return EXIT_OK;
	}
	peer = status_find(s, p->name, &is_self);
	if (!peer) {
		const char *near = peers_suggest(s, p->name);
		char quoted[PREFVAL_QUOTE_MAX], safe[300];

		return out_error(p->c, "error looking up IP of %s: no such host%s%s",
				 prefval_quote(quoted, p->name, strlen(p->name)),
				 near ? "; did you mean " : "",
				 near ? out_safe(safe, sizeof(safe), near) : "");
	}
	if (!peer->n_ips)
		return out_error(p->c, "node found but lacks an IP");
	ip_write(p->ip, &peer->ips[0]);
	if (is_self) {
		(void)fprintf(p->c->out, "%s is local Tailscale IP\n", p->ip);
		p->ip[0] = 0;
	} else if (flags_bool(p->f, "verbose")) {
		(void)fprintf(p->c->err, "lookup \"%s\" => \"%s\"\n", p->name, p->ip);
	}
	return EXIT_OK;
}

static enum goal path_of(const struct pingresult *r)
{
	if (r->peer_relay && *r->peer_relay)
		return GOAL_RELAY;
	return r->endpoint && *r->endpoint ? GOAL_DIRECT : GOAL_ANY;
}

static void print_pong(struct ping *p, const struct pingresult *r)
{
	char latency[OUT_DURATION_MAX], name[300], via[200], safe[160], port[16] = "";

	out_duration(latency, out_round((int64_t)(r->latency_s * 1e9), flags_bool(p->f, "precise") ? 1000 : 1000000));
	out_safe(name, sizeof(name), r->node_name);
	if (p->type == PING_PEERAPI) {
		(void)fprintf(p->c->out, "hit peerapi of %s (%s) at %s in %s\n", p->ip, name,
			      out_safe(safe, sizeof(safe), r->peerapi_url), latency);
		return;
	}
	if (r->peer_relay && *r->peer_relay)
		(void)snprintf(via, sizeof(via), "peer-relay(%s)", out_safe(safe, sizeof(safe), r->peer_relay));
	else if (r->derp_region_id)
		(void)snprintf(via, sizeof(via), "DERP(%s)",
			       out_safe(safe, sizeof(safe), r->derp_region_code));
	else if (r->endpoint && *r->endpoint)
		(void)snprintf(via, sizeof(via), "%s", out_safe(safe, sizeof(safe), r->endpoint));
	else
		(void)snprintf(via, sizeof(via), "%s", pingresult_type_name(p->type));
	if (p->type == PING_TSMP && r->peerapi_port)
		(void)snprintf(port, sizeof(port), ", %u", r->peerapi_port);
	(void)fprintf(p->c->out, "pong from %s (%s%s) via %s in %s\n", name,
		      r->node_ip && *r->node_ip ? out_safe(safe, sizeof(safe), r->node_ip) : p->ip, port, via,
		      latency);
}

static void put_doc(struct ping *p, struct json_w *w)
{
	struct bytes doc = { 0 };

	if (jsonmap_finish(w, &doc) == 0)
		(void)fprintf(p->c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	bytes_wipe(&doc);
}

static void print_json(struct ping *p, const struct pingresult *r, bool ok)
{
	static const char *const paths[] = { "", "derp", "peer-relay", "direct" };
	enum goal path = r ? path_of(r) : GOAL_NONE;
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	json_w_i64(&w, "seq", p->sent);
	json_w_bool(&w, "ok", ok);
	json_w_str(&w, "type", pingresult_type_name(p->type));
	json_w_str(&w, "ip", p->ip);
	if (r) {
		json_w_str(&w, "name", r->node_name ? r->node_name : "");
		json_w_str(&w, "path", ok ? paths[path] : "");
		json_w_str(&w, "endpoint", path == GOAL_RELAY ? r->peer_relay : r->endpoint ? r->endpoint : "");
		json_w_str(&w, "relay_node", r->relay_node ? r->relay_node : "");
		json_w_str(&w, "derp", r->derp_region_code ? r->derp_region_code : "");
		json_w_double(&w, "latency_ms", round(r->latency_s * 1e5) / 100);
		if (r->err && *r->err)
			json_w_str(&w, "error", r->err);
	} else {
		json_w_str(&w, "error", "timed out");
	}
	json_w_end(&w);
	put_doc(p, &w);
}

static void print_summary(struct ping *p)
{
	double avg = p->answered ? p->sum_ms / (double)p->answered : 0;
	struct json_w w = { 0 };

	if (flags_bool(p->f, "json")) {
		json_w_obj(&w, NULL);
		json_w_obj(&w, "summary");
		json_w_i64(&w, "sent", p->sent);
		json_w_i64(&w, "answered", p->answered);
		json_w_double(&w, "min_ms", round(p->min_ms * 100) / 100);
		json_w_double(&w, "avg_ms", round(avg * 100) / 100);
		json_w_double(&w, "max_ms", round(p->max_ms * 100) / 100);
		json_w_end(&w);
		json_w_end(&w);
		put_doc(p, &w);
	} else if (p->c->out_is_tty && !p->c->compat && p->answered > 1) {
		(void)fprintf(p->c->out, "# %lld sent, %lld answered, min/avg/max %.1f/%.1f/%.1f ms\n",
			      (long long)p->sent, (long long)p->answered, p->min_ms, avg, p->max_ms);
	}
	(void)fflush(p->c->out);
}

static void count(struct ping *p, const struct pingresult *r)
{
	double ms = r->latency_s * 1000;

	p->min_ms = p->answered && p->min_ms < ms ? p->min_ms : ms;
	p->max_ms = p->answered && p->max_ms > ms ? p->max_ms : ms;
	p->sum_ms += ms;
	p->answered++;
	if (path_of(r) > p->best)
		p->best = path_of(r);
	p->reached = p->reached || (p->goal != GOAL_NONE && path_of(r) >= p->goal);
}

/* One try. Returns an exit code that ends the run, or -1 to go on. */
static int try_once(struct ping *p)
{
	struct client_reply reply = { 0 };
	struct pingresult r = { 0 };
	bool json = flags_bool(p->f, "json");
	char path[200];
	int err;

	(void)snprintf(path, sizeof(path), "ping?ip=%s&type=%s&size=%lld", p->ip,
		       pingresult_type_name(p->type), (long long)flags_int(p->f, "size"));
	p->sent++;
	p->c->quiet_timeout = true;
	err = client_request(p->c, "POST", path, NULL, 0, (int)(flags_int(p->f, "timeout") / 1000000), &reply);
	p->c->quiet_timeout = false;
	if (err == EXIT_TIMEOUT) {
		if (json)
			print_json(p, NULL, false);
		else
			(void)fprintf(p->c->out, "ping \"%s\" timed out\n", p->ip);
		return -1;
	}
	if (!err)
		err = client_check(p->c, &reply);
	if (!err && pingresult_parse(&r, (const char *)bytes_data(&reply.body), bytes_size(&reply.body)))
		err = out_error(p->c, "unexpected answer of the daemon to ping");
	client_reply_wipe(&reply);
	if (err)
		return err;
	if (r.err && *r.err) {
		char safe[300];
		bool local = r.is_local_ip;

		if (json)
			print_json(p, &r, false);
		else
			(void)fprintf(local ? p->c->out : p->c->err, "%s\n", out_safe(safe, sizeof(safe), r.err));
		pingresult_wipe(&r);
		return local ? EXIT_OK : EXIT_FAILED;
	}
	count(p, &r);
	if (json)
		print_json(p, &r, true);
	else
		print_pong(p, &r);
	pingresult_wipe(&r);
	/* The other kinds say nothing about the path: one answer is all there is to know. */
	return p->type != PING_DISCO || p->reached ? EXIT_OK : -1;
}

static int finish(struct ping *p)
{
	print_summary(p);
	if (!p->answered) {
		(void)out_error(p->c, "no reply");
		return p->c->compat ? EXIT_FAILED : EXIT_NO_REPLY;
	}
	if (p->must_reach && !p->reached && p->type == PING_DISCO) {
		if (p->goal == GOAL_RELAY)
			return out_error(p->c, "neither a direct nor a peer-relay connection established");
		return out_error(p->c, "direct connection not established");
	}
	return EXIT_OK;
}

static int ping_loop(struct ping *p)
{
	int64_t tries = flags_int(p->f, "c"), ns = flags_int(p->f, "interval");
	const struct timespec pause = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	for (int64_t i = 0; tries == 0 || i < tries; i++) {
		int code;

		if (i > 0)
			(void)nanosleep(&pause, NULL);
		code = try_once(p);
		if (code == EXIT_OK) {
			if (p->answered)
				print_summary(p);
			return EXIT_OK;
		}
		if (code > 0)
			return code;
		if (out_is_broken(p->c))
			return EXIT_OK; /* cmd_main() says it */
	}
	return finish(p);
}

static int run_ping(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct ping p = { .c = c, .f = f };
	struct status s = { 0 };
	int err;

	if (n_args != 1 || !*args[0])
		return out_error(c, "usage: %s ping <hostname-or-IP>", c->prog);
	p.name = args[0];
	p.type = flags_bool(f, "tsmp") ? PING_TSMP :
		 flags_bool(f, "icmp") ? PING_ICMP :
		 flags_bool(f, "peerapi") ? PING_PEERAPI :
					    PING_DISCO;
	err = check_flags(c, f);
	if (!err)
		err = parse_goal(c, f, &p);
	if (!err)
		err = peers_fetch(c, true, &s);
	if (!err)
		err = peers_require_running(c, &s);
	if (!err)
		err = find_ip(&p, &s);
	status_wipe(&s);
	if (err || !p.ip[0])
		return err;
	return ping_loop(&p);
}

const struct cmd cmd_ping = {
	.name = "ping",
	.usage = "ping <hostname-or-IP>",
	.short_help = "Ping a host at the Tailscale layer, see how it routed",
	.long_help =
		"The \"ping\" command pings a peer node from the Tailscale layer\nand reports which route it took "
		"for each response. The first ping or\nso will likely go over DERP while NAT traversal finds a "
		"direct path\nor a peer relay.\n\nBy default it stops after 10 pings, or once a direct "
		"(non-DERP) path has been established,\nwhichever comes first.",
	CMD_FLAGS(ping_flags),
	.run = run_ping,
};
