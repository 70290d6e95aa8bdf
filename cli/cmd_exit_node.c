/* SPDX-License-Identifier: MIT */
/* exit-node list: which peers offer to be one. Spec: cli 5.6. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"

static const struct flag list_flags[] = {
	{ "filter", FLAG_STRING, NULL, "filter exit nodes by country", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

static const char *state_text(char *buf, size_t size, const struct status_peer *p)
{
	const char *seen = "";
	char when[64] = "";
	int64_t minutes;

	if (!p->online && p->last_seen_ns) {
		minutes = ((int64_t)time(NULL) - p->last_seen_ns / 1000000000) / 60;
		if (minutes < 60)
			(void)snprintf(when, sizeof(when), ", last seen %lldm ago",
				       (long long)(minutes < 1 ? 1 : minutes));
		else if (minutes < 1440)
			(void)snprintf(when, sizeof(when), ", last seen %lldh ago", (long long)(minutes / 60));
		else
			(void)snprintf(when, sizeof(when), ", last seen %lldd ago", (long long)(minutes / 1440));
		seen = when;
	}
	if (p->exit_node)
		(void)snprintf(buf, size, p->online ? "selected" : "selected but offline%s", seen);
	else if (!p->online)
		(void)snprintf(buf, size, "offline%s", seen);
	else
		(void)snprintf(buf, size, "-");
	return buf;
}

static void list_text(struct cli *c, const struct status *s)
{
	const struct status_peer **list = peers_sorted(s);
	char ip[IP_TEXT_MAX], name[300], state[160];
	struct out_table t;

	out_table_init(&t, 10, 5);
	out_table_add(&t, "\n %s\t%s\t%s\t%s\t%s\t\n", "IP", "HOSTNAME", "COUNTRY", "CITY", "STATUS");
	for (size_t i = 0; i < s->n_peers; i++) {
		const struct status_peer *p = list[i];
		size_t len;

		if (!p->exit_node_option || !p->n_ips)
			continue;
		out_safe(name, sizeof(name), p->dns_name && *p->dns_name ? p->dns_name : p->host_name);
		len = strlen(name);
		if (len && name[len - 1] == '.')
			name[len - 1] = 0;
		out_table_add(&t, " %s\t%s\t%s\t%s\t%s\t\n", ip_write(ip, &p->ips[0]), name, "-", "-",
			      state_text(state, sizeof(state), p));
	}
	out_table_flush(&t, c->out);
	/* Using one is not in this build: only the stock program's manners need the hints. */
	if (c->compat)
		(void)fprintf(c->out, "\n# To view the complete list of exit nodes for a country, use `%s exit-node list "
			      "--filter=` followed by the country name.\n# To use an exit node, use `%s set "
			      "--exit-node=` followed by the hostname or IP.\n",
		      c->prog, c->prog);
	free(list);
}

static int list_json(struct cli *c, const struct status *s)
{
	const struct status_peer **list = peers_sorted(s);
	struct json_w w = { .indent = "  " };
	struct bytes doc = { 0 };
	char ip[IP_TEXT_MAX];
	int err = EXIT_OK;

	json_w_arr(&w, NULL);
	for (size_t i = 0; i < s->n_peers; i++) {
		if (!list[i]->exit_node_option)
			continue;
		json_w_obj(&w, NULL);
		json_w_str(&w, "id", list[i]->id ? list[i]->id : "");
		json_w_str(&w, "name", list[i]->dns_name ? list[i]->dns_name : "");
		json_w_str(&w, "ip", list[i]->n_ips ? ip_write(ip, &list[i]->ips[0]) : "");
		json_w_bool(&w, "online", list[i]->online);
		json_w_bool(&w, "selected", list[i]->exit_node);
		json_w_end(&w);
	}
	json_w_end(&w);
	if (jsonmap_finish(&w, &doc))
		err = out_error(c, "out of memory");
	else
		(void)fprintf(c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	bytes_wipe(&doc);
	free(list);
	return err;
}

static int run_list(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const char *filter = flags_str(f, "filter");
	char quoted[PREFVAL_QUOTE_MAX];
	struct status s = { 0 };
	size_t offers = 0;
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected non-flag arguments to '%s exit-node list'", c->prog);
	err = peers_fetch(c, true, &s);
	/* No peer carries a location here: a filter by country matches nothing. */
	for (size_t i = 0; !err && !*filter && i < s.n_peers; i++)
		offers += s.peers[i].exit_node_option;
	if (!err && flags_bool(f, "json") && !*filter)
		err = list_json(c, &s);
	else if (!err && !offers && *filter)
		err = out_error(c, "no exit nodes found for %s", prefval_quote(quoted, filter, strlen(filter)));
	else if (!err && !offers)
		err = out_error(c, "no exit nodes found");
	else if (!err)
		list_text(c, &s);
	status_wipe(&s);
	return err;
}

static const struct flag suggest_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

/* Prints the answer {"ID","Name"} for people. */
static int print_suggestion(struct cli *c, const struct client_reply *r)
{
	cJSON *json = json_parse((const char *)bytes_data(&r->body), bytes_size(&r->body), 0, NULL);
	const cJSON *id = json_get(json, "ID"), *name = json_get(json, "Name");
	char safe[300];
	int err = EXIT_OK;

	if (!cJSON_IsString(id) || !cJSON_IsString(name)) {
		err = out_error(c, "unexpected answer of the daemon to suggest-exit-node");
	} else if (!*id->valuestring) {
		(void)fprintf(c->out, "No exit node suggestion is available.\n");
	} else {
		(void)fprintf(c->out, "Suggested exit node: %s\n", out_safe(safe, sizeof(safe), name->valuestring));
		if (c->compat)
			(void)fprintf(c->out, "To accept this suggestion, use `%s set --exit-node=%s`.\n", c->prog, safe);
		else
			(void)fprintf(c->err, "Note: to use an exit node is not in this build\n");
	}
	cJSON_Delete(json);
	return err;
}

static int run_suggest(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct client_reply r;
	int err = EXIT_OK;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected non-flag arguments to '%s exit-node suggest'", c->prog);
	err = client_get(c, "suggest-exit-node", &r);
	if (err)
		return err;
	err = flags_bool(f, "json") ? out_json(c, (const char *)bytes_data(&r.body), bytes_size(&r.body), "  ", true) :
				      print_suggestion(c, &r);
	client_reply_wipe(&r);
	return err;
}

static const struct cmd subs[] = {
	{ .name = "list", .usage = "exit-node list [flags]", .short_help = "Show exit nodes", CMD_FLAGS(list_flags),
	  .run = run_list },
	{ .name = "suggest", .usage = "exit-node suggest", .short_help = "Suggest the best available exit node",
	  CMD_FLAGS(suggest_flags), .run = run_suggest },
};

const struct cmd cmd_exit_node = {
	.name = "exit-node",
	.usage = "exit-node [flags]",
	.short_help = "Show machines on your tailnet configured as exit nodes",
	CMD_SUBS(subs),
};
