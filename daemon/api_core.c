/* SPDX-License-Identifier: MIT */
/* The core of the local API: status, preferences, logging in and out, the bus. Spec: localapi 3.1, 4. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/api.h"

enum { PARAM_MAX = 64, PASSWD_BUF = 4096, PIECE_SIZE = 32 << 10 };

static void fail(struct api *api, const struct api_req *req, int err)
{
	if (err == -ENOSYS)
		api_reply_text(api, req->token, 501, "feature not included in this build\n");
	else if (err == -ENOMEM)
		api_reply_text(api, req->token, 500, "out of memory\n");
	else
		api_reply_text(api, req->token, 500, "internal error\n");
}

static void send_doc(struct api *api, const struct api_req *req, struct bytes *doc, int err)
{
	if (err)
		fail(api, req, err);
	else
		api_reply_json(api, req->token, doc);
	bytes_wipe(doc);
}

/* --- status --- */

/* A status that is being written: of 10,000 peers it would be 14 MB. */
struct status_source {
	const struct api_backend *backend;
	struct status head; /* without peers */
	struct json_w w;
	int64_t *ids;       /* of the peers */
	size_t n_ids, at;
};

static void status_source_free(void *ctx)
{
	struct status_source *t = ctx;

	status_wipe(&t->head);
	json_w_wipe(&t->w);
	free(t->ids);
	free(t);
}

static int status_source_next(void *ctx, struct bytes *out)
{
	struct status_source *t = ctx;
	const struct api_backend *b = t->backend;
	int err = 0;

	if (t->at == 0)
		status_w_begin(&t->w, &t->head);
	while (!err && t->at < t->n_ids && bytes_size(&t->w.out) < PIECE_SIZE) {
		struct status_peer p = { 0 };

		err = b->status_peer(b->ctx, t->ids[t->at++], &t->head, &p);
		if (!err) {
			status_w_peer(&t->w, &p);
			status_peer_wipe(&p);
		} else if (err == -ENOENT) {
			err = 0;
		}
	}
	if (!err && t->at == t->n_ids)
		status_w_end(&t->w, &t->head);
	err = err ? err : t->w.err;
	if (!err)
		err = bytes_append(out, bytes_data(&t->w.out), bytes_size(&t->w.out));
	bytes_consume(&t->w.out, bytes_size(&t->w.out));
	return err ? err : t->at < t->n_ids;
}

static void get_status(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	struct status_source *t = calloc(1, sizeof(*t));
	const struct api_source source = { .next = status_source_next, .free = status_source_free, .ctx = t };
	char param[PARAM_MAX];
	const char *peers = api_query(req, "peers", param, sizeof(param));
	int err = t ? b->status(b->ctx, false, &t->head) : -ENOMEM;

	if (!err && (!peers || strcmp(peers, "false") != 0))
		err = b->status_ids(b->ctx, &t->ids, &t->n_ids);
	if (err) {
		if (t)
			status_source_free(t);
		fail(api, req, err);
		return;
	}
	t->backend = b;
	t->w.indent = "\t";
	api_reply_source(api, req->token, &source);
}

/* --- preferences --- */

static void get_prefs(struct api *api, const struct api_req *req)
{
	api_reply_prefs(api, req->token, NULL);
}

/* A name that does not exist would silently leave nobody as operator. */
static int check_operator(const struct prefs *p, char err[static API_ERR_MAX])
{
	struct passwd pw, *found = NULL;
	char buf[PASSWD_BUF], quoted[PREFVAL_QUOTE_MAX];

	if (!p->operator_user || !*p->operator_user)
		return 0;
	if (getpwnam_r(p->operator_user, &pw, buf, sizeof(buf), &found) == 0 && found)
		return 0;
	(void)snprintf(err, API_ERR_MAX, "unknown user %.200s for --operator",
		       prefval_quote(quoted, p->operator_user, strlen(p->operator_user)));
	return -EINVAL;
}

/* What is refused whatever the old preferences are. */
static int check_edit(struct api *api, const struct prefs *p, uint64_t mask,
		      char err[static API_ERR_MAX])
{
	const struct api_backend *b = api_backend(api);
	const char *unbuilt = prefs_unbuilt(p, mask);
	uint64_t changed = mask & prefs_diff(p, b->prefs(b->ctx));

	if (unbuilt) {
		(void)snprintf(err, API_ERR_MAX, "not in this build: %s", unbuilt);
		return -EINVAL;
	}
	err[0] = 0;
	if (b->locked_prefs(b->ctx, changed, err))
		return -EPERM;
	return mask & PREF_BIT(PREF_OPERATOR_USER) ? check_operator(p, err) : 0;
}

