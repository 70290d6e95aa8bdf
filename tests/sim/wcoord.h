/* SPDX-License-Identifier: MIT */
/* The project's coordinator inside the world: control, DERP and STUN on one host, and the byte
 * streams that nodes open to it. TLS is left out: the bytes inside are the same. */
#ifndef TESTS_SIM_WCOORD_H
#define TESTS_SIM_WCOORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mono.h"
#include "wire/streamaddr.h"

struct node;
struct world;
struct wcoord;

enum { WCOORD_PORT = 443, WCOORD_STUN_PORT = 3478, WCOORD_KEY_MAX = 128 };

/* Starts the coordinator on a public host with this address and makes it the world's. */
struct wcoord *wcoord_new(struct world *w, const char *addr);
void wcoord_free(struct wcoord *c);
const char *wcoord_url(const struct wcoord *c);
/* A reusable auth key; 'tag' may be null. */
void wcoord_key(struct wcoord *c, const char *tag, char key[static WCOORD_KEY_MAX]);
/* An administration call; fails the test unless it is answered with 200. */
void wcoord_admin(struct wcoord *c, const char *verb, const char *body);

/* The node's side of a stream; what happens comes back through the functions below. */
void wcoord_open(struct wcoord *c, struct node *n, uint32_t stream, const struct stream_addr *addr);
void wcoord_send(struct wcoord *c, struct node *n, uint32_t stream, const uint8_t *data,
		 size_t size);
void wcoord_close(struct wcoord *c, struct node *n, uint32_t stream);
/* All streams of a node end without a word (its process died). */
void wcoord_forget(struct wcoord *c, struct node *n);
/* Nodes that are logged in at DERP. */
size_t wcoord_n_derp(const struct wcoord *c);
/* Every DERP stream, or every control stream, is reset. */
void wcoord_reset(struct wcoord *c, bool derp);

/* whole.c: events of a stream. */
void whole_opened(struct node *n, uint32_t stream, const struct stream_info *info);
void whole_bytes(struct node *n, uint32_t stream, const uint8_t *data, size_t size);
void whole_closed(struct node *n, uint32_t stream, const char *reason);

struct mono wcoord_deadline(const struct wcoord *c);
void wcoord_tick(struct wcoord *c);

#endif
