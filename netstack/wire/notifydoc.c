/* SPDX-License-Identifier: MIT */
/* The documents inside a message of the bus that are made from the status: health and traffic. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wire/json.h"
#include "wire/jsonmap.h"
#include "wire/notify.h"
#include "wire/rfc3339.h"

enum { NAME_MAX_SIZE = 64, NS_PER_SEC = 1000000000 };

/* Codes of upstream where it has one, so that tools match (localapi 5). The last row is for codes that are not
 * listed. */
static const struct notify_warning warnings[] = {
	{ "login-state", "high", "Logged out", true },
	{ "wantrunning-false", "low", "Stopped", true },
	{ "not-in-map-poll", "medium", "Out of sync", false },
	{ "no-derp-connection", "medium", "Relay server unavailable", true },
	{ "relay-port-bind-failed", "medium", "Peer relay port unavailable", false },
	{ "relay-disabled-by-admin", "low", "Peer relay disabled", false },
	{ "accept-routes-off", "low", "Routes not accepted", false },
	{ "snat-not-built", "low", "Sources not translated", false },
	{ "magicdns-not-built", "low", "Names not resolved", false },
	{ "router-health", "high", "Routes or addresses not set", true },
	{ "state-store-health", "high", "State cannot be stored", false },
	{ "tailnet-lock-unverified", "high", "Tailnet lock", true },
	{ "control-health", "medium", "Message of the control server", false },
	{ NULL, "medium", "Warning", false },
};

struct notify_warning notify_warning(const char *code)
{
	struct notify_warning w;
	size_t i = 0;

	while (warnings[i].code && strcmp(warnings[i].code, code) != 0)
		i++;
	w = warnings[i];
	w.code = code;
	return w;
}

static void put_warning(struct json_w *w, const struct status *s, size_t i)
{
	const struct notify_warning kind = notify_warning(s->health_codes[i]);
	char name[NAME_MAX_SIZE];
	unsigned n_same = 0;

	/* Several of one kind need names of their own. */
	for (size_t k = 0; k < i; k++)
		n_same += strcmp(s->health_codes[k], kind.code) == 0;
	(void)snprintf(name, sizeof(name), n_same ? "%s-%u" : "%s", kind.code, n_same);
	json_w_obj(w, name);
	json_w_str(w, "WarnableCode", name);
	json_w_str(w, "Severity", kind.severity);
	json_w_str(w, "Title", kind.title);
	json_w_str(w, "Text", s->health[i]);
	if (kind.impacts_connectivity)
		json_w_bool(w, "ImpactsConnectivity", true);
	json_w_end(w);
}

int notify_health_write(struct bytes *out, const struct status *s)
{
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	json_w_obj(&w, "Warnings");
	for (size_t i = 0; i < s->n_health; i++)
		put_warning(&w, s, i);
	json_w_end(&w);
	json_w_end(&w);
	return jsonmap_finish(&w, out);
}

static void put_live(struct json_w *w, const struct status_peer *p)
{
	const int64_t ns = p->last_handshake_ns;
	char key[KEY_TEXT_MAX], at[RFC3339_TEXT_MAX];

	key_write(key, KEY_NODE, p->key.b);
	json_w_obj(w, key);
	json_w_i64(w, "RxBytes", (int64_t)p->rx_bytes);
	json_w_i64(w, "TxBytes", (int64_t)p->tx_bytes);
	json_w_str(w, "LastHandshake", ns ? rfc3339_write(at, ns / NS_PER_SEC, (int32_t)(ns % NS_PER_SEC)) :
					    rfc3339_write(at, RFC3339_ZERO_S, 0));
	json_w_str(w, "NodeKey", key);
	json_w_end(w);
}

int notify_traffic_write(struct bytes *out, const struct status *s, int64_t n_derps)
{
	struct json_w w = { 0 };
	uint64_t rx = 0, tx = 0;
	int64_t n_live = 0;

	for (size_t i = 0; i < s->n_peers; i++) {
		rx += s->peers[i].rx_bytes;
		tx += s->peers[i].tx_bytes;
		n_live += s->peers[i].in_engine;
	}
	json_w_obj(&w, NULL);
	json_w_i64(&w, "RBytes", (int64_t)rx);
	json_w_i64(&w, "WBytes", (int64_t)tx);
	json_w_i64(&w, "NumLive", n_live);
	json_w_i64(&w, "LiveDERPs", n_derps);
	json_w_obj(&w, "LivePeers");
	for (size_t i = 0; i < s->n_peers; i++)
		if (s->peers[i].in_engine)
			put_live(&w, &s->peers[i]);
	json_w_end(&w);
	json_w_end(&w);
	return jsonmap_finish(&w, out);
}