static void patch_prefs(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	struct prefs_edit edit = { 0 };
	struct prefs next = { 0 };
	char err[API_ERR_MAX] = "";
	uint64_t changed;
	int ret;

	ret = prefs_edit_parse(&edit, (const char *)req->body, req->body_size, err);
	if (!ret)
		ret = check_edit(api, &edit.prefs, edit.mask, err);
	if (!ret && !api_begin_edit(api, req)) {
		prefs_edit_wipe(&edit);
		return;
	}
	if (!ret)
		ret = prefs_apply(&next, b->prefs(b->ctx), &edit, err);
	prefs_edit_wipe(&edit);
	if (ret) {
		api_reply_prefs(api, req->token, err[0] ? err : "out of memory");
		return;
	}
	changed = prefs_diff(&next, b->prefs(b->ctx));
	if (changed)
		b->set_prefs(b->ctx, req->token, &next, changed);
	else
		api_reply_prefs(api, req->token, NULL);
	prefs_wipe(&next);
}

static void check_prefs(struct api *api, const struct api_req *req)
{
	char err[API_ERR_MAX] = "";
	struct bytes doc = { 0 };
	struct prefs p = { 0 };
	const char *unbuilt;
	int ret;

	ret = prefs_parse(&p, (const char *)req->body, req->body_size, err);
	if (ret) {
		api_reply_text(api, req->token, 400, "invalid JSON body\n");
		return;
	}
	ret = prefs_check(&p, err);
	unbuilt = prefs_unbuilt(&p, UINT64_MAX);
	if (!ret && unbuilt)
		(void)snprintf(err, sizeof(err), "not in this build: %s", unbuilt);
	else if (!ret)
		ret = check_operator(&p, err);
	prefs_wipe(&p);
	if (err[0])
		api_reply_error(api, req->token, 200, err, false);
	else
		send_doc(api, req, &doc, bytes_append(&doc, "{}\n", 3));
}

/* --- logging in and out --- */

/* Complete preferences of `up` as an edit: what an older client cannot know keeps its value. */
static int start_edit(struct prefs_edit *e, const cJSON *json, char err[static API_ERR_MAX])
{
	const uint64_t ours = PREF_BIT(PREF_RELAY_PORT) | PREF_BIT(PREF_RELAY_ENDPOINTS) |
			      PREF_BIT(PREF_STATIC_ENDPOINTS);
	struct json_w w = { 0 };
	size_t size;
	char *text;
	int ret;

	json_w_tree(&w, NULL, json);
	text = json_w_take(&w, &size);
	if (!text)
		return -ENOMEM;
	ret = prefs_parse(&e->prefs, text, size, err);
	free(text);
	e->mask = (PREF_BIT(PREF_N) - 1) & ~PREF_BIT(PREF_INTERNAL_EXIT_NODE_PRIOR) & ~ours;
	if (json_get(json, "RelayServerPort"))
		e->mask |= PREF_BIT(PREF_RELAY_PORT);
	if (json_get(json, "RelayServerStaticEndpoints"))
		e->mask |= PREF_BIT(PREF_RELAY_ENDPOINTS);
	if (json_get(json, "Meshd"))
		e->mask |= ours;
	return ret;
}

/* Fills '*next' and the pointers of '*start'. 'json' must live as long as they. */
static int parse_start(struct api *api, const cJSON *json, struct prefs *next, struct api_start *start,
		       char err[static API_ERR_MAX])
{
	const struct api_backend *b = api_backend(api);
	struct prefs_edit edit = { 0 };
	struct json_in in = { 0 };
	const cJSON *prefs;
	int ret = 0;

	start->auth_key = json_str(&in, json, "AuthKey");
	if (!*start->auth_key)
		start->auth_key = NULL;
	start->force = json_bool(&in, json_obj(&in, json, "Meshd"), "ForceReauth");
	prefs = json_obj(&in, json, "UpdatePrefs");
	if (in.err)
		return -EBADMSG;
	if (!prefs)
		return 0;
	ret = start_edit(&edit, prefs, err);
	if (!ret)
		ret = check_edit(api, &edit.prefs, edit.mask, err);
	if (!ret)
		ret = prefs_apply(next, b->prefs(b->ctx), &edit, err);
	if (!ret)
		start->prefs = next;
	prefs_edit_wipe(&edit);
	return ret;
}

