/* SPDX-License-Identifier: MIT */
/* One end of a tunnel without handshake, map or control: a data plane with keys derived from a
 * seed, driven by tests/netns/dp_*.py. Or, with --relay, the relay in between.
 *
 * usage: dptest --side a|b --peer ADDRESS:PORT [--vni N | --derp] [--second ADDRESS:PORT] [options]
 *        dptest --relay PORT --vni N --bound ADDRESS:PORT --bound ADDRESS:PORT [--flows N] [options]
 *        dptest --cleanup NAME            (removes what a killed one left in tables and rules)
 * --flows: sessions with the next VNIs for the next ports of both. --keyless: no keys at all. --churn: a
 * new view and path every 20 ms, other peers that come and go, new keys every 200 ms. --aead null: no
 * crypto at all. options: --tun NAME --port N --aead NAME[/CPU] --route PREFIX
 * --force no-vnet-hdr,no-uso,no-gso,no-gro,helpers-N
 *
 * Prints one line "ready …" when it runs and its counters as JSON when it ends (SIGTERM). --derp
 * sends data messages as plain datagrams to port + 1000 of the peer, from control, as if a DERP
 * region did. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "daemon/aeadpick.h"
#include "daemon/dp.h"
#include "daemon/loop.h"
#include "daemon/rtnl.h"
#include "daemon/usock.h"
#include "policy/filter.h"
#include "wg/keypair.h"
#include "wg/routes.h"
#include "wire/mapdata.h"

enum { DERP_OFFSET = 1000, REGION = 900, CHURN_MS = 20, EPOCH_MS = 200, OTHERS = 50 };
/* Keys are there so many epochs before and after their own: a busy machine may hold up one side for seconds. */
enum { SPARE_EPOCHS = 15 };

struct test {
	struct loop *loop;
	struct dp *dp;
	struct crypto crypto;
	struct log log;
	struct dp_cfg cfg;
	/* Options. */
	char side;
	const char *aead;
	struct ep peer, second, bound[2];
	size_t n_bound;
	uint32_t vni;
	bool use_derp, is_relay, is_keyless;
	uint16_t relay_port, n_flows;
	struct prefix route; /* into the tunnel, beside the peer's addresses */
	struct rtnl *rtnl;
	uint64_t n_changes[RTNL_MAJOR + 1];
	/* --churn */
	bool is_churning;
	struct loop_timer churn;
	uint32_t n_churns;
	int64_t epoch; /* of the newest installed key */
	/* --derp */
	struct usock derp;
	struct loop_fd derp_watch;
	uint64_t n_lost; /* by derp */
	uint64_t n_events[DP_EV_TUN_GONE + 1];
	struct dp_activity sum;
};

static const struct peer_id peer_id = { .index = 3, .gen = 7 };

static void to_stderr(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)fprintf(stderr, "%s\n", line);
}

