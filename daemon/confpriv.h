/* SPDX-License-Identifier: MIT */
/* Shared by conf.c and conf_file.c only. */
#ifndef DAEMON_CONFPRIV_H
#define DAEMON_CONFPRIV_H

#include "daemon/conf.h"
#include "wire/apijson.h"

/* Fills '*err' and returns -EINVAL. Secrets are masked. */
MESH_PRINTF(3, 4) int conf_fail(struct conf_error *err, int exit_code, const char *fmt, ...);
#define CONF_PORTMAP_WORDS "auto, off, upnp, pmp or pcp"

/* "auto", "off", "upnp", "pmp", "pcp" as a set of methods. Returns 0 or -EINVAL. */
MESH_MUST_USE int conf_portmap(unsigned *methods, const char *text);
/* Replaces a string. Returns 0 or -ENOMEM. */
MESH_MUST_USE int conf_set_str(char **to, const char *value);

#endif
