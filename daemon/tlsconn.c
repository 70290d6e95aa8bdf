/* SPDX-License-Identifier: MIT */
/* Outgoing streams over libcurl, see tlsconn.h. The process ignores SIGPIPE.
 *
 * While a stream connects, libcurl names its descriptors through watch_cb() and they are watched in the set's own
 * epoll instance; once it is open, the stream's one descriptor is watched here with the stream as its tag, and
 * libcurl only moves bytes. Reading happens in tlsconn_poll(), straight into the buffer that the event lends. */
#include "daemon/tlsconn.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "daemon/cert_ssl.h"
#include "daemon/usock.h"

enum {
	READ_SIZE = 32 * 1024, /* what it gives stays in buffers that are kept (BYTES_KEEP) */
	READS_PER_RUN = 16,  /* buffers read from one stream before the others get their turn */
	KEEPALIVE_S = 30,
	EVENTS_MAX = 64,
	REASON_MAX = 256,
};

enum conn_state { CONNECTING, OPEN, FLUSHING, DEAD };

struct tlsconn {
	struct tlsconn_set *set;
	uint32_t id;
	enum conn_state state;
	CURL *easy;
	struct curl_slist *resolve;   /* addresses instead of DNS */
	curl_socket_t fd;             /* OPEN */
	bool is_watched;
	uint32_t watched;             /* for what */
	bool ready;                   /* there may be something to read */
	bool opened_due, writable_due, closed_due;
	bool was_full;                /* tlsconn_room() was 0: WRITABLE is owed */
	unsigned reads;               /* buffers read in this run */
	struct mono flush_by;
	struct bytes out;
	struct stream_addr addr;
	struct stream_info info;
	const char *tls_reason;       /* why our own certificate check refused */
	char reason[REASON_MAX];
	char errbuf[CURL_ERROR_SIZE];
};

struct tlsconn_set {
	struct tlsconn_cfg cfg;
	char *ca_file;
	CURLM *multi;
	int epfd;
	struct mono now;              /* of the last run */
	struct mono curl_at;          /* libcurl's timer */
	struct tlsconn *conns[TLSCONN_MAX];
	size_t n;
	size_t turn;                  /* where poll goes on */
	struct tlsconn *dead;         /* lent its reason to the last event; freed at the next call */
	bool warned_mark;
	uint8_t buf[READ_SIZE];
};

/* --- the certificate --- */

/* Notes a DERP meta certificate among those that the server sent (TLS 1.3 only: derp 3.2). */
static void note_meta(struct tlsconn *c, const SSL *ssl, STACK_OF(X509) *chain)
{
	c->info.is_tls13 = SSL_version(ssl) >= TLS1_3_VERSION;
	for (int i = 0; c->info.is_tls13 && i < sk_X509_num(chain); i++) {
		if (cert_ssl_meta(sk_X509_value(chain, i), c->info.derp_key, &c->info.derp_version) == 0)
			c->info.has_derp_key = true;
	}
}

static bool host_is_literal(const struct tlsconn *c)
{
	struct ip ip;

	return ip_parse(&ip, c->addr.host, strlen(c->addr.host)) == 0;
}

/* The rule of a pinned certificate, derp 3.4. Null, or why it is refused. */
static const char *check_pin(const struct tlsconn *c, STACK_OF(X509) *chain)
{
	uint8_t key[KEY_SIZE], sha256[32], version;
	unsigned int size = sizeof(sha256);
	X509 *leaf = NULL;
	int n = 0;

	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *x = sk_X509_value(chain, i);

		if (cert_ssl_meta(x, key, &version) == 0)
			continue;
		leaf = x;
		n++;
	}
	if (n != 1)
		return "pinned server presents another number of certificates than one";
	if (!X509_digest(leaf, EVP_sha256(), sha256, &size) || sodium_memcmp(sha256, c->addr.pin, sizeof(sha256)) != 0)
		return "certificate is not the pinned one";
	/* -1: past, 1: to come, 0: not readable. */
	if (X509_cmp_current_time(X509_get0_notBefore(leaf)) != -1 ||
	    X509_cmp_current_time(X509_get0_notAfter(leaf)) != 1)
		return "pinned certificate is outside its validity dates";
	/* A name was asked for only if it is one. */
	if (!host_is_literal(c) && X509_check_host(leaf, c->addr.host, 0, 0, NULL) != 1)
		return "pinned certificate is for another name";
	return NULL;
}

