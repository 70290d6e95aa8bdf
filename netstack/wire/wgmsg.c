/* SPDX-License-Identifier: MIT */
/* Shapes of the WireGuard messages: type, reserved bytes and length are checked here and nowhere
 * else. */
#include "wire/wgmsg.h"

#include <errno.h>

int wgmsg_type(const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);
	/* Type and reserved bytes are one little-endian word, so that any reserved bit spoils it.
	 */
	uint32_t type = rd_le32(&r);

	if (r.bad)
		return -EBADMSG;
	switch (type) {
	case WGMSG_INITIATION:
		return size == WGMSG_INITIATION_SIZE ? WGMSG_INITIATION : -EBADMSG;
	case WGMSG_RESPONSE:
		return size == WGMSG_RESPONSE_SIZE ? WGMSG_RESPONSE : -EBADMSG;
	case WGMSG_COOKIE_REPLY:
		return size == WGMSG_COOKIE_REPLY_SIZE ? WGMSG_COOKIE_REPLY : -EBADMSG;
	case WGMSG_DATA:
		return size >= WGMSG_DATA_MIN ? WGMSG_DATA : -EBADMSG;
	default:
		return -EBADMSG;
	}
}

int wgmsg_initiation_parse(struct wg_initiation *msg, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);

	if (wgmsg_type(buf, size) != WGMSG_INITIATION)
		return -EBADMSG;
	rd_bytes(&r, msg, sizeof(*msg));
	return 0;
}

int wgmsg_response_parse(struct wg_response *msg, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);

	if (wgmsg_type(buf, size) != WGMSG_RESPONSE)
		return -EBADMSG;
	rd_bytes(&r, msg, sizeof(*msg));
	return 0;
}

int wgmsg_cookie_reply_parse(struct wg_cookie_reply *msg, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);

	if (wgmsg_type(buf, size) != WGMSG_COOKIE_REPLY)
		return -EBADMSG;
	rd_bytes(&r, msg, sizeof(*msg));
	return 0;
}

int wgmsg_data_parse(struct wg_data *data, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);

	if (wgmsg_type(buf, size) != WGMSG_DATA)
		return -EBADMSG;
	rd_skip(&r, 4);
	data->receiver_index = rd_le32(&r);
	data->counter = rd_le64(&r);
	return 0;
}

void wgmsg_data_hdr_write(uint8_t hdr[static WGMSG_DATA_HDR_SIZE], const struct wg_data *data)
{
	struct wr w = WR(hdr, WGMSG_DATA_HDR_SIZE);

	wr_le32(&w, WGMSG_DATA);
	wr_le32(&w, data->receiver_index);
	wr_le64(&w, data->counter);
}
