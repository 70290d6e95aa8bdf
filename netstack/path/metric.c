/* SPDX-License-Identifier: MIT */
/* Points for latency, address class and family; integers with truncation, and a dead zone of one
 * point. */
#include "path/metric.h"

#include "base/ep.h"
#include "wire/disco.h"

enum { LOOPBACK_POINTS = 50, LINK_LOCAL_POINTS = 30, PRIVATE_POINTS = 20, V6_POINTS = 10 };

static int64_t address_points(const struct ip *ip)
{
	int64_t points = 0;

	if (ip_is_loopback(ip))
		points = LOOPBACK_POINTS;
	else if (ip_is_link_local(ip))
		points = LINK_LOCAL_POINTS;
	else if (ip_is_private(ip))
		points = PRIVATE_POINTS;
	return points + (ip->family == IP_V6 ? V6_POINTS : 0);
}

bool metric_is_better(const struct metric *a, const struct metric *b)
{
	int64_t points_a = 0, points_b = 0;

	if (b->path.kind == PATH_NONE)
		return a->path.kind != PATH_NONE;
	if (a->path.kind == PATH_NONE)
		return false;
	if (path_eq(&a->path, &b->path))
		return a->mtu > b->mtu;
	if (a->path.kind != b->path.kind)
		return a->path.kind == PATH_DIRECT; /* at any latency */
	if (a->latency_ns > b->latency_ns)
		points_b = 100 - b->latency_ns * 100 / a->latency_ns;
	else if (b->latency_ns > 0)
		points_a = 100 - a->latency_ns * 100 / b->latency_ns;
	points_a += address_points(&a->path.ep.ip);
	points_b += address_points(&b->path.ep.ip);
	if (points_a <= 1 && points_b == 0)
		return false;
	return points_a > points_b;
}

size_t metric_mtu_padding(uint32_t wire_mtu, bool is_v6, size_t *packet_size)
{
	const uint32_t header = is_v6 ? 40 + 8 : 20 + 8;

	*packet_size = wire_mtu > header ? wire_mtu - header : 0;
	return *packet_size > DISCO_PING_SIZE ? *packet_size - DISCO_PING_SIZE : 0;
}
