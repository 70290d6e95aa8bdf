/* SPDX-License-Identifier: MIT */
/* What a coordinator's URL and listen address say. Over libcurl's URL parser. */
#ifndef DAEMON_COORDURL_H
#define DAEMON_COORDURL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"

enum { COORDURL_MAX = 320, COORDURL_HOST_MAX = 256 };

struct coordurl {
	bool is_https;
	char host[COORDURL_HOST_MAX]; /* without brackets */
	struct ip ip;                 /* set if the host is a literal */
	uint16_t port;                /* 443 when the URL names none, for http too */
	char text[COORDURL_MAX];      /* as stored and printed: http always with its port */
};

/* http(s)://HOST[:PORT], nothing else. Returns 0, or -EINVAL with a sentence in 'why'. */
MESH_MUST_USE int coordurl_parse(struct coordurl *out, const char *text, char *why, size_t why_size);

/* ADDR:PORT, [ADDR]:PORT or :PORT; "" or null: all addresses and 'port'. */
MESH_MUST_USE int coordurl_listen(struct ep *out, const char *text, uint16_t port, char *why, size_t why_size);

/* Is the address one that strangers can reach (not private, loopback, link-local or overlay)? */
bool coordurl_is_public(const struct coordurl *u);

#endif
