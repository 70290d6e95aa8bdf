/* SPDX-License-Identifier: MIT */
/* A backend of the local API without an engine, and a client on a socket pair: shared by the unit test and
 * the fuzz target. */
#ifndef TESTS_UNIT_APIFAKE_H
#define TESTS_UNIT_APIFAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/api.h"
#include "daemon/loop.h"

struct apifake {
	struct loop *loop;
	struct api *api;
	struct api_backend backend;
	struct prefs prefs;
	bool hold;                /* set_prefs and ping answer later: the token is kept */
	struct api_token held;
	const char *refuse;       /* set_prefs fails with this text */
	unsigned set_calls, start_calls, login_calls, logout_calls, shutdown_calls, writes;
	bool logout_local;        /* of the last logout */
	size_t n_peers;           /* in the status; 0 = 1 */
	int64_t gone_peer, broken_peer; /* 0 = none */
	size_t peers_told;        /* for a status so far */
	uint64_t bus_mask;        /* of all who subscribed */
	char auth_key[64];
	pid_t start_pid, login_pid; /* who called */
};

/* Never fails: aborts when the system refuses. */
void apifake_init(struct apifake *f);
void apifake_wipe(struct apifake *f);
/* A connected client with that uid; -1 when refused. */
int apifake_connect(struct apifake *f, uid_t uid);
/* Runs the loop until nothing more is ready. */
void apifake_run(struct apifake *f);

#endif
