/* SPDX-License-Identifier: MIT */
/* coordinator nodes and coordinator derp. Spec: cli 7b. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/coordinator.h"
#include "cli/out.h"

enum { TEXT_MAX = 512 };

static const struct flag json_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

/* ---- nodes ---- */

static void print_nodes(struct cli *c, const cJSON *v)
{
	char addrs[TEXT_MAX], tags[TEXT_MAX], name[TEXT_MAX], version[TEXT_MAX];
	struct out_table t;
	const cJSON *n;

	out_table_init(&t, 0, 2);
	out_table_add(&t, "ID\tNAME\tADDRESSES\tUSER/TAGS\tONLINE\tLAST SEEN\tEXPIRES\tVERSION\n");
	cJSON_ArrayForEach(n, json_get(v, "Nodes"))
	{
		bool online = cJSON_IsTrue(json_get(n, "Online")), expired = cJSON_IsTrue(json_get(n, "Expired"));
		const char *user = coordinator_str(n, "User"), *seen = coordinator_str(n, "LastSeen");
		const char *expires = coordinator_str(n, "Expires");

		out_table_add(&t, "%lld\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", (long long)coordinator_int(n, "ID"),
			      out_safe(name, sizeof(name), coordinator_str(n, "Name")),
			      coordinator_list(addrs, sizeof(addrs), n, "Addresses"),
			      *user ? user : coordinator_list(tags, sizeof(tags), n, "Tags"), online ? "yes" : "no",
			      online ? "now" : *seen ? seen : "-", expired ? "expired" : *expires ? expires : "never",
			      *coordinator_str(n, "Version") ?
				      out_safe(version, sizeof(version), coordinator_str(n, "Version")) : "-");
	}
	out_table_flush(&t, c->out);
}

/* Logins that wait, each with the command that lets it in. */
static void print_pending(struct cli *c, const cJSON *v)
{
	const cJSON *p, *list = json_get(v, "Pending");
	char host[TEXT_MAX];

	if (!json_len(list))
		return;
	(void)fprintf(c->out, "\nWaiting for approval:\n");
	cJSON_ArrayForEach(p, list)
		(void)fprintf(c->out, "  %s (%s): sudo %s coordinator nodes approve %s\n",
			      out_safe(host, sizeof(host), coordinator_str(p, "Hostname")),
			      coordinator_str(p, "Machine"), c->prog, coordinator_str(p, "ID"));
}

static void print_members(struct cli *c, const cJSON *v)
{
	print_nodes(c, v);
	print_pending(c, v);
}

int coordinator_nodes_list(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	char quoted[PREFVAL_QUOTE_MAX];
	struct json_w w = { 0 };

	if (n_args)
		return out_error(c, "unexpected argument %s", prefval_quote(quoted, args[0], strlen(args[0])));
	json_w_obj(&w, NULL);
	return coordinator_run(c, f, "admin/nodes.list", &w, print_members);
}

static int run_approve(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };

	if (n_args != 1)
		return out_error(c, "usage: %s coordinator nodes approve ID [--user NAME]", c->prog);
	json_w_obj(&w, NULL);
	json_w_str(&w, "ID", args[0]);
	json_w_str(&w, "User", flags_str(f, "user"));
	return coordinator_run(c, f, "admin/nodes.approve", &w, NULL);
}

static int one_node(struct cli *c, const struct flags *f, int n_args, char *const *args, const char *name)
{
	struct json_w w = { 0 };
	char verb[64];

	if (n_args != 1)
		return out_error(c, "usage: %s coordinator nodes %s NODE", c->prog, name);
	(void)snprintf(verb, sizeof(verb), "admin/nodes.%s", name);
	json_w_obj(&w, NULL);
	json_w_str(&w, "Node", args[0]);
	return coordinator_run(c, f, verb, &w, NULL);
}

static int run_expire(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	return one_node(c, f, n_args, args, "expire");
}

static int run_delete(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	return one_node(c, f, n_args, args, "delete");
}

static int run_rename(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };

	if (n_args != 2)
		return out_error(c, "usage: %s coordinator nodes rename NODE NAME", c->prog);
	json_w_obj(&w, NULL);
	json_w_str(&w, "Node", args[0]);
	json_w_str(&w, "Name", args[1]);
	return coordinator_run(c, f, "admin/nodes.rename", &w, NULL);
}

static int run_tag(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };

	if (n_args != 2)
		return out_error(c, "usage: %s coordinator nodes tag NODE TAG[,TAG...]", c->prog);
	json_w_obj(&w, NULL);
	json_w_str(&w, "Node", args[0]);
	coordinator_words(&w, "Tags", args[1], "tag:");
	return coordinator_run(c, f, "admin/nodes.tag", &w, NULL);
}

static int run_routes(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };

	if (n_args != 2)
		return out_error(c, "usage: %s coordinator nodes routes NODE CIDR[,CIDR...] (\"\" approves none)", c->prog);
	json_w_obj(&w, NULL);
	json_w_str(&w, "Node", args[0]);
	coordinator_words(&w, "Routes", args[1], "");
	return coordinator_run(c, f, "admin/nodes.routes", &w, NULL);
}

