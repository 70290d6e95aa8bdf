/* SPDX-License-Identifier: MIT */
/* Certificates over OpenSSL, see cert.h. */
#include "daemon/cert.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ep.h"
#include "daemon/cert_ssl.h"
#include "wire/derp.h"

enum { DAY_S = 86400, META_DAYS = 30, HOST_MAX = 253 };

static const char meta_prefix[] = "derpkey";

struct cert_tls {
	SSL_CTX *ctx;
	uint8_t sha256[32];
	int64_t not_after;
	bool is_self_signed;
};

static void free_x509(X509 **x)
{
	X509_free(*x);
}

static void free_pkey(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

static void free_bio(BIO **b)
{
	BIO_free(*b);
}

static bool set_validity(X509 *x, int64_t from_s, int64_t to_s)
{
	return ASN1_TIME_set(X509_getm_notBefore(x), from_s) && ASN1_TIME_set(X509_getm_notAfter(x), to_s);
}

/* Subject = issuer = one common name. An over-long one passes only as UTF8String: OpenSSL checks the length of
 * the MBSTRING types alone (derp 3.2). */
static bool set_name(X509 *x, const char *cn)
{
	X509_NAME *name = X509_get_subject_name(x);

	return X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING, (const unsigned char *)cn, -1, -1,
					  0) &&
	       X509_set_issuer_name(x, name);
}

static bool add_ext(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	bool ok = ext && X509_add_ext(x, ext, -1);

	X509_EXTENSION_free(ext);
	return ok;
}

/* A certificate for 'key', not signed yet. */
static X509 *cert_new(EVP_PKEY *key, const char *cn, uint64_t serial, int64_t from_s, int64_t to_s)
{
	X509 *x = X509_new();

	if (x && X509_set_version(x, X509_VERSION_3) && ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial) &&
	    set_validity(x, from_s, to_s) && set_name(x, cn) && X509_set_pubkey(x, key) &&
	    add_ext(x, NID_basic_constraints, "critical,CA:FALSE"))
		return x;
	X509_free(x);
	return NULL;
}

/* The whole of a memory BIO as a string. */
static char *bio_text(BIO *bio)
{
	char *data, *text;
	long size = BIO_get_mem_data(bio, &data);

	text = size > 0 ? malloc((size_t)size + 1) : NULL;
	if (!text)
		return NULL;
	memcpy(text, data, (size_t)size);
	text[size] = 0;
	return text;
}

static char *pem_of_cert(X509 *x)
{
	CLEANUP(free_bio) BIO *bio = BIO_new(BIO_s_mem());

	return bio && PEM_write_bio_X509(bio, x) ? bio_text(bio) : NULL;
}

static char *pem_of_key(EVP_PKEY *key)
{
	CLEANUP(free_bio) BIO *bio = BIO_new(BIO_s_secmem());

	return bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ? bio_text(bio) : NULL;
}

int cert_self_signed(const char *host, int64_t wall_s, char **cert_pem, char **key_pem)
{
	CLEANUP(free_pkey) EVP_PKEY *key = NULL;
	CLEANUP(free_x509) X509 *x = NULL;
	size_t len = strlen(host);
	char san[HOST_MAX + 8];
	uint64_t serial;
	struct ip ip;

	/* A comma would begin another name in OpenSSL's extension syntax. */
	if (len == 0 || len > HOST_MAX || strpbrk(host, ",;\n\r "))
		return -EINVAL;
	(void)snprintf(san, sizeof(san), "%s:%s", ip_parse(&ip, host, len) == 0 ? "IP" : "DNS", host);
	randombytes_buf(&serial, sizeof(serial));
	key = EVP_EC_gen("P-256");
	if (key)
		x = cert_new(key, len <= 64 ? host : "meshd", serial >> 1, wall_s - CERT_BACK_DAYS * (int64_t)DAY_S,
			     wall_s + CERT_YEARS * INT64_C(365) * DAY_S);
	if (!x || !add_ext(x, NID_subject_alt_name, san) || !add_ext(x, NID_key_usage, "critical,digitalSignature") ||
	    !add_ext(x, NID_ext_key_usage, "serverAuth") || !X509_sign(x, key, EVP_sha256())) {
		ERR_clear_error();
		return -EIO;
	}
	*cert_pem = pem_of_cert(x);
	*key_pem = pem_of_key(key);
	if (*cert_pem && *key_pem)
		return 0;
	free(*cert_pem);
	cert_key_free(*key_pem);
	return -ENOMEM;
}

