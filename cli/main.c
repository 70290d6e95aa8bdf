/* SPDX-License-Identifier: MIT */
/* meshctl: what this process is called decides its manners, root.c does the rest. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <sodium.h>

#include "cli/cmd.h"

enum { COLUMNS = 80, COLUMNS_MIN = 40, COLUMNS_MAX = 100 };

/* A standard stream that is closed: its number must not become that of the socket to the daemon, which would then get
 * what is printed. Opened the wrong way round, so that its use fails as it did. */
static void occupy_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(EXIT_FAILED);
}

static size_t columns_of(int fd)
{
	struct winsize w;

	if (ioctl(fd, TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
		return COLUMNS;
	return w.ws_col < COLUMNS_MIN ? COLUMNS_MIN : w.ws_col > COLUMNS_MAX ? COLUMNS_MAX : w.ws_col;
}

int main(int argc, char **argv)
{
	const char *base = argc > 0 ? strrchr(argv[0], '/') : NULL, *env = getenv("MESHCTL_COMPAT");
	struct cli c = { .prog = "meshctl", .out = stdout, .err = stderr };

	occupy_streams();
	if (sodium_init() < 0)
		return EXIT_FAILED;
	base = base ? base + 1 : argc > 0 ? argv[0] : "";
	c.compat = strcmp(base, "tailscale") == 0 || (env && strcmp(env, "tailscale") == 0);
	if (c.compat)
		c.prog = "tailscale";
	c.columns = c.compat ? 0 : columns_of(STDOUT_FILENO);
	c.out_is_tty = isatty(STDOUT_FILENO) == 1;
	c.in_is_tty = isatty(STDIN_FILENO) == 1;
	return cmd_main(&c, argc, argv);
}
