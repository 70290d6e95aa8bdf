/* SPDX-License-Identifier: MIT */
/* The coordinator role's settings: server keys, the DERP map that nodes get, `derp add`. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "coordint.h"
#include "wire/ctljson.h"
#include "wire/json.h"

enum { EXTRA_MAX = 50, REGION_FIRST = 900 };

static int set_text(char **to, const char *from)
{
	char *copy = strdup(from ? from : "");

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

int coord_set_cfg(struct coordinator *c, const struct coordinator_cfg *cfg)
{
	if (set_text(&c->url, cfg->url) != 0 || set_text(&c->domain, cfg->domain) != 0 ||
	    set_text(&c->derp_host, cfg->derp_host) != 0 || set_text(&c->derp_pin, cfg->derp_pin) != 0)
		return -ENOMEM;
	c->cfg = *cfg;
	c->cfg.url = c->url;
	c->cfg.domain = c->domain;
	c->cfg.derp_host = c->derp_host;
	c->cfg.derp_pin = c->derp_pin;
	return 0;
}

/* ---- keys ---- */

/* A row "privkey:..." as JSON string. */
static int load_key(const char *data, uint8_t priv[static KEY_SIZE])
{
	struct json_err why;
	cJSON *v = json_parse(data, strlen(data), 0, &why);
	int err = v ? -EBADMSG : json_err_code(&why);

	if (cJSON_IsString(v)) {
		err = key_parse(priv, KEY_PRIVATE, v->valuestring, strlen(v->valuestring));
		sodium_memzero(v->valuestring, strlen(v->valuestring));
	}
	cJSON_Delete(v);
	return err;
}

static int load_extra(struct coordinator *c, const char *data)
{
	struct json_err why;
	cJSON *v = json_parse(data, strlen(data), 0, &why);
	struct json_in in = { 0 };
	struct derp_map map = { 0 };

	if (!v)
		return json_err_code(&why);
	ctl_derp_map_read(&in, v, &map);
	cJSON_Delete(v);
	if (in.err) {
		derp_map_wipe(&map);
		return in.err == -ENOMEM ? -ENOMEM : -EBADMSG;
	}
	derp_map_wipe(&c->extra);
	c->extra = map;
	return 0;
}

int coord_load_setting(struct coordinator *c, int64_t id, const char *data)
{
	int err;

	switch (id) {
	case REG_SET_NOISE_KEY:
		err = load_key(data, c->noise_priv.b);
		c->has_noise_key = !err;
		return err;
	case REG_SET_DERP_KEY:
		err = load_key(data, c->derp_priv.b);
		c->has_derp_key = !err;
		return err;
	case REG_SET_DERP_EXTRA:
		return load_extra(c, data);
	default:
		return 0; /* the owner's own rows */
	}
}

static int make_key(struct coordinator *c, int64_t id, uint8_t priv[static KEY_SIZE])
{
	char text[KEY_TEXT_MAX], row[KEY_TEXT_MAX + 2];
	int err;

	env_fill(c->env, priv, KEY_SIZE);
	key_clamp(priv);
	key_write(text, KEY_PRIVATE, priv);
	(void)snprintf(row, sizeof(row), "\"%s\"", text);
	err = registry_write(ctlserver_registry(c->ctl), REG_SETTINGS, id, row);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(row, sizeof(row));
	return err;
}

int coord_make_keys(struct coordinator *c)
{
	int err = 0;

	if (!c->has_noise_key)
		err = make_key(c, REG_SET_NOISE_KEY, c->noise_priv.b);
	if (!err && !c->has_derp_key)
		err = make_key(c, REG_SET_DERP_KEY, c->derp_priv.b);
	if (err)
		return err;
	c->has_noise_key = c->has_derp_key = true;
	key_public(c->noise_pub.b, c->noise_priv.b);
	return 0;
}

/* ---- the DERP map ---- */

static int fill_node(struct derp_node *n, const struct coordinator_cfg *cfg, const char *name)
{
	struct ip ip;
	bool literal = ip_parse(&ip, cfg->derp_host, strlen(cfg->derp_host)) == 0;
	const char *ipv4 = !literal ? "" : ip.family == IP_V4 ? cfg->derp_host : "none";
	const char *ipv6 = !literal ? "" : ip.family == IP_V6 ? cfg->derp_host : "none";

	n->derp_port = cfg->derp_port;
	n->stun_port = cfg->stun_port ? cfg->stun_port : 3478;
	if (set_text(&n->name, name) != 0 || set_text(&n->host_name, cfg->derp_host) != 0 ||
	    set_text(&n->cert_name, cfg->derp_pin) != 0 || set_text(&n->ipv4, ipv4) != 0 ||
	    set_text(&n->ipv6, ipv6) != 0 || set_text(&n->stun_test_ip, "") != 0)
		return -ENOMEM;
	return 0;
}