static int verify_cb(X509_STORE_CTX *ctx, void *arg)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(ctx);
	struct tlsconn *c = arg;

	note_meta(c, ssl, chain);
	switch ((enum stream_tls)c->addr.tls) {
	case STREAM_PLAIN:
	case STREAM_TLS_NOVERIFY:
		break;
	case STREAM_TLS_VERIFY:
		return X509_verify_cert(ctx);
	case STREAM_TLS_PIN:
		c->tls_reason = check_pin(c, chain);
		break;
	}
	X509_STORE_CTX_set_error(ctx, c->tls_reason ? X509_V_ERR_APPLICATION_VERIFICATION : X509_V_OK);
	return c->tls_reason == NULL;
}

static CURLcode ssl_ctx_cb(CURL *easy, void *ssl_ctx, void *arg)
{
	struct tlsconn *c = arg;
	SSL_CTX *ctx = ssl_ctx;

	(void)easy;
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_cert_verify_callback(ctx, verify_cb, c);
	/* "Domain fronting": the name in SNI stays the host, another one is verified. */
	if (c->addr.tls == STREAM_TLS_VERIFY && c->addr.verify_name[0] &&
	    !X509_VERIFY_PARAM_set1_host(SSL_CTX_get0_param(ctx), c->addr.verify_name, 0))
		return CURLE_OUT_OF_MEMORY;
	return CURLE_OK;
}

/* --- libcurl's callbacks --- */

static int sockopt_cb(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	struct tlsconn_set *s = arg;
	int on = 1, keep_s = KEEPALIVE_S, user_ms = TLSCONN_USER_TIMEOUT_MS;

	(void)purpose;
	if (s->cfg.mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &s->cfg.mark, sizeof(s->cfg.mark)) != 0 &&
	    !s->warned_mark) {
		s->warned_mark = true;
		log_warn(s->cfg.log, "tlsconn: cannot mark sockets: %s", strerror(errno));
	}
	/* What these cannot set, the read timeouts of the machines make up for. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keep_s, sizeof(keep_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
	return CURL_SOCKOPT_OK;
}

/* Tag of a descriptor in the epoll instance: an open stream's number in the high bit's name space, else the
 * descriptor itself for libcurl. */
static const uint64_t TAG_STREAM = UINT64_C(1) << 63;

static struct tlsconn *conn_of_fd(struct tlsconn_set *s, curl_socket_t fd)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->conns[i]->is_watched && s->conns[i]->fd == fd)
			return s->conns[i];
	}
	return NULL;
}

