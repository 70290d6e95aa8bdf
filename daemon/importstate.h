/* SPDX-License-Identifier: MIT */
/* meshd --import-state: the node of a tailscaled state file becomes this host's node, with its keys, its
 * preferences and so its address and name. Runs instead of the daemon, then the process ends.
 * Spec: cli 9, "Moving over". */
#ifndef DAEMON_IMPORTSTATE_H
#define DAEMON_IMPORTSTATE_H

#include "base/compiler.h"

struct conf;

/* Takes 'conf->import_state' over into 'conf->state'. Says on stdout what was taken and what stays behind, or
 * on stderr why nothing was; then the database holds what it held before.
 *
 * Returns the exit code: 0; 1 refused (no such file, not readable as a state, this host has a login already,
 * the database cannot be written); 2 a state that keeps nothing was named; 77 the preferences ask for features
 * that this build lacks and 'conf->import_partial' is off. */
MESH_MUST_USE int importstate_run(const struct conf *conf);

#endif
