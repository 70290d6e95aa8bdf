/* SPDX-License-Identifier: MIT */
/* From the outside in: the object of values, the name of the current profile, its preferences. */
#include "wire/tsstate.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"
#include "wire/prefval.h"

enum { STATE_KEY_MAX = 160 }; /* longest name of a value that we follow, with its NUL */

/* One base64 value, decoded, with a NUL behind it. */
struct value {
	char *p; /* null: absent */
	size_t size;
};

static void value_wipe(struct value *v)
{
	if (v->p)
		sodium_memzero(v->p, v->size);
	free(v->p);
	*v = (struct value){ 0 };
}

static int refuse(char err[static TSSTATE_ERR_MAX], const char *what)
{
	(void)snprintf(err, TSSTATE_ERR_MAX, "%s", what);
	return -EBADMSG;
}

static int malformed(char err[static TSSTATE_ERR_MAX], const char *name, const char *why)
{
	char quoted[PREFVAL_QUOTE_MAX];

	(void)snprintf(err, TSSTATE_ERR_MAX, "not a tailscaled state: %s: %s",
		       prefval_quote(quoted, name, strlen(name)), why);
	return -EBADMSG;
}

/* 'v' is empty when the value is absent or null. */
static int get_value(struct value *v, const cJSON *state, const char *name, char err[static TSSTATE_ERR_MAX])
{
	const cJSON *item = json_get(state, name);
	size_t len, cap;

	if (!item)
		return 0;
	if (!cJSON_IsString(item))
		return malformed(err, name, "not a text");
	len = strlen(item->valuestring);
	cap = len / 4 * 3 + 3;
	v->p = malloc(cap + 1);
	if (!v->p)
		return -ENOMEM;
	if (sodium_base642bin((uint8_t *)v->p, cap, item->valuestring, len, NULL, &v->size, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0) {
		v->size = cap;
		value_wipe(v);
		return malformed(err, name, "not base64");
	}
	v->p[v->size] = 0;
	return 0;
}

/* Wipes the texts of a tree that may be secret: its members and those of its objects. */
static void tree_free(cJSON *tree)
{
	cJSON *item, *inner;

	cJSON_ArrayForEach(item, tree) {
		if (item->valuestring)
			sodium_memzero(item->valuestring, strlen(item->valuestring));
		cJSON_ArrayForEach(inner, item) {
			if (inner->valuestring)
				sodium_memzero(inner->valuestring, strlen(inner->valuestring));
		}
	}
	cJSON_Delete(tree);
}

/* Puts zeros where private keys stand, so that the copies that others make of the text hold none. */
static void blank_keys(struct value *v)
{
	static const char *const prefixes[] = { "privkey:", "nlpriv:" };

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		for (char *p = strstr(v->p, prefixes[i]); p; p = strstr(p, prefixes[i])) {
			p += strlen(prefixes[i]);
			while ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f') || (*p >= 'A' && *p <= 'F'))
				*p++ = '0';
		}
	}
}

/* A private key in text form; -EBADMSG also for the zero key. */
static int read_private(uint8_t raw[static KEY_SIZE], const char *text, size_t len)
{
	return key_parse(raw, KEY_PRIVATE, text, len) || key_is_zero(raw) ? -EBADMSG : 0;
}

static int read_machine(struct tsstate *t, const cJSON *state, char err[static TSSTATE_ERR_MAX])
{
	static const char name[] = "_machinekey";
	struct value v = { 0 };
	int ret = get_value(&v, state, name, err);

	if (!ret && !v.p)
		ret = refuse(err, "not a tailscaled state: it has no machine key");
	else if (!ret && read_private(t->machine.b, v.p, v.size))
		ret = malformed(err, name, "not a private key");
	value_wipe(&v);
	return ret;
}

/* The name of the value with the current profile's preferences. Before there were profiles it was
 * "_daemon". */
static int current_key(char key[static STATE_KEY_MAX], const cJSON *state, char err[static TSSTATE_ERR_MAX])
{
	static const char name[] = "_current-profile";
	struct value v = { 0 };
	int ret = get_value(&v, state, name, err);

	if (!ret && (v.size >= STATE_KEY_MAX || (v.p && strlen(v.p) != v.size)))
		ret = malformed(err, name, "not the name of a profile");
	else if (!ret && v.size)
		memcpy(key, v.p, v.size + 1);
	else if (!ret && json_get(state, "_daemon"))
		(void)snprintf(key, STATE_KEY_MAX, "_daemon");
	else if (!ret)
		ret = refuse(err, "no profile is logged in there; there is nothing to take over");
	value_wipe(&v);
	return ret;
}

/* The profile's name and id by the key of its preferences, and how many others there are. */
static int read_profiles(struct tsstate *t, const cJSON *state, const char *key, char id[static STATE_KEY_MAX],
			 char err[static TSSTATE_ERR_MAX])
{
	static const char name[] = "_profiles";
	struct json_in in = { 0 };
	struct json_err wrong;
	struct value v = { 0 };
	cJSON *profiles = NULL;
	const cJSON *p, *first = NULL;
	int ret = get_value(&v, state, name, err);

	if (!ret && v.p) {
		profiles = json_parse(v.p, v.size, JSON_UNIQUE, &wrong);
		if (cJSON_IsObject(profiles))
			first = profiles->child;
		else if (!profiles && json_err_code(&wrong) == -ENOMEM)
			ret = -ENOMEM;
		else
			ret = malformed(err, name, "not a JSON object");
	}
	for (p = first; p; p = p->next) {
		if (strcmp(json_str(&in, p, "Key"), key) != 0) {
			t->n_others++;
			continue;
		}
		free(t->profile);
		t->profile = json_dup(&in, p, "Name");
		json_text(&in, p, "ID", id, STATE_KEY_MAX);
	}
	if (!ret && in.err)
		ret = in.err == -ENOMEM ? -ENOMEM : malformed(err, name, "not a list of profiles");
	if (!ret && !t->profile) {
		t->profile = strdup("");
		ret = t->profile ? 0 : -ENOMEM;
	}
	cJSON_Delete(profiles);
	value_wipe(&v);
	return ret;
}