static int fill_region(struct derp_region *r, uint32_t id, const char *code, const char *text,
		       const struct coordinator_cfg *cfg)
{
	char name[24];

	r->id = id;
	r->score = 1.0;
	(void)snprintf(name, sizeof(name), "%ua", id);
	r->nodes = calloc(1, sizeof(*r->nodes));
	if (!r->nodes)
		return -ENOMEM;
	r->n_nodes = 1;
	if (set_text(&r->code, code) != 0 || set_text(&r->name, text) != 0)
		return -ENOMEM;
	return fill_node(&r->nodes[0], cfg, name);
}

/* Extra regions, then the embedded one: its number is the highest. */
static int build_map(const struct coordinator *c, struct derp_map *out)
{
	struct derp_region *regions;
	int err = derp_map_copy(out, &c->extra);

	if (err)
		return err;
	regions = realloc(out->regions, (out->n_regions + 1) * sizeof(*regions));
	if (!regions)
		return -ENOMEM;
	out->regions = regions;
	memset(&regions[out->n_regions], 0, sizeof(*regions));
	out->n_regions++;
	return fill_region(&regions[out->n_regions - 1], COORDINATOR_REGION, "mesh", "Coordinator", &c->cfg);
}

int coord_configure(struct coordinator *c, struct mono now)
{
	struct ctlserver_cfg cfg = { .url = c->url, .domain = c->domain, .pool4 = c->cfg.pool4,
				     .pool6 = c->cfg.pool6, .node_expiry_s = c->cfg.node_expiry_s };
	struct derp_map map = { 0 };
	uint8_t hash[32];
	int err = build_map(c, &map);

	if (err) {
		derp_map_wipe(&map);
		return err;
	}
	derp_map_wipe(&c->map);
	c->map = map;
	(void)crypto_hash_sha256(hash, c->noise_pub.b, KEY_SIZE);
	memcpy(cfg.fingerprint, hash, sizeof(cfg.fingerprint));
	cfg.derp = &c->map;
	return ctlserver_configure(c->ctl, now, &cfg);
}

/* ---- derp list, add, remove ---- */

static int save_extra(struct coordinator *c)
{
	struct json_w w = { 0 };
	size_t size;
	char *text;
	int err;

	ctl_derp_map_write(&w, NULL, &c->extra);
	text = json_w_take(&w, &size);
	if (!text)
		return -ENOMEM;
	err = registry_write(ctlserver_registry(c->ctl), REG_SETTINGS, REG_SET_DERP_EXTRA, text);
	free(text);
	return err;
}

static unsigned say(struct bytes *out, unsigned status, struct json_w *w, const char *error)
{
	size_t size;
	char *text;

	if (error) {
		json_w_wipe(w);
		json_w_obj(w, NULL);
		json_w_str(w, "Error", error);
		json_w_end(w);
	}
	text = json_w_take(w, &size);
	if (!text || bytes_append(out, text, size) != 0)
		status = 500;
	free(text);
	return status;
}

static bool good_host(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= '0' && s[i] <= '9') || ((s[i] | 32) >= 'a' && (s[i] | 32) <= 'z') || s[i] == '.' ||
		      s[i] == '-' || s[i] == ':'))
			return false;
	return n > 0 && n < 254;
}

static bool good_pin(const char *s)
{
	return !*s || (strncmp(s, "sha256-raw:", 11) == 0 && strlen(s) == 75 &&
		       strspn(s + 11, "0123456789abcdef") == 64);
}

static uint32_t free_region(const struct coordinator *c)
{
	uint32_t id = REGION_FIRST;

	while (derp_map_region(&c->extra, id))
		id++;
	return id;
}

