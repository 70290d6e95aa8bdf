/* SPDX-License-Identifier: MIT */
/* A listening Unix socket that everybody may connect to, telling who did. Control thread only. */
#ifndef DAEMON_UNIXLISTEN_H
#define DAEMON_UNIXLISTEN_H

#include <sys/types.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "daemon/loop.h"

/* A new connection (non-blocking, close-on-exec), owned by the callee. 'uid' is -1 when the kernel did not
 * say whose it is. */
typedef void (*unixlisten_fn)(void *ctx, int fd, uid_t uid, pid_t pid);

/* A member of its owner's struct, which stays where it is. Zero it before the first use. */
struct unixlisten {
	struct loop *loop;       /* borrowed */
	struct loop_fd watch;
	struct loop_timer pause; /* out of descriptors: accept again later */
	unixlisten_fn fn;
	void *ctx;
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* Listens on 'path' (mode 0666; its directory is made, 0755, when missing). A socket that somebody answers
 * on is refused; a dead one is replaced without a gap.
 * Returns 0; -EADDRINUSE; -EINVAL (path too long, or not a socket); another negative errno. */
MESH_MUST_USE int unixlisten_open(struct unixlisten *l, struct loop *loop, const char *path,
				  unixlisten_fn fn, void *ctx);
/* Stops and removes the socket. Harmless if it was never opened. */
void unixlisten_close(struct unixlisten *l);

#endif