static int read_login(struct tsstate *t, const cJSON *prefs, const char *key, char err[static TSSTATE_ERR_MAX])
{
	const cJSON *config = json_get(prefs, "Config"), *node = json_get(config, "PrivateNodeKey");

	/* After a logout the login is null, or there without its key. */
	if (!config || !node)
		return refuse(err, "its current profile is logged out; there is no login to take over");
	if (!cJSON_IsString(node) || key_parse(t->node.b, KEY_PRIVATE, node->valuestring, strlen(node->valuestring)))
		return malformed(err, key, "its node key is not a private key");
	if (key_is_zero(t->node.b) || cJSON_IsTrue(json_get(prefs, "LoggedOut")))
		return refuse(err, "its current profile is logged out; there is no login to take over");
	t->has_attestation = json_get(config, "AttestationKey");
	return 0;
}

static int read_prefs(struct tsstate *t, const cJSON *state, const char *key, char err[static TSSTATE_ERR_MAX])
{
	char why[PREFS_ERR_MAX] = "";
	struct json_err wrong;
	struct value v = { 0 };
	cJSON *prefs = NULL;
	int ret = get_value(&v, state, key, err);

	if (!ret && !v.p)
		ret = malformed(err, key, "this is the current profile, and it is not there");
	if (!ret) {
		prefs = json_parse(v.p, v.size, 0, &wrong);
		if (!prefs && json_err_code(&wrong) == -ENOMEM)
			ret = -ENOMEM;
		else
			ret = cJSON_IsObject(prefs) ? read_login(t, prefs, key, err) :
						      malformed(err, key, "not a JSON object");
	}
	if (!ret) {
		blank_keys(&v);
		ret = prefs_parse(&t->prefs, v.p, v.size, why);
		if (ret == -EBADMSG)
			ret = malformed(err, key, why);
	}
	tree_free(prefs);
	value_wipe(&v);
	return ret;
}

/* Settings of `serve`; "null" and "{}" are what is left after they were switched off. */
static int read_serve(struct tsstate *t, const cJSON *state, const char *id, char err[static TSSTATE_ERR_MAX])
{
	char name[STATE_KEY_MAX + 8];
	struct json_err wrong;
	struct value v = { 0 };
	cJSON *serve;
	int ret;

	(void)snprintf(name, sizeof(name), "_serve/%s", id);
	ret = get_value(&v, state, name, err);
	if (ret || !v.p)
		return ret;
	serve = json_parse(v.p, v.size, 0, &wrong);
	if (!serve && json_err_code(&wrong) == -ENOMEM)
		ret = -ENOMEM;
	t->has_serve = !serve || json_len(serve) > 0;
	cJSON_Delete(serve);
	value_wipe(&v);
	return ret;
}

/* A file of exactly these members is the whole state, sealed with a key that is in the TPM. */
static bool is_sealed(const cJSON *state)
{
	return json_len(state) == 3 && json_get(state, "key") && json_get(state, "nonce") && json_get(state, "data");
}

static int read_state(struct tsstate *t, const cJSON *state, char err[static TSSTATE_ERR_MAX])
{
	char key[STATE_KEY_MAX] = "", id[STATE_KEY_MAX] = "";
	int ret;

	if (!cJSON_IsObject(state))
		return refuse(err, "not a tailscaled state: not a JSON object");
	if (is_sealed(state))
		return refuse(err, "state is sealed by the TPM; turn state encryption off in tailscaled first");
	ret = read_machine(t, state, err);
	if (!ret)
		ret = current_key(key, state, err);
	if (!ret)
		ret = read_profiles(t, state, key, id, err);
	if (!ret)
		ret = read_prefs(t, state, key, err);
	if (!ret && *id)
		ret = read_serve(t, state, id, err);
	return ret;
}

int tsstate_parse(struct tsstate *t, const char *text, size_t size, char err[static TSSTATE_ERR_MAX])
{
	struct json_err why = { .reason = "larger than 4 MiB" };
	cJSON *state = NULL;
	int ret = -EBADMSG;

	memset(t, 0, sizeof(*t));
	if (size <= TSSTATE_SIZE_MAX)
		state = json_parse(text, size, JSON_UNIQUE, &why);
	if (state)
		ret = read_state(t, state, err);
	else if (size <= TSSTATE_SIZE_MAX)
		ret = json_err_code(&why);
	if (!state)
		(void)snprintf(err, TSSTATE_ERR_MAX, "not a tailscaled state: %s", why.reason);
	if (ret) {
		tsstate_wipe(t);
		if (ret == -ENOMEM)
			(void)snprintf(err, TSSTATE_ERR_MAX, "out of memory");
		prefval_mask_secrets(err); /* names in the file are quoted there */
	}
	tree_free(state);
	return ret;
}

void tsstate_wipe(struct tsstate *t)
{
	prefs_wipe(&t->prefs);
	free(t->profile);
	sodium_memzero(t, sizeof(*t));
}
