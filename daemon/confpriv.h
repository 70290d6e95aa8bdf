/* SPDX-License-Identifier: MIT */
/* Shared by conf.c and conf_file.c only. */
#ifndef DAEMON_CONFPRIV_H
#define DAEMON_CONFPRIV_H

#include "daemon/conf.h"
#include "wire/apijson.h"

/* Fills '*err' and returns -EINVAL. Secrets are masked. */
MESH_PRINTF(3, 4) int conf_fail(struct conf_error *err, int exit_code, const char *fmt, ...);
/* Replaces a string. Returns 0 or -ENOMEM. */
MESH_MUST_USE int conf_set_str(char **to, const char *value);

#endif
