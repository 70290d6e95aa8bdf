/* SPDX-License-Identifier: MIT */
/* Asking before a command cuts the session it is run from. Spec: cli 2.1. */
#ifndef CLI_RISK_H
#define CLI_RISK_H

#include "base/compiler.h"
#include "cli/cmd.h"

/* When this session comes in over the tailnet by SSH and 'accepted' does not name the risk lose-ssh (or all):
 * prints 'reason', and asks on a terminal. EXIT_OK to go on; EXIT_FAILED after "aborted, no changes made". */
MESH_MUST_USE int risk_confirm(struct cli *c, const char *accepted, const char *reason);

#endif