/* Keeps 'extra' sorted by id. */
static int insert_region(struct coordinator *c, uint32_t id, const struct coordinator_cfg *cfg)
{
	struct derp_region r = { 0 }, *regions = realloc(c->extra.regions, (c->extra.n_regions + 1) * sizeof(*regions));
	char code[24];
	size_t at = 0;
	int err;

	if (!regions)
		return -ENOMEM;
	c->extra.regions = regions;
	(void)snprintf(code, sizeof(code), "derp-%u", id);
	err = fill_region(&r, id, code, cfg->derp_host, cfg);
	if (err) {
		derp_region_wipe(&r);
		return err;
	}
	while (at < c->extra.n_regions && regions[at].id < id)
		at++;
	memmove(&regions[at + 1], &regions[at], (c->extra.n_regions - at) * sizeof(*regions));
	regions[at] = r;
	c->extra.n_regions++;
	return 0;
}

static unsigned derp_add(struct coordinator *c, struct mono now, const cJSON *body, struct bytes *out)
{
	struct json_in in = { 0 };
	struct coordinator_cfg cfg = { .derp_host = json_str(&in, body, "Hostname"), .derp_pin = json_str(&in, body, "Pin") };
	int64_t id = json_i64(&in, body, "Region", 0, 65535), port = json_i64(&in, body, "Port", 0, 65535);
	int64_t stun = json_i64(&in, body, "STUNPort", -1, 65535);
	struct json_w w = { 0 };

	if (in.err || !good_host(cfg.derp_host))
		return say(out, 400, &w, "\"Hostname\" must be a host name or an address");
	if (!good_pin(cfg.derp_pin))
		return say(out, 400, &w, "the certificate pin must be sha256-raw: and 64 lower-case hex digits");
	if (id == COORDINATOR_REGION || (id && derp_map_region(&c->extra, (uint32_t)id)))
		return say(out, 409, &w, "that region number is taken");
	if (c->extra.n_regions >= EXTRA_MAX)
		return say(out, 409, &w, "there are 50 regions already");
	cfg.derp_port = port ? (uint16_t)port : 443;
	cfg.stun_port = (int32_t)stun;
	id = id ? id : free_region(c);
	if (insert_region(c, (uint32_t)id, &cfg) != 0 || save_extra(c) != 0 || coord_configure(c, now) != 0)
		return say(out, 500, &w, "out of memory");
	json_w_obj(&w, NULL);
	json_w_i64(&w, "Region", id);
	json_w_end(&w);
	return say(out, 200, &w, NULL);
}

static unsigned derp_remove(struct coordinator *c, struct mono now, const cJSON *body, struct bytes *out)
{
	struct json_in in = { 0 };
	int64_t id = json_i64(&in, body, "Region", 0, 65535);
	struct json_w w = { 0 };

	if (id == COORDINATOR_REGION)
		return say(out, 409, &w, "the coordinator's own region can not be removed");
	for (size_t i = 0; !in.err && i < c->extra.n_regions; i++) {
		if (c->extra.regions[i].id != (uint32_t)id)
			continue;
		derp_region_wipe(&c->extra.regions[i]);
		c->extra.n_regions--;
		memmove(&c->extra.regions[i], &c->extra.regions[i + 1],
			(c->extra.n_regions - i) * sizeof(*c->extra.regions));
		if (save_extra(c) != 0 || coord_configure(c, now) != 0)
			return say(out, 500, &w, "out of memory");
		json_w_obj(&w, NULL);
		json_w_end(&w);
		return say(out, 200, &w, NULL);
	}
	return say(out, 404, &w, "no such region; see `coordinator derp list`");
}

unsigned coord_derp_call(struct coordinator *c, struct mono now, const char *verb, const char *body, size_t size,
			 struct bytes *out)
{
	struct json_err why = { .reason = "" };
	struct json_w w = { 0 };
	unsigned status;
	cJSON *tree;

	if (strncmp(verb, "derp.", 5) != 0)
		return 0;
	if (strcmp(verb, "derp.list") == 0) {
		ctl_derp_map_write(&w, NULL, &c->map);
		return say(out, 200, &w, NULL);
	}
	tree = size ? json_parse(body, size, 0, &why) : NULL;
	if (!tree && json_err_code(&why) == -ENOMEM)
		status = say(out, 500, &w, "out of memory");
	else if (!cJSON_IsObject(tree))
		status = say(out, 400, &w, "the request is not a JSON object");
	else if (strcmp(verb, "derp.add") == 0)
		status = derp_add(c, now, tree, out);
	else if (strcmp(verb, "derp.remove") == 0)
		status = derp_remove(c, now, tree, out);
	else
		status = say(out, 404, &w, "no such command");
	cJSON_Delete(tree);
	return status;
}
