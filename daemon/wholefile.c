/* SPDX-License-Identifier: MIT */
/* A small file as a whole: see wholefile.h. */
#include "daemon/wholefile.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* One byte more is asked for: a file that has grown shows. */
static int read_all(int fd, char *buf, size_t size)
{
	size_t used = 0;

	while (used <= size) {
		ssize_t n = read(fd, buf + used, size + 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return used == size ? 0 : -ESTALE;
}

static int read_open(int fd, size_t max, char **text, size_t *size, mode_t *mode)
{
	struct stat st;
	char *buf;
	int err;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size < 0 || (size_t)st.st_size > max)
		return -EFBIG;
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return -ENOMEM;
	err = read_all(fd, buf, (size_t)st.st_size);
	if (err) {
		sodium_memzero(buf, (size_t)st.st_size + 1);
		free(buf);
		return err;
	}
	buf[st.st_size] = 0;
	*text = buf;
	*size = (size_t)st.st_size;
	*mode = st.st_mode;
	return 0;
}

int wholefile_read(const char *path, size_t max, char **text, size_t *size, mode_t *mode)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int err = fd < 0 ? -errno : read_open(fd, max, text, size, mode);

	if (fd >= 0)
		(void)close(fd);
	return err;
}
