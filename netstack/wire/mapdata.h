/* SPDX-License-Identifier: MIT */
/* What a network map consists of: nodes, DERP regions, filter rules, DNS, users.
 *
 * Plain data, declared here because control/ (which receives maps), coord/ (which makes them), policy/
 * (which compiles filters), path/ and relay/ (which use peers and regions) and the engine share it
 * without knowing each other. The JSON forms are in wire/ctljson.
 *
 * Ownership: every pointer inside a struct is owned by it; *_wipe() frees the inside, *_copy() makes a
 * deep copy. Lists are (pointer, count) pairs; a null list has count 0. Strings are NUL-terminated
 * UTF-8 and never null after parsing ("" when absent) unless a comment says otherwise.
 * Spec: control-messages 8..15, derp 2.1. */
#ifndef NETSTACK_WIRE_MAPDATA_H
#define NETSTACK_WIRE_MAPDATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/key.h"

enum tri { TRI_UNSET = 0, TRI_FALSE, TRI_TRUE };

/* Endpoint types of Endpoints/EndpointTypes. */
enum ep_type {
	EP_TYPE_UNKNOWN = 0,
	EP_TYPE_LOCAL = 1,
	EP_TYPE_STUN = 2,
	EP_TYPE_PORTMAP = 3,
	EP_TYPE_STUN4_LOCAL_PORT = 4,
	EP_TYPE_EXPLICIT = 5,
};

/* One key of a CapMap: the name and its values as raw JSON texts ("null" or [] = no values). */
struct map_cap {
	char *name;
	char **values; /* each the JSON text of one element */
	size_t n_values;
};

/* The parts of Hostinfo that we read or send (control-messages 6). */
struct hostinfo {
	char *hostname;
	char *os;
	char *os_version;
	char *version;      /* IPNVersion */
	char *backend_log_id;
	struct prefix *routable_ips;
	size_t n_routable_ips;
	char **request_tags;
	size_t n_request_tags;
	uint16_t peerapi4, peerapi6; /* Services; 0 = none */
	bool peer_relay;
	bool shields_up;
	bool no_logs;                /* NoLogsNoSupport */
	bool has_netinfo;
	/* NetInfo */
	uint32_t preferred_derp;     /* 0 = unknown */
	enum tri working_udp, working_ipv6, os_has_ipv6, mapping_varies, upnp, pmp, pcp;
	bool have_port_map;
	struct derp_latency {
		char key[16]; /* "1-v4" */
		double seconds;
	} *derp_latency;
	size_t n_derp_latency;
};

struct map_node {
	int64_t id;       /* > 0 */
	char *stable_id;
	char *name;       /* FQDN with final dot */
	int64_t user;
	int64_t sharer;
	struct node_key key;
	struct disco_key disco;       /* zero = none known */
	struct machine_key machine;   /* zero = not told */
	struct prefix *addrs;         /* own /32 and /128 */
	size_t n_addrs;
	struct prefix *allowed_ips;   /* already defaulted to 'addrs' when the field was absent */
	size_t n_allowed_ips;
	struct prefix *primary_routes;
	size_t n_primary_routes;
	struct ep *endpoints;         /* at most MAP_ENDPOINTS_MAX, newest first as sent */
	size_t n_endpoints;
	uint32_t home_derp;           /* 0 = unknown */
	int32_t cap;                  /* capability version */
	struct map_cap *caps;         /* CapMap plus Capabilities, sorted by name */
	size_t n_caps;
	char **tags;
	size_t n_tags;
	struct hostinfo host;
	int64_t created_s;            /* unix seconds; 0 = none */
	int64_t key_expiry_s;         /* unix seconds; 0 = never */
	int64_t last_seen_s;          /* unix seconds; 0 = unknown */
	enum tri online;
	bool expired;
	bool machine_authorized;
	bool unsigned_peerapi_only;
	bool wireguard_only;
	bool jailed;
	void *packed;                 /* map_node_pack(): the block that texts and addresses are in; null = each its own */
};

enum { MAP_ENDPOINTS_MAX = 64, MAP_PEERS_MAX = 100000 };

struct derp_node {
	char *name;      /* "900a" */
	char *host_name; /* TLS SNI, HTTP Host, DNS; may be an address literal */
	char *cert_name; /* "" = host_name; or "sha256-raw:" + 64 hex */
	char *ipv4, *ipv6; /* "" = DNS; an address; anything else = family off */
	char *stun_test_ip;
	int32_t stun_port; /* 3478 already defaulted; -1 = no STUN */
	int32_t derp_port; /* 443 already defaulted */
	bool stun_only;
	bool insecure_for_tests;
	bool can_port80;
};

struct derp_region {
	uint32_t id; /* 1..65535 */
	char *code;
	char *name;
	bool avoid;
	bool no_measure_no_home;
	double score; /* HomeParams.RegionScore; 1.0 = none */
	double latitude, longitude;
	struct derp_node *nodes;
	size_t n_nodes;
};

