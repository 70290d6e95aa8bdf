/* SPDX-License-Identifier: MIT */
/* What debug needs of cmd_relay.c. */
#ifndef CLI_RELAY_H
#define CLI_RELAY_H

#include "base/compiler.h"
#include "cli/cmd.h"

/* debug peer-relay-sessions. Returns an exit code. */
MESH_MUST_USE int relay_debug_sessions(struct cli *c);

#endif
