/* SPDX-License-Identifier: MIT */
/* metrics: Prometheus text. Spec: cli 7, 8. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/out.h"

enum { PATH_SIZE = 4096 };

static int run_print(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct client_reply r;
	int err;

	(void)f;
	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected non-flag arguments to '%s metrics'", c->prog);
	err = client_get(c, "usermetrics", &r);
	if (err)
		return err;
	(void)fwrite(bytes_data(&r.body), 1, bytes_size(&r.body), c->out);
	client_reply_wipe(&r);
	return EXIT_OK;
}

static int write_all(int fd, const uint8_t *p, size_t size)
{
	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

/* A temporary file beside it, then a rename: readers see the old text or the new one. */
static int write_file(struct cli *c, const char *path, const struct bytes *text)
{
	char tmp[PATH_SIZE];
	int n = snprintf(tmp, sizeof(tmp), "%s.tmp.XXXXXX", path);
	int fd, err;

	if (n < 0 || (size_t)n >= sizeof(tmp))
		return out_error(c, "path too long: %.200s…", path);
	fd = mkstemp(tmp);
	if (fd < 0)
		return out_error(c, "cannot write %s: %s", path, strerror(errno));
	err = write_all(fd, bytes_data(text), bytes_size(text));
	if (!err && fchmod(fd, 0644))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(tmp, path))
		err = -errno;
	if (!err)
		return EXIT_OK;
	(void)unlink(tmp);
	return out_error(c, "cannot write %s: %s", path, strerror(-err));
}

static int run_write(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct client_reply r;
	int err;

	(void)f;
	if (n_args != 1 || !*args[0])
		return out_error(c, "usage: %s metrics write <path>", c->prog);
	err = client_get(c, "usermetrics", &r);
	if (err)
		return err;
	err = write_file(c, args[0], &r.body);
	client_reply_wipe(&r);
	return err;
}

static const struct cmd subs[] = {
	{ .name = "print", .usage = "metrics print", .short_help = "Prints current metric values in Prometheus text format",
	  .run = run_print },
	{ .name = "write", .usage = "metrics write <path>", .short_help = "Writes metric values to a file",
	  .run = run_write },
};

const struct cmd cmd_metrics = {
	.name = "metrics",
	.usage = "metrics [print | write <path>]",
	.short_help = "Show metrics",
	.long_help = "The \"metrics\" command shows the metrics of this node in Prometheus text format.",
	CMD_SUBS(subs),
	.run = run_print,
};
