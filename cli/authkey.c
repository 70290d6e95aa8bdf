/* SPDX-License-Identifier: MIT */
#include "cli/authkey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/out.h"

/* Trims and checks what was read: one word of printable characters. */
static int finish(struct cli *c, char *key, size_t len, const char *where)
{
	size_t from = 0;

	while (len && (key[len - 1] == '\n' || key[len - 1] == '\r' || key[len - 1] == ' ' ||
		       key[len - 1] == '\t'))
		len--;
	while (from < len && (key[from] == ' ' || key[from] == '\t'))
		from++;
	memmove(key, key + from, len - from);
	len -= from;
	key[len] = 0;
	for (size_t i = 0; i < len; i++)
		if (key[i] <= ' ' || key[i] > '~')
			return out_error(c, "the auth key from %s is not one word", where);
	if (!len)
		return out_error(c, "the auth key from %s is empty", where);
	return EXIT_OK;
}

static int read_fd(struct cli *c, int fd, char key[static AUTHKEY_MAX], const char *where)
{
	size_t used = 0;

	for (;;) {
		ssize_t n = read(fd, key + used, AUTHKEY_MAX - 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return out_error(c, "cannot read the auth key from %s: %s", where, strerror(errno));
		if (n == 0)
			return finish(c, key, used, where);
		used += (size_t)n;
		if (used == AUTHKEY_MAX - 1)
			return out_error(c, "the auth key from %s is too long", where);
	}
}

static int read_path(struct cli *c, const char *path, char key[static AUTHKEY_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int err;

	if (fd < 0)
		return out_error(c, "cannot read the auth key from %s: %s", path, strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		return out_error(c, "cannot read the auth key from %s: not a regular file", path);
	}
	if (st.st_mode & S_IROTH)
		(void)fprintf(c->err, "Warning: %s may be read by everybody\n", path);
	err = read_fd(c, fd, key, path);
	(void)close(fd);
	return err;
}

int authkey_read(struct cli *c, const char *source, char key[static AUTHKEY_MAX])
{
	const char *value = source;
	char *end;
	long fd;

	if (strncmp(source, "file:", 5) == 0)
		return read_path(c, source + 5, key);
	if (strcmp(source, "-") == 0)
		return read_fd(c, STDIN_FILENO, key, "standard input");
	if (strncmp(source, "fd:", 3) == 0) {
		errno = 0;
		fd = strtol(source + 3, &end, 10);
		if (errno || end == source + 3 || *end || fd < 0 || fd > 65535)
			return out_error(c, "invalid value for --auth-key: fd: wants a number");
		return read_fd(c, (int)fd, key, source);
	}
	if (strncmp(source, "env:", 4) == 0) {
		value = getenv(source + 4);
		if (!value)
			return out_error(c, "the environment has no variable %s for --auth-key", source + 4);
	}
	if (strlen(value) >= AUTHKEY_MAX)
		return out_error(c, "the auth key is too long");
	(void)snprintf(key, AUTHKEY_MAX, "%s", value);
	return finish(c, key, strlen(key), value == source ? "--auth-key" : source);
}
