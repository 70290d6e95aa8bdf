/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/unixlisten.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 128, PAUSE_S = 1, ACCEPTS_MAX = 32 /* before others get their turn: callers may be without end */ };

static void resume(void *ctx, struct mono now)
{
	struct unixlisten *l = ctx;

	if (loop_fd_mod(l->loop, &l->watch, EPOLLIN))
		loop_timer_set(l->loop, &l->pause, mono_add_s(now, PAUSE_S));
}

static void ready(void *ctx, uint32_t events, struct mono now)
{
	struct unixlisten *l = ctx;

	(void)events;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		struct ucred cred = { .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };
		socklen_t len = sizeof(cred);
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		/* Out of descriptors the socket stays readable: without a pause the loop would spin. */
		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM) &&
		    loop_fd_mod(l->loop, &l->watch, 0) == 0)
			loop_timer_set(l->loop, &l->pause, mono_add_s(now, PAUSE_S));
		if (fd < 0)
			return;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
			cred.uid = (uid_t)-1;
		l->fn(l->ctx, fd, cred.uid, cred.pid);
	}
}

static int check_existing(const char *path, const struct sockaddr_un *sa)
{
	struct stat st;
	int fd, err;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EINVAL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) ? -errno : -EADDRINUSE;
	(void)close(fd);
	if (err == -EAGAIN) /* it is busy, or stopped for a while, but there */
		return -EADDRINUSE;
	return err == -ECONNREFUSED || err == -ENOENT ? 0 : err; /* nobody answers: it may be replaced */
}

static int make_parent(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	return mkdir(dir, 0755) && errno != EEXIST ? -errno : 0;
}

/* Binds a name beside the final one and renames, so that there is no moment without a socket. */
static int bind_socket(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int err, n, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s.new", path);
	err = n < 0 || (size_t)n >= sizeof(sa.sun_path) ? -EINVAL : 0;
	if (!err) {
		(void)unlink(sa.sun_path);
		if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || chmod(sa.sun_path, 0666) ||
		    listen(fd, BACKLOG) || rename(sa.sun_path, path)) {
			err = -errno;
			(void)unlink(sa.sun_path);
		}
	}
	if (err) {
		(void)close(fd);
		return err;
	}
	return fd;
}

int unixlisten_open(struct unixlisten *l, struct loop *loop, const char *path, unixlisten_fn fn, void *ctx)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int err, fd;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -EINVAL;
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	err = check_existing(path, &sa);
	if (!err)
		err = make_parent(path);
	if (err)
		return err;
	fd = bind_socket(path);
	if (fd < 0)
		return fd;
	*l = (struct unixlisten){ .loop = loop, .fn = fn, .ctx = ctx, .fd = fd };
	l->pause.fn = resume;
	l->pause.ctx = l;
	(void)snprintf(l->path, sizeof(l->path), "%s", path);
	err = loop_fd_add(loop, &l->watch, fd, EPOLLIN, ready, l);
	if (err) {
		(void)close(fd);
		l->fn = NULL;
	}
	return err;
}

void unixlisten_close(struct unixlisten *l)
{
	if (!l->fn)
		return;
	loop_fd_del(l->loop, &l->watch);
	loop_timer_stop(l->loop, &l->pause);
	(void)close(l->fd);
	(void)unlink(l->path);
	l->fn = NULL;
}
