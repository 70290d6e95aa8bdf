/* SPDX-License-Identifier: MIT */
/* Server certificates: the operator's files or a self-signed one, the pin that names it in a DERP map, and the
 * DERP meta certificate that goes behind it. Over OpenSSL. Owner: control thread (creation is slow: start-up
 * or helper thread). Spec: derp 3.2, 3.4. */
#ifndef DAEMON_CERT_H
#define DAEMON_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/key.h"

enum {
	CERT_BACK_DAYS = 30,    /* validity begins so long ago: clocks of nodes may be slow */
	CERT_YEARS = 10,
	CERT_PIN_TEXT_MAX = 11 + 64 + 1, /* "sha256-raw:" + hex */
};

/* Makes a P-256 key and a self-signed certificate for 'host' (DNS name or address literal: the one SAN and
 * the CN) as PEM text. '*cert_pem' and '*key_pem' are malloc'ed strings; free the key with cert_key_free().
 * Returns 0, -EINVAL (host is empty or too long), -ENOMEM or -EIO (OpenSSL). */
MESH_MUST_USE int cert_self_signed(const char *host, int64_t wall_s, char **cert_pem, char **key_pem);
/* Wipes and frees. */
void cert_key_free(char *key_pem);

/* A certificate ready for serving. */
struct cert_tls;

/* From PEM texts (certificate chain, private key). With 'derp' the meta certificate of that server key is
 * appended to what is sent. '*why' (may be null) gets a static text on failure.
 * Returns the context or null: unreadable, key does not match, out of memory. */
MESH_MUST_USE struct cert_tls *cert_tls_new(const char *cert_pem, const char *key_pem,
					    const struct node_key *derp, int64_t wall_s, const char **why);
/* From files. */
MESH_MUST_USE struct cert_tls *cert_tls_load(const char *cert_path, const char *key_path,
					     const struct node_key *derp, int64_t wall_s, const char **why);
void cert_tls_free(struct cert_tls *t);
/* Appends the meta certificate afterwards, before anything is served. Once. -EIO. */
MESH_MUST_USE int cert_tls_add_derp(struct cert_tls *t, const struct node_key *derp, int64_t wall_s);
/* Does the leaf name this host (DNS name or address literal)? */
bool cert_tls_is_for(const struct cert_tls *t, const char *host);

/* The leaf: pin ("sha256-raw:" + hex), end of validity (unix seconds), is it self-signed? */
void cert_tls_pin(const struct cert_tls *t, char text[static CERT_PIN_TEXT_MAX]);
int64_t cert_tls_not_after(const struct cert_tls *t);
bool cert_tls_is_self_signed(const struct cert_tls *t);

/* Reads "derpkey" + 64 hex from a certificate's subject CN, and the serial (0 = unknown or too long), out of
 * the raw DER. Returns 0 or -ENOENT. */
MESH_MUST_USE int cert_meta_parse(const uint8_t *der, size_t size, uint8_t key[static KEY_SIZE],
				  uint8_t *version);

#endif
