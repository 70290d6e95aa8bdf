/* SPDX-License-Identifier: MIT */
/* The side of daemon/cert that shows OpenSSL's types: for daemon/httpd and daemon/tlsconn only. */
#ifndef DAEMON_CERT_SSL_H
#define DAEMON_CERT_SSL_H

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/compiler.h"
#include "daemon/cert.h"

/* A connection's TLS state for this certificate; null: out of memory. Free with SSL_free(). */
MESH_MUST_USE SSL *cert_ssl_new(const struct cert_tls *t);

/* As cert_meta_parse(), from a parsed certificate. */
MESH_MUST_USE int cert_ssl_meta(X509 *x, uint8_t key[static KEY_SIZE], uint8_t *version);

#endif
