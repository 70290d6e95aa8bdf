/* SPDX-License-Identifier: MIT */
/* Commands that this build does not have, each with what to use instead. Spec: cli 7. */
#include <string.h>

#include "cli/other.h"
#include "cli/out.h"

static const struct {
	const char *name, *instead;
} absent[] = {
	{ "appc-routes", NULL },
	{ "bugreport", "look at the daemon's log (journalctl -u meshd) and `meshctl status --json`" },
	{ "cert", "use any ACME client" },
	{ "configure", "edit /etc/meshd/meshd.conf" },
	{ "dns", "MagicDNS is not in this build" },
	{ "doctor", "use status, netcheck and path" },
	{ "drive", "use any file server over the mesh" },
	{ "file", "use scp or rsync over the mesh" },
	{ "funnel", "use a web server with a public address" },
	{ "id-token", "no identity federation" },
	{ "lock", "this node does not take part in tailnet lock" },
	{ "nc", "use nc: addresses of the mesh are reachable like any other" },
	{ "routecheck", "use ip route show table 52" },
	{ "routes", "use ip route show table 52" },
	{ "serve", "use a web server that listens on the mesh address" },
	{ "ssh", "use ssh: addresses of the mesh are reachable like any other" },
	{ "syspolicy", "edit /etc/meshd/meshd.conf" },
	{ "systray", "no desktop integration" },
	{ "update", "updates come from the package manager" },
	{ "web", "use meshctl" },
};

int other_run(struct cli *c, const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
		if (strcmp(absent[i].name, name) != 0)
			continue;
		if (!absent[i].instead) {
			(void)fprintf(c->out, "not a connector\n");
			return EXIT_OK;
		}
		return out_unsupported(c, "not supported: %s", absent[i].instead);
	}
	return -1;
}