void cert_key_free(char *key_pem)
{
	if (key_pem)
		sodium_memzero(key_pem, strlen(key_pem));
	free(key_pem);
}

/* The meta certificate: tells clients the DERP key inside the (encrypted) TLS 1.3 handshake. */
static X509 *meta_new(const struct node_key *derp, int64_t wall_s)
{
	CLEANUP(free_pkey) EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	char cn[sizeof(meta_prefix) + 2 * KEY_SIZE];
	X509 *x;

	memcpy(cn, meta_prefix, sizeof(meta_prefix) - 1);
	(void)sodium_bin2hex(cn + sizeof(meta_prefix) - 1, 2 * KEY_SIZE + 1, derp->b, KEY_SIZE);
	x = key ? cert_new(key, cn, DERP_VERSION, wall_s - META_DAYS * (int64_t)DAY_S,
			   wall_s + META_DAYS * (int64_t)DAY_S) :
		  NULL;
	if (x && X509_sign(x, key, NULL))
		return x;
	X509_free(x);
	return NULL;
}

static bool describe_leaf(struct cert_tls *t, X509 *leaf)
{
	const ASN1_TIME *end = X509_get0_notAfter(leaf);
	unsigned int n = sizeof(t->sha256);
	struct tm tm;

	t->is_self_signed = X509_self_signed(leaf, 0) == 1;
	if (!ASN1_TIME_to_tm(end, &tm) || !X509_digest(leaf, EVP_sha256(), t->sha256, &n))
		return false;
	t->not_after = (int64_t)timegm(&tm);
	return true;
}

/* Reads the chain: leaf first, then what it was signed by. */
static bool load_chain(struct cert_tls *t, const char *pem, const char **why)
{
	CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem, -1);
	CLEANUP(free_x509) X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	X509 *x;

	*why = "no certificate in the file";
	if (!leaf || SSL_CTX_use_certificate(t->ctx, leaf) != 1)
		return false;
	*why = "certificate has no readable end of validity";
	if (!describe_leaf(t, leaf))
		return false;
	while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (SSL_CTX_add0_chain_cert(t->ctx, x) != 1) {
			X509_free(x);
			return false;
		}
	}
	ERR_clear_error(); /* the end of the file is reported as an error */
	return true;
}

static bool load_key(struct cert_tls *t, const char *pem, const char **why)
{
	CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem, -1);
	CLEANUP(free_pkey) EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	*why = "no private key in the file";
	if (!key)
		return false;
	*why = "private key and certificate do not belong together";
	return SSL_CTX_use_PrivateKey(t->ctx, key) == 1 && SSL_CTX_check_private_key(t->ctx) == 1;
}

int cert_tls_add_derp(struct cert_tls *t, const struct node_key *derp, int64_t wall_s)
{
	X509 *meta = meta_new(derp, wall_s);

	if (meta && SSL_CTX_add0_chain_cert(t->ctx, meta) == 1)
		return 0;
	X509_free(meta);
	ERR_clear_error();
	return -EIO;
}

bool cert_tls_is_for(const struct cert_tls *t, const char *host)
{
	X509 *leaf = SSL_CTX_get0_certificate(t->ctx);

	return X509_check_ip_asc(leaf, host, 0) == 1 || X509_check_host(leaf, host, 0, 0, NULL) == 1;
}

