/* SPDX-License-Identifier: MIT */
/* wait: until the node runs and its address is on an interface. Spec: cli 5.4. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"

enum { POLL_MS = 200 };

static const struct flag wait_flags[] = {
	FLAG_NOT_BUILT("for", FLAG_STRING),
	{ "timeout", FLAG_DURATION, "0s", "how long to wait before giving up (0 is forever)", NULL, false },
};

static bool has_address(const struct ip *ip)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list))
		return false;
	for (const struct ifaddrs *a = list; a && !found; a = a->ifa_next) {
		struct sockaddr_in sa4;
		struct sockaddr_in6 sa6;

		if (!a->ifa_addr)
			continue;
		if (ip->family == IP_V4 && a->ifa_addr->sa_family == AF_INET) {
			memcpy(&sa4, a->ifa_addr, sizeof(sa4));
			found = memcmp(&sa4.sin_addr, ip->b, 4) == 0;
		} else if (ip->family == IP_V6 && a->ifa_addr->sa_family == AF_INET6) {
			memcpy(&sa6, a->ifa_addr, sizeof(sa6));
			found = memcmp(&sa6.sin6_addr, ip->b, 16) == 0;
		}
	}
	freeifaddrs(list);
	return found;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int run_wait(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	int64_t limit = flags_int(f, "timeout") / 1000000, end = now_ms() + limit;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected arguments");
	if (flags_int(f, "timeout") < 0)
		return out_error(c, "invalid value \"%s\" for --timeout; want 0 or more",
				 flags_str(f, "timeout"));
	for (;;) {
		struct status s = { 0 };
		int err = peers_fetch(c, false, &s);
		bool ready;

		if (err)
			return err;
		ready = s.backend_state && strcmp(s.backend_state, "Running") == 0 && s.n_ips &&
			(!s.tun || has_address(&s.ips[0]));
		status_wipe(&s);
		if (ready)
			return EXIT_OK;
		if (limit && now_ms() >= end) {
			(void)out_error(c, "timed out waiting for the node to run");
			return EXIT_TIMEOUT;
		}
		(void)nanosleep(&pause, NULL);
	}
}

const struct cmd cmd_wait = {
	.name = "wait",
	.usage = "wait [--timeout <duration>]",
	.short_help = "Wait until the node runs and its address is usable",
	CMD_FLAGS(wait_flags),
	.run = run_wait,
};
