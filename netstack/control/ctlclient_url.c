/* SPDX-License-Identifier: MIT */
/* Control URLs and the fingerprint in auth keys. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "control/ctlclient_int.h"

static int refuse(char *why, const char *reason, const char *text)
{
	if (why)
		(void)snprintf(why, CTLCLIENT_TEXT_MAX, "%s: \"%.200s\"", reason, text);
	return -EBADMSG;
}

static bool host_is_valid(const char *host, bool bracketed)
{
	struct ip ip;

	if (bracketed)
		return ip_parse(&ip, host, strlen(host)) == 0 && ip.family == IP_V6;
	if (!*host || *host == '.' || *host == '-')
		return false;
	for (const char *p = host; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '.' ||
		      *p == '-' || *p == '_'))
			return false;
	return true;
}

/* "host", "host:port", "[v6]" or "[v6]:port" of 'len' characters. */
static bool authority_parse(struct ctl_url *u, const char *p, size_t len)
{
	const bool bracketed = len > 0 && *p == '[';
	const char *end = p + len, *host = p + bracketed;
	const char *host_end = memchr(host, bracketed ? ']' : ':', (size_t)(end - host)), *digits;
	uint32_t port = 0;

	if (bracketed && !host_end)
		return false;
	host_end = host_end ? host_end : end;
	if ((size_t)(host_end - host) >= sizeof(u->host) || len >= sizeof(u->authority))
		return false;
	memcpy(u->host, host, (size_t)(host_end - host));
	u->host[host_end - host] = 0;
	memcpy(u->authority, p, len);
	u->authority[len] = 0;
	digits = host_end + bracketed;
	u->port = u->is_https ? 443 : 80;
	if (digits < end) {
		if (*digits++ != ':' || digits == end)
			return false;
		for (; digits < end; digits++) {
			if (*digits < '0' || *digits > '9' || port > UINT16_MAX)
				return false;
			port = 10 * port + (uint32_t)(*digits - '0');
		}
		if (port == 0 || port > UINT16_MAX)
			return false;
		u->has_port = true;
		u->port = (uint16_t)port;
	}
	return host_is_valid(u->host, bracketed);
}

int ctlclient_url_parse(struct ctl_url *u, const char *text, char *why)
{
	struct ctl_url t = { 0 };
	size_t len;

	if (!text || !*text)
		return refuse(why, "no control server was named", "");
	if (strlen(text) >= CTLCLIENT_URL_MAX)
		return refuse(why, "the control server's URL is too long", text);
	if (strncasecmp(text, "https://", 8) == 0)
		t.is_https = true;
	else if (strncasecmp(text, "http://", 7) != 0)
		return refuse(why, "a control server's URL begins with https:// or http://", text);
	text += t.is_https ? 8 : 7;
	len = strcspn(text, "/?#");
	if (text[len] != 0 && strcmp(text + len, "/") != 0)
		return refuse(why, "a control server's URL has no path", text);
	if (!authority_parse(&t, text, len))
		return refuse(why, "not a host, or not a port between 1 and 65535", text);
	*u = t;
	return 0;
}

bool ctlclient_url_is_private(const struct ctl_url *u)
{
	struct ip ip;

	if (ip_parse(&ip, u->host, strlen(u->host)) != 0)
		return strcasecmp(u->host, "localhost") == 0;
	return ip_is_private(&ip) || ip_is_loopback(&ip);
}

static const char *after_scheme(const char *url)
{
	if (strncasecmp(url, "https://", 8) == 0)
		return url + 8;
	return strncasecmp(url, "http://", 7) == 0 ? url + 7 : NULL;
}

const char *ctlclient_url_path(const char *url)
{
	const char *p = after_scheme(url);

	p = p ? p + strcspn(p, "/") : NULL;
	if (!p || *p != '/' || strlen(p) >= CTL_PATH_MAX)
		return NULL;
	for (const char *q = p; *q; q++)
		if (*q <= ' ' || *q >= 0x7f)
			return NULL;
	return p;
}

bool ctlclient_url_same_host(const struct ctl_url *u, const char *url)
{
	const char *p = after_scheme(url);
	struct ctl_url other = { .is_https = u->is_https };

	return p && authority_parse(&other, p, strcspn(p, "/?#")) && strcasecmp(other.host, u->host) == 0;
}

bool ctlclient_key_fingerprint(const char *auth_key, uint8_t fp[static 16])
{
	const char *dash = auth_key ? strrchr(auth_key, '-') : NULL;
	size_t size;

	return dash && strlen(dash + 1) == 32 &&
	       sodium_hex2bin(fp, 16, dash + 1, 32, NULL, &size, NULL) == 0 && size == 16;
}