static void die(const char *what, int err)
{
	(void)fprintf(stderr, "dptest: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void must(const char *what, int err)
{
	if (err)
		die(what, err);
}

/* --- no crypto --- */

/* --aead null: what the data plane costs without crypto, the ceiling that contrib/bench measures against. It lives in
 * this program alone: nothing that meshd links can be told to use it. */
static struct aead_ctx *null_ctx_new(const struct crypto *crypto, const uint8_t key[static AEAD_KEY_SIZE], bool seal)
{
	(void)crypto;
	(void)key;
	(void)seal;
	return calloc(1, 1);
}

static void null_ctx_free(struct aead_ctx *ctx)
{
	free(ctx);
}

static uint64_t null_seal_n(struct aead_ctx *ctx, const struct aead_thread *thread, uint64_t counter0,
			    struct aead_pkt *pkts, size_t n)
{
	(void)ctx;
	(void)thread;
	(void)counter0;
	for (size_t i = 0; i < n; i++)
		memset(pkts[i].data + pkts[i].size, 0, AEAD_TAG_SIZE);
	return aead_all(n);
}

static uint64_t null_open_n(struct aead_ctx *ctx, const struct aead_thread *thread, struct aead_pkt *pkts, size_t n)
{
	(void)ctx;
	(void)thread;
	(void)pkts;
	return aead_all(n);
}

static const struct aead_ops aead_null = { "null", null_ctx_new, null_ctx_free, null_seal_n, null_open_n };

static void init_aead(struct test *t)
{
	const bool is_null = t->aead && strcmp(t->aead, aead_null.name) == 0;

	must("aead", aeadpick_init(&t->crypto, is_null ? "libsodium" : t->aead, &t->log));
	if (is_null)
		t->crypto.aead = &aead_null;
}

/* --- the peer --- */

static void derive(uint8_t key[static AEAD_KEY_SIZE], const char *what)
{
	(void)crypto_generichash(key, AEAD_KEY_SIZE, (const uint8_t *)what, strlen(what), NULL, 0);
}

static uint32_t index_of(bool is_a, int64_t epoch)
{
	return (is_a ? 0x12340000 : 0x56780000) + (uint32_t)(epoch & 0x7fff);
}

/* The keys of an epoch; without --churn there is only epoch 0. */
static void install_keys(struct test *t, int64_t epoch)
{
	struct keypair_cfg kc = { .crypto = &t->crypto,
				  .peer = peer_id,
				  .created = loop_clock(),
				  .is_initiator = t->side == 'a' };
	char a_to_b[64], b_to_a[64];
	struct keypair *kp;

	(void)snprintf(a_to_b, sizeof(a_to_b), "a to b %lld", (long long)epoch);
	(void)snprintf(b_to_a, sizeof(b_to_a), "b to a %lld", (long long)epoch);
	derive(kc.send_key, t->side == 'a' ? a_to_b : b_to_a);
	derive(kc.recv_key, t->side == 'a' ? b_to_a : a_to_b);
	kc.local_index = index_of(t->side == 'a', epoch);
	kc.remote_index = index_of(t->side != 'a', epoch);
	kp = keypair_new(&kc);
	if (!kp)
		die("keypair", -ENOMEM);
	must("key", dp_key_install(t->dp, peer_id, kp));
}

static void use_keys(struct test *t, int64_t epoch)
{
	must("key", dp_key_use(t->dp, peer_id, index_of(t->side == 'a', epoch)));
}

static struct filter *accept_all(void)
{
	struct prefix all[2] = { { .ip.family = IP_V4 }, { .ip.family = IP_V6 } };
	struct filter_src src = { .kind = FILTER_SRC_ANY };
	struct filter_dst dst = { .any = true, .port_last = 65535 };
	struct filter_rule rule = { .srcs = &src, .n_srcs = 1, .dsts = &dst, .n_dsts = 1 };
	const struct filter_rules rules = { .rules = &rule, .n_rules = 1 };
	const struct filter_cfg cfg = { .rules = &rules, .local = all, .n_local = 2 };

	return filter_new(&cfg);
}

/* 100.64.0.1 and fd7a:115c:a1e0::1 are a's, 2 is b's. */
static void addresses(char side, struct prefix out[static 2])
{
	const uint8_t last = side == 'a' ? 1 : 2;
	const uint8_t v6[16] = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = last };
	const struct ip addr4 = ip4(100, 64, 0, last), addr6 = ip6(v6);

	out[0] = prefix_host(&addr4);
	out[1] = prefix_host(&addr6);
}

static void on_change(void *ctx, enum rtnl_change change, struct mono now)
{
	struct test *t = ctx;

	(void)now;
	t->n_changes[change]++;
	(void)fprintf(stderr, "change %d\n", (int)change);
}

static void configure_host(struct test *t)
{
	struct prefix addrs[2], routes[3];
	struct rtnl_wanted w = { .ifindex = dp_ifindex(t->dp),
				 .is_up = true,
				 .addrs = addrs,
				 .n_addrs = 2,
				 .routes = routes,
				 .n_routes = 2 };
	char err[RTNL_ERR_MAX];

	addresses(t->side, addrs);
	addresses(t->side == 'a' ? 'b' : 'a', routes);
	if (ip_is_set(&t->route.ip))
		routes[w.n_routes++] = t->route;
	must("rtnl", rtnl_open(&t->rtnl, t->loop, &t->log, w.ifindex, on_change, t));
	if (rtnl_apply(t->rtnl, &w, err) < 0) {
		(void)fprintf(stderr, "dptest: %s\n", err);
		exit(1);
	}
}

static void publish_view(struct test *t)
{
	struct dp_view_peer peers[1 + OTHERS] = { { .id = peer_id } };
	struct dp_view view = { .peers = peers, .n_peers = 1, .filter = accept_all() };
	struct routes_entry entries[2];
	struct prefix theirs[2];

	addresses(t->side == 'a' ? 'b' : 'a', theirs);
	for (int i = 0; i < 2; i++)
		entries[i] = (struct routes_entry){ theirs[i], peer_id.index };
	view.routes = routes_new(entries, 2, 1);
	/* Others come and go. */
	for (uint32_t i = 0; t->n_churns && i < OTHERS; i++)
		if ((t->n_churns + i) % 3)
			peers[view.n_peers++].id =
				(struct peer_id){ 10 + i, 1 + (t->n_churns + i) / 3 };
	must("view", dp_publish_view(t->dp, &view));
}

static void set_path(struct test *t)
{
	struct path_addr targets[2];
	size_t n = 0;

	targets[n++] = t->use_derp ? path_derp(REGION)
		       : t->vni    ? path_relay(&t->peer, t->vni)
				   : path_direct(&t->peer);
	if (ep_is_set(&t->second))
		targets[n++] = path_direct(&t->second);
	must("path", dp_set_peer_path(t->dp, peer_id, targets, n));
}

static int64_t epoch_at(struct mono now)
{
	return now.ns / (EPOCH_MS * NS_PER_MS);
}

/* Both sides change keys by the same clock. */
static void churn(void *ctx, struct mono now)
{
	struct test *t = ctx;
	const int64_t epoch = epoch_at(now);

	t->n_churns++;
	publish_view(t);
	set_path(t);
	for (; t->epoch < epoch + 1; t->epoch++) {
		install_keys(t, t->epoch + SPARE_EPOCHS);
		use_keys(t, t->epoch);
		dp_key_drop(t->dp, index_of(t->side == 'a', t->epoch - SPARE_EPOCHS));
	}
	dp_rebind(t->dp);
	loop_timer_set(t->loop, &t->churn, mono_add_ms(now, CHURN_MS));
}

static void publish(struct test *t)
{
	publish_view(t);
	set_path(t);
	if (t->is_churning) {
		const int64_t epoch = epoch_at(loop_clock());

		for (int64_t i = epoch - SPARE_EPOCHS; i < epoch + SPARE_EPOCHS; i++)
			install_keys(t, i);
		t->epoch = epoch;
		t->churn = (struct loop_timer){ .fn = churn, .ctx = t };
		churn(t, loop_clock());
	} else if (!t->is_keyless) {
		install_keys(t, 0);
		use_keys(t, 0);
	}
}

/* --- events --- */

static void derp_ready(void *ctx, uint32_t events, struct mono now)
{
	struct test *t = ctx;
	static uint8_t buf[65536];
	ssize_t n;

	(void)events;
	(void)now;
	while ((n = recv(t->derp.fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		t->n_lost += dp_derp_in(t->dp, REGION, buf, (size_t)n) < 0;
	dp_derp_flush(t->dp);
}

static void derp_out(struct test *t, const struct dp_event *ev)
{
	struct ep ep = t->peer;
	struct usock_addr to;
	struct iovec iov = { (void *)(uintptr_t)ev->data, ev->size };

	ep.port = (uint16_t)(ep.port + DERP_OFFSET);
	to = usock_addr(&ep);
	t->n_lost += usock_send_one(&t->derp, &to, &iov, 1) < 0;
}

static void on_events(void *ctx, struct mono now)
{
	struct test *t = ctx;
	struct dp_event ev;

	while (dp_poll(t->dp, now, &ev)) {
		t->n_events[ev.kind]++;
		if (ev.kind == DP_EV_DERP_OUT)
			derp_out(t, &ev);
		for (int i = 0; i < DP_VIA_N; i++) {
			t->sum.rx_bytes[i] += ev.activity.rx_bytes[i];
			t->sum.tx_bytes[i] += ev.activity.tx_bytes[i];
		}
	}
}

/* --- ending --- */

static void print_list(const char *name, const uint64_t *v, size_t n)
{
	(void)printf("\"%s\": [", name);
	for (size_t i = 0; i < n; i++)
		(void)printf("%s%llu", i ? ", " : "", (unsigned long long)v[i]);
	(void)printf("], ");
}

static void report(const struct test *t)
{
	struct dp_relay_stats st = { 0 };
	struct dp_counters c;

	dp_counters(t->dp, &c);
	(void)printf("{");
	print_list("in_pkts", c.in_pkts, DP_PATH_N);
	print_list("in_bytes", c.in_bytes, DP_PATH_N);
	print_list("out_pkts", c.out_pkts, DP_PATH_N);
	print_list("out_bytes", c.out_bytes, DP_PATH_N);
	print_list("in_dropped", c.in_dropped, DP_IN_N);
	print_list("out_dropped", c.out_dropped, DP_OUT_N);
	print_list("relay_pkts", c.relay_pkts[0], 4);
	print_list("events", t->n_events, DP_EV_TUN_GONE + 1);
	(void)printf("\"churns\": %u, ", t->n_churns);
	print_list("changes", t->n_changes, RTNL_MAJOR + 1);
	print_list("lost", &t->n_lost, 1);
	print_list("rx_activity", t->sum.rx_bytes, DP_VIA_N);
	print_list("tx_activity", t->sum.tx_bytes, DP_VIA_N);
	if (t->is_relay && dp_relay_stats(t->dp, t->vni, &st) == 0)
		print_list("vni_pkts", st.pkts, 2);
	print_list("bad_csums", &c.bad_csums, 1);
	print_list("tun_fallbacks", &c.tun_fallbacks, 1);
	(void)printf("\"overflow\": %llu, \"gso_fallbacks\": %llu, \"tun_reads\": %llu, "
		     "\"tun_writes\": %llu, "
		     "\"udp_recvs\": %llu, \"udp_sends\": %llu}\n",
		     (unsigned long long)(c.rxq_overflow + c.relay_rxq_overflow), (unsigned long long)c.gso_fallbacks,
		     (unsigned long long)c.tun_reads, (unsigned long long)c.tun_writes,
		     (unsigned long long)c.udp_recvs, (unsigned long long)c.udp_sends);
	(void)fflush(stdout);
}

static void on_signal(void *ctx, int signo, struct mono now)
{
	const struct test *t = ctx;

	(void)signo;
	(void)now;
	loop_stop(t->loop);
}

/* --- beginning --- */

static void parse_ep(struct ep *ep, const char *text)
{
	must(text, ep_parse(ep, text, strlen(text)));
}

static void parse(struct test *t, int argc, char **argv)
{
	static const struct option options[] = {
		{ "side", 1, NULL, 's' },
		{ "peer", 1, NULL, 'p' },
		{ "second", 1, NULL, '2' },
		{ "vni", 1, NULL, 'v' },
		{ "derp", 0, NULL, 'd' },
		{ "relay", 1, NULL, 'r' },
		{ "bound", 1, NULL, 'b' },
		{ "flows", 1, NULL, 'f' },
		{ "tun", 1, NULL, 't' },
		{ "port", 1, NULL, 'P' },
		{ "aead", 1, NULL, 'a' },
		{ "force", 1, NULL, 'V' },
		{ "route", 1, NULL, 'o' },
		{ "cleanup", 1, NULL, 'c' },
		{ "churn", 0, NULL, 'C' },
		{ "keyless", 0, NULL, 'k' },
		{ NULL, 0, NULL, 0 },
	};

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case 's':
			t->side = optarg[0];
			break;
		case 'p':
			parse_ep(&t->peer, optarg);
			break;
		case '2':
			parse_ep(&t->second, optarg);
			break;
		case 'v':
			t->vni = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'k':
			t->is_keyless = true;
			break;
		case 'C':
			t->is_churning = true;
			break;
		case 'd':
			t->use_derp = true;
			break;
		case 'r':
			t->is_relay = true;
			t->relay_port = (uint16_t)strtoul(optarg, NULL, 10);
			break;
		case 'b':
			if (t->n_bound < 2)
				parse_ep(&t->bound[t->n_bound++], optarg);
			break;
		case 'f':
			t->n_flows = (uint16_t)strtoul(optarg, NULL, 10);
			break;
		case 't':
			t->cfg.tun_name = optarg;
			break;
		case 'P':
			t->cfg.port = (uint16_t)strtoul(optarg, NULL, 10);
			break;
		case 'a':
			t->aead = optarg;
			break;
		case 'o':
			must(optarg, prefix_parse(&t->route, optarg, strlen(optarg), false));
			break;
		case 'c':
			exit(rtnl_cleanup(optarg, &t->log) ? 1 : 0);
		case 'V':
			must(optarg, dp_cfg_force(&t->cfg, optarg));
			break;
		default:
			exit(2);
		}
	}
}

static void open_derp(struct test *t)
{
	const struct usock_cfg cfg = { .family = (enum ip_family)t->peer.ip.family,
				       .port = (uint16_t)(t->cfg.port + DERP_OFFSET),
				       .use_no_gro = true };

	must("derp", usock_open(&t->derp, &cfg));
	must("derp", loop_fd_add(t->loop, &t->derp_watch, t->derp.fd, EPOLLIN, derp_ready, t));
}

static void open_relay(struct test *t)
{
	struct dp_relay_side sides[2] = { { t->bound[0], DP_SOCK_RELAY },
					  { t->bound[1], DP_SOCK_RELAY } };
	char err[DP_ERR_MAX];

	if (dp_relay_open(t->dp, t->relay_port, err) < 0) {
		(void)fprintf(stderr, "dptest: %s\n", err);
		exit(1);
	}
	for (uint32_t i = 0; i < t->n_flows; i++) {
		must("relay", dp_relay_set(t->dp, t->vni + i, sides));
		sides[0].ep.port++;
		sides[1].ep.port++;
	}
}

int main(int argc, char **argv)
{
	struct test t = { .side = 'a',
			  .n_flows = 1,
			  .cfg = { .tun_name = "dp0", .port = 41641, .on_events = on_events } };
	char err[DP_ERR_MAX];
	sigset_t signals;
	int ret;

	t.log = (struct log){ .write = to_stderr, .level = LOG_LEVEL_DEBUG };
	parse(&t, argc, argv);
	init_aead(&t);
	t.loop = loop_new(&t.log);
	if (!t.loop)
		die("loop", -errno);
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	must("signals", loop_signals(t.loop, &signals, on_signal, &t));
	t.crypto.n_seal_lanes = t.crypto.n_open_lanes = 1 + t.cfg.n_helpers;
	t.cfg.crypto = &t.crypto;
	t.cfg.log = &t.log;
	t.cfg.loop = t.loop;
	t.cfg.ctx = &t;
	ret = dp_open(&t.dp, &t.cfg, err);
	if (ret) {
		(void)fprintf(stderr, "dptest: %s\n", err);
		return 1;
	}
	if (t.use_derp)
		open_derp(&t);
	if (t.is_relay)
		open_relay(&t);
	else
		publish(&t);
	if (!t.is_relay)
		configure_host(&t);
	(void)printf("ready %s %s %s\n", dp_ifname(t.dp), dp_aead_name(t.dp), dp_tun_mode(t.dp));
	(void)fflush(stdout);
	ret = loop_run(t.loop);
	report(&t);
	loop_fd_del(t.loop, &t.derp_watch);
	if (t.use_derp)
		usock_close(&t.derp);
	if (t.rtnl) {
		const struct rtnl_wanted none = { .ifindex = dp_ifindex(t.dp) };

		if (rtnl_apply(t.rtnl, &none, err) < 0)
			(void)fprintf(stderr, "dptest: %s\n", err);
		rtnl_close(t.rtnl);
	}
	dp_close(t.dp);
	loop_free(t.loop);
	aeadpick_wipe(&t.crypto);
	return ret ? 1 : 0;
}
