/* SPDX-License-Identifier: MIT */
/* What a map of many peers costs: time and private memory until the node is ready (text decoded, map applied,
 * peers made, view published to the data plane's table), and time and bytes of one change, of each kind.
 *
 * usage: netmap PEERS    one JSON line a figure
 *        netmap          the test of make check: the budget of memory, and that the cost of a change does not
 *                        grow with the number of peers
 *
 * CPU time of the one thread, so that neighbours on the machine matter little. The message is a zstd frame, as a
 * server sends it. Private memory at the peak is the high-water mark of the resident set less the pages of files,
 * above what the process had before the message came; the map being stored counts too. */
#include "config.h"

#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/netmap.h"
#include "daemon/dpstate.h"
#include "daemon/loop.h"
#include "engine_int.h"
#include "wg/crypto.h"
#include "wire/ctljson.h"
#include "wire/zstdframe.h"

enum {
	ROUNDS = 200,
	PART = 25,
	/* The test. A change that copies what does not change costs ten times as much with ten times the peers;
	 * caches and a few lists that are copied make it less than three times. */
	FEW = 1000,
	MANY = 10000,
	MANY_KIB = 25 * 1024,
	GROWTH_MAX = 5,
};

struct bench {
	struct env env;
	struct loop *loop;
	struct crypto crypto;
	struct prefs prefs;
	struct ctlclient_saved saved;
	struct engine *e;
	struct dp dp;
	struct netmap *map;
	uint64_t n_outputs, n_paths, n_views, n_hosts, n_persisted;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { IS_SANITIZED = 1 };
#elif defined(__has_feature)
enum { IS_SANITIZED = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) };
#else
enum { IS_SANITIZED = 0 };
#endif

static struct mono t0 = { 1000 * NS_PER_S };

static double cpu_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* A line "Name: n kB" of /proc/self/status. */
static long proc_kib(const char *name)
{
	FILE *f = fopen("/proc/self/status", "re");
	const size_t len = strlen(name);
	char line[256];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			kib = strtol(line + len + 1, NULL, 10);
	if (f)
		(void)fclose(f);
	return kib;
}

static void say(const char *what, double value, const char *unit, long peers)
{
	printf("{\"bench\": \"netmap\", \"peers\": %ld, \"name\": \"%s\", \"value\": %.1f, \"unit\": \"%s\"}\n",
	       peers, what, value, unit);
}

static void *check(void *p)
{
	if (!p) {
		(void)fprintf(stderr, "netmap: out of memory or refused\n");
		exit(1);
	}
	return p;
}

/* --- messages --- */

static void fill_key(uint8_t key[static KEY_SIZE], uint64_t n)
{
	crypto_generichash(key, KEY_SIZE, (const uint8_t *)&n, sizeof(n), NULL, 0);
}

/* Peer number 'i' (0 is the own node) in its edition 'version'. */
static void write_node(struct json_w *w, const char *key, uint32_t i, uint32_t version)
{
	char stable[32], name[64], host[32];
	struct prefix addrs[2] = { { .ip = ip4(100, (uint8_t)(64 + (i >> 16)), (uint8_t)(i >> 8), (uint8_t)i),
				     .bits = 32 } };
	struct ep eps[2] = { { .ip = ip4(198, 51, (uint8_t)(100 + (i >> 16)), (uint8_t)i),
			       .port = (uint16_t)(1024 + version) },
			     { .ip = ip4(192, 0, (uint8_t)(i >> 8), (uint8_t)i), .port = 41641 } };
	struct map_node n = {
		.id = i + 1,
		.stable_id = stable,
		.name = name,
		.user = 1,
		.addrs = addrs,
		.n_addrs = 2,
		.allowed_ips = addrs,
		.n_allowed_ips = 2,
		.endpoints = eps,
		.n_endpoints = 2,
		.home_derp = 900,
		.cap = 130,
		.host = { .hostname = host,
			  .os = (char *)(uintptr_t)"linux",
			  .os_version = (char *)(uintptr_t)"6.1.0-18-amd64",
			  .version = (char *)(uintptr_t)"1.80.0" },
		.online = TRI_TRUE,
		.machine_authorized = true,
		.created_s = 1700000000,
		.key_expiry_s = 4000000000 + i,
	};
	uint8_t a6[16] = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [13] = (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };

	addrs[1] = (struct prefix){ .ip = ip6(a6), .bits = 128 };
	(void)snprintf(stable, sizeof(stable), "n%08uCNTRL", i);
	(void)snprintf(host, sizeof(host), "machine-%u", i);
	(void)snprintf(name, sizeof(name), "machine-%u.tailnet.example.", i);
	fill_key(n.key.b, 3 * (uint64_t)i);
	fill_key(n.disco.b, 3 * (uint64_t)i + 1);
	fill_key(n.machine.b, 3 * (uint64_t)i + 2);
	ctl_node_write(w, key, &n);
}