static void post_start(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	struct json_err wrong;
	cJSON *json = json_parse((const char *)req->body, req->body_size, 0, &wrong);
	struct api_start start = { .pid = req->pid };
	char err[API_ERR_MAX] = "";
	struct prefs next = { 0 };
	int ret;

	if (!json && json_err_code(&wrong) == -ENOMEM) {
		fail(api, req, -ENOMEM);
		return;
	}
	if (!cJSON_IsObject(json)) {
		api_reply_text(api, req->token, 400, "invalid JSON body\n");
		cJSON_Delete(json);
		return;
	}
	if (!api_begin_edit(api, req)) {
		cJSON_Delete(json);
		return;
	}
	ret = parse_start(api, json, &next, &start, err);
	if (ret)
		api_reply_text(api, req->token, 500, err[0] ? err : "invalid JSON body");
	else
		b->start(b->ctx, req->token, &start);
	prefs_wipe(&next);
	if (start.auth_key)
		explicit_bzero((char *)(uintptr_t)start.auth_key, strlen(start.auth_key));
	cJSON_Delete(json);
}

static void post_login(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);

	b->login_interactive(b->ctx, req->token, req->pid);
}

static void post_logout(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	char local[PARAM_MAX];

	if (api_begin_edit(api, req))
		b->logout(b->ctx, req->token,
			  api_query(req, "local", local, sizeof(local)) && strcmp(local, "true") == 0);
}

static void post_shutdown(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);

	api_reply_done(api, req->token);
	b->shutdown(b->ctx);
}

/* --- the bus --- */

static enum status_state state_of(const struct status *s)
{
	for (int i = STATE_NO_STATE; i <= STATE_RUNNING; i++)
		if (s->backend_state &&
		    strcmp(s->backend_state, status_state_name((enum status_state)i)) == 0)
			return (enum status_state)i;
	return STATE_NO_STATE;
}

static void first_message(struct api *api, struct api_token token, uint64_t mask)
{
	const struct api_backend *b = api_backend(api);
	struct notify n = { .version = API_VERSION_SHORT };
	struct bytes map = { 0 }, health = { 0 };
	struct status s = { 0 };
	char session[24];

	if (b->status(b->ctx, mask & NOTIFY_INITIAL_STATUS, &s))
		return;
	(void)snprintf(session, sizeof(session), "%016llx", (unsigned long long)token.id);
	if (mask & NOTIFY_INITIAL_STATE) {
		n.session_id = session;
		n.has_state = true;
		n.state = state_of(&s);
		n.browse_to_url = s.auth_url && *s.auth_url ? s.auth_url : NULL;
	}
	if (mask & NOTIFY_INITIAL_PREFS)
		n.prefs = b->prefs(b->ctx);
	if (mask & NOTIFY_INITIAL_STATUS)
		n.initial_status = &s;
	if (mask & NOTIFY_INITIAL_HEALTH && b->health(b->ctx, &health) == 0 &&
	    bytes_append(&health, "", 1) == 0)
		n.health = (const char *)bytes_data(&health);
	if (mask & NOTIFY_INITIAL_NETMAP && b->net_map(b->ctx, &map) == 0 &&
	    bytes_append(&map, "", 1) == 0)
		n.net_map = (const char *)bytes_data(&map);
	api_notify_one(api, token, &n);
	bytes_wipe(&health);
	bytes_wipe(&map);
	status_wipe(&s);
}

