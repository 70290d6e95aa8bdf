/* SPDX-License-Identifier: MIT */
/* Outgoing byte streams, plain or TLS, through libcurl: DNS, happy eyeballs, proxies from the environment,
 * certificate checks. All streams of the process share one descriptor that the event loop watches.
 *
 * libcurl connects (CURLOPT_CONNECT_ONLY) and then moves bytes; names are resolved on its own threads, so
 * nothing here blocks. Sockets carry the bypass mark, so DERP and control never enter the tunnel. A stream_addr
 * with an address for one family is dialled by its addresses alone; DNS is asked only if it has none.
 *
 * Use: tlsconn_fd() into epoll for reading; when it is readable, or tlsconn_deadline() is due, call
 * tlsconn_run(); then drain tlsconn_poll(). Owner: control thread. Spec: derp 2.2, 3.4. */
#ifndef DAEMON_TLSCONN_H
#define DAEMON_TLSCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/log.h"
#include "base/mono.h"
#include "wire/streamaddr.h"

enum {
	TLSCONN_CONNECT_MS = 10000,   /* TCP and TLS, unless the machine gives up first */
	TLSCONN_OUT_MAX = 256 * 1024, /* bytes queued for sending per stream */
	TLSCONN_USER_TIMEOUT_MS = 15000,
	TLSCONN_FLUSH_MS = 2000,
	TLSCONN_MAX = 512,            /* streams */
};

enum tlsconn_event_kind {
	TLSCONN_OPENED,   /* 'info' is valid */
	TLSCONN_DATA,     /* 'data' */
	TLSCONN_WRITABLE, /* there is room again after tlsconn_room() was 0 */
	TLSCONN_CLOSED,   /* failed or ended; the stream is gone; 'reason' says why */
};

struct tlsconn_event {
	enum tlsconn_event_kind kind;
	uint32_t id;
	struct stream_info info;
	const uint8_t *data; /* borrowed until the next call */
	size_t size;
	const char *reason;  /* borrowed until the next call */
};

struct tlsconn_cfg {
	uint32_t mark;      /* SO_MARK of every socket; 0 = none */
	const char *ca_file; /* instead of the system's roots; null = those */
	const struct log *log;
};

struct tlsconn_set;

/* Returns the set or null: out of memory or descriptors. 'cfg' is copied, its log borrowed, the file name
 * copied. */
MESH_MUST_USE struct tlsconn_set *tlsconn_new(const struct tlsconn_cfg *cfg);
/* Closes all streams without events. */
void tlsconn_free(struct tlsconn_set *s);

int tlsconn_fd(const struct tlsconn_set *s);
struct mono tlsconn_deadline(const struct tlsconn_set *s);
void tlsconn_run(struct tlsconn_set *s, struct mono now);
bool tlsconn_poll(struct tlsconn_set *s, struct tlsconn_event *ev);

/* The routes changed: ends, with CLOSED, each open stream that would leave from another address now. Its packets
 * take the new way with the old source, so no answer comes back, and that would show only after seconds. */
void tlsconn_rerouted(struct tlsconn_set *s);

/* Starts connecting; 'id' is the caller's and must not be in use. OPENED or CLOSED follows.
 * Returns 0, -EEXIST, -ENOBUFS (TLSCONN_MAX) or -ENOMEM. */
MESH_MUST_USE int tlsconn_open(struct tlsconn_set *s, struct mono now, uint32_t id,
			       const struct stream_addr *addr);
/* Bytes that tlsconn_send() takes now; 0 before OPENED and for unknown streams. */
size_t tlsconn_room(const struct tlsconn_set *s, uint32_t id);
/* Queues 'size' bytes (copied), sending at once what the socket takes. Returns 0; -ENOBUFS: more than
 * tlsconn_room(), nothing taken; -ENOENT. */
MESH_MUST_USE int tlsconn_send(struct tlsconn_set *s, uint32_t id, const uint8_t *buf, size_t size);
/* Closes without an event; with 'flush' after what is queued has gone (at most 2 s). Unknown ids are ignored. The
 * id may be used again at once. */
void tlsconn_close(struct tlsconn_set *s, uint32_t id, bool flush);

#endif
