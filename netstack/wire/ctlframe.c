/* SPDX-License-Identifier: MIT */
/* Framing of the control connection's Noise messages. */
#include "wire/ctlframe.h"

#include <errno.h>

int ctlframe_hdr_parse(struct ctlframe_hdr *hdr, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);
	struct ctlframe_hdr h;

	h.type = rd_u8(&r);
	h.size = rd_be16(&r);
	if (r.bad)
		return -EAGAIN;
	if (h.type != CTLFRAME_RESPONSE && h.type != CTLFRAME_ERROR && h.type != CTLFRAME_RECORD)
		return -EBADMSG;
	if (h.size > CTLFRAME_BODY_MAX)
		return -EBADMSG;
	*hdr = h;
	return 0;
}

void ctlframe_hdr_write(struct wr *w, enum ctlframe_type type, uint16_t size)
{
	wr_u8(w, (uint8_t)type);
	wr_be16(w, size);
}

int ctlframe_initiation_parse(struct ctlframe_initiation *m, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);
	struct ctlframe_initiation t;
	uint8_t type;
	uint16_t body;

	if (size != CTLFRAME_INITIATION_SIZE)
		return -EBADMSG;
	t.version = rd_be16(&r);
	type = rd_u8(&r);
	body = rd_be16(&r);
	rd_bytes(&r, t.ephemeral, sizeof(t.ephemeral));
	rd_bytes(&r, t.sealed_static, sizeof(t.sealed_static));
	rd_bytes(&r, t.tag, sizeof(t.tag));
	if (r.bad || type != CTLFRAME_INITIATION || body != CTLFRAME_INITIATION_SIZE - CTLFRAME_INITIATION_HDR_SIZE)
		return -EBADMSG;
	*m = t;
	return 0;
}

void ctlframe_initiation_write(struct wr *w, const struct ctlframe_initiation *m)
{
	wr_be16(w, m->version);
	wr_u8(w, CTLFRAME_INITIATION);
	wr_be16(w, CTLFRAME_INITIATION_SIZE - CTLFRAME_INITIATION_HDR_SIZE);
	wr_bytes(w, m->ephemeral, sizeof(m->ephemeral));
	wr_bytes(w, m->sealed_static, sizeof(m->sealed_static));
	wr_bytes(w, m->tag, sizeof(m->tag));
}

int ctlframe_response_parse(struct ctlframe_response *m, const uint8_t *body, size_t size)
{
	struct rd r = RD(body, size);

	if (size != CTLFRAME_RESPONSE_SIZE - CTLFRAME_HDR_SIZE)
		return -EBADMSG;
	rd_bytes(&r, m->ephemeral, sizeof(m->ephemeral));
	rd_bytes(&r, m->tag, sizeof(m->tag));
	return 0;
}

void ctlframe_response_write(struct wr *w, const struct ctlframe_response *m)
{
	ctlframe_hdr_write(w, CTLFRAME_RESPONSE, CTLFRAME_RESPONSE_SIZE - CTLFRAME_HDR_SIZE);
	wr_bytes(w, m->ephemeral, sizeof(m->ephemeral));
	wr_bytes(w, m->tag, sizeof(m->tag));
}