static char *first_message(uint32_t n_peers, size_t *size)
{
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	write_node(&w, "Node", 0, 0);
	json_w_str(&w, "Domain", "tailnet.example");
	json_w_raw(&w, "PacketFilters",
		   "{\"base\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]}",
		   strlen("{\"base\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]}"));
	json_w_arr(&w, "Peers");
	for (uint32_t i = 1; i <= n_peers; i++)
		write_node(&w, NULL, i, 0);
	json_w_end(&w);
	json_w_end(&w);
	return check(json_w_take(&w, size));
}

enum delta { DELTA_ENDPOINT, DELTA_ONLINE, DELTA_ADD, DELTA_REMOVE, DELTA_N };

static const char *const delta_names[DELTA_N] = { "endpoint", "online", "add", "remove" };

static char *delta_message(enum delta kind, uint32_t n_peers, uint32_t round, size_t *size)
{
	const uint32_t i = 1 + round * 7919u % n_peers;
	struct json_w w = { 0 };
	char id[16];

	(void)snprintf(id, sizeof(id), "%u", i + 1);
	json_w_obj(&w, NULL);
	switch (kind) {
	case DELTA_ENDPOINT:
		json_w_arr(&w, "PeersChanged");
		write_node(&w, NULL, i, 1 + round);
		json_w_end(&w);
		break;
	case DELTA_ONLINE:
		json_w_obj(&w, "OnlineChange");
		json_w_bool(&w, id, round % 2);
		json_w_end(&w);
		break;
	case DELTA_ADD:
		json_w_arr(&w, "PeersChanged");
		write_node(&w, NULL, n_peers + 1 + round, 0);
		json_w_end(&w);
		break;
	case DELTA_REMOVE:
		json_w_arr(&w, "PeersRemoved");
		json_w_i64(&w, NULL, (int64_t)n_peers + 2 + round);
		json_w_end(&w);
		break;
	case DELTA_N:
		break;
	}
	json_w_end(&w);
	return check(json_w_take(&w, size));
}

/* --- the node --- */

static void publish(struct bench *b, const struct engine_view *v)
{
	struct dp_view_peer *peers = check(calloc(v->n_peers + 1, sizeof(*peers)));
	const struct dp_view view = {
		.peers = peers, .n_peers = v->n_peers, .routes = v->routes, .filter = v->filter
	};

	for (size_t i = 0; i < v->n_peers; i++)
		peers[i] = (struct dp_view_peer){ .id = v->peers[i].id,
						  .is_jailed = v->peers[i].is_jailed,
						  .is_wg_only = v->peers[i].is_wg_only };
	if ((v->is_change ? dp_change_view(&b->dp, &view, v->gone, v->n_gone) : dp_publish_view(&b->dp, &view)) < 0)
		check(NULL);
	free(peers);
	b->n_views += !v->is_change;
}

/* As act.c does, as far as it concerns the map. */
static void pump(struct bench *b)
{
	struct engine_out o;

	while (engine_poll(b->e, t0, &o)) {
		b->n_outputs++;
		if (o.kind == ENGINE_VIEW)
			publish(b, &o.view);
		else if (o.kind == ENGINE_PATH && dp_set_peer_path(&b->dp, o.peer, o.targets, o.n_targets) == 0)
			b->n_paths++;
		else if (o.kind == ENGINE_HOST)
			b->n_hosts += !o.host.is_change;
		else if (o.kind == ENGINE_PERSIST_MAP)
			b->n_persisted++;
	}
	if (loop_turn(b->loop, 0) < 0)
		check(NULL);
}

