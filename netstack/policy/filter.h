/* SPDX-License-Identifier: MIT */
/* Inbound packet filter: the map's rules for this node, compiled once into an immutable struct that
 * workers read, and the flow memory that lets replies in.
 *
 * Order of judgement of a packet from a peer (the inner source was checked by routes before):
 *
 *   1. multicast and link-local destinations drop (169.254.169.254 may pass)
 *   2. later fragments pass (their first fragment is judged); TSMP passes: the node itself takes it
 *   3. the destination must be ours: own addresses, routed subnets
 *   4. ICMP: echo replies and errors pass; all else if any rule has the address pair, whatever its
 * protocols and ports say
 *   5. TCP: anything but a first SYN passes (unless 'strict_tcp'); a SYN needs a rule
 *   6. UDP, SCTP: a rule, or a flow that we began
 *   7. other protocols: a rule for that protocol over all ports
 *
 * Peers that are jailed, and everyone with shields up, have no rules: replies alone pass.
 *
 * Threads: a struct filter is immutable. A struct flows is one shard of the flow memory and is used
 * under its leaf lock in daemon/; flow_key_hash() picks the shard. A struct flow_cache belongs to
 * one out worker. Spec: control-messages 13, host-network 8. */
#ifndef NETSTACK_POLICY_FILTER_H
#define NETSTACK_POLICY_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/mono.h"
#include "wire/ip.h"
#include "wire/mapdata.h"

struct filter; /* opaque, immutable */

struct filter_cfg {
	const struct filter_rules *rules; /* null: none, nothing new comes in */
	const struct prefix
		*local; /* destinations that are ours: own addresses and routed subnets */
	size_t n_local;
	const struct map_node *const *peers; /* for "cap:" sources: their CapMap and addresses */
	size_t n_peers;
	bool shields_up; /* ignore the rules */
	bool strict_tcp; /* TCP too needs a rule or a flow that we began */
};

/* Compiles; everything in '*cfg' is borrowed during the call only. Returns null if out of memory.
 * Owner: the caller, filter_free(). */
struct filter *filter_new(const struct filter_cfg *cfg);
void filter_free(struct filter *f);

enum filter_verdict {
	FILTER_ACCEPT,
	FILTER_NEEDS_FLOW, /* accept if flows_allow() knows the flow, else count as FILTER_DROP_ACL
			    */
	FILTER_DROP_MULTICAST,
	FILTER_DROP_LINK_LOCAL,
	FILTER_DROP_NOT_LOCAL, /* destination neither ours nor routed */
	FILTER_DROP_SHORT,     /* ports or flags cut off */
	FILTER_DROP_ACL,       /* no rule */
	FILTER_N_VERDICTS,
};

/* "accept", "needs_flow", "multicast", "link_local", "not_local", "short", "acl". */
const char *filter_verdict_name(enum filter_verdict v);

/* Judges an inbound packet of a peer; 'jailed' is the peer's flag in the map. A null filter drops
 * all as FILTER_DROP_ACL. Any thread. */
enum filter_verdict filter_check(const struct filter *f, const struct ip_pkt *pkt, bool jailed);

/* --- flow memory --- */

/* A flow as seen outbound: we are the source. */
struct flow_key {
	uint8_t src[16], dst[16]; /* IPv4: the first 4 bytes */
	uint16_t src_port, dst_port;
	uint8_t proto, family;
	uint8_t pad[2]; /* always zero */
};

/* Fills '*key' for a packet; an inbound one is turned round. Returns false if the packet's kind is
 * not remembered: only UDP, SCTP and, with 'strict_tcp', TCP with readable ports are. */
bool filter_flow_key(const struct filter *f, const struct ip_pkt *pkt, bool inbound,
		     struct flow_key *key);
/* SipHash of a key under a per-process 'seed'. */
uint64_t flow_key_hash(const struct flow_key *key, const uint8_t seed[static 16]);

enum {
	FLOWS_DEFAULT = 8192,      /* flows in total, over all shards */
	FLOWS_UDP_NEW_S = 30,      /* life without a reply */
	FLOWS_UDP_REPLIED_S = 120, /* life after a reply */
	FLOWS_TCP_S = 7440,        /* RFC 5382: at least 2 h 4 min */
};

struct flows; /* opaque: one shard */

/* A shard of at most 'max' flows; when full the one unused longest goes. Null if out of memory. */
struct flows *flows_new(size_t max);
void flows_free(struct flows *f);
/* Remembers an outbound packet's flow or renews it. Never fails, never allocates. */
void flows_note(struct flows *f, struct mono now, const struct flow_key *key, uint64_t hash);
/* Is this inbound packet (key turned round) a reply to a live flow? Renews it. */
bool flows_allow(struct flows *f, struct mono now, const struct flow_key *key, uint64_t hash);
size_t flows_count(const struct flows *f);

/* Spares the lock: the flows that a worker noted within the last second. Zero = empty. */
enum { FLOW_CACHE_SIZE = 64 };
struct flow_cache {
	struct {
		struct flow_key key;
		struct mono noted;
	} slots[FLOW_CACHE_SIZE];
};
/* Must the flow be noted in the shard? True also enters it in the cache. The out worker that owns
 * it. */
bool flow_cache_wants(struct flow_cache *c, struct mono now, const struct flow_key *key,
		      uint64_t hash);

#endif
