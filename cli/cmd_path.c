/* SPDX-License-Identifier: MIT */
/* path: the ladder to one peer with a reason per rung. Spec: cli 3.3. */
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"

static const struct flag path_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

static const char *since_text(char text[static OUT_DURATION_MAX], int64_t ms)
{
	int64_t s = ms / 1000;

	if (s < 60)
		(void)snprintf(text, OUT_DURATION_MAX, "%llds", (long long)s);
	else if (s < 3600)
		(void)snprintf(text, OUT_DURATION_MAX, "%lldm", (long long)(s / 60));
	else if (s < 86400)
		(void)snprintf(text, OUT_DURATION_MAX, "%lldh", (long long)(s / 3600));
	else
		(void)snprintf(text, OUT_DURATION_MAX, "%lldd", (long long)(s / 86400));
	return text;
}

static void print_head(struct cli *c, const struct pathinfo *p)
{
	char name[300], ip[IP_TEXT_MAX], safe[160], since[OUT_DURATION_MAX];

	(void)fprintf(c->out, "%s (%s)        in use: ", out_safe(name, sizeof(name), p->name),
		      ip_write(ip, &p->ip));
	if (!p->in_use || !*p->in_use) {
		(void)fprintf(c->out, "nothing yet\n");
		return;
	}
	(void)fprintf(c->out, "%s %s", p->in_use, out_safe(safe, sizeof(safe), p->addr));
	if (p->latency_ms > 0)
		(void)fprintf(c->out, "  %.0fms", p->latency_ms);
	if (p->since_ms >= 0)
		(void)fprintf(c->out, "  since %s", since_text(since, p->since_ms));
	(void)fputc('\n', c->out);
}

static void print_candidates(struct cli *c, const struct pathinfo *p)
{
	char ep[EP_TEXT_MAX], src[40];
	struct out_table t;

	out_table_init(&t, 0, 3);
	for (size_t i = 0; i < p->n_candidates; i++) {
		const struct pathinfo_candidate *k = &p->candidates[i];
		const char *source = out_safe(src, sizeof(src), k->source);

		ep_write(ep, &k->ep);
		if (k->latency_ms > 0)
			out_table_add(&t, "    %s\tpong in %.0fms\t(%s)\n", ep, k->latency_ms, source);
		else
			out_table_add(&t, "    %s\tping sent %lld, no pong\t(%s)\n", ep, (long long)k->pings,
				      source);
	}
	out_table_flush(&t, c->out);
}

static bool uses(const struct pathinfo *p, const char *kind)
{
	return p->in_use && strcmp(p->in_use, kind) == 0;
}

static void print_rung(struct cli *c, const char *name, const char *mark, const char *reason)
{
	char safe[400];

	if (reason && *reason)
		(void)fprintf(c->out, "  %-11s %-9s %s\n", name, mark, out_safe(safe, sizeof(safe), reason));
	else
		(void)fprintf(c->out, "  %-11s %s\n", name, mark);
}

static void print_text(struct cli *c, const struct pathinfo *p)
{
	char safe[400], name[200], ip[IP_TEXT_MAX];
	const char *mark = "no";

	print_head(c, p);
	print_rung(c, "direct", uses(p, "direct") ? "yes" : "no", p->direct_reason);
	print_candidates(c, p);
	for (size_t i = 0; i < p->n_relays; i++)
		if (p->relays[i].usable)
			mark = "ready";
	if (uses(p, "peer-relay"))
		mark = "yes";
	print_rung(c, "peer relay", mark, p->relay_reason);
	for (size_t i = 0; i < p->n_relays; i++)
		(void)fprintf(c->out, "    %s %s   %s\n", out_safe(name, sizeof(name), p->relays[i].name),
			      ip_write(ip, &p->relays[i].ip), out_safe(safe, sizeof(safe), p->relays[i].text));
	print_rung(c, "derp", uses(p, "derp") ? "yes" : "ready", p->derp_reason);
}

static int show(struct cli *c, const char *ip, bool json)
{
	struct pathinfo p = { 0 };
	struct client_reply r;
	char path[100];
	int err;

	(void)snprintf(path, sizeof(path), "meshd/path?peer=%s", ip);
	err = client_get(c, path, &r);
	if (err)
		return err;
	if (json)
		err = out_json(c, (const char *)bytes_data(&r.body), bytes_size(&r.body), "  ", true);
	else if (pathinfo_parse(&p, (const char *)bytes_data(&r.body), bytes_size(&r.body)))
		err = out_error(c, "unexpected answer of the daemon about the path");
	else
		print_text(c, &p);
	pathinfo_wipe(&p);
	client_reply_wipe(&r);
	return err;
}

static int run_path(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const struct status_peer *p;
	struct status s = { 0 };
	char ip[IP_TEXT_MAX], quoted[PREFVAL_QUOTE_MAX];
	bool is_self;
	int err;

	if (n_args != 1)
		return out_error(c, "usage: %s path [--json] <hostname-or-IP>", c->prog);
	err = peers_fetch(c, true, &s);
	if (!err)
		err = peers_require_running(c, &s);
	if (!err) {
		p = status_find(&s, args[0], &is_self);
		if (!p)
			err = out_error(c, "no such peer: %s", prefval_quote(quoted, args[0], strlen(args[0])));
		else if (is_self)
			err = out_error(c, "%s is this node", args[0]);
		else if (!p->n_ips)
			err = out_error(c, "node found but lacks an IP");
		else
			ip_write(ip, &p->ips[0]);
	}
	status_wipe(&s);
	return err ? err : show(c, ip, flags_bool(f, "json"));
}

const struct cmd cmd_path = {
	.name = "path",
	.usage = "path [--json] <hostname-or-IP>",
	.short_help = "Show which path a peer is reached on, and why",
	CMD_FLAGS(path_flags),
	.run = run_path,
};