static int watch_cb(CURL *easy, curl_socket_t fd, int what, void *arg, void *per_socket)
{
	struct tlsconn_set *s = arg;
	struct epoll_event ev = { .data.u64 = (uint64_t)fd };

	(void)easy;
	(void)per_socket;
	/* An open stream is watched by us; libcurl takes its leave of the descriptor late. */
	if (conn_of_fd(s, fd))
		return 0;
	if (what == CURL_POLL_REMOVE) {
		(void)epoll_ctl(s->epfd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		ev.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(s->epfd, EPOLL_CTL_ADD, fd, &ev) != 0 && errno == EEXIST)
		(void)epoll_ctl(s->epfd, EPOLL_CTL_MOD, fd, &ev);
	return 0;
}

static int timer_cb(CURLM *multi, long ms, void *arg)
{
	struct tlsconn_set *s = arg;

	(void)multi;
	s->curl_at = ms < 0 ? MONO_NEVER : mono_add_ms(s->now, ms);
	return 0;
}

/* --- the set --- */

struct tlsconn_set *tlsconn_new(const struct tlsconn_cfg *cfg)
{
	struct tlsconn_set *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->cfg = *cfg;
	s->curl_at = MONO_NEVER;
	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	s->ca_file = cfg->ca_file ? strdup(cfg->ca_file) : NULL;
	if (s->epfd < 0 || (cfg->ca_file && !s->ca_file) || curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		goto fail;
	s->multi = curl_multi_init();
	if (!s->multi) {
		curl_global_cleanup();
		goto fail;
	}
	(void)curl_multi_setopt(s->multi, CURLMOPT_SOCKETFUNCTION, watch_cb);
	(void)curl_multi_setopt(s->multi, CURLMOPT_SOCKETDATA, s);
	(void)curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, timer_cb);
	(void)curl_multi_setopt(s->multi, CURLMOPT_TIMERDATA, s);
	return s;
fail:
	if (s->epfd >= 0)
		(void)close(s->epfd);
	free(s->ca_file);
	free(s);
	return NULL;
}

/* Takes the stream out of the set and gives up its connection; the struct stays for its reason text. */
static void conn_end(struct tlsconn *c)
{
	struct tlsconn_set *s = c->set;

	if (c->is_watched)
		(void)epoll_ctl(s->epfd, EPOLL_CTL_DEL, c->fd, NULL);
	c->is_watched = false;
	if (c->easy) {
		(void)curl_multi_remove_handle(s->multi, c->easy);
		curl_easy_cleanup(c->easy);
		c->easy = NULL;
	}
	curl_slist_free_all(c->resolve);
	c->resolve = NULL;
	bytes_wipe(&c->out);
	for (size_t i = 0; i < s->n; i++) {
		if (s->conns[i] == c) {
			s->conns[i] = s->conns[--s->n];
			break;
		}
	}
}

static void conn_free(struct tlsconn *c)
{
	conn_end(c);
	free(c);
}

void tlsconn_free(struct tlsconn_set *s)
{
	if (!s)
		return;
	while (s->n > 0)
		conn_free(s->conns[0]);
	free(s->dead);
	(void)curl_multi_cleanup(s->multi);
	curl_global_cleanup();
	(void)close(s->epfd);
	free(s->ca_file);
	free(s);
}

int tlsconn_fd(const struct tlsconn_set *s)
{
	return s->epfd;
}

static struct tlsconn *conn_find(const struct tlsconn_set *s, uint32_t id)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->conns[i]->id == id && (s->conns[i]->state == CONNECTING || s->conns[i]->state == OPEN))
			return s->conns[i];
	}
	return NULL;
}

/* --- opening --- */

static bool set_tls(struct tlsconn *c)
{
	bool verify = c->addr.tls == STREAM_TLS_VERIFY, other_name = c->addr.verify_name[0] != 0;
	CURL *e = c->easy;
	CURLcode err = CURLE_OK;

	err |= curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, ssl_ctx_cb);
	err |= curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, c);
	err |= curl_easy_setopt(e, CURLOPT_SSL_ENABLE_ALPN, 0L); /* never h2: derp 3.1 */
	err |= curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L);
	err |= curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	err |= curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, c->addr.tls == STREAM_TLS_NOVERIFY ? 0L : 1L);
	err |= curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, verify && !other_name ? 2L : 0L);
	if (!verify) {
		/* The roots are a megabyte that a pin does not need. */
		err |= curl_easy_setopt(e, CURLOPT_CAINFO, NULL);
		err |= curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	} else if (c->set->ca_file) {
		err |= curl_easy_setopt(e, CURLOPT_CAINFO, c->set->ca_file);
		err |= curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	}
	return err == CURLE_OK;
}

/* Addresses of the machine's choice instead of DNS. CONNECT_TO takes one, RESOLVE a list; either way host name and
 * SNI stay. */
static bool set_addresses(struct tlsconn *c)
{
	const struct stream_addr *a = &c->addr;
	char line[STREAM_HOST_MAX + 2 * IP_TEXT_MAX + 32], v4[IP_TEXT_MAX], v6[IP_TEXT_MAX];
	bool use4 = ip_is_set(&a->ip4) && !a->no_ip4, use6 = ip_is_set(&a->ip6) && !a->no_ip6;

	if (a->no_ip4 || a->no_ip6)
		(void)curl_easy_setopt(c->easy, CURLOPT_IPRESOLVE,
				       a->no_ip4 ? (long)CURL_IPRESOLVE_V6 : (long)CURL_IPRESOLVE_V4);
	if (!use4 && !use6)
		return true;
	(void)ip_write(v4, &a->ip4);
	(void)ip_write(v6, &a->ip6);
	if (use4 && use6)
		(void)snprintf(line, sizeof(line), "%s:%u:[%s],%s", a->host, a->port, v6, v4);
	else
		(void)snprintf(line, sizeof(line), use6 ? "::[%s]:%u" : "::%s:%u", use6 ? v6 : v4, a->port);
	c->resolve = curl_slist_append(NULL, line);
	return c->resolve && curl_easy_setopt(c->easy, use4 && use6 ? CURLOPT_RESOLVE : CURLOPT_CONNECT_TO,
					      c->resolve) == CURLE_OK;
}

