/* SPDX-License-Identifier: MIT */
/* Bodies of the control connection, JSON <-> structs: register and map requests and responses, both ways,
 * because our coordinator writes what our client parses (and the reverse).
 *
 * Parsing checks type and range of every field that is used; unknown fields are ignored, missing ones have
 * the default of the zeroed struct unless a comment says otherwise. Ownership is that of wire/mapdata.h:
 * *_wipe() frees the inside of a parsed struct. Writers only read; a struct that is written may borrow.
 *
 * All parsers return 0, -EBADMSG ('*why' names the field and the reason, or is left alone if null) or -ENOMEM,
 * and on failure leave '*out' zeroed. Any thread. Page: netstack/wire/ctljson.md.
 * Spec: control-messages 4..15. */
#ifndef NETSTACK_WIRE_CTLJSON_H
#define NETSTACK_WIRE_CTLJSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/key.h"
#include "wire/json.h"
#include "wire/mapdata.h"

enum {
	CTLJSON_BODY_MAX = 1 << 20,  /* requests, and every response but the map's (control-transport 7) */
	CTLJSON_MAP_MAX = 64 << 20,  /* one decoded map message (RELIABILITY 5) */
	CTLJSON_WHY_MAX = 160,
};

/* Why a body was refused: "Peers: ID: is not a number". */
struct ctl_why {
	char text[CTLJSON_WHY_MAX];
};

/* GET /key */
struct ctl_key_response {
	struct machine_key legacy; /* zero when absent */
	struct machine_key key;    /* never zero after parsing */
};

MESH_MUST_USE int ctl_key_response_parse(struct ctl_key_response *out, const char *text, size_t size,
					 struct ctl_why *why);
void ctl_key_response_write(struct json_w *w, const struct ctl_key_response *m);

/* POST /machine/register */
struct ctl_register_request {
	int32_t version;          /* capability version */
	struct node_key node;
	struct node_key old_node; /* zero = none */
	char *auth_key;           /* "" = none; secret: wiped by ctl_register_request_wipe() */
	bool has_expiry;          /* false: the zero time */
	int64_t expiry_s;         /* unix seconds; past = log out */
	char *followup;           /* auth URL being waited for; "" = none */
	bool ephemeral;
	bool has_host;
	struct hostinfo host;
};

MESH_MUST_USE int ctl_register_request_parse(struct ctl_register_request *out, const char *text, size_t size,
					     struct ctl_why *why);
void ctl_register_request_write(struct json_w *w, const struct ctl_register_request *m);
void ctl_register_request_wipe(struct ctl_register_request *m);

struct ctl_register_response {
	char *error;             /* "" = none; else nothing else counts */
	char *auth_url;          /* "" = none */
	bool needs_resign;       /* NodeKeySignature is not empty: tailnet lock */
	bool node_key_expired;
	bool machine_authorized;
	int64_t user_id;
	char *user_name;         /* User.DisplayName */
	char *login_name;        /* Login.LoginName */
};

MESH_MUST_USE int ctl_register_response_parse(struct ctl_register_response *out, const char *text, size_t size,
					      struct ctl_why *why);
void ctl_register_response_write(struct json_w *w, const struct ctl_register_response *m);
void ctl_register_response_wipe(struct ctl_register_response *m);

/* POST /machine/map */
struct ctl_map_request {
	int32_t version;
	struct node_key node;
	struct disco_key disco;   /* zero = none */
	bool stream;
	bool omit_peers;
	bool keep_alive;
	bool zstd;                /* Compress is "zstd" */
	bool has_host;
	struct hostinfo host;
	bool has_endpoints;       /* the field was there (also as an empty list) */
	struct ep *endpoints;     /* at most MAP_ENDPOINTS_MAX */
	uint8_t *endpoint_types;  /* enum ep_type, parallel to 'endpoints' */
	size_t n_endpoints;
};

MESH_MUST_USE int ctl_map_request_parse(struct ctl_map_request *out, const char *text, size_t size,
					struct ctl_why *why);
void ctl_map_request_write(struct json_w *w, const struct ctl_map_request *m);
void ctl_map_request_wipe(struct ctl_map_request *m);

/* PeerChange: each field counts only if its bit is set. */
enum ctl_patch_bits {
	CTL_PATCH_HOME_DERP = 1 << 0,
	CTL_PATCH_CAP = 1 << 1,
	CTL_PATCH_CAPS = 1 << 2,
	CTL_PATCH_ENDPOINTS = 1 << 3,
	CTL_PATCH_KEY = 1 << 4,
	CTL_PATCH_DISCO = 1 << 5,
	CTL_PATCH_ONLINE = 1 << 6,
	CTL_PATCH_LAST_SEEN = 1 << 7,
	CTL_PATCH_KEY_EXPIRY = 1 << 8,
};

struct ctl_patch {
	int64_t id;
	unsigned bits;            /* enum ctl_patch_bits */
	uint32_t home_derp;
	int32_t cap;
	struct map_cap *caps;
	size_t n_caps;
	struct ep *endpoints;
	size_t n_endpoints;
	struct node_key key;
	struct disco_key disco;
	bool online;
	int64_t last_seen_s;
	int64_t key_expiry_s;
};

/* PeerSeenChange, OnlineChange. */
struct ctl_id_flag {
	int64_t id;
	bool value;
};

