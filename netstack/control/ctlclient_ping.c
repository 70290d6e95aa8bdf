/* SPDX-License-Identifier: MIT */
/* The server's pings: HEAD, c2n requests, and kinds that we answer with a refusal (control-messages 12). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hkdf.h"
#include "base/log.h"
#include "base/env.h"
#include "control/ctlclient_int.h"

/* Outside of Noise only the server itself is asked, or it could point us at any host. */
static void head_outside(struct ctlclient *c, struct mono now, const char *url, const char *path)
{
	struct ctl_stream *s;

	if (!ctlclient_url_same_host(&c->url, url)) {
		log_debug(c->env->log, "control: %s: ping to another host was ignored", c->url.host);
		return;
	}
	s = ctlclient_open(c, now, CTL_STREAM_PING, c->url.port,
			   c->url.is_https ? CTLCLIENT_TLS_NO_VERIFY : CTLCLIENT_PLAIN, CTL_PING_MS);
	if (s)
		(void)snprintf(s->path, sizeof(s->path), "%s", path);
}

/* Runs the request that is in the payload against our own handlers: the answer as HTTP/1 text. */
static void c2n(struct ctlclient *c, const struct ctl_ping_request *p, const char *path)
{
	struct http1 *h = malloc(sizeof(*h));
	const uint8_t *in = (const uint8_t *)p->payload;
	const size_t cap = p->payload_size + 512;
	uint8_t *out = malloc(cap);
	struct wr w = WR(out, cap);
	struct bytes body = { .max = CTL_KEY_BODY_MAX };
	char target[64] = "";
	size_t left = p->payload_size;
	bool done = false;

	if (!h || !out)
		goto out;
	http1_init(h, HTTP1_REQUESTS, CTL_KEY_BODY_MAX);
	while (left > 0 && !done) {
		enum http1_event ev;
		size_t used;

		if (http1_input(h, in, left, &used, &ev) != 0)
			goto out;
		in += used;
		left -= used;
		if (ev == HTTP1_HEAD && !http1_path(h, target, sizeof(target)))
			target[0] = 0;
		if (ev == HTTP1_BODY && bytes_append(&body, h->body, h->body_size) != 0)
			goto out;
		done = ev == HTTP1_END;
	}
	if (!done)
		goto out;
	if (strcmp(target, "/echo") == 0)
		http1_write_answer(&w, 200, NULL, bytes_data(&body), bytes_size(&body), false);
	else
		http1_write_answer(&w, 404, "text/plain", "unknown request\n", 16, false);
	if (!w.bad)
		(void)ctlclient_ask(c, "POST", path, (const char *)out, wr_used(&w, cap));
out:
	bytes_wipe(&body);
	free(out);
	free(h);
}

/* A comma list of ping kinds: we have no way to carry them out from here, and say so. */
static void refuse_kinds(struct ctlclient *c, const struct ctl_ping_request *p, const char *path)
{
	const char *at = p->types;
	char ip[IP_TEXT_MAX];

	for (unsigned n = 0; *at && n < 8; n++) {
		const size_t len = strcspn(at, ",");
		struct json_w w = { 0 };
		size_t size = 0;
		char *body;

		json_w_obj(&w, NULL);
		json_w_strn(&w, "Type", at, len);
		if (ip_is_set(&p->ip))
			json_w_str(&w, "IP", ip_write(ip, &p->ip));
		json_w_str(&w, "Err", "not supported by this node");
		json_w_end(&w);
		body = json_w_take(&w, &size);
		if (body)
			(void)ctlclient_ask(c, "POST", path, body, size);
		free(body);
		at += len + (at[len] == ',');
	}
}

void ctlclient_ping(struct ctlclient *c, struct mono now, const struct ctl_ping_request *p)
{
	const char *path = ctlclient_url_path(p->url);
	uint8_t hash[32];

	hash2(hash, p->url, strlen(p->url), NULL, 0);
	if (!*p->url || !path || memcmp(hash, c->last_ping, sizeof(hash)) == 0)
		return;
	memcpy(c->last_ping, hash, sizeof(hash));
	if (strcmp(p->types, "c2n") == 0)
		c2n(c, p, path);
	else if (*p->types)
		refuse_kinds(c, p, path);
	else if (p->url_is_noise)
		(void)ctlclient_ask(c, "HEAD", path, NULL, 0);
	else
		head_outside(c, now, p->url, path);
}