static const struct flag approve_flags[] = {
	{ "user", FLAG_STRING, "admin", "`name` of the user that the node will belong to", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

const struct cmd coordinator_nodes_subs[7] = {
	{ .name = "list", .usage = "coordinator nodes list [flags]", .short_help = "List nodes and waiting logins",
	  CMD_FLAGS(json_flags), .run = coordinator_nodes_list },
	{ .name = "approve", .usage = "coordinator nodes approve ID [flags]", .short_help = "Let a waiting login in",
	  CMD_FLAGS(approve_flags), .run = run_approve },
	{ .name = "expire", .usage = "coordinator nodes expire NODE", .short_help = "Make a node log in again",
	  CMD_FLAGS(json_flags), .run = run_expire },
	{ .name = "delete", .usage = "coordinator nodes delete NODE", .short_help = "Remove a node from the mesh",
	  CMD_FLAGS(json_flags), .run = run_delete },
	{ .name = "rename", .usage = "coordinator nodes rename NODE NAME", .short_help = "Give a node another name",
	  CMD_FLAGS(json_flags), .run = run_rename },
	{ .name = "tag", .usage = "coordinator nodes tag NODE TAG[,TAG...]", .short_help = "Set a node's tags",
	  CMD_FLAGS(json_flags), .run = run_tag },
	{ .name = "routes", .usage = "coordinator nodes routes NODE CIDR[,CIDR...]",
	  .short_help = "Approve subnet routes that a node announces", CMD_FLAGS(json_flags), .run = run_routes },
};

/* ---- derp ---- */

static void print_regions(struct cli *c, const cJSON *v)
{
	struct out_table t;
	const cJSON *region, *node;
	char host[TEXT_MAX];

	out_table_init(&t, 0, 2);
	out_table_add(&t, "REGION\tCODE\tHOST\tPORT\tSTUN\tCERTIFICATE\n");
	cJSON_ArrayForEach(region, json_get(v, "Regions"))
	{
		cJSON_ArrayForEach(node, json_get(region, "Nodes"))
		{
			int64_t port = coordinator_int(node, "DERPPort"), stun = coordinator_int(node, "STUNPort");
			const char *cert = coordinator_str(node, "CertName");
			char stun_text[24] = "off";

			if (stun >= 0)
				(void)snprintf(stun_text, sizeof(stun_text), "%lld", (long long)(stun ? stun : 3478));
			out_table_add(&t, "%lld\t%s\t%s\t%lld\t%s\t%s\n", (long long)coordinator_int(region, "RegionID"),
				      coordinator_str(region, "RegionCode"),
				      out_safe(host, sizeof(host), coordinator_str(node, "HostName")),
				      (long long)(port ? port : 443), stun_text, *cert ? cert : "-");
		}
	}
	out_table_flush(&t, c->out);
}

static int run_derp_list(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };
	int code = coordinator_no_args(c, n_args, args);

	if (code)
		return code;
	json_w_obj(&w, NULL);
	return coordinator_run(c, f, "admin/derp.list", &w, print_regions);
}

static const struct flag derp_add_flags[] = {
	{ "hostname", FLAG_STRING, NULL, "`name` or address of the DERP server", NULL, false },
	{ "port", FLAG_INT, "443", "TCP `port` of the DERP server", NULL, false },
	{ "stun-port", FLAG_INT, "3478", "UDP `port` of its STUN server; -1 means it has none", NULL, false },
	{ "pin", FLAG_STRING, NULL, "`sha256-raw:HEX` of a self-signed certificate", NULL, false },
	{ "region", FLAG_INT, "0", "`number` of the region; 0 takes a free one from 900", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

static void print_region(struct cli *c, const cJSON *v)
{
	(void)fprintf(c->out, "Region %lld\n", (long long)coordinator_int(v, "Region"));
}

static int run_derp_add(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	int64_t port = flags_int(f, "port"), stun = flags_int(f, "stun-port"), region = flags_int(f, "region");
	struct json_w w = { 0 };
	int code = coordinator_no_args(c, n_args, args);

	if (code)
		return code;
	if (!*flags_str(f, "hostname"))
		return out_error(c, "--hostname is missing");
	if (port < 1 || port > 65535)
		return out_error(c, "invalid value \"%.80s\" for --port; want 1-65535", flags_get(f, "port")->s);
	if (stun < -1 || stun == 0 || stun > 65535)
		return out_error(c, "invalid value \"%.80s\" for --stun-port; want 1-65535, or -1 for none",
				 flags_get(f, "stun-port")->s);
	if (region < 0 || region > 65535)
		return out_error(c, "invalid value \"%.80s\" for --region; want 1-65535", flags_get(f, "region")->s);
	json_w_obj(&w, NULL);
	json_w_str(&w, "Hostname", flags_str(f, "hostname"));
	json_w_i64(&w, "Port", port);
	json_w_i64(&w, "STUNPort", stun);
	json_w_str(&w, "Pin", flags_str(f, "pin"));
	json_w_i64(&w, "Region", region);
	return coordinator_run(c, f, "admin/derp.add", &w, print_region);
}

static int run_derp_remove(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };
	int64_t region = 0;
	int code;

	if (n_args != 1)
		return out_error(c, "usage: %s coordinator derp remove REGION", c->prog);
	code = coordinator_number(c, "region", args[0], &region);
	if (code)
		return code;
	json_w_obj(&w, NULL);
	json_w_i64(&w, "Region", region);
	return coordinator_run(c, f, "admin/derp.remove", &w, NULL);
}

const struct cmd coordinator_derp_subs[3] = {
	{ .name = "list", .usage = "coordinator derp list [flags]", .short_help = "List the DERP servers that nodes are told of",
	  CMD_FLAGS(json_flags), .run = run_derp_list },
	{ .name = "add", .usage = "coordinator derp add --hostname HOST [flags]", .short_help = "Add a DERP server",
	  CMD_FLAGS(derp_add_flags), .run = run_derp_add },
	{ .name = "remove", .usage = "coordinator derp remove REGION", .short_help = "Take a DERP server away",
	  CMD_FLAGS(json_flags), .run = run_derp_remove },
};
