/* SPDX-License-Identifier: MIT */
/* The coordinator's URL. */
#include "daemon/coordurl.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int refuse(char *why, size_t size, const char *text, const char *reason)
{
	(void)snprintf(why, size, "\"%.80s\" is not a usable URL: %s (want http(s)://HOST[:PORT])", text, reason);
	return -EINVAL;
}

static char *part(CURLU *u, CURLUPart what)
{
	char *s = NULL;

	return curl_url_get(u, what, &s, 0) == CURLUE_OK ? s : NULL;
}

static bool has_more(CURLU *u)
{
	static const CURLUPart parts[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY,
					   CURLUPART_FRAGMENT };
	char *path = part(u, CURLUPART_PATH);
	bool more = path && strcmp(path, "/") != 0;

	curl_free(path);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		char *s = part(u, parts[i]);

		more |= s != NULL;
		curl_free(s);
	}
	return more;
}

static int take(struct coordurl *out, CURLU *u, const char *text, char *why, size_t size)
{
	char *scheme = part(u, CURLUPART_SCHEME), *host = part(u, CURLUPART_HOST);
	char *port = part(u, CURLUPART_PORT);
	size_t n = host ? strlen(host) : 0;
	int rc = 0;

	*out = (struct coordurl){ .is_https = scheme && strcmp(scheme, "https") == 0, .port = 443 };
	if (!scheme || (!out->is_https && strcmp(scheme, "http") != 0))
		rc = refuse(why, size, text, "the scheme is neither http nor https");
	else if (n == 0 || n >= sizeof(out->host))
		rc = refuse(why, size, text, "it names no host");
	else if (has_more(u))
		rc = refuse(why, size, text, "it has more than a host and a port");
	else if (port && strcmp(port, "0") == 0)
		rc = refuse(why, size, text, "port 0");
	if (rc == 0) {
		bool bracket = host[0] == '[';

		memcpy(out->host, host + bracket, n - 2 * (size_t)bracket);
		if (ip_parse(&out->ip, out->host, strlen(out->host)) < 0)
			out->ip = (struct ip){ 0 };
		if (port)
			out->port = (uint16_t)strtoul(port, NULL, 10); /* curl checked it */
		if (out->is_https && !port)
			(void)snprintf(out->text, sizeof(out->text), "https://%s", host);
		else
			(void)snprintf(out->text, sizeof(out->text), "%s://%s:%u", scheme, host, out->port);
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	return rc;
}

int coordurl_parse(struct coordurl *out, const char *text, char *why, size_t why_size)
{
	CURLU *u = curl_url();
	int rc;

	if (!u)
		return -ENOMEM;
	if (!text || !*text)
		rc = refuse(why, why_size, text ? text : "", "it is empty");
	else if (curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK)
		rc = refuse(why, why_size, text, "it does not parse");
	else
		rc = take(out, u, text, why, why_size);
	curl_url_cleanup(u);
	return rc;
}

int coordurl_listen(struct ep *out, const char *text, uint16_t port, char *why, size_t why_size)
{
	static const uint8_t any[16];
	char all[64];

	*out = (struct ep){ .ip = { .family = IP_V6 }, .port = port };
	memcpy(out->ip.b, any, sizeof(any));
	if (!text || !*text)
		return 0;
	if (text[0] == ':' && strlen(text) < 8) {
		(void)snprintf(all, sizeof(all), "0.0.0.0%s", text);
		if (ep_parse(out, all, strlen(all)) == 0) {
			out->ip = (struct ip){ .family = IP_V6 };
			return 0;
		}
	} else if (ep_parse(out, text, strlen(text)) == 0 && out->port != 0) {
		return 0;
	}
	(void)snprintf(why, why_size, "invalid value \"%.80s\" for --listen: want ADDRESS:PORT", text);
	return -EINVAL;
}

bool coordurl_is_public(const struct coordurl *u)
{
	/* A name counts as public: its clients follow the rules of public names. */
	return !ip_is_set(&u->ip) || (!ip_is_private(&u->ip) && !ip_is_loopback(&u->ip) &&
				      !ip_is_link_local(&u->ip) && !ip_is_cgnat(&u->ip));
}
