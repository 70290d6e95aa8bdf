/* SPDX-License-Identifier: MIT */
/* status: the table that scripts grep. Spec: cli 3. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"

enum { STATE_MAX = 1024 };

static const struct flag status_flags[] = {
	{ "active", FLAG_BOOL, "false", "filter output to only peers with active sessions (not applicable to web mode)",
	  NULL, false },
	{ "header", FLAG_BOOL, "false", "show column headers in table format", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
	{ "long", FLAG_BOOL, "false", "show addresses, latency and the reason of each peer's path", NULL, false },
	{ "only", FLAG_STRING, NULL, "show only peers on this `path`: direct, peer-relay, relay or offline", NULL,
	  false },
	{ "peer", FLAG_STRING, NULL, "show only the peer of this `name` or address", NULL, false },
	{ "peers", FLAG_BOOL, "true", "show status of peers", NULL, false },
	{ "self", FLAG_BOOL, "true", "show status of local machine", NULL, false },
	FLAG_NOT_BUILT("browser", FLAG_BOOL),
	FLAG_NOT_BUILT("listen", FLAG_STRING),
	FLAG_NOT_BUILT("watch", FLAG_BOOL),
	FLAG_NOT_BUILT("web", FLAG_BOOL),
};

/* --- the state column (cli 3.1) --- */

struct text {
	char s[STATE_MAX];
	size_t len;
};

MESH_PRINTF(2, 3) static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->len, sizeof(t->s) - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n < sizeof(t->s) - t->len ? (size_t)n : sizeof(t->s) - t->len - 1;
}

static void put_seen(struct text *t, const struct status_peer *p)
{
	int64_t minutes;

	if (!p->last_seen_ns)
		return;
	minutes = ((int64_t)time(NULL) - p->last_seen_ns / 1000000000) / 60;
	if (minutes < 1)
		minutes = 1;
	if (minutes < 60)
		put(t, ", last seen %lldm ago", (long long)minutes);
	else if (minutes < 24 * 60)
		put(t, ", last seen %lldh ago", (long long)(minutes / 60));
	else
		put(t, ", last seen %lldd ago", (long long)(minutes / 60 / 24));
}

static void put_offline(struct text *t, const struct status_peer *p)
{
	if (p->online)
		return;
	put(t, "; offline");
	put_seen(t, p);
}

static void put_active(struct text *t, const struct status_peer *p)
{
	char safe[100];

	put(t, "active; ");
	if (p->exit_node)
		put(t, "exit node; ");
	else if (p->exit_node_option)
		put(t, "offers exit node; ");
	if (p->cur_addr && *p->cur_addr)
		put(t, "direct %s", out_safe(safe, sizeof(safe), p->cur_addr));
	else if (p->peer_relay && *p->peer_relay)
		put(t, "peer-relay %s", out_safe(safe, sizeof(safe), p->peer_relay));
	else if (p->relay && *p->relay)
		put(t, "relay \"%s\"", out_safe(safe, sizeof(safe), p->relay));
	put_offline(t, p);
}

static void put_state(struct text *t, const struct status_peer *p)
{
	bool moved = p->tx_bytes || p->rx_bytes;

	t->len = 0;
	t->s[0] = 0;
	if (p->active) {
		put_active(t, p);
	} else if (p->exit_node) {
		put(t, "idle; exit node");
		put_offline(t, p);
	} else if (p->exit_node_option) {
		put(t, "idle; offers exit node");
		put_offline(t, p);
	} else if (moved) {
		put(t, "idle");
		put_offline(t, p);
	} else if (!p->online) {
		put(t, "offline");
		put_seen(t, p);
	} else {
		put(t, "-");
	}
	if (moved)
		put(t, ", tx %llu rx %llu", (unsigned long long)p->tx_bytes, (unsigned long long)p->rx_bytes);
}

static void put_row(struct out_table *t, const struct status *s, const struct status_peer *p)
{
	char name[PEERS_NAME_MAX], owner[PEERS_NAME_MAX], os[64], ip[IP_TEXT_MAX] = "";
	struct text state;

	if (p->n_ips)
		ip_write(ip, &p->ips[0]);
	put_state(&state, p);
	out_table_add(t, "%s\t%s\t%s\t%s\t%s\t\n", ip, peers_name(name, s, p), peers_owner(owner, s, p),
		      out_safe(os, sizeof(os), p->os), state.s);
}

/* --- additions --- */

static const char *path_word(const struct status_peer *p)
{
	if (!p->online)
		return "offline";
	if (p->cur_addr && *p->cur_addr)
		return "direct";
	if (p->peer_relay && *p->peer_relay)
		return "peer-relay";
	return p->active ? "relay" : "idle";
}

static void print_long(struct cli *c, const struct status *s, const struct status_peer *p)
{
	char name[PEERS_NAME_MAX], text[IP_TEXT_MAX], safe[200];

	(void)fprintf(c->out, "# %s: addresses", peers_name(name, s, p));
	for (size_t i = 0; i < p->n_ips; i++)
		(void)fprintf(c->out, " %s", ip_write(text, &p->ips[i]));
	if (p->meshd.latency_ms > 0)
		(void)fprintf(c->out, ", latency %.1fms", p->meshd.latency_ms);
	if (p->meshd.relay_name)
		(void)fprintf(c->out, ", via %s", out_safe(safe, sizeof(safe), p->meshd.relay_name));
	if (p->meshd.why_not_direct)
		(void)fprintf(c->out, ", not direct: %s",
			      out_safe(safe, sizeof(safe), p->meshd.why_not_direct));
	(void)fputc('\n', c->out);
}

