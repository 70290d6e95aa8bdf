/* SPDX-License-Identifier: MIT */
/* Listening byte streams: plain or TLS on one port, told apart by the first byte (0x16 = TLS). Serves the
 * coordinator, DERP and the metrics page; knows nothing of HTTP itself.
 *
 * Use: httpd_fd() into epoll; when readable or httpd_deadline() is due, httpd_run(), then drain httpd_poll().
 * A connection that its owner has not vouched for by httpd_established() within HTTPD_SETUP_MS of being
 * accepted is closed, which ends slow-loris attacks on handshakes and heads alike.
 *
 * Owner: control thread. Spec: derp 3.1, 3.2; limits: RELIABILITY 5. */
#ifndef DAEMON_HTTPD_H
#define DAEMON_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/log.h"
#include "base/mono.h"
#include "daemon/cert.h"

enum {
	HTTPD_SETUP_MS = 10000,
	HTTPD_OUT_MAX = 64 * 1024,     /* bytes queued for sending per connection: longer queues stay with the owner,
					* who knows what to drop */
	HTTPD_CONNS_MAX = 8192,
	HTTPD_SETUP_MAX = 1024,        /* connections not yet established ... */
	HTTPD_SETUP_PER_SOURCE = 20,   /* ... of one address (IPv6: /64) */
	HTTPD_ACCEPT_PER_S = 100,
	HTTPD_ACCEPT_BURST = 500,
	HTTPD_LISTENERS_MAX = 16,
};

enum httpd_event_kind {
	HTTPD_OPENED,   /* accepted; TLS (if any) is done */
	HTTPD_DATA,
	HTTPD_WRITABLE, /* there is room again after httpd_room() was 0 */
	HTTPD_CLOSED,   /* the other side ended it, or a limit; the connection is gone */
};

struct httpd_event {
	enum httpd_event_kind kind;
	uint32_t conn;
	uint32_t tag;        /* of the listener */
	bool is_tls;         /* OPENED */
	struct ep remote;    /* OPENED */
	struct ep local;     /* OPENED */
	const uint8_t *data; /* DATA; borrowed until the next call */
	size_t size;
	const char *reason;  /* CLOSED; borrowed until the next call */
};

struct httpd_counters {
	uint64_t accepted, closed, refused_limit, refused_rate, setup_timeouts, tls_failures;
};

struct httpd;

MESH_MUST_USE struct httpd *httpd_new(const struct log *log);
/* Closes listeners and connections without events. */
void httpd_free(struct httpd *h);

/* Listens on 'ep'; an unspecified IPv6 address takes IPv4 too. 'tag' comes back in events. 'tls' may be null
 * (plain only; a TLS client is then cut off) and is borrowed until httpd_unlisten(). Port 0 = any.
 * Returns the port, or a negative errno (-EADDRINUSE, -EACCES, ...). */
MESH_MUST_USE int httpd_listen(struct httpd *h, const struct ep *ep, uint32_t tag, const struct cert_tls *tls);
/* Stops the listeners of 'tag' and closes their connections without events. */
void httpd_unlisten(struct httpd *h, uint32_t tag);

int httpd_fd(const struct httpd *h);
struct mono httpd_deadline(const struct httpd *h);
void httpd_run(struct httpd *h, struct mono now);
bool httpd_poll(struct httpd *h, struct httpd_event *ev);

/* The owner knows this connection to be in order (head read, login done): no more set-up limit. */
void httpd_established(struct httpd *h, uint32_t conn);
/* Bytes that httpd_send() takes now; 0 for unknown connections. */
size_t httpd_room(const struct httpd *h, uint32_t conn);
/* Queues 'size' bytes (copied). Returns 0; -ENOBUFS: more than httpd_room(), nothing taken; -ENOENT. */
MESH_MUST_USE int httpd_send(struct httpd *h, uint32_t conn, const uint8_t *buf, size_t size);
/* Stops or resumes reading (rate limits, back-pressure). */
void httpd_read(struct httpd *h, uint32_t conn, bool on);
/* Closes without an event; with 'flush' after what is queued has gone (at most 2 s). */
void httpd_close(struct httpd *h, uint32_t conn, bool flush);

const struct httpd_counters *httpd_counters(const struct httpd *h);
size_t httpd_conns(const struct httpd *h);

#endif
