/* SPDX-License-Identifier: MIT */
/* Names of drop reasons, as status output and metrics print them. */
#include "daemon/dp.h"

const char *dp_in_drop_name(enum dp_in_drop r)
{
	switch (r) {
	case DP_IN_UNKNOWN:
		return "unknown";
	case DP_IN_NO_KEY:
		return "no_key";
	case DP_IN_KEY_EXPIRED:
		return "key_expired";
	case DP_IN_AUTH:
		return "auth";
	case DP_IN_REPLAY:
		return "replay";
	case DP_IN_SOURCE:
		return "source";
	case DP_IN_MALFORMED:
		return "malformed";
	case DP_IN_ACL:
		return "acl";
	case DP_IN_TUN:
		return "tun";
	case DP_IN_RING:
		return "ring_full";
	case DP_IN_N:
		break;
	}
	return "";
}

const char *dp_out_drop_name(enum dp_out_drop r)
{
	switch (r) {
	case DP_OUT_MULTICAST:
		return "multicast";
	case DP_OUT_LINK_LOCAL:
		return "link_local_unicast";
	case DP_OUT_TOO_SHORT:
		return "too_short";
	case DP_OUT_PROTOCOL:
		return "unknown_protocol";
	case DP_OUT_NO_ROUTE:
		return "no_route";
	case DP_OUT_NO_PATH:
		return "no_path";
	case DP_OUT_RING:
		return "ring_full";
	case DP_OUT_MALFORMED:
		return "malformed";
	case DP_OUT_SEND:
		return "send";
	case DP_OUT_N:
		break;
	}
	return "";
}