static bool setup(struct tlsconn *c)
{
	bool is_ip6 = strchr(c->addr.host, ':') != NULL, is_tls = c->addr.tls != STREAM_PLAIN;
	char url[STREAM_HOST_MAX + 32];
	CURLcode err = CURLE_OK;
	CURL *e = c->easy;

	(void)snprintf(url, sizeof(url), is_ip6 ? "%s://[%s]:%u/" : "%s://%s:%u/", is_tls ? "https" : "http",
		       c->addr.host, c->addr.port);
	err |= curl_easy_setopt(e, CURLOPT_URL, url);
	err |= curl_easy_setopt(e, CURLOPT_PRIVATE, c);
	err |= curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
	err |= curl_easy_setopt(e, CURLOPT_HTTPPROXYTUNNEL, 1L);
	err |= curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	err |= curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	err |= curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 4096L);
	err |= curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)TLSCONN_CONNECT_MS);
	err |= curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->errbuf);
	err |= curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, sockopt_cb);
	err |= curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, c->set);
	return err == CURLE_OK && (!is_tls || set_tls(c)) && set_addresses(c);
}

int tlsconn_open(struct tlsconn_set *s, struct mono now, uint32_t id, const struct stream_addr *addr)
{
	struct tlsconn *c;

	if (conn_find(s, id))
		return -EEXIST;
	if (s->n >= TLSCONN_MAX)
		return -ENOBUFS;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	s->now = mono_max(s->now, now);
	c->set = s;
	c->id = id;
	c->addr = *addr;
	c->out.max = TLSCONN_OUT_MAX;
	c->easy = curl_easy_init();
	if (!c->easy || !setup(c)) {
		curl_easy_cleanup(c->easy);
		curl_slist_free_all(c->resolve);
		free(c);
		return -ENOMEM;
	}
	s->conns[s->n++] = c;
	if (curl_multi_add_handle(s->multi, c->easy) != CURLM_OK) {
		conn_free(c);
		return -ENOMEM;
	}
	return 0;
}

/* --- events --- */

static void conn_fail(struct tlsconn *c, const char *reason)
{
	if (c->state == DEAD)
		return;
	(void)snprintf(c->reason, sizeof(c->reason), "%s", reason);
	c->closed_due = c->state != FLUSHING;
	c->state = DEAD;
	c->ready = false;
}

/* Watches an open stream for reading, and for writing while something is queued. */
static void conn_watch(struct tlsconn *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = TAG_STREAM | (uint64_t)c->fd };

	if (bytes_size(&c->out) > 0)
		ev.events |= EPOLLOUT;
	if (c->is_watched && ev.events == c->watched)
		return;
	c->is_watched = true;
	c->watched = ev.events;
	if (epoll_ctl(c->set->epfd, EPOLL_CTL_ADD, c->fd, &ev) != 0 &&
	    (errno != EEXIST || epoll_ctl(c->set->epfd, EPOLL_CTL_MOD, c->fd, &ev) != 0))
		conn_fail(c, "cannot watch the socket");
}

static void note_peer(struct tlsconn *c)
{
	char *ip = NULL;
	long port = 0;

	if (curl_easy_getinfo(c->easy, CURLINFO_PRIMARY_IP, &ip) != CURLE_OK || !ip ||
	    ip_parse(&c->info.peer.ip, ip, strlen(ip)) != 0)
		return;
	(void)curl_easy_getinfo(c->easy, CURLINFO_PRIMARY_PORT, &port);
	c->info.peer.port = (uint16_t)port;
	if (curl_easy_getinfo(c->easy, CURLINFO_LOCAL_IP, &ip) == CURLE_OK && ip)
		(void)!ip_parse(&c->info.local, ip, strlen(ip));
}

