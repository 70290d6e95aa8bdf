/* SPDX-License-Identifier: MIT */
/* ip: addresses of this node or a peer. Spec: cli 5.2. */
#include <string.h>

#include "cli/out.h"
#include "cli/peers.h"

static const struct flag ip_flags[] = {
	{ "1", FLAG_BOOL, "false", "only print one IP address", NULL, false },
	{ "4", FLAG_BOOL, "false", "only print IPv4 address", NULL, false },
	{ "6", FLAG_BOOL, "false", "only print IPv6 address", NULL, false },
	{ "assert", FLAG_STRING, NULL, "assert that one of the node's IP(s) matches this `IP` address", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

static int assert_ip(struct cli *c, const struct status *s, const char *want)
{
	char list[IP_TEXT_MAX * 4] = "", text[IP_TEXT_MAX], quoted[PREFVAL_QUOTE_MAX];
	struct ip ip;

	if (ip_parse(&ip, want, strlen(want)))
		return out_error(c, "invalid IP address %s", prefval_quote(quoted, want, strlen(want)));
	for (size_t i = 0; i < s->n_ips; i++) {
		size_t len = strlen(list);

		if (ip_eq(&s->ips[i], &ip))
			return EXIT_OK;
		(void)snprintf(list + len, sizeof(list) - len, "%s%s", i ? " " : "", ip_write(text, &s->ips[i]));
	}
	return out_error(c, "assertion failed: IP \"%s\" not found among [%s]", ip_write(text, &ip), list);
}

static int print_ips(struct cli *c, const struct flags *f, const struct ip *ips, size_t n)
{
	struct json_w w = { .indent = "  " };
	struct bytes doc = { 0 };
	char text[IP_TEXT_MAX];
	size_t shown = 0;
	bool json = flags_bool(f, "json");

	json_w_arr(&w, NULL);
	for (size_t i = 0; i < n; i++) {
		if ((flags_bool(f, "4") && ips[i].family != IP_V4) ||
		    (flags_bool(f, "6") && ips[i].family != IP_V6) || (flags_bool(f, "1") && shown))
			continue;
		ip_write(text, &ips[i]);
		if (json)
			json_w_str(&w, NULL, text);
		else
			(void)fprintf(c->out, "%s\n", text);
		shown++;
	}
	json_w_end(&w);
	if (json && shown && jsonmap_finish(&w, &doc) == 0)
		(void)fprintf(c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	json_w_wipe(&w);
	bytes_wipe(&doc);
	if (shown)
		return EXIT_OK;
	return out_error(c, "no Tailscale %s address", flags_bool(f, "4") ? "IPv4" : "IPv6");
}

static int run(struct cli *c, const struct flags *f, const char *peer, const struct status *s)
{
	const char *want = flags_str(f, "assert");
	const struct ip *ips = s->ips;
	char quoted[PREFVAL_QUOTE_MAX];
	size_t n = s->n_ips;

	if (flags_is_set(f, "assert"))
		return assert_ip(c, s, want);
	if (peer) {
		const struct status_peer *p;
		bool is_self;
		struct ip ip;

		p = status_find(s, peer, &is_self);
		if (!p && ip_parse(&ip, peer, strlen(peer)) == 0)
			return out_error(c, "no peer or service found with IP %s", peer);
		if (!p)
			return out_error(c, "error looking up IP of %s: no such host",
					 prefval_quote(quoted, peer, strlen(peer)));
		ips = p->ips;
		n = p->n_ips;
	}
	if (!n)
		return out_error(c, "no current Tailscale IPs; state: %s", s->backend_state);
	return print_ips(c, f, ips, n);
}

static int run_ip(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const char *peer = n_args && strcmp(args[0], "") != 0 ? args[0] : NULL;
	struct status s = { 0 };
	int err;

	/* A script's variable that is empty names nobody, which is not this node. */
	if (n_args == 1 && !peer && !c->compat)
		return out_error(c, "the name of the peer is empty");
	if (n_args > 1)
		return out_error(c, "too many arguments, expected at most one peer");
	if (flags_bool(f, "1") + flags_bool(f, "4") + flags_bool(f, "6") > 1)
		return out_error(c, "tailscale ip -1, -4, and -6 are mutually exclusive");
	err = peers_fetch(c, peer != NULL, &s);
	if (!err)
		err = run(c, f, peer, &s);
	status_wipe(&s);
	return err;
}

const struct cmd cmd_ip = {
	.name = "ip",
	.usage = "ip [-1] [-4] [-6] [peer hostname or ip address]",
	.short_help = "Show Tailscale IP addresses",
	.long_help = "Show Tailscale IP addresses for peer. Peer defaults to the current machine.",
	CMD_FLAGS(ip_flags),
	.run = run_ip,
};
