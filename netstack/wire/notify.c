/* SPDX-License-Identifier: MIT */
/* Bus messages: one line each. */
#include "wire/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/jsonmap.h"

/* A document that another writer made, as one member. */
static void put_doc(struct json_w *w, const char *key, struct bytes *doc, int err)
{
	if (err)
		w->err = w->err ? w->err : err;
	else
		json_w_raw(w, key, (const char *)bytes_data(doc), bytes_size(doc));
	bytes_wipe(doc);
}

static void put_text_doc(struct json_w *w, const char *key, const char *json)
{
	struct bytes doc = { 0 };

	/* Made compact: a line break inside would end the message. */
	put_doc(w, key, &doc, jsonmap_relayout(&doc, json, strlen(json), NULL));
}

bool notify_reduce(struct notify *n, uint64_t mask)
{
	if (mask & (NOTIFY_NO_NETMAP | NOTIFY_PEER_CHANGES) || !(mask & NOTIFY_INITIAL_NETMAP))
		n->net_map = NULL;
	if (!(mask & NOTIFY_ENGINE))
		n->engine = NULL;
	if (!(mask & NOTIFY_PEER_CHANGES))
		n->peers_changed = n->peers_changed_all = n->peers_removed = n->user_profiles = NULL;
	if (mask & NOTIFY_PEER_PATCHES)
		n->peers_changed_all = NULL;
	else
		n->peers_changed = n->peer_patches = NULL;
	return n->session_id || n->err_message || n->login_finished || n->has_state || n->prefs ||
	       n->self_change || n->net_map || n->browse_to_url || n->health || n->initial_status || n->engine ||
	       n->peers_changed || n->peers_changed_all || n->peer_patches || n->peers_removed ||
	       n->user_profiles;
}

/* Those that are another writer's document, under their names. */
static void put_texts(struct json_w *w, const struct notify *n)
{
	const struct {
		const char *key, *json;
	} docs[] = {
		{ "NetMap", n->net_map },
		{ "SelfChange", n->self_change },
		{ "Engine", n->engine },
		{ "Health", n->health },
		{ "PeersChanged", n->peers_changed ? n->peers_changed : n->peers_changed_all },
		{ "PeersRemoved", n->peers_removed },
		{ "PeerChangedPatch", n->peer_patches },
		{ "UserProfiles", n->user_profiles },
	};

	for (size_t i = 0; i < ARRAY_LEN(docs); i++)
		if (docs[i].json)
			put_text_doc(w, docs[i].key, docs[i].json);
}

int notify_write(struct bytes *out, const struct notify *n)
{
	struct json_w w = { 0 };
	struct bytes doc = { 0 };
	int err;

	json_w_obj(&w, NULL);
	json_w_str(&w, "Version", n->version ? n->version : "");
	if (n->session_id)
		json_w_str(&w, "SessionID", n->session_id);
	if (n->err_message)
		json_w_str(&w, "ErrMessage", n->err_message);
	if (n->login_finished) {
		json_w_obj(&w, "LoginFinished");
		json_w_end(&w);
	}
	if (n->has_state)
		json_w_i64(&w, "State", n->state);
	if (n->prefs)
		put_doc(&w, "Prefs", &doc, prefs_write(&doc, n->prefs, NULL));
	put_texts(&w, n);
	if (n->browse_to_url)
		json_w_str(&w, "BrowseToURL", n->browse_to_url);
	if (n->initial_status)
		put_doc(&w, "InitialStatus", &doc, status_write(&doc, n->initial_status, NULL));
	json_w_end(&w);
	err = jsonmap_finish(&w, out);
	return err ? err : bytes_append(out, "\n", 1);
}

int notify_parse(struct notify_event *e, const char *text, size_t len)
{
	struct json_err why;
	cJSON *json = json_parse(text, len, 0, &why);
	struct json_in in = { 0 };
	const cJSON *v;

	if (!json)
		return json_err_code(&why);
	if (!cJSON_IsObject(json))
		json_fail(&in, -EBADMSG, "", "is not an object");
	if (json_get(json, "State")) {
		e->state = (enum status_state)json_i64(&in, json, "State", STATE_NO_STATE,
						       STATE_RUNNING);
		e->has_state = true;
	}
	if (json_get(json, "ErrMessage"))
		e->err_message = json_dup(&in, json, "ErrMessage");
	if (json_get(json, "BrowseToURL"))
		e->browse_to_url = json_dup(&in, json, "BrowseToURL");
	e->login_finished = json_get(json, "LoginFinished") != NULL;
	v = json_obj(&in, json, "SelfChange");
	if (v)
		e->self_key = json_dup(&in, v, "Key");
	cJSON_Delete(json);
	if (in.err)
		notify_event_wipe(e);
	return in.err;
}

void notify_event_wipe(struct notify_event *e)
{
	free(e->err_message);
	free(e->browse_to_url);
	free(e->self_key);
	memset(e, 0, sizeof(*e));
}