/* The address from which this host would send to 'peer' now. Nothing is sent. */
static bool source_for(const struct tlsconn_set *s, const struct ep *peer, struct ip *out)
{
	struct usock_addr addr = usock_addr(peer);
	int fd = socket(addr.u.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok;

	if (fd < 0)
		return false;
	ok = (!s->cfg.mark || setsockopt(fd, SOL_SOCKET, SO_MARK, &s->cfg.mark, sizeof(s->cfg.mark)) == 0) &&
	     connect(fd, &addr.u.sa, addr.size) == 0;
	addr.size = sizeof(addr.u);
	ok = ok && getsockname(fd, &addr.u.sa, &addr.size) == 0;
	close(fd);
	if (ok)
		*out = usock_ep(&addr).ip;
	return ok;
}

void tlsconn_rerouted(struct tlsconn_set *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct tlsconn *c = s->conns[i];
		struct ip source;

		/* Without any route the link may come back, and the stream with it. */
		if (c->state == OPEN && ip_is_set(&c->info.local) && source_for(s, &c->info.peer, &source) &&
		    !ip_eq(&source, &c->info.local))
			conn_fail(c, "the route left our address");
	}
}

static void conn_done(struct tlsconn *c, CURLcode result)
{
	curl_socket_t fd = CURL_SOCKET_BAD;

	if (c->state != CONNECTING)
		return;
	if (result == CURLE_OK)
		result = curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (result != CURLE_OK || fd == CURL_SOCKET_BAD) {
		conn_fail(c, c->tls_reason ? c->tls_reason :
					     c->errbuf[0] ? c->errbuf : curl_easy_strerror(result));
		return;
	}
	note_peer(c);
	c->fd = fd;
	c->state = OPEN;
	c->opened_due = true;
	c->ready = true; /* TLS may have read ahead */
	conn_watch(c);
}

/* Sends what is queued. */
static void conn_flush(struct tlsconn *c)
{
	CURLcode err = CURLE_OK;
	size_t n;

	while (c->state != DEAD && bytes_size(&c->out) > 0) {
		n = 0;
		err = curl_easy_send(c->easy, bytes_data(&c->out), bytes_size(&c->out), &n);
		if (err == CURLE_AGAIN || (err == CURLE_OK && n == 0))
			break;
		if (err != CURLE_OK) {
			conn_fail(c, curl_easy_strerror(err));
			return;
		}
		bytes_consume(&c->out, n);
	}
	if (c->was_full && bytes_size(&c->out) < TLSCONN_OUT_MAX / 2) {
		c->was_full = false;
		c->writable_due = true;
	}
	if (c->state == FLUSHING && bytes_size(&c->out) == 0)
		conn_fail(c, "closed");
	else if (c->state != DEAD)
		conn_watch(c);
}

struct mono tlsconn_deadline(const struct tlsconn_set *s)
{
	struct mono at = s->curl_at;

	for (size_t i = 0; i < s->n; i++) {
		if (s->conns[i]->state == FLUSHING)
			at = mono_min(at, s->conns[i]->flush_by);
		if (s->conns[i]->ready || s->conns[i]->closed_due)
			at = s->now;
	}
	return at;
}