struct ctl_region_score {
	uint32_t region;
	double score;
};

/* A named piece of the packet filter. PacketFilter is the chunk "base". */
struct ctl_filter_chunk {
	char *name;
	bool remove; /* null instead of a list */
	struct filter_rules rules;
};

struct ctl_ping_request {
	char *url;
	char *types;    /* "" = HEAD to the URL; "c2n"; or a list of ping kinds */
	char *payload;  /* decoded bytes, with a final NUL */
	size_t payload_size;
	struct ip ip;
	bool url_is_noise;
	bool log;
};

struct ctl_map_response {
	bool keep_alive;
	int64_t control_time_s;      /* unix seconds; 0 = none */
	struct map_node *self;       /* Node; null = unchanged */

	/* Peers: a non-empty list replaces all; the other peer fields are then ignored. */
	struct map_node *peers;
	size_t n_peers;
	/* Applied in this order: removed, changed, seen, online, patches. */
	int64_t *removed;
	size_t n_removed;
	struct map_node *changed;
	size_t n_changed;
	struct ctl_id_flag *seen;
	size_t n_seen;
	struct ctl_id_flag *online;
	size_t n_online;
	struct ctl_patch *patches;
	size_t n_patches;

	/* DERPMap */
	bool has_regions;            /* Regions was an object: replaces all of them */
	struct derp_map derp;
	bool has_scores;             /* HomeParams.RegionScore was there: replaces all of them */
	struct ctl_region_score *scores;
	size_t n_scores;

	struct dns_config *dns;      /* null = unchanged */
	char *domain;                /* "" = unchanged */

	/* PacketFilter and PacketFilters, in the order in which they apply. */
	bool clear_filters;          /* "*": null comes first */
	struct ctl_filter_chunk *filters;
	size_t n_filters;

	struct user_profile *users;  /* new or changed ones */
	size_t n_users;
	bool has_health;
	char **health;
	size_t n_health;
	struct ctl_ping_request *ping; /* null = none */
	char *pop_browser_url;       /* "" = none */
	uint32_t debug_sleep_s;      /* Debug.SleepSeconds, 0..300 */
	bool has_tka;                /* TKAInfo was there */
	bool tka_on;                 /* ... with a Head and not Disabled: tailnet lock is on */
};

/* Reads one map message in pieces, however they are cut, in memory for its nodes and one element: push all pieces,
 * then finish. */
struct ctl_map_reader;
MESH_MUST_USE struct ctl_map_reader *ctl_map_reader_new(void); /* null: out of memory */
void ctl_map_reader_free(struct ctl_map_reader *r);
/* Returns 0; -EBADMSG or -ENOMEM if the message will be refused, whatever follows. */
int ctl_map_reader_push(struct ctl_map_reader *r, const char *p, size_t size);
/* The message; frees the reader. Returns as ctl_map_response_parse(). */
MESH_MUST_USE int ctl_map_reader_finish(struct ctl_map_reader *r, struct ctl_map_response *out,
					struct ctl_why *why);

/* Parses one map message. The elements of Peers and PeersChanged become a tree one at a time. */
MESH_MUST_USE int ctl_map_response_parse(struct ctl_map_response *out, const char *text, size_t size,
					 struct ctl_why *why);
/* Writes every part that is present. 'peers', when not empty, is written as Peers; filters always as
 * PacketFilters. */
void ctl_map_response_write(struct json_w *w, const struct ctl_map_response *m);
void ctl_map_response_wipe(struct ctl_map_response *m);

/* Pieces, for whoever composes a message without a whole struct, and for the policy compiler's output. */
void ctl_node_write(struct json_w *w, const char *key, const struct map_node *n);
void ctl_patch_write(struct json_w *w, const char *key, const struct ctl_patch *p);
void ctl_hostinfo_write(struct json_w *w, const char *key, const struct hostinfo *h);
void ctl_derp_map_write(struct json_w *w, const char *key, const struct derp_map *m);
void ctl_filter_rules_write(struct json_w *w, const char *key, const struct filter_rules *r);
void ctl_dns_write(struct json_w *w, const char *key, const struct dns_config *d);
void ctl_user_profile_write(struct json_w *w, const char *key, const struct user_profile *u);
void ctl_patch_wipe(struct ctl_patch *p);

/* Trees to structs; they record errors in '*in' and leave '*out' zeroed then. Null trees give zeroed structs. */
void ctl_node_read(struct json_in *in, const cJSON *v, struct map_node *out);
void ctl_hostinfo_read(struct json_in *in, const cJSON *v, struct hostinfo *out);
/* DERPMap with its RegionScore applied; also reads a DERP map file. */
void ctl_derp_map_read(struct json_in *in, const cJSON *v, struct derp_map *out);
/* A list of FilterRule. Entries that do not parse are dropped and the rule kept, with '*n_bad' (may be null)
 * counting them; a rule with the ancient bits form refuses the list (-EBADMSG). */
void ctl_filter_rules_read(struct json_in *in, const cJSON *list, struct filter_rules *out, size_t *n_bad);

/* Early payload: "{"nodeKeyChallenge":"chalpub:..."}". */
void ctl_early_write(struct json_w *w, const uint8_t challenge[static KEY_SIZE]);

#endif
