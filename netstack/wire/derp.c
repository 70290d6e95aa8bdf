/* SPDX-License-Identifier: MIT */
/* The DERP codec of derp.h. */
#include "wire/derp.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "wire/json.h"

static_assert(DERP_NONCE_SIZE == crypto_box_NONCEBYTES, "derp 1");
static_assert(DERP_TAG_SIZE == crypto_box_MACBYTES, "derp 1");

static const uint8_t derp_magic[DERP_MAGIC_SIZE] = { 'D', 'E', 'R', 'P', 0xf0, 0x9f, 0x94, 0x91 };
static const uint8_t disco_magic[6] = { 0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac };

/* Smallest payload that counts as disco: magic, sender key, nonce (derp 6.4). */
enum { DERP_DISCO_MIN = 6 + 32 + 24 };

int derp_hdr_parse(struct derp_hdr *hdr, const uint8_t *buf, size_t size, size_t max)
{
	struct rd r = RD(buf, size);
	uint8_t type = rd_u8(&r);
	uint32_t len = rd_be32(&r);

	if (r.bad)
		return -EAGAIN;
	if (len > max)
		return -EBADMSG;
	hdr->type = type;
	hdr->size = len;
	return 0;
}

int derp_server_key_parse(struct node_key *server, const uint8_t *p, size_t size)
{
	struct rd r = RD(p, size);
	const uint8_t *magic = rd_view(&r, DERP_MAGIC_SIZE);
	struct node_key key;

	rd_bytes(&r, key.b, sizeof(key.b));
	if (r.bad || size > DERP_SERVER_KEY_MAX || memcmp(magic, derp_magic, DERP_MAGIC_SIZE) != 0 ||
	    key_is_zero(key.b))
		return -EBADMSG;
	*server = key;
	return 0;
}

int derp_packet_parse(struct derp_packet *pkt, const uint8_t *p, size_t size)
{
	struct rd r = RD(p, size);
	struct node_key peer;

	rd_bytes(&r, peer.b, sizeof(peer.b));
	if (r.bad || r.left > DERP_PACKET_MAX)
		return -EBADMSG;
	pkt->peer = peer;
	pkt->data = r.p;
	pkt->size = r.left;
	return 0;
}

int derp_peer_gone_parse(struct derp_peer_gone *gone, const uint8_t *p, size_t size)
{
	struct rd r = RD(p, size);
	struct node_key peer;

	rd_bytes(&r, peer.b, sizeof(peer.b));
	if (r.bad)
		return -EBADMSG;
	gone->peer = peer;
	/* Old servers send no reason. */
	gone->reason = r.left > 0 ? rd_u8(&r) : DERP_GONE_DISCONNECTED;
	return 0;
}

int derp_restarting_parse(struct derp_restarting *out, const uint8_t *p, size_t size)
{
	struct rd r = RD(p, size);
	uint32_t reconnect_in_ms = rd_be32(&r);
	uint32_t try_for_ms = rd_be32(&r);

	if (r.bad)
		return -EBADMSG;
	out->reconnect_in_ms = reconnect_in_ms;
	out->try_for_ms = try_for_ms;
	return 0;
}

/* Opens nonce and box at 'r' into 'plain' (DERP_INFO_MAX bytes). crypto_box refuses keys of small order
 * itself; the zero key is one of them. Returns the size of the text or -EBADMSG. */
static int box_open(struct rd *r, const uint8_t *pub, const uint8_t *priv, char *plain)
{
	const uint8_t *nonce = rd_view(r, DERP_NONCE_SIZE);
	size_t size = r->left;
	const uint8_t *box = rd_view(r, size);

	if (r->bad || size < DERP_TAG_SIZE || size > DERP_INFO_MAX)
		return -EBADMSG;
	if (crypto_box_open_easy((unsigned char *)plain, box, size, nonce, pub, priv) != 0)
		return -EBADMSG;
	return (int)(size - DERP_TAG_SIZE);
}

/* Member names are matched in any case, as upstream does (derp 4.3). What is no number counts as absent. */
static uint64_t u64_of(const cJSON *obj, const char *name)
{
	int64_t v = 0;

	return json_value_i64(cJSON_GetObjectItem(obj, name), &v) && v > 0 ? (uint64_t)v : 0;
}

static bool bool_of(const cJSON *obj, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItem(obj, name));
}

/* A mesh key is ignored (we are no mesh server), but as upstream does, one that is none is refused. */
static bool mesh_key_ok(const cJSON *obj)
{
	const cJSON *item = cJSON_GetObjectItem(obj, "meshKey");
	uint8_t key[KEY_SIZE];
	size_t size;
	bool ok;

	if (!item)
		return true;
	if (!cJSON_IsString(item))
		return false;
	ok = sodium_hex2bin(key, sizeof(key), item->valuestring, strlen(item->valuestring), NULL, &size, NULL) == 0 &&
	     size == sizeof(key);
	sodium_memzero(key, sizeof(key));
	return ok;
}

