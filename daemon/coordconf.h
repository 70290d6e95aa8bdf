/* SPDX-License-Identifier: MIT */
/* The coordinator role's settings: defaults, checks, and their row in coord.db. */
#ifndef DAEMON_COORDCONF_H
#define DAEMON_COORDCONF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"

struct coordinator_stats;
struct coordrole_settings;
struct coordurl;

struct coordconf {
	bool is_on;
	char *url, *listen, *domain; /* never null */
	char *cert, *key;            /* files; "" = a certificate of our own */
	char *cert_pem, *key_pem;    /* the own one; null = not made yet; the key is secret */
	int32_t stun_port;           /* -1 = none */
	bool behind_proxy;
	struct prefix pool4;
	int64_t node_expiry_s;
};

/* Fills an empty struct. -ENOMEM. */
MESH_MUST_USE int coordconf_defaults(struct coordconf *c);
void coordconf_wipe(struct coordconf *c);
/* '*next' (empty) from what `enable` said; the own certificate of 'old' is kept. Returns 0, or -EINVAL, -ENOMEM
 * with a sentence in 'why' (COORDROLE_ERR_MAX); '*next' is then empty. '*url' is the parsed URL. */
MESH_MUST_USE int coordconf_from(struct coordconf *next, const struct coordconf *old,
				 const struct coordrole_settings *s, struct coordurl *url, char *why);
bool coordconf_eq(const struct coordconf *a, const struct coordconf *b);
/* Makes the own certificate for 'host' unless there is one for it with more than a year to go. */
MESH_MUST_USE int coordconf_own_cert(struct coordconf *c, const char *host, int64_t wall_s);
/* The row; malloc'ed, null when out of memory. */
char *coordconf_write(const struct coordconf *c);
/* Reads the row over what 'c' holds. -EBADMSG, -ENOMEM. */
MESH_MUST_USE int coordconf_parse(struct coordconf *c, const char *row);
/* JSON for `coordinator status`; malloc'ed. */
char *coordconf_status(const struct coordconf *c, bool is_serving, const char *error,
		       const struct coordinator_stats *st, int64_t db_bytes, uint32_t region);

#endif