struct derp_map {
	struct derp_region *regions; /* sorted by id */
	size_t n_regions;
};

/* A filter source or destination: everything, an address range, or peers with a node attribute. */
struct ip_range {
	struct ip first, last; /* same family, first <= last */
};

enum filter_src_kind { FILTER_SRC_ANY, FILTER_SRC_RANGE, FILTER_SRC_CAP };

struct filter_src {
	enum filter_src_kind kind;
	struct ip_range range; /* RANGE (addresses and CIDRs too) */
	char *cap;             /* CAP: node attribute of the peer; else null */
};

struct filter_dst {
	bool any;              /* "*" */
	struct ip_range range; /* unless 'any' */
	uint16_t port_first, port_last;
};

struct filter_grant {
	struct prefix *dsts;
	size_t n_dsts;
	struct map_cap *caps;
	size_t n_caps;
};

/* One FilterRule: destinations or grants, never both. */
struct filter_rule {
	struct filter_src *srcs;
	size_t n_srcs;
	struct filter_dst *dsts;
	size_t n_dsts;
	uint8_t *protos;       /* IPProto; none = TCP, UDP, ICMPv4, ICMPv6 */
	size_t n_protos;
	struct filter_grant *grants;
	size_t n_grants;
};

struct filter_rules {
	struct filter_rule *rules;
	size_t n_rules;
};

struct user_profile {
	int64_t id;
	char *login_name;
	char *display_name;
	char *profile_pic_url;
};

struct dns_route {
	char *suffix;
	char **resolvers; /* addresses as sent; none = the built-in resolver answers */
	size_t n_resolvers;
};

struct dns_config {
	bool proxied; /* MagicDNS on */
	char **domains;
	size_t n_domains;
	char **resolvers;
	size_t n_resolvers;
	struct dns_route *routes;
	size_t n_routes;
};

/* Wipes leave the struct zeroed; a zeroed struct may be wiped. */
void map_cap_wipe(struct map_cap *c);
void map_caps_free(struct map_cap *caps, size_t n); /* a whole list, freed too */
void map_strs_free(char **texts, size_t n);
void hostinfo_wipe(struct hostinfo *h);
/* Moves the texts and the addresses of a node into one block, which takes a third less memory. Members are then only
 * read, until map_node_wipe(); a copy is not packed. Out of memory: nothing changes. */
void map_node_pack(struct map_node *n);
void map_node_wipe(struct map_node *n);
void derp_region_wipe(struct derp_region *r);
void derp_map_wipe(struct derp_map *m);
void filter_rule_wipe(struct filter_rule *r);
void filter_rules_wipe(struct filter_rules *r);
void user_profile_wipe(struct user_profile *u);
void dns_config_wipe(struct dns_config *d);

/* Deep copies into an empty '*to'. Return 0 or -ENOMEM ('*to' is then empty). */
MESH_MUST_USE int hostinfo_copy(struct hostinfo *to, const struct hostinfo *from);
MESH_MUST_USE int map_node_copy(struct map_node *to, const struct map_node *from);
MESH_MUST_USE int derp_map_copy(struct derp_map *to, const struct derp_map *from);
MESH_MUST_USE int filter_rules_copy(struct filter_rules *to, const struct filter_rules *from);
MESH_MUST_USE int dns_config_copy(struct dns_config *to, const struct dns_config *from);

/* By value; a null string equals "". */
bool map_caps_eq(const struct map_cap *a, size_t n_a, const struct map_cap *b, size_t n_b);
bool hostinfo_eq(const struct hostinfo *a, const struct hostinfo *b);
/* But for the measured latencies, which differ each time. */
bool hostinfo_says_same(const struct hostinfo *a, const struct hostinfo *b);
bool map_node_eq(const struct map_node *a, const struct map_node *b);
bool derp_map_eq(const struct derp_map *a, const struct derp_map *b);
bool filter_rules_eq(const struct filter_rules *a, const struct filter_rules *b);
bool dns_config_eq(const struct dns_config *a, const struct dns_config *b);
bool user_profile_eq(const struct user_profile *a, const struct user_profile *b);

/* Does the node carry the attribute 'name' in its CapMap? */
bool map_node_has_cap(const struct map_node *n, const char *name);
const struct derp_region *derp_map_region(const struct derp_map *m, uint32_t id);

/* Peer capability lookup (control-messages 13): does 'src' hold capability 'name' on 'dst' by these
 * rules? 'cap:' sources are resolved through 'src_node' (may be null). Nodes with
 * 'unsigned_peerapi_only' never hold capabilities. */
bool filter_rules_have_cap(const struct filter_rules *rules, const struct ip *src,
			   const struct map_node *src_node, const struct ip *dst, const char *name);

#endif