int derp_client_info_open(struct derp_client_info *info, struct node_key *client, const uint8_t *p, size_t size,
			  const struct node_priv *server)
{
	struct rd r = RD(p, size);
	char plain[DERP_INFO_MAX];
	struct node_key key;
	cJSON *obj;
	int len;

	rd_bytes(&r, key.b, sizeof(key.b));
	if (r.bad || size > DERP_INFO_MAX || key_is_zero(key.b))
		return -EBADMSG;
	len = box_open(&r, key.b, server->b, plain);
	if (len < 0)
		return -EBADMSG;
	obj = json_parse(plain, (size_t)len, 0, NULL);
	if (!cJSON_IsObject(obj) || !mesh_key_ok(obj)) {
		cJSON_Delete(obj);
		return -EBADMSG;
	}
	*client = key;
	info->version = (uint32_t)u64_of(obj, "version");
	info->can_ack_pings = bool_of(obj, "CanAckPings");
	info->is_prober = bool_of(obj, "IsProber");
	cJSON_Delete(obj);
	return 0;
}

int derp_server_info_open(struct derp_server_info *info, const uint8_t *p, size_t size,
			  const struct node_key *server, const struct node_priv *client)
{
	struct rd r = RD(p, size);
	char plain[DERP_INFO_MAX];
	cJSON *obj;
	int len;

	if (key_is_zero(server->b))
		return -EBADMSG;
	len = box_open(&r, server->b, client->b, plain);
	if (len < 0)
		return -EBADMSG;
	obj = json_parse(plain, (size_t)len, 0, NULL);
	if (!cJSON_IsObject(obj)) {
		cJSON_Delete(obj);
		return -EBADMSG;
	}
	info->version = (uint32_t)u64_of(obj, "version");
	info->bucket_bytes_per_s = u64_of(obj, "TokenBucketBytesPerSecond");
	info->bucket_burst_bytes = u64_of(obj, "TokenBucketBytesBurst");
	cJSON_Delete(obj);
	return 0;
}

static void hdr_write(struct wr *w, enum derp_type type, size_t size)
{
	wr_u8(w, (uint8_t)type);
	wr_be32(w, (uint32_t)size);
}

void derp_server_key_write(struct wr *w, const struct node_key *server)
{
	hdr_write(w, DERP_SERVER_KEY, DERP_SERVER_KEY_MIN);
	wr_bytes(w, derp_magic, sizeof(derp_magic));
	wr_bytes(w, server->b, sizeof(server->b));
}

/* Nonce and box of 'text'. */
static int box_write(struct wr *w, const char *text, const uint8_t *pub, const uint8_t *priv,
		     const uint8_t *nonce)
{
	size_t len = strlen(text);
	uint8_t *box;

	wr_bytes(w, nonce, DERP_NONCE_SIZE);
	box = wr_room(w, DERP_TAG_SIZE + len);
	if (!box)
		return -ENOBUFS;
	if (crypto_box_easy(box, (const unsigned char *)text, len, nonce, pub, priv) != 0)
		return -EBADMSG;
	return 0;
}

int derp_client_info_write(struct wr *w, const struct node_priv *client, const struct node_key *server,
			   const uint8_t nonce[static DERP_NONCE_SIZE])
{
	static const char text[] = "{\"version\":2,\"CanAckPings\":true}";
	struct node_key pub;

	key_public(pub.b, client->b);
	hdr_write(w, DERP_CLIENT_INFO, DERP_INFO_MIN + DERP_TAG_SIZE + sizeof(text) - 1);
	wr_bytes(w, pub.b, sizeof(pub.b));
	return box_write(w, text, server->b, client->b, nonce);
}

int derp_server_info_write(struct wr *w, const struct node_priv *server, const struct node_key *client,
			   const uint8_t nonce[static DERP_NONCE_SIZE])
{
	static const char text[] = "{\"version\":2}";

	hdr_write(w, DERP_SERVER_INFO, DERP_NONCE_SIZE + DERP_TAG_SIZE + sizeof(text) - 1);
	return box_write(w, text, client->b, server->b, nonce);
}

void derp_packet_write(struct wr *w, enum derp_type type, const struct node_key *peer, const void *data,
		       size_t size)
{
	hdr_write(w, type, KEY_SIZE + size);
	wr_bytes(w, peer->b, sizeof(peer->b));
	wr_bytes(w, data, size);
}

void derp_keep_alive_write(struct wr *w)
{
	hdr_write(w, DERP_KEEP_ALIVE, 0);
}

void derp_note_preferred_write(struct wr *w, bool is_home)
{
	hdr_write(w, DERP_NOTE_PREFERRED, 1);
	wr_u8(w, is_home ? 1 : 0);
}

void derp_peer_gone_write(struct wr *w, const struct node_key *peer, enum derp_gone_reason reason)
{
	hdr_write(w, DERP_PEER_GONE, KEY_SIZE + 1);
	wr_bytes(w, peer->b, sizeof(peer->b));
	wr_u8(w, (uint8_t)reason);
}

void derp_ping_write(struct wr *w, enum derp_type ping_or_pong, const uint8_t data[static DERP_PING_SIZE])
{
	hdr_write(w, ping_or_pong, DERP_PING_SIZE);
	wr_bytes(w, data, DERP_PING_SIZE);
}

void derp_health_write(struct wr *w, const char *text)
{
	hdr_write(w, DERP_HEALTH, strlen(text));
	wr_bytes(w, text, strlen(text));
}

void derp_restarting_write(struct wr *w, const struct derp_restarting *r)
{
	hdr_write(w, DERP_RESTARTING, 8);
	wr_be32(w, r->reconnect_in_ms);
	wr_be32(w, r->try_for_ms);
}

bool derp_looks_like_disco(const uint8_t *data, size_t size)
{
	return size >= DERP_DISCO_MIN && memcmp(data, disco_magic, sizeof(disco_magic)) == 0;
}