static void watch_bus(struct api *api, const struct api_req *req)
{
	const uint64_t initial = NOTIFY_INITIAL_STATE | NOTIFY_INITIAL_PREFS | NOTIFY_INITIAL_NETMAP |
				 NOTIFY_INITIAL_STATUS | NOTIFY_INITIAL_HEALTH;
	const uint64_t fine = NOTIFY_PEER_CHANGES | NOTIFY_NO_NETMAP | NOTIFY_INITIAL_STATUS |
			      NOTIFY_PEER_PATCHES;
	char param[PARAM_MAX];
	const char *text = api_query(req, "mask", param, sizeof(param));
	unsigned long long mask = 0;
	char *end = NULL;

	errno = 0;
	if (text && *text)
		mask = strtoull(text, &end, 10);
	if (errno || (end && *end) || (text && *text == '-')) {
		api_reply_text(api, req->token, 400, "bad mask\n");
		return;
	}
	if (mask & NOTIFY_IN_PROCESS || (mask & NOTIFY_RATE_LIMIT && mask & fine)) {
		api_reply_text(api, req->token, 400, "bad mask\n");
		return;
	}
	api_subscribe(api, req->token, mask);
	api_backend(api)->subscribed(api_backend(api)->ctx, mask);
	if (mask & initial)
		first_message(api, req->token, mask);
}

/* --- profiles: one, read only --- */

static void write_profile(struct json_w *w, const char *key, const struct prefs *p,
			  const struct status *s)
{
	const char *domain = s->tailnet && s->tailnet->name ? s->tailnet->name : "";
	const char *login = p->login.login_name ? p->login.login_name : "";

	json_w_obj(w, key);
	json_w_str(w, "ID", p->login.login_name ? "0001" : "");
	json_w_str(w, "Name", p->profile_name && *p->profile_name ? p->profile_name : login); /* --nickname */
	json_w_obj(w, "NetworkProfile");
	json_w_str(w, "MagicDNSName", s->magic_dns_suffix ? s->magic_dns_suffix : "");
	json_w_str(w, "DomainName", domain);
	json_w_str(w, "DisplayName", domain);
	json_w_end(w);
	json_w_str(w, "Key", p->login.login_name ? "profile-0001" : "");
	json_w_obj(w, "UserProfile");
	json_w_i64(w, "ID", p->login.user_id);
	json_w_str(w, "LoginName", login);
	json_w_str(w, "DisplayName", p->login.display_name ? p->login.display_name : "");
	json_w_end(w);
	json_w_str(w, "NodeID", p->login.node_id ? p->login.node_id : "");
	json_w_str(w, "LocalUserID", "");
	json_w_str(w, "ControlURL", p->control_url ? p->control_url : "");
	json_w_end(w);
}

static void get_profiles(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	const struct prefs *p = b->prefs(b->ctx);
	const char *name = req->path + strlen("profiles/");
	struct json_w w = { 0 };
	struct bytes doc = { 0 };
	struct status s = { 0 };
	int err = b->status(b->ctx, false, &s);

	if (err) {
		fail(api, req, err);
		return;
	}
	if (!*name) {
		json_w_arr(&w, NULL);
		if (p->login.login_name)
			write_profile(&w, NULL, p, &s);
		json_w_end(&w);
	} else if (strcmp(name, "current") == 0 || (p->login.login_name && strcmp(name, "0001") == 0)) {
		write_profile(&w, NULL, p, &s);
	} else {
		status_wipe(&s);
		api_reply_text(api, req->token, 404, "Profile not found\n");
		return;
	}
	status_wipe(&s);
	send_doc(api, req, &doc, jsonmap_finish(&w, &doc));
}

static void refuse_profiles(struct api *api, const struct api_req *req)
{
	api_reply_text(api, req->token, 501, "this build keeps one login at a time\n");
}

static const struct api_handler rows[] = {
	{ "GET", "status", API_READ, get_status },
	{ "GET", "prefs", API_READ, get_prefs },
	{ "PATCH", "prefs", API_WRITE, patch_prefs },
	{ "POST", "check-prefs", API_WRITE, check_prefs },
	{ "POST", "start", API_WRITE, post_start },
	{ "POST", "login-interactive", API_WRITE, post_login },
	{ "POST", "logout", API_WRITE, post_logout },
	{ "POST", "shutdown", API_WRITE, post_shutdown },
	{ "GET", "watch-ipn-bus", API_READ, watch_bus },
	{ "GET", "profiles/", API_WRITE, get_profiles },
	{ "PUT", "profiles/", API_WRITE, refuse_profiles },
	{ "POST", "profiles/", API_WRITE, refuse_profiles },
	{ "DELETE", "profiles/", API_WRITE, refuse_profiles },
};

const struct api_table api_core_table = { rows, ARRAY_LEN(rows) };
