/* SPDX-License-Identifier: MIT */
/* whois and whoami. Spec: cli 5.3. */
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"

static const struct flag whois_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
	{ "proto", FLAG_STRING, NULL, "`protocol`; one of \"tcp\" or \"udp\"; empty means both", NULL, false },
};

static const struct flag whoami_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

static void print_prefixes(struct out_table *t, const char *name, const struct prefix *list, size_t n)
{
	char all[1024] = "", text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(all);

		(void)snprintf(all + len, sizeof(all) - len, "%s%s", i ? " " : "", prefix_write(text, &list[i]));
	}
	out_table_add(t, "  %s\t[%s]\n", name, all);
}

static bool routes_more(const struct whois *w)
{
	return w->n_allowed_ips > w->n_addrs;
}

static void print_caps(struct cli *c, const struct whois *w)
{
	char safe[200];

	if (w->n_caps)
		(void)fprintf(c->out, "Capabilities:\n");
	for (size_t i = 0; i < w->n_caps; i++) {
		const char *values = w->caps[i].values ? w->caps[i].values : "null";
		struct bytes doc = { 0 };

		(void)fprintf(c->out, "  - %s:\n", out_safe(safe, sizeof(safe), w->caps[i].name));
		if (strcmp(values, "null") != 0 && strcmp(values, "[]") != 0 &&
		    jsonmap_relayout(&doc, values, strlen(values), "  ") == 0) {
			const char *p = (const char *)bytes_data(&doc), *end = p + bytes_size(&doc);

			while (p < end) {
				const char *nl = memchr(p, '\n', (size_t)(end - p));
				size_t n = nl ? (size_t)(nl - p) : (size_t)(end - p);

				(void)fprintf(c->out, "      %.*s\n", (int)n, p);
				p += n + 1;
			}
		}
		bytes_wipe(&doc);
	}
}

static void print_text(struct cli *c, const struct whois *w)
{
	char name[300], tags[600] = "", safe[100];
	struct out_table t;
	size_t len;

	out_table_init(&t, 10, 5);
	out_table_add(&t, "Machine:\n");
	out_safe(name, sizeof(name), w->name);
	len = strlen(name);
	if (len && name[len - 1] == '.')
		name[len - 1] = 0;
	out_table_add(&t, "  Name:\t%s\n", name);
	out_table_add(&t, "  ID:\t%s\n", out_safe(safe, sizeof(safe), w->stable_id));
	print_prefixes(&t, "Addresses:", w->addrs, w->n_addrs);
	if (routes_more(w))
		print_prefixes(&t, "AllowedIPs:", w->allowed_ips, w->n_allowed_ips);
	for (size_t i = 0; i < w->n_tags; i++) {
		len = strlen(tags);
		(void)snprintf(tags + len, sizeof(tags) - len, "%s%s", i ? ", " : "",
			       out_safe(safe, sizeof(safe), w->tags[i]));
	}
	if (w->n_tags) {
		out_table_add(&t, "  Tags:\t%s\n", tags);
	} else {
		out_table_add(&t, "User:\n");
		out_table_add(&t, "  Name:\t%s\n", out_safe(name, sizeof(name), w->login_name));
		out_table_add(&t, "  ID:\t%lld\n", (long long)w->user_id);
	}
	out_table_flush(&t, c->out);
	print_caps(c, w);
}

/* Fetches and prints; 'addr' is an address or IP:port. */
static int show(struct cli *c, const char *addr, const char *proto, bool json)
{
	struct bytes path = { 0 };
	struct client_reply r;
	struct whois w = { 0 };
	int err;

	if (bytes_append(&path, "whois?addr=", 11))
		abort();
	client_query_escape(&path, addr);
	if (*proto) {
		if (bytes_append(&path, "&proto=", 7))
			abort();
		client_query_escape(&path, proto);
	}
	if (bytes_append(&path, "", 1))
		abort();
	err = client_get(c, (const char *)bytes_data(&path), &r);
	bytes_wipe(&path);
	if (err)
		return err;
	if (json)
		err = out_json(c, (const char *)bytes_data(&r.body), bytes_size(&r.body), "  ", true);
	else if (whois_parse(&w, (const char *)bytes_data(&r.body), bytes_size(&r.body)))
		err = out_error(c, "unexpected answer of the daemon to whois");
	else
		print_text(c, &w);
	whois_wipe(&w);
	client_reply_wipe(&r);
	return err;
}

/* A name becomes an address first. */
static int resolve(struct cli *c, const char *text, char ip_out[static IP_TEXT_MAX])
{
	const struct status_peer *p;
	struct status s = { 0 };
	bool is_self;
	int err = peers_fetch(c, true, &s);

	if (err)
		return err;
	p = status_find(&s, text, &is_self);
	if (p && p->n_ips)
		ip_write(ip_out, &p->ips[0]);
	else
		err = out_error(c, "no match for %s", text);
	status_wipe(&s);
	return err;
}

static int run_whois(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const char *proto = flags_str(f, "proto");
	char addr[IP_TEXT_MAX];
	struct ep ep;
	struct ip ip;
	int err;

	if (n_args > 1)
		return out_error(c, "too many arguments, expected at most one peer");
	if (n_args == 0 || !*args[0])
		return out_error(c, "missing argument, expected one peer");
	if (*proto && strcmp(proto, "tcp") != 0 && strcmp(proto, "udp") != 0)
		return out_error(c, "invalid value \"%s\" for --proto; want tcp or udp", proto);
	if (ip_parse(&ip, args[0], strlen(args[0])) == 0 || ep_parse(&ep, args[0], strlen(args[0])) == 0 ||
	    strncmp(args[0], "nodekey:", 8) == 0)
		return show(c, args[0], proto, flags_bool(f, "json"));
	err = resolve(c, args[0], addr);
	return err ? err : show(c, addr, proto, flags_bool(f, "json"));
}

const struct cmd cmd_whois = {
	.name = "whois",
	.usage = "whois [--json] ip[:port]",
	.short_help = "Show the machine and user associated with a Tailscale IP (v4 or v6)",
	CMD_FLAGS(whois_flags),
	.run = run_whois,
};

static int run_whoami(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct status s = { 0 };
	char ip[IP_TEXT_MAX] = "", safe[300], safe2[300];
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "too many arguments");
	err = peers_fetch(c, false, &s);
	if (!err)
		err = peers_require_running(c, &s);
	if (!err && !s.n_ips)
		err = out_error(c, "no current Tailscale IPs; state: %s", s.backend_state);
	if (!err)
		err = show(c, ip_write(ip, &s.ips[0]), "", flags_bool(f, "json"));
	if (!err && !flags_bool(f, "json") && s.tailnet)
		(void)fprintf(c->out, "Tailnet:\n  Name:                %s\n  MagicDNS Suffix:     %s\n",
			      out_safe(safe, sizeof(safe), s.tailnet->name),
			      out_safe(safe2, sizeof(safe2), s.tailnet->magic_dns_suffix));
	status_wipe(&s);
	return err;
}

const struct cmd cmd_whoami = {
	.name = "whoami",
	.usage = "whoami [--json]",
	.short_help = "Show the machine and user associated with this node",
	CMD_FLAGS(whoami_flags),
	.run = run_whoami,
};
