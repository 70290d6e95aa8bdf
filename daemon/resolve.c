/* SPDX-License-Identifier: MIT */
/* The name lookups of resolve.h. */
#include "daemon/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/loop.h"

enum { NAME_MAX_LEN = 253 };

struct query {
	struct loop_job job;
	resolve_fn done;
	void *ctx;
	struct ip ip4, ip6;
	char name[NAME_MAX_LEN + 1];
};

/* Helper thread. */
static void query_run(void *ctx)
{
	struct query *q = ctx;
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG }, *list = NULL;

	if (getaddrinfo(q->name, NULL, &hints, &list) != 0)
		return;
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;

		if (a->ai_family == AF_INET && !ip_is_set(&q->ip4)) {
			memcpy(&in, a->ai_addr, sizeof(in));
			q->ip4 = ip4_be((const uint8_t *)&in.sin_addr);
		} else if (a->ai_family == AF_INET6 && !ip_is_set(&q->ip6)) {
			memcpy(&in6, a->ai_addr, sizeof(in6));
			q->ip6 = ip6(in6.sin6_addr.s6_addr);
		}
	}
	freeaddrinfo(list);
}

static void query_done(void *ctx, bool did_run, struct mono now)
{
	struct query *q = ctx;

	if (did_run)
		q->done(q->ctx, q->name, &q->ip4, &q->ip6, now);
	free(q);
}

int resolve_post(struct loop *loop, const char *name, resolve_fn done, void *ctx)
{
	size_t len = strlen(name);
	struct query *q;

	if (len == 0 || len > NAME_MAX_LEN)
		return -EINVAL;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	memcpy(q->name, name, len);
	q->done = done;
	q->ctx = ctx;
	q->job = (struct loop_job){ .run = query_run, .done = query_done, .ctx = q };
	loop_job_post(loop, &q->job);
	return 0;
}
