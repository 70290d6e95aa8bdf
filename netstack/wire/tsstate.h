/* SPDX-License-Identifier: MIT */
/* The state file of tailscaled, read once when a node moves over (meshd --import-state).
 *
 * A JSON object of base64 values: the machine key, the profiles, and per profile its preferences with the
 * node key. Only the current profile is read. The text is as hostile as a packet: it is checked here and
 * nothing of it is trusted behind. Any thread. Page: netstack/wire/tsstate.md. */
#ifndef NETSTACK_WIRE_TSSTATE_H
#define NETSTACK_WIRE_TSSTATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/key.h"
#include "wire/prefs.h"

enum {
	TSSTATE_SIZE_MAX = 4 << 20, /* of the file; real ones have a few KiB */
	TSSTATE_ERR_MAX = 640,      /* a sentence with a quoted name and one of prefs_parse() */
};

struct tsstate {
	struct machine_priv machine;
	struct node_priv node;
	struct prefs prefs;   /* as stored: an empty 'control_url' is the hosted service */
	char *profile;        /* name of the profile; never null, "" when it has none */
	size_t n_others;      /* profiles that are not read */
	bool has_serve;       /* the profile has settings of `tailscale serve` */
	bool has_attestation; /* the node key is bound to a hardware key, which stays behind */
};

/* Reads 'size' bytes into '*t'; wipe it with tsstate_wipe(). Returns 0; -ENOMEM; -EBADMSG when it is no such
 * file, sealed, malformed, or without a login to take over. Then '*t' is empty and 'err' has a sentence that
 * shows no secret. */
MESH_MUST_USE int tsstate_parse(struct tsstate *t, const char *text, size_t size,
				char err[static TSSTATE_ERR_MAX]);
void tsstate_wipe(struct tsstate *t);

#endif