struct cert_tls *cert_tls_new(const char *cert_pem, const char *key_pem, const struct node_key *derp, int64_t wall_s,
			      const char **why)
{
	struct cert_tls *t = calloc(1, sizeof(*t));
	const char *reason = "out of memory";

	if (!t || !(t->ctx = SSL_CTX_new(TLS_server_method())))
		goto fail;
	SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	/* A resumed session carries no certificates, and so no meta certificate. */
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(t->ctx, 0);
	SSL_CTX_set_options(t->ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					 SSL_MODE_RELEASE_BUFFERS);
	if (!load_chain(t, cert_pem, &reason) || !load_key(t, key_pem, &reason))
		goto fail;
	reason = "meta certificate cannot be made";
	if (derp && cert_tls_add_derp(t, derp, wall_s) < 0)
		goto fail;
	return t;
fail:
	ERR_clear_error();
	cert_tls_free(t);
	if (why)
		*why = reason;
	return NULL;
}

/* A file as text; null if it cannot be read. */
static char *read_text(const char *path)
{
	enum { FILE_MAX = 1 << 20 };
	FILE *f = fopen(path, "re");
	char *text = f ? calloc(1, FILE_MAX + 1) : NULL;
	size_t n = text ? fread(text, 1, FILE_MAX, f) : 0;

	if (f)
		(void)fclose(f);
	if (n > 0)
		return text;
	free(text);
	return NULL;
}

struct cert_tls *cert_tls_load(const char *cert_path, const char *key_path, const struct node_key *derp,
			       int64_t wall_s, const char **why)
{
	char *cert = read_text(cert_path), *key = read_text(key_path);
	struct cert_tls *t = NULL;

	if (cert && key)
		t = cert_tls_new(cert, key, derp, wall_s, why);
	else if (why)
		*why = cert ? "cannot read the key file" : "cannot read the certificate file";
	free(cert);
	cert_key_free(key);
	return t;
}

void cert_tls_free(struct cert_tls *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

SSL *cert_ssl_new(const struct cert_tls *t)
{
	return SSL_new(t->ctx);
}

void cert_tls_pin(const struct cert_tls *t, char text[static CERT_PIN_TEXT_MAX])
{
	memcpy(text, "sha256-raw:", 11);
	(void)sodium_bin2hex(text + 11, CERT_PIN_TEXT_MAX - 11, t->sha256, sizeof(t->sha256));
}

int64_t cert_tls_not_after(const struct cert_tls *t)
{
	return t->not_after;
}

bool cert_tls_is_self_signed(const struct cert_tls *t)
{
	return t->is_self_signed;
}

/* --- reading --- */

int cert_ssl_meta(X509 *x, uint8_t key[static KEY_SIZE], uint8_t *version)
{
	const X509_NAME *name = X509_get_subject_name(x);
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	const ASN1_STRING *cn = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)) : NULL;
	const char *text = cn ? (const char *)ASN1_STRING_get0_data(cn) : NULL;
	size_t len = cn ? (size_t)ASN1_STRING_length(cn) : 0, prefix = sizeof(meta_prefix) - 1, got = 0;
	uint64_t serial = 0;

	if (len != prefix + 2 * KEY_SIZE || memcmp(text, meta_prefix, prefix) != 0)
		return -ENOENT;
	if (sodium_hex2bin(key, KEY_SIZE, text + prefix, len - prefix, NULL, &got, NULL) != 0 || got != KEY_SIZE)
		return -ENOENT;
	if (ASN1_INTEGER_get_uint64(&serial, X509_get0_serialNumber(x)) != 1)
		serial = 0;
	*version = serial <= UINT8_MAX ? (uint8_t)serial : 0;
	return 0;
}

int cert_meta_parse(const uint8_t *der, size_t size, uint8_t key[static KEY_SIZE], uint8_t *version)
{
	const unsigned char *p = der;
	CLEANUP(free_x509) X509 *x = size <= INT32_MAX ? d2i_X509(NULL, &p, (long)size) : NULL;

	ERR_clear_error();
	return x ? cert_ssl_meta(x, key, version) : -ENOENT;
}
