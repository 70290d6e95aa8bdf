/* SPDX-License-Identifier: MIT */
/* meshctl: what this process is called decides its manners, root.c does the rest. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "cli/cmd.h"

int main(int argc, char **argv)
{
	const char *base = argc > 0 ? strrchr(argv[0], '/') : NULL, *env = getenv("MESHCTL_COMPAT");
	struct cli c = { .prog = "meshctl", .out = stdout, .err = stderr };

	if (sodium_init() < 0)
		return EXIT_FAILED;
	base = base ? base + 1 : argc > 0 ? argv[0] : "";
	c.compat = strcmp(base, "tailscale") == 0 || (env && strcmp(env, "tailscale") == 0);
	if (c.compat)
		c.prog = "tailscale";
	c.out_is_tty = isatty(STDOUT_FILENO) == 1;
	c.in_is_tty = isatty(STDIN_FILENO) == 1;
	return cmd_main(&c, argc, argv);
}