static void handle_epoll(struct tlsconn_set *s, const struct epoll_event *ev)
{
	struct tlsconn *c;
	int running, what = 0;

	if (!(ev->data.u64 & TAG_STREAM)) {
		if (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			what |= CURL_CSELECT_IN;
		if (ev->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
			what |= CURL_CSELECT_OUT;
		(void)curl_multi_socket_action(s->multi, (curl_socket_t)ev->data.u64, what, &running);
		return;
	}
	c = conn_of_fd(s, (curl_socket_t)(ev->data.u64 & ~TAG_STREAM));
	if (!c)
		return;
	if (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		c->ready = c->state == OPEN;
	if (ev->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		conn_flush(c);
}

void tlsconn_run(struct tlsconn_set *s, struct mono now)
{
	struct epoll_event evs[EVENTS_MAX];
	int n, running, left;
	CURLMsg *msg;

	s->now = mono_max(s->now, now);
	n = epoll_wait(s->epfd, evs, EVENTS_MAX, 0);
	for (int i = 0; i < n; i++)
		handle_epoll(s, &evs[i]);
	if (mono_due(s->curl_at, s->now)) {
		s->curl_at = MONO_NEVER;
		(void)curl_multi_socket_action(s->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	while ((msg = curl_multi_info_read(s->multi, &left))) {
		char *priv = NULL;

		if (msg->msg == CURLMSG_DONE &&
		    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &priv) == CURLE_OK)
			conn_done((struct tlsconn *)(void *)priv, msg->data.result);
	}
	for (size_t i = s->n; i-- > 0;) {
		struct tlsconn *c = s->conns[i];

		c->reads = 0;
		if (c->state == FLUSHING && mono_due(c->flush_by, s->now))
			conn_fail(c, "closed");
		if (c->state == DEAD && !c->closed_due)
			conn_free(c);
	}
}

/* Reads once. True: '*ev' is filled. */
static bool conn_read(struct tlsconn *c, struct tlsconn_event *ev)
{
	struct tlsconn_set *s = c->set;
	size_t n = 0;
	CURLcode err;

	if (++c->reads > READS_PER_RUN)
		return false; /* 'ready' stays: tlsconn_deadline() asks for another run */
	err = curl_easy_recv(c->easy, s->buf, sizeof(s->buf), &n);
	if (err == CURLE_AGAIN) {
		c->ready = false;
		return false;
	}
	if (err != CURLE_OK || n == 0) {
		conn_fail(c, err != CURLE_OK ? curl_easy_strerror(err) : "closed by the other side");
		return false;
	}
	*ev = (struct tlsconn_event){ .kind = TLSCONN_DATA, .id = c->id, .data = s->buf, .size = n };
	return true;
}

static bool conn_event(struct tlsconn *c, struct tlsconn_event *ev)
{
	if (c->opened_due) {
		c->opened_due = false;
		*ev = (struct tlsconn_event){ .kind = TLSCONN_OPENED, .id = c->id, .info = c->info };
		return true;
	}
	if (c->writable_due && c->state == OPEN) {
		c->writable_due = false;
		*ev = (struct tlsconn_event){ .kind = TLSCONN_WRITABLE, .id = c->id };
		return true;
	}
	if (c->state == OPEN && c->ready && conn_read(c, ev))
		return true;
	if (!c->closed_due)
		return false;
	c->closed_due = false;
	*ev = (struct tlsconn_event){ .kind = TLSCONN_CLOSED, .id = c->id, .reason = c->reason };
	conn_end(c);
	c->set->dead = c;
	return true;
}

bool tlsconn_poll(struct tlsconn_set *s, struct tlsconn_event *ev)
{
	free(s->dead);
	s->dead = NULL;
	for (size_t i = 0; i < s->n; i++) {
		s->turn = s->turn < s->n ? s->turn : 0;
		if (conn_event(s->conns[s->turn], ev))
			return true;
		s->turn++;
	}
	return false;
}

/* --- sending and closing --- */

size_t tlsconn_room(const struct tlsconn_set *s, uint32_t id)
{
	struct tlsconn *c = conn_find(s, id);
	size_t room;

	if (!c || c->state != OPEN)
		return 0;
	room = TLSCONN_OUT_MAX - bytes_size(&c->out);
	if (room == 0)
		c->was_full = true;
	return room;
}

int tlsconn_send(struct tlsconn_set *s, uint32_t id, const uint8_t *buf, size_t size)
{
	struct tlsconn *c = conn_find(s, id);
	int err;

	if (!c || c->state != OPEN)
		return -ENOENT;
	if (size > TLSCONN_OUT_MAX - bytes_size(&c->out)) {
		c->was_full = true;
		return -ENOBUFS;
	}
	err = bytes_append(&c->out, buf, size);
	if (err)
		return err;
	conn_flush(c);
	return 0;
}

void tlsconn_close(struct tlsconn_set *s, uint32_t id, bool flush)
{
	struct tlsconn *c = conn_find(s, id);

	if (!c)
		return;
	if (flush && c->state == OPEN && bytes_size(&c->out) > 0) {
		c->state = FLUSHING;
		c->ready = false;
		c->flush_by = mono_add_ms(s->now, TLSCONN_FLUSH_MS);
		return;
	}
	conn_free(c);
}