static void start(struct bench *b)
{
	struct engine_cfg cfg = { .env = &b->env,
				  .crypto = &b->crypto,
				  .prefs = &b->prefs,
				  .saved = &b->saved,
				  .hostname = "bench",
				  .os_version = "6.1",
				  .log_id = "0000000000000000000000000000000000000000000000000000000000000000" };
	const struct ip addr = ip4(192, 0, 2, 1);

	b->loop = check(loop_new(NULL));
	b->env = loop_env(NULL);
	b->crypto.aead = &aead_sodium;
	prefs_defaults(&b->prefs);
	b->prefs.want_running = true;
	randombytes_buf(b->saved.machine.b, KEY_SIZE);
	randombytes_buf(b->saved.node.b, KEY_SIZE);
	b->saved.registered = true;
	b->dp.snapshot = check(snapshot_new(b->loop));
	slots_init(&b->dp.keys, b->dp.snapshot);
	b->e = check(engine_new(&cfg, t0));
	engine_set_ports(b->e, t0, 41641, 41641);
	engine_set_addrs(b->e, t0, &addr, 1, false);
	engine_start(b->e, t0, NULL);
	pump(b);
}

static void take(struct bench *b, struct ctl_map_response *msg, enum netmap_mode mode)
{
	struct netmap_change change;
	struct netmap *next;

	if (netmap_apply(b->map, msg, mode, 1700000000, &next, &change) < 0)
		check(NULL);
	ctl_map_response_wipe(msg);
	em_take_map(b->e, t0, next, &change);
	netmap_change_wipe(&change);
	netmap_put(b->map);
	b->map = next;
	em_publish(b->e, t0);
	pump(b);
}

static int read_piece(void *ctx, const uint8_t *p, size_t size)
{
	return ctl_map_reader_push(ctx, (const char *)p, size);
}

/* A message as it comes from the stream. */
static void input(struct bench *b, const uint8_t *frame, size_t size, enum netmap_mode mode)
{
	struct ctl_map_response msg;
	struct ctl_map_reader *r = check(ctl_map_reader_new());
	const int err = zstdframe_is(frame, size) ? zstdframe_pieces(frame, size, CTLJSON_MAP_MAX, read_piece, r)
						  : ctl_map_reader_push(r, (const char *)frame, size);

	if (err || ctl_map_reader_finish(r, &msg, NULL) < 0)
		check(NULL);
	take(b, &msg, mode);
}

static long private_kib(void)
{
	return proc_kib("RssAnon");
}

/* The first message; returns the private memory at the peak, in KiB above that before. */
static long load(struct bench *b, uint32_t n_peers)
{
	struct bytes frame = { .max = CTLJSON_MAP_MAX };
	const char *url;
	long before, peak;
	double began;
	size_t size, saved;
	char *text = first_message(n_peers, &size);

	if (zstdframe_encode(&frame, (const uint8_t *)text, size) < 0)
		check(NULL);
	free(text);
	(void)malloc_trim(0);
	/* The high-water mark begins anew. */
	FILE *f = fopen("/proc/self/clear_refs", "we");

	if (f) {
		(void)fputs("5", f);
		(void)fclose(f);
	}
	before = private_kib();
	began = cpu_us();
	input(b, bytes_data(&frame), bytes_size(&frame), NETMAP_FULL);
	say("ready", (cpu_us() - began) / 1e3, "ms", n_peers);
	began = cpu_us();
	free(check(engine_save_map(b->e, &url, &saved)));
	say("save", (cpu_us() - began) / 1e3, "ms", n_peers);
	say("saved", (double)saved / 1024, "KiB", n_peers);
	peak = proc_kib("VmHWM") - proc_kib("RssFile") - before;
	say("text", (double)size / 1024, "KiB", n_peers);
	say("private at the peak", (double)peak, "KiB", n_peers);
	bytes_wipe(&frame);
	(void)malloc_trim(0);
	say("private afterwards", (double)(private_kib() - before), "KiB", n_peers);
	say("private a peer", (double)(private_kib() - before) * 1024 / n_peers, "bytes", n_peers);
	return peak;
}

