/* SPDX-License-Identifier: MIT */
/* Commands that this build does not have, each with what to use instead, and shell completion.
 * Spec: cli 0.3, 7. */
#include <string.h>

#include "cli/other.h"
#include "cli/out.h"

/* --- not in this build --- */

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

/* --- completion --- */

static void bash_case(struct cli *c, const struct cmd *cmd, const char *path)
{
	(void)fprintf(c->out, "\t\"%s\") words=\"", path);
	for (size_t i = 0; i < cmd->n_subs; i++)
		if (!cmd_sub(cmd, i)->is_hidden)
			(void)fprintf(c->out, "%s ", cmd_sub(cmd, i)->name);
	for (size_t i = 0; i < cmd->n_flags; i++)
		if (!cmd->flags[i].is_hidden)
			(void)fprintf(c->out, "--%s%s ", cmd->flags[i].name,
				      cmd->flags[i].kind == FLAG_BOOL ? "" : "=");
	(void)fprintf(c->out, "\" ;;\n");
}

static int run_bash(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)f;
	(void)n_args;
	(void)args;
	(void)fprintf(c->out,
		      "# bash completion of %s\n_%s() {\n\tlocal words path=\"\" w\n"
		      "\tfor w in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
		      "\t\tcase \"$w\" in -*|=) ;; *) path=\"$path $w\" ;; esac\n\tdone\n"
		      "\tcase \"${path# }\" in\n",
		      c->prog, c->prog);
	bash_case(c, &cmd_root, "");
	for (size_t i = 0; i < cmd_root.n_subs; i++) {
		const struct cmd *top = cmd_sub(&cmd_root, i);

		bash_case(c, top, top->name);
		for (size_t k = 0; k < top->n_subs; k++) {
			char path[80];

			(void)snprintf(path, sizeof(path), "%s %s", top->name, cmd_sub(top, k)->name);
			bash_case(c, cmd_sub(top, k), path);
		}
	}
	(void)fprintf(c->out,
		      "\tesac\n"
		      "\tcase \"${path# }\" in ping|path|ip|whois) case \"${COMP_WORDS[COMP_CWORD]}\" in -*) ;; *)\n"
		      "\t\twords=\"$words $(%s status 2>/dev/null | awk '!/^#/ && NF { print $2 }')\" ;; esac ;; esac\n"
		      "\tCOMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
		      "\t[[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n}\ncomplete -F _%s %s\n",
		      c->prog, c->prog, c->prog);
	return EXIT_OK;
}

static const struct cmd completion_subs[] = {
	{ .name = "bash", .usage = "completion bash", .short_help = "Generate bash shell completion", .run = run_bash },
};

const struct cmd cmd_completion = {
	.name = "completion",
	.usage = "completion <shell>",
	.short_help = "Shell tab-completion scripts",
	CMD_SUBS(completion_subs),
};
