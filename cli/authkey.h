/* SPDX-License-Identifier: MIT */
/* Where the auth key of `up` comes from: the flag itself, file:PATH, env:NAME, fd:N or - (stdin), so that it
 * need not show in the process list. */
#ifndef CLI_AUTHKEY_H
#define CLI_AUTHKEY_H

#include "base/compiler.h"
#include "cli/cmd.h"

enum { AUTHKEY_MAX = 1024 };

/* Puts the key into 'key' without blanks around it. Prints on failure and returns an exit code. The caller
 * wipes 'key'. */
MESH_MUST_USE int authkey_read(struct cli *c, const char *source, char key[static AUTHKEY_MAX]);

#endif
