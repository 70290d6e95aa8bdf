/* SPDX-License-Identifier: MIT */
/* Settings of the coordinator role. */
#include "daemon/coordconf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "coordinator.h"
#include "daemon/cert.h"
#include "daemon/coordrole.h"
#include "daemon/coordurl.h"
#include "wire/json.h"

#define DOMAIN_DEFAULT "mesh.internal"
#define POOL4_DEFAULT  "100.64.0.0/10"

enum { STUN_PORT_DEFAULT = 3478 };

int coordconf_defaults(struct coordconf *c)
{
	*c = (struct coordconf){ .url = strdup(""),
				 .listen = strdup(""),
				 .domain = strdup(DOMAIN_DEFAULT),
				 .cert = strdup(""),
				 .key = strdup(""),
				 .stun_port = STUN_PORT_DEFAULT };
	if (prefix_parse(&c->pool4, POOL4_DEFAULT, strlen(POOL4_DEFAULT), false) < 0)
		return -EINVAL;
	return c->url && c->listen && c->domain && c->cert && c->key ? 0 : -ENOMEM;
}

void coordconf_wipe(struct coordconf *c)
{
	free(c->url);
	free(c->listen);
	free(c->domain);
	free(c->cert);
	free(c->key);
	free(c->cert_pem);
	cert_key_free(c->key_pem);
	*c = (struct coordconf){ 0 };
}

static int set(char **field, const char *value)
{
	char *copy;

	if (!value || !*value)
		return 0;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int refuse(char *why, const char *text)
{
	(void)snprintf(why, COORDROLE_ERR_MAX, "%s", text);
	return -EINVAL;
}

static int take_pool(struct coordconf *c, const char *text, char *why)
{
	if (!text || !*text)
		return 0;
	if (prefix_parse(&c->pool4, text, strlen(text), false) < 0 || c->pool4.ip.family != IP_V4 ||
	    !prefix_is_masked(&c->pool4))
		return refuse(why, "--pool4 is not an IPv4 prefix without host bits, such as 100.64.0.0/10");
	if (!ip_is_cgnat(&c->pool4.ip) || c->pool4.bits < 10 || c->pool4.bits > 30)
		return refuse(why, "--pool4 must lie inside 100.64.0.0/10 and hold at least two addresses: "
				   "clients take no other addresses");
	return 0;
}

/* Labels of lower-case letters, digits and '-', with room for a node's label before them (RFC 1035 2.3.4). */
static bool is_domain(const char *text)
{
	enum { LABEL_MAX = 63, NAME_MAX_LEN = 253 };
	const size_t len = strlen(text);
	size_t label = 0;

	for (size_t i = 0; i < len; i++) {
		const char c = text[i];
		const bool edge = label == 0 || text[i + 1] == '.' || text[i + 1] == '\0';

		if (c == '.' && label > 0) {
			label = 0;
			continue;
		}
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && !edge)) || ++label > LABEL_MAX)
			return false;
	}
	return label > 0 && len + LABEL_MAX + 1 <= NAME_MAX_LEN;
}

static int check(const struct coordconf *c, const struct coordurl *u, const struct coordrole_settings *s,
		 char *why)
{
	struct ep ep;

	if (!is_domain(c->domain))
		return refuse(why, "--domain is not a DNS name such as mesh.internal");
	if (ip_is_unspecified(&u->ip) || ip_is_multicast(&u->ip))
		return refuse(why, "--url names no host: nodes cannot connect to this address");
	if (!*c->cert != !*c->key)
		return refuse(why, "--cert and --key belong together");
	if (u->is_https && !*c->cert && !c->behind_proxy)
		return refuse(why, "an https URL needs --cert FILE --key FILE, or --behind-proxy when a proxy "
				   "in front of this host does TLS");
	if (c->behind_proxy && *c->cert)
		return refuse(why, "--behind-proxy contradicts --cert: the proxy does TLS");
	if (s->stun_port < -1 || s->stun_port > 65535)
		return refuse(why, "--stun-port is out of range (want 0-65535, or -1 for none)");
	if (c->node_expiry_s < 0)
		return refuse(why, "--node-expiry is negative");
	return coordurl_listen(&ep, c->listen, u->port, why, COORDROLE_ERR_MAX);
}

int coordconf_from(struct coordconf *next, const struct coordconf *old, const struct coordrole_settings *s,
		   struct coordurl *url, char *why)
{
	int err = coordurl_parse(url, s->url, why, COORDROLE_ERR_MAX);

	if (err)
		return err;
	(void)snprintf(why, COORDROLE_ERR_MAX, "out of memory");
	err = coordconf_defaults(next);
	if (!err)
		err = set(&next->url, url->text);
	if (!err)
		err = set(&next->listen, s->listen);
	if (!err)
		err = set(&next->domain, s->domain);
	if (!err)
		err = set(&next->cert, s->cert);
	if (!err)
		err = set(&next->key, s->key);
	if (!err && old->cert_pem)
		err = set(&next->cert_pem, old->cert_pem);
	if (!err && old->key_pem)
		err = set(&next->key_pem, old->key_pem);
	next->is_on = true;
	next->stun_port = s->stun_port ? s->stun_port : STUN_PORT_DEFAULT;
	next->behind_proxy = s->behind_proxy;
	next->node_expiry_s = s->node_expiry_s;
	if (!err)
		err = take_pool(next, s->pool4, why);
	if (!err)
		err = check(next, url, s, why);
	if (err)
		coordconf_wipe(next);
	return err;
}

