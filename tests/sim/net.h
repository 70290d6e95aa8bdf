/* SPDX-License-Identifier: MIT */
/* A virtual network: one clock, one seeded generator, hosts, NATs by RFC 4787 behaviour, links with
 * delay, jitter, loss and duplication. Nothing here knows what the bytes mean.
 *
 *      host ── (access link) ── NAT ── NAT ── internet ── NAT ── host
 *
 * A datagram is translated outwards when it is sent and filtered inwards when it arrives, so a NAT
 * that forgets in between behaves as a real one. Two runs with one seed are identical. */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/ep.h"
#include "base/mono.h"

enum {
	NET_HOSTS_MAX = 32,
	NET_NATS_MAX = 32,
	NET_BLOCKS_MAX = 32,
	NET_ADDRS_MAX = 4,
};

/* RFC 4787 4.1 and 5: the same words for mapping and filtering. */
enum nat_rule {
	NAT_ENDPOINT_INDEPENDENT,
	NAT_ADDRESS_DEPENDENT,
	NAT_ADDRESS_AND_PORT_DEPENDENT,
};

struct nat_map {
	struct ep inner;     /* source as it came from inside */
	struct ep dst;       /* key for dependent mapping: unset parts do not matter */
	uint16_t port;       /* on the public address */
	struct mono used;    /* last packet out: refreshes the mapping */
	struct ep peers[16]; /* destinations contacted, for filtering */
	struct mono peers_at[16];
	size_t n_peers;
};

struct nat {
	struct ip pub;
	enum nat_rule mapping, filtering;
	int64_t timeout_ms; /* without outgoing packets */
	bool has_hairpin;
	struct nat *parent; /* carrier's NAT in front of it; null = internet */
	struct nat_map *maps;
	size_t n_maps, cap_maps;
};

struct net;

struct host {
	struct net *net;
	const char *name;
	struct ip addrs[NET_ADDRS_MAX]; /* of its interfaces */
	size_t n_addrs;
	struct nat *nat;             /* null = its IPv4 address is public; IPv6 never has a NAT */
	bool is_down;                /* no link at all */
	bool udp_blocked;            /* UDP neither leaves nor enters */
	bool v6_blackholed;          /* IPv6 packets vanish silently */
	bool has_firewall;           /* IPv6 and public hosts: unsolicited packets are dropped */
	int64_t delay_ms, jitter_ms; /* one way, of the access link */
	unsigned int loss_permille, dup_permille; /* each way */
	struct ep seen[64];                       /* firewall: destinations contacted */
	size_t n_seen;
	uint64_t sent, received; /* datagrams */
	/* Takes a datagram for local port 'port'. */
	void (*recv)(void *ctx, uint16_t port, const struct ep *from, uint8_t *buf, size_t size);
	void *ctx;
};

struct net_event {
	struct mono at;
	uint64_t seq; /* equal times keep their order */
	void (*fn)(void *ctx, void *arg);
	void *ctx, *arg;
};

struct net {
	struct mono now;
	uint64_t rng;
	struct env env; /* random bytes by seed; a calendar that moves with 'now' */
	int64_t wall0_ns;
	struct host *hosts[NET_HOSTS_MAX];
	size_t n_hosts;
	struct nat *nats[NET_NATS_MAX];
	size_t n_nats;
	struct {
		const struct host *from, *to;
	} blocks[NET_BLOCKS_MAX]; /* datagrams between these two vanish, one way */
	size_t n_blocks;
	/* Drops a datagram that a host sends if it returns true; null: none. For losing chosen
	 * packets. */
	bool (*drop)(void *ctx, const struct host *from, uint16_t port, const struct ep *to,
		     size_t size);
	void *drop_ctx;
	struct net_event *events; /* binary heap */
	size_t n_events, cap_events;
	uint64_t next_seq;
};

struct net *net_new(uint64_t seed);
void net_free(struct net *n);

/* All of these live as long as the net. Addresses as text; hosts start with 10 ms to the backbone.
 */
struct nat *net_nat(struct net *n, const char *pub, enum nat_rule mapping, enum nat_rule filtering);
struct host *net_host(struct net *n, const char *name, const char *addr, struct nat *nat);
void net_add_addr(struct host *h, const char *addr);
/* Another IPv4 address and NAT: the host has moved. Nothing of the old place reaches it any more.
 */
void net_move(struct host *h, const char *addr, struct nat *nat);
/* The NAT loses its mappings; the next packet gets another port. */
void net_nat_flush(struct nat *nat);

void net_block(struct net *n, const struct host *from, const struct host *to);
void net_block_both(struct net *n, const struct host *a, const struct host *b);
void net_unblock(struct net *n, const struct host *a, const struct host *b);

/* Sends from 'port' of the host. Returns 0, or -EHOSTUNREACH if there is no address of that family
 * or no link: what the system call would say. */
int net_send(struct host *h, uint16_t port, const struct ep *to, const uint8_t *buf, size_t size);
/* As seen by a server on the internet (STUN): unset if UDP does not get there. Makes a mapping. */
struct ep net_reflexive(struct host *h, uint16_t port, const struct ep *server);

uint64_t net_random(struct net *n);
/* Calls fn(ctx, arg) 'delay_ns' from now. */
void net_after(struct net *n, int64_t delay_ns, void (*fn)(void *ctx, void *arg), void *ctx,
	       void *arg);
/* The time of the next event; NEVER if there is none. */
struct mono net_next(const struct net *n);
/* Moves the clock to 'to' and runs one due event; false if none is due by then. */
bool net_step(struct net *n, struct mono to);

#endif
