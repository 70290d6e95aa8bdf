/* SPDX-License-Identifier: MIT */
/* MapResponse as text: what our coordinator sends, and the cached map of our own node. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson_priv.h"

static void nodes_write(struct json_w *w, const char *key, const struct map_node *nodes, size_t n)
{
	if (n == 0)
		return;
	json_w_arr(w, key);
	for (size_t i = 0; i < n; i++)
		ctl_node_write(w, NULL, &nodes[i]);
	json_w_end(w);
}

static void flags_write(struct json_w *w, const char *key, const struct ctl_id_flag *flags, size_t n)
{
	char id[24];

	if (n == 0)
		return;
	json_w_obj(w, key);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(id, sizeof(id), "%lld", (long long)flags[i].id);
		json_w_bool(w, id, flags[i].value);
	}
	json_w_end(w);
}

static void peers_write(struct json_w *w, const struct ctl_map_response *m)
{
	nodes_write(w, "Peers", m->peers, m->n_peers);
	if (m->n_removed > 0) {
		json_w_arr(w, "PeersRemoved");
		for (size_t i = 0; i < m->n_removed; i++)
			json_w_i64(w, NULL, m->removed[i]);
		json_w_end(w);
	}
	nodes_write(w, "PeersChanged", m->changed, m->n_changed);
	flags_write(w, "PeerSeenChange", m->seen, m->n_seen);
	flags_write(w, "OnlineChange", m->online, m->n_online);
	if (m->n_patches > 0) {
		json_w_arr(w, "PeersChangedPatch");
		for (size_t i = 0; i < m->n_patches; i++)
			ctl_patch_write(w, NULL, &m->patches[i]);
		json_w_end(w);
	}
}

/* Regions replace everything; scores alone go without Regions. */
static void derp_write(struct json_w *w, const struct ctl_map_response *m)
{
	char id[16];

	if (m->has_regions) {
		ctl_derp_map_write(w, "DERPMap", &m->derp);
	} else if (m->has_scores) {
		json_w_obj(w, "DERPMap");
		json_w_obj(w, "HomeParams");
		json_w_obj(w, "RegionScore");
		for (size_t i = 0; i < m->n_scores; i++) {
			(void)snprintf(id, sizeof(id), "%u", m->scores[i].region);
			json_w_double(w, id, m->scores[i].score);
		}
		json_w_end(w);
		json_w_end(w);
		json_w_end(w);
	}
}

static void filters_write(struct json_w *w, const struct ctl_map_response *m)
{
	if (m->n_filters == 0 && !m->clear_filters)
		return;
	json_w_obj(w, "PacketFilters");
	if (m->clear_filters)
		json_w_null(w, "*");
	for (size_t i = 0; i < m->n_filters; i++) {
		if (m->filters[i].remove)
			json_w_null(w, m->filters[i].name);
		else
			ctl_filter_rules_write(w, m->filters[i].name, &m->filters[i].rules);
	}
	json_w_end(w);
}

static void ping_write(struct json_w *w, const struct ctl_ping_request *p)
{
	char text[IP_TEXT_MAX];
	char *b64;
	size_t size;

	if (!p)
		return;
	json_w_obj(w, "PingRequest");
	json_w_str(w, "URL", p->url ? p->url : "");
	ctljson_flag_write(w, "URLIsNoise", p->url_is_noise);
	ctljson_flag_write(w, "Log", p->log);
	ctljson_str_write(w, "Types", p->types);
	if (ip_is_set(&p->ip))
		json_w_str(w, "IP", ip_write(text, &p->ip));
	if (p->payload_size > 0) {
		size = sodium_base64_encoded_len(p->payload_size, sodium_base64_VARIANT_ORIGINAL);
		b64 = malloc(size);
		if (b64)
			json_w_str(w, "Payload",
				   sodium_bin2base64(b64, size, (const uint8_t *)p->payload, p->payload_size,
						     sodium_base64_VARIANT_ORIGINAL));
		else
			w->err = w->err ? w->err : -ENOMEM;
		free(b64);
	}
	json_w_end(w);
}

static void tail_write(struct json_w *w, const struct ctl_map_response *m)
{
	if (m->n_users > 0) {
		json_w_arr(w, "UserProfiles");
		for (size_t i = 0; i < m->n_users; i++)
			ctl_user_profile_write(w, NULL, &m->users[i]);
		json_w_end(w);
	}
	if (m->has_health)
		json_w_strs(w, "Health", m->health, m->n_health);
	ping_write(w, m->ping);
	ctljson_str_write(w, "PopBrowserURL", m->pop_browser_url);
	if (m->control_time_s)
		json_w_time(w, "ControlTime", m->control_time_s);
	if (m->has_tka) {
		json_w_obj(w, "TKAInfo");
		ctljson_str_write(w, "Head", m->tka_on ? "unknown" : "");
		ctljson_flag_write(w, "Disabled", !m->tka_on);
		json_w_end(w);
	}
	/* Full first messages carry it always: it stops clients from uploading logs to a vendor. */
	if (m->self || m->debug_sleep_s) {
		json_w_obj(w, "Debug");
		json_w_bool(w, "DisableLogTail", true);
		if (m->debug_sleep_s)
			json_w_i64(w, "SleepSeconds", m->debug_sleep_s);
		json_w_end(w);
	}
}

void ctl_map_response_write(struct json_w *w, const struct ctl_map_response *m)
{
	json_w_obj(w, NULL);
	ctljson_flag_write(w, "KeepAlive", m->keep_alive);
	if (m->self)
		ctl_node_write(w, "Node", m->self);
	derp_write(w, m);
	peers_write(w, m);
	if (m->dns)
		ctl_dns_write(w, "DNSConfig", m->dns);
	ctljson_str_write(w, "Domain", m->domain);
	filters_write(w, m);
	tail_write(w, m);
	json_w_end(w);
}
