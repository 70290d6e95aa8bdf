/* SPDX-License-Identifier: MIT */
/* Status as commands need it: fetching it, finding a peer by name or address, names as they are shown. */
#ifndef CLI_PEERS_H
#define CLI_PEERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "cli/cmd.h"
#include "wire/apijson.h"

/* Fetches and parses the status into an empty '*s'. Prints on failure. */
MESH_MUST_USE int peers_fetch(struct cli *c, bool with_peers, struct status *s);
/* EXIT_OK if Running (or Starting with addresses); else prints the state as `status` does and returns
 * EXIT_FAILED (cli 3.1). */
MESH_MUST_USE int peers_require_running(struct cli *c, const struct status *s);

/* The closest name to one that was not found, or null. */
const char *peers_suggest(const struct status *s, const char *text);

/* The DNS name without the MagicDNS suffix, or ("hostname"); made safe for a terminal. */
enum { PEERS_NAME_MAX = 300 };
char *peers_name(char text[static PEERS_NAME_MAX], const struct status *s, const struct status_peer *p);
/* The first label of the DNS name, or the host name. */
char *peers_base_name(char text[static PEERS_NAME_MAX], const struct status_peer *p);
/* Login name up to and including '@', "-" or a number. */
char *peers_owner(char text[static PEERS_NAME_MAX], const struct status *s, const struct status_peer *p);
/* Peers sorted as `status` shows them: DNS name, host name, address, key. Free the array. */
const struct status_peer **peers_sorted(const struct status *s);

#endif