/* Microseconds a change, of the quietest part. */
static double change(struct bench *b, uint32_t n_peers, enum delta kind)
{
	struct mallinfo2 was = mallinfo2();
	double spent = 0, part = 0, best = 1e9;
	size_t bytes = 0;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		size_t size;
		char *text = delta_message(kind, n_peers, i, &size);
		const double began = cpu_us();

		input(b, (const uint8_t *)text, size, NETMAP_DELTA);
		part += cpu_us() - began;
		bytes += size;
		free(text);
		if (i % PART == PART - 1) { /* what the neighbours disturbed does not count in the test */
			best = part / PART < best ? part / PART : best;
			spent += part;
			part = 0;
		}
		t0 = mono_add_ms(t0, 1000);
		engine_tick(b->e, t0);
		pump(b);
	}
	printf("{\"bench\": \"netmap\", \"peers\": %u, \"name\": \"delta %s\", \"value\": %.1f, \"unit\": \"us\", "
	       "\"wire_bytes\": %zu, \"kept_bytes\": %.0f}\n",
	       n_peers, delta_names[kind], spent / ROUNDS, bytes / ROUNDS,
	       (double)((int64_t)mallinfo2().uordblks - (int64_t)was.uordblks) / ROUNDS);
	return best;
}

static void free_data_plane(struct bench *b)
{
	struct dp_table *t = snapshot_own(&b->dp.table);

	for (uint32_t i = 0; t && i < t->n_blocks * DP_BLOCK; i++)
		free(dp_table_at(t, i)->peer);
	for (uint32_t i = 0; t && i < t->n_blocks; i++)
		free(t->blocks[i]);
	if (t) {
		routes_free(t->routes);
		filter_free(t->filter);
	}
	free(t);
	slots_wipe(&b->dp.keys);
	snapshot_free(b->dp.snapshot);
}

static void finish(struct bench *b)
{
	engine_free(b->e);
	netmap_put(b->map);
	free_data_plane(b);
	loop_free(b->loop);
	prefs_wipe(&b->prefs);
	free(b);
}

/* Fills 'us' with the cost of each kind of change; returns the private memory at the peak. */
static long run(uint32_t n, double us[DELTA_N])
{
	struct bench *b = check(calloc(1, sizeof(*b)));
	long peak;

	start(b);
	peak = load(b, n);
	for (int k = 0; k < DELTA_N; k++)
		us[k] = change(b, n, (enum delta)k);
	printf("{\"bench\": \"netmap\", \"peers\": %u, \"outputs\": %llu, \"views\": %llu, \"hosts\": %llu, "
	       "\"persisted\": %llu, \"paths\": %llu}\n",
	       n, (unsigned long long)b->n_outputs, (unsigned long long)b->n_views, (unsigned long long)b->n_hosts,
	       (unsigned long long)b->n_persisted, (unsigned long long)b->n_paths);
	finish(b);
	return peak;
}

static int test(void)
{
	double few[DELTA_N], many[DELTA_N];
	const long peak = run(MANY, many);
	int failed = 0;

	(void)run(FEW, few);
	for (int k = 0; k < DELTA_N; k++) {
		if (many[k] <= few[k] * GROWTH_MAX)
			continue;
		printf("%s: %.1f us with %d peers, %.1f with %d\n", delta_names[k], few[k], FEW, many[k], MANY);
		failed = 1;
	}
	/* Sanitizers keep what was freed. */
	if (peak > MANY_KIB && !IS_SANITIZED) {
		printf("%ld KiB private at the peak, the limit is %d\n", peak, MANY_KIB);
		failed = 1;
	}
	return failed;
}

int main(int argc, char **argv)
{
	const uint32_t n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
	double us[DELTA_N];

	if (sodium_init() < 0)
		return 1;
	if (argc == 1)
		return test();
	if (n < 1 || n > MAP_PEERS_MAX - ROUNDS) {
		(void)fprintf(stderr, "usage: netmap [PEERS]\n");
		return 2;
	}
	(void)run(n, us);
	return 0;
}