bool coordconf_eq(const struct coordconf *a, const struct coordconf *b)
{
	return a->is_on == b->is_on && strcmp(a->url, b->url) == 0 && strcmp(a->listen, b->listen) == 0 &&
	       strcmp(a->domain, b->domain) == 0 && strcmp(a->cert, b->cert) == 0 &&
	       strcmp(a->key, b->key) == 0 && a->stun_port == b->stun_port &&
	       a->behind_proxy == b->behind_proxy && prefix_eq(&a->pool4, &b->pool4) &&
	       a->node_expiry_s == b->node_expiry_s;
}

int coordconf_own_cert(struct coordconf *c, const char *host, int64_t wall_s)
{
	const int64_t year_s = INT64_C(365) * 24 * 3600;
	char *cert, *key;
	int err;

	if (c->cert_pem && c->key_pem) {
		struct cert_tls *t = cert_tls_new(c->cert_pem, c->key_pem, NULL, wall_s, NULL);
		bool good = t && cert_tls_not_after(t) - wall_s > year_s && cert_tls_is_for(t, host);

		cert_tls_free(t);
		if (good)
			return 0;
	}
	err = cert_self_signed(host, wall_s, &cert, &key);
	if (err)
		return err;
	free(c->cert_pem);
	cert_key_free(c->key_pem);
	c->cert_pem = cert;
	c->key_pem = key;
	return 0;
}

char *coordconf_write(const struct coordconf *c)
{
	char pool[PREFIX_TEXT_MAX];
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	json_w_bool(&w, "On", c->is_on);
	json_w_str(&w, "URL", c->url);
	json_w_str(&w, "Listen", c->listen);
	json_w_str(&w, "Domain", c->domain);
	json_w_str(&w, "Cert", c->cert);
	json_w_str(&w, "Key", c->key);
	json_w_str(&w, "CertPEM", c->cert_pem);
	json_w_str(&w, "KeyPEM", c->key_pem);
	json_w_i64(&w, "STUNPort", c->stun_port);
	json_w_bool(&w, "BehindProxy", c->behind_proxy);
	json_w_str(&w, "Pool4", prefix_write(pool, &c->pool4));
	json_w_i64(&w, "NodeExpiryS", c->node_expiry_s);
	json_w_end(&w);
	return json_w_take(&w, NULL);
}

static int take_text(struct json_in *in, const cJSON *o, const char *key, char **field)
{
	const char *text = json_str(in, o, key);

	return set(field, text);
}

int coordconf_parse(struct coordconf *c, const char *row)
{
	struct json_err wrong;
	cJSON *o = json_parse(row, strlen(row), 0, &wrong);
	struct json_in in = { 0 };
	const char *pool;
	int err = o ? 0 : json_err_code(&wrong);

	if (err)
		return err;
	c->is_on = json_bool(&in, o, "On");
	err |= take_text(&in, o, "URL", &c->url);
	err |= take_text(&in, o, "Listen", &c->listen);
	err |= take_text(&in, o, "Domain", &c->domain);
	err |= take_text(&in, o, "Cert", &c->cert);
	err |= take_text(&in, o, "Key", &c->key);
	err |= take_text(&in, o, "CertPEM", &c->cert_pem);
	err |= take_text(&in, o, "KeyPEM", &c->key_pem);
	c->stun_port = (int32_t)json_i64(&in, o, "STUNPort", -1, 65535);
	c->behind_proxy = json_bool(&in, o, "BehindProxy");
	c->node_expiry_s = json_i64(&in, o, "NodeExpiryS", 0, INT64_MAX);
	pool = json_str(&in, o, "Pool4");
	if (*pool && prefix_parse(&c->pool4, pool, strlen(pool), false) < 0)
		err = -EBADMSG;
	if (cJSON_IsString(json_get(o, "KeyPEM"))) {
		char *secret = json_get(o, "KeyPEM")->valuestring;

		sodium_memzero(secret, strlen(secret));
	}
	cJSON_Delete(o);
	return in.err ? in.err : err;
}

char *coordconf_status(const struct coordconf *c, bool is_serving, const char *error,
		       const struct coordinator_stats *st, int64_t db_bytes, uint32_t region)
{
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	json_w_bool(&w, "On", c->is_on);
	json_w_bool(&w, "Serving", is_serving);
	json_w_str(&w, "URL", c->url);
	json_w_str(&w, "Listen", c->listen);
	json_w_str(&w, "Domain", c->domain);
	json_w_i64(&w, "STUNPort", c->stun_port);
	json_w_i64(&w, "DERPRegion", region);
	json_w_i64(&w, "Nodes", (int64_t)st->n_nodes);
	json_w_i64(&w, "Online", (int64_t)st->n_online);
	json_w_i64(&w, "Connections", (int64_t)st->n_conns);
	json_w_i64(&w, "DERPClients", (int64_t)st->n_derp);
	json_w_i64(&w, "PolicyRevision", st->policy_revision);
	json_w_i64(&w, "DatabaseBytes", db_bytes);
	json_w_str(&w, "Error", error);
	json_w_end(&w);
	return json_w_take(&w, NULL);
}