static void print_summary(struct cli *c, const struct status *s)
{
	const struct status_path_counts *n = &s->meshd.path_counts;
	char safe[200], safe2[200];

	if (s->tailnet && s->meshd.server)
		(void)fprintf(c->out, "# tailnet: %s (server %s)\n",
			      out_safe(safe, sizeof(safe), s->tailnet->name),
			      out_safe(safe2, sizeof(safe2), s->meshd.server));
	if (s->self && s->self->key_expiry_ns) {
		int64_t days = (s->self->key_expiry_ns / 1000000000 - (int64_t)time(NULL)) / 86400;

		if (days < 14)
			(void)fprintf(c->out, "# key expires in %lldd\n", (long long)days);
	}
	if (s->meshd.relay_server.on)
		(void)fprintf(c->out, "# relay server: on, udp %u, %lld sessions\n",
			      s->meshd.relay_server.port, (long long)s->meshd.relay_server.sessions);
	(void)fprintf(c->out, "# paths: %lld direct, %lld peer-relay, %lld derp\n", (long long)n->direct,
		      (long long)n->peer_relay, (long long)n->derp);
}

static void print_health(struct cli *c, const struct status *s)
{
	char safe[400];

	if (!s->n_health)
		return;
	(void)fprintf(c->out, "\n# Health check:\n");
	for (size_t i = 0; i < s->n_health; i++)
		(void)fprintf(c->out, "#     - %s\n", out_safe(safe, sizeof(safe), s->health[i]));
}

/* --- the command --- */

static int check_only(struct cli *c, const char *only)
{
	static const char *const words[] = { "", "direct", "peer-relay", "relay", "offline" };
	char quoted[PREFVAL_QUOTE_MAX];

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(only, words[i]) == 0)
			return EXIT_OK;
	return out_error(c, "invalid value %s for --only; want direct, peer-relay, relay or offline",
			 prefval_quote(quoted, only, strlen(only)));
}

static int print_json(struct cli *c, const struct flags *f)
{
	struct client_reply r;
	struct status s = { 0 };
	struct bytes doc = { 0 };
	int err = client_get(c, flags_bool(f, "peers") ? "status" : "status?peers=false", &r);

	if (err)
		return err;
	/* All of the daemon's keys are passed on, those of newer ones too, unless peers are dropped. */
	if (!flags_bool(f, "active")) {
		err = out_json(c, (const char *)bytes_data(&r.body), bytes_size(&r.body), "  ", false);
	} else if (status_parse(&s, (const char *)bytes_data(&r.body), bytes_size(&r.body))) {
		err = out_error(c, "unexpected answer of the daemon to status");
	} else {
		status_keep_active(&s);
		if (status_write(&doc, &s, "  "))
			err = out_error(c, "out of memory");
		else
			(void)fwrite(bytes_data(&doc), 1, bytes_size(&doc), c->out);
	}
	bytes_wipe(&doc);
	status_wipe(&s);
	client_reply_wipe(&r);
	return err;
}

static bool is_shown(const struct flags *f, const struct status_peer *p, const struct status_peer *wanted)
{
	const char *only = flags_str(f, "only");

	if (p->sharee || (flags_bool(f, "active") && !p->active))
		return false;
	if (wanted && p != wanted)
		return false;
	return !*only || strcmp(only, path_word(p)) == 0;
}

static void print_table(struct cli *c, const struct flags *f, const struct status *s,
			const struct status_peer *wanted)
{
	const struct status_peer **list = peers_sorted(s);
	struct out_table t;

	out_table_init(&t, 0, 2);
	if (flags_bool(f, "header"))
		out_table_add(&t, "IP\tHostname\tOwner\tOS\tStatus\t\n--\t--------\t-----\t--\t------\t\n");
	if (flags_bool(f, "self") && s->self && !wanted)
		put_row(&t, s, s->self);
	for (size_t i = 0; flags_bool(f, "peers") && i < s->n_peers; i++)
		if (is_shown(f, list[i], wanted))
			put_row(&t, s, list[i]);
	out_table_flush(&t, c->out);
	for (size_t i = 0; flags_bool(f, "long") && !c->compat && i < s->n_peers; i++)
		if (is_shown(f, list[i], wanted))
			print_long(c, s, list[i]);
	free(list);
}

static int run_status(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const struct status_peer *wanted = NULL;
	const char *peer = flags_str(f, "peer");
	struct status s = { 0 };
	bool is_self;
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected non-flag arguments to '%s status'", c->prog);
	err = check_only(c, flags_str(f, "only"));
	if (err)
		return err;
	if (flags_bool(f, "json"))
		return print_json(c, f);
	err = peers_fetch(c, true, &s);
	if (!err)
		err = peers_require_running(c, &s);
	if (!err && *peer) {
		wanted = status_find(&s, peer, &is_self);
		if (!wanted)
			err = out_error(c, "no such peer: %s", peer);
	}
	if (!err) {
		print_table(c, f, &s, wanted);
		print_health(c, &s);
		if (!c->compat && (c->out_is_tty || flags_bool(f, "long")))
			print_summary(c, &s);
	}
	status_wipe(&s);
	return err;
}

const struct cmd cmd_status = {
	.name = "status",
	.usage = "status [--active] [--web] [--json]",
	.short_help = "Show state of meshd and its connections",
	.long_help = "JSON FORMAT\n\nThe keys are upstream's; they are only ever added to. Our own are in \"Meshd\".",
	CMD_FLAGS(status_flags),
	.run = run_status,
};
