/* SPDX-License-Identifier: MIT */
/* Settings of the daemon from its command line, environment and configuration file, in this order of
 * weight. Preferences that the file sets are locked for `set`. Spec: cli 9. */
#ifndef DAEMON_CONF_H
#define DAEMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "wire/prefs.h"

enum { CONF_SOCKETS_MAX = 4, CONF_TUNS_MAX = 8, CONF_ERR_MAX = 512 };

/* Exit codes of meshd (meshd(8)). */
enum { CONF_REFUSED = 1, CONF_BAD_USAGE = 2, CONF_NOT_BUILT = 77 };

struct conf {
	char *tun[CONF_TUNS_MAX];   /* names to try in order; default "tailscale0" */
	size_t n_tun;
	struct ip bind;             /* local address of the UDP sockets; unset = all */
	uint16_t port;              /* WireGuard and discovery; 0 = any, remembered */
	char *state;                /* database path or "mem:" */
	char *statedir;
	char *sockets[CONF_SOCKETS_MAX];
	size_t n_sockets;
	char *config_path;          /* the file that was read; null = none */
	char *metrics_listen;       /* "IP:port" or a Unix path; null = off */
	char *import_state;         /* tailscaled's state file to take over; null = none */
	bool import_partial;        /* without settings that this build lacks */
	int verbose;
	bool cleanup, version, help;

	/* From environment and file. */
	struct prefs_edit edit;     /* applied at every start */
	uint64_t locked;            /* PREF_BITs that the file holds */
	bool locked_all;            /* "locked": true */
	unsigned portmap;           /* methods of path/portmapper that may be used; 0 = none */
	bool is_portmap_named;      /* by the command line */
	uint32_t relay_mbps, relay_session_mbps; /* Mbit/s of the peer relay; 0 = unlimited */
	uint32_t relay_sessions;    /* most at a time; 0 = default */
	char *auth_key;             /* null = none; used when the node is not registered */
	char *warnings;             /* lines to log, '\n' separated; null */
};

/* Exit code beside the sentence. */
struct conf_error {
	int exit_code; /* CONF_REFUSED, ... */
	char text[CONF_ERR_MAX];
};

/* Reads 'argv' (argv[0] is the program) and 'env' ("NAME=value", null-terminated), then the file.
 * Returns 0, or -EINVAL / -ENOMEM / the errno of the file, with '*err' filled; '*c' is then empty. */
MESH_MUST_USE int conf_load(struct conf *c, int argc, char *const argv[], char *const env[],
			    struct conf_error *err);
/* Reads the file's text alone (also for reloads and fuzzing): sets edit, locked, auth_key. */
MESH_MUST_USE int conf_parse_file(struct conf *c, const char *name, const char *text, size_t len,
				  struct conf_error *err);
void conf_wipe(struct conf *c);
/* The usage text of meshd(8). */
const char *conf_usage(void);
/* The sentence for an edit of locked fields. */
void conf_locked_text(const struct conf *c, uint64_t fields, char text[static PREFS_ERR_MAX]);

#endif
