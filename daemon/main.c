/* SPDX-License-Identifier: MIT */
/* meshd: options, privileges, wiring, exit code. No logic. */
#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/importstate.h"
#include "daemon/meshd.h"
#include "daemon/rtnl.h"

/* Few arenas and early trimming: an idle node must stay small (PERFORMANCE 4). No core dumps with keys. */
static void prepare_process(void)
{
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_TRIM_THRESHOLD, 128 * 1024);
	(void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)umask(077);
}

static int cleanup(const struct conf *c)
{
	int err = 0;

	for (size_t i = 0; i < c->n_tun; i++) {
		int e = rtnl_cleanup(c->tun[i], NULL);

		err = e && e != -ENODEV ? e : err;
	}
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	extern char **environ;
	struct conf_error why;
	struct conf conf;
	struct meshd *m;
	int rc;

	prepare_process();
	if (sodium_init() < 0)
		return 1;
	if (conf_load(&conf, argc, argv, environ, &why) < 0) {
		(void)fprintf(stderr, "%s\n", why.text);
		return why.exit_code;
	}
	if (conf.help) {
		(void)fputs(conf_usage(), stdout);
		conf_wipe(&conf);
		return 0;
	}
	if (conf.version) {
		(void)printf("%s\n  meshd %s\n", API_VERSION_SHORT, API_MESHD_VERSION);
		conf_wipe(&conf);
		return 0;
	}
	if (conf.cleanup) {
		rc = cleanup(&conf);
		conf_wipe(&conf);
		return rc;
	}
	if (conf.import_state) {
		rc = importstate_run(&conf);
		conf_wipe(&conf);
		return rc;
	}
	m = calloc(1, sizeof(*m));
	rc = m ? meshd_run(m, &conf, argc, argv) : 1;
	free(m);
	conf_wipe(&conf);
	return rc;
}
