/* SPDX-License-Identifier: MIT */
/* sudo drops SSH_CLIENT, so the parents' environments are looked at too. */
#include "cli/risk.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/ep.h"
#include "cli/out.h"

enum { PARENTS_MAX = 20, ENV_MAX = 64 << 10 };

/* "ADDRESS PORT PORT" of a tailnet peer? */
static bool is_tailnet_client(const char *value)
{
	struct ip ip;

	return ip_parse(&ip, value, strcspn(value, " ")) == 0 && ip_is_tailnet(&ip);
}

static long parent_of(long pid)
{
	char path[64], line[512] = "";
	const char *p;
	FILE *f;
	char *end;

	(void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	(void)fclose(f);
	/* The name in brackets may hold anything: what follows the last bracket is " S ppid". */
	p = strrchr(line, ')');
	if (!p || strlen(p) < 4)
		return 0;
	return strtol(p + 4, &end, 10);
}

static bool env_of(long pid, char *buf, size_t *size)
{
	char path[64];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%ld/environ", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	*size = fread(buf, 1, ENV_MAX - 1, f);
	buf[*size] = 0;
	(void)fclose(f);
	return true;
}

static bool is_ssh_over_tailnet(void)
{
	const char *own = getenv("SSH_CLIENT");
	bool found = own && is_tailnet_client(own);
	char *buf = malloc(ENV_MAX);
	long pid = (long)getppid();

	for (int i = 0; buf && !own && !found && i < PARENTS_MAX && pid > 1; i++) {
		size_t size = 0;

		if (!env_of(pid, buf, &size))
			break;
		for (const char *p = buf; p < buf + size && !found; p += strlen(p) + 1)
			found = strncmp(p, "SSH_CLIENT=", 11) == 0 && is_tailnet_client(p + 11);
		pid = parent_of(pid);
	}
	free(buf);
	return found;
}

static bool is_accepted(const char *list)
{
	while (*list) {
		size_t n = strcspn(list, ",");

		if ((n == 8 && memcmp(list, "lose-ssh", n) == 0) || (n == 3 && memcmp(list, "all", n) == 0))
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

int risk_confirm(struct cli *c, const char *accepted, const char *reason)
{
	char answer[16] = "";

	if (is_accepted(accepted) || !is_ssh_over_tailnet())
		return EXIT_OK;
	(void)fprintf(c->err, "%s\nTo skip this warning, use --accept-risk=lose-ssh\n", reason);
	if (c->in_is_tty) {
		(void)fprintf(c->err, "Continue? [y/N] ");
		(void)fflush(c->err);
		if (fgets(answer, sizeof(answer), stdin))
			answer[strcspn(answer, "\r\n")] = 0;
		if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0 ||
		    strcasecmp(answer, "sure") == 0)
			return EXIT_OK;
	}
	return out_error(c, "aborted, no changes made");
}
