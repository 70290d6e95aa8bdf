/* SPDX-License-Identifier: MIT */
/* The node's state on disk: one sqlite3 database with keys, preferences, server keys, the last map and
 * the handshake floor.
 *
 * An identity is never made anew silently: only a database that did not exist in a writable
 * directory is a new node; one that is unreadable, corrupt, or of a newer version is refused with a
 * sentence. One daemon per database: the second is refused.
 *
 * What is put is in memory at once, and read from there. Without a loop, store_put_*() returns when it is on disk.
 * With one (store_attach), the disk's helper thread writes it, many puts in one transaction, and the
 * control thread never waits: whoever must not go on before a value is on disk takes store_ticket() after putting it
 * and waits until store_is_durable(). A write that the disk refuses is tried again, after 1 s up to 60 s; what is put
 * meanwhile does not bring that forward.
 *
 * Control thread only. Spec: RELIABILITY 7. */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/key.h"
#include "base/mono.h"
#include "wire/prefs.h"

struct log;
struct loop;
struct store;

enum { STORE_ERR_MAX = 320 };

/* Opens or creates the database. 'path' "mem:" keeps everything in memory. The directory is made
 * (0700) when missing, the file is 0600.
 *
 * Returns 0; -EBUSY (another daemon has it); -EBADMSG (corrupt: nothing was changed); -EPROTO (written
 * by a newer version); another negative errno. 'err' then has a sentence for the operator. */
MESH_MUST_USE int store_open(struct store **s, const char *path, const struct log *log,
			     char err[static STORE_ERR_MAX]);
/* Null is allowed. */
void store_close(struct store *s);
/* Did this open create the database (a new node)? */
bool store_is_new(const struct store *s);

/* The puts up to 'ticket' were tried: 'err' is 0 (on disk) or a negative errno (they will be tried again). */
typedef void (*store_written_fn)(void *ctx, uint64_t ticket, int err, struct mono now);
/* From now on the helper thread of 'loop' (borrowed) writes. 'written' is called from the loop after each try. */
void store_attach(struct store *s, struct loop *loop, store_written_fn written, void *ctx);
/* Waits for the write under way and writes what is left, now. Called before the loop goes; store_close() does it
 * too. Null is allowed. */
void store_detach(struct store *s);
/* Covers everything that was put up to now. */
uint64_t store_ticket(const struct store *s);
bool store_is_durable(const struct store *s, uint64_t ticket);
/* Somebody waits for what was put: a write that was refused is tried again now, but not within a second of the last
 * try. */
void store_hurry(struct store *s);
/* A sentence when the last write failed and memory is ahead of the disk; null = all is well. */
const char *store_health(const struct store *s);

/* The long-term secrets. Wipe with store_identity_wipe(). */
struct store_identity {
	struct machine_priv machine;
	struct node_priv node;
	struct node_priv old_node; /* zero = none: the key being rotated away */
	bool is_registered;        /* the server has accepted 'node' */
};

/* Returns 0; -ENOENT (a new node: make one and put it); -EIO (lost or damaged: refuse to start). */
MESH_MUST_USE int store_get_identity(struct store *s, struct store_identity *id);
MESH_MUST_USE int store_put_identity(struct store *s, const struct store_identity *id);
void store_identity_wipe(struct store_identity *id);

/* Preferences; defaults of a new profile when none are stored. */
/* -EIO, -EBADMSG: damaged. */
MESH_MUST_USE int store_get_prefs(struct store *s, struct prefs *p);
MESH_MUST_USE int store_put_prefs(struct store *s, const struct prefs *p);

/* The Noise key of a control server, pinned at first contact. -ENOENT. */
MESH_MUST_USE int store_get_server_key(struct store *s, const char *url, struct machine_key *key);
MESH_MUST_USE int store_put_server_key(struct store *s, const char *url, const struct machine_key *key);

/* The last map as bytes, with the server it came from. Advisory: anything wrong with it is -ENOENT, and one that
 * the disk refuses is not kept. Appends to '*map'. */
MESH_MUST_USE int store_get_map(struct store *s, const char *url, struct bytes *map);
MESH_MUST_USE int store_put_map(struct store *s, const char *url, const void *map, size_t size);
MESH_MUST_USE int store_del_map(struct store *s);

/* Handshake floor: no handshake stamp below it may be sent (unix seconds, 0 = none). The daemon
 * reserves an hour at a time. */
MESH_MUST_USE int store_get_floor(struct store *s, int64_t *unix_s);
MESH_MUST_USE int store_put_floor(struct store *s, int64_t unix_s);

/* Small named values (ports chosen once, ids). -ENOENT. */
MESH_MUST_USE int store_get_value(struct store *s, const char *name, struct bytes *value);
MESH_MUST_USE int store_put_value(struct store *s, const char *name, const void *value, size_t size);

/* Takes a whole login from elsewhere: identity, its control server, preferences. The map and the keys of
 * servers go. Before store_attach(): all of it is on disk when it returns 0, else nothing has changed there. */
MESH_MUST_USE int store_take_over(struct store *s, const struct store_identity *id, const char *url,
				  const struct prefs *p);

/* Forgets node key, server keys, map; keeps machine key and preferences (logout). */
MESH_MUST_USE int store_forget_login(struct store *s);

#endif
