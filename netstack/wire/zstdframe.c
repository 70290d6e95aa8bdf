/* SPDX-License-Identifier: MIT */
/* One zstd frame, in one piece where its size is declared, else streamed with a bounded window. */
#include "wire/zstdframe.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

/* Encoders of the reference servers use up to 8 MiB when they do not know the size beforehand. */
enum { WINDOW_LOG_MAX = 24, STEP = 64 << 10, LEVEL = 1, ENCODE_WINDOW_LOG = 18 };

bool zstdframe_is(const uint8_t *buf, size_t size)
{
	return size >= 4 && buf[0] == 0x28 && buf[1] == 0xb5 && buf[2] == 0x2f && buf[3] == 0xfd;
}

static int decode_known(ZSTD_DCtx *ctx, struct bytes *out, const uint8_t *buf, size_t size, size_t content)
{
	uint8_t *dst = bytes_room(out, content ? content : 1);
	size_t n;

	if (!dst)
		return -ENOMEM;
	n = ZSTD_decompressDCtx(ctx, dst, content, buf, size);
	if (ZSTD_isError(n) || n != content)
		return -EBADMSG;
	bytes_commit(out, n);
	return 0;
}

static int decode_stream(ZSTD_DCtx *ctx, struct bytes *out, const uint8_t *buf, size_t size, size_t max)
{
	ZSTD_inBuffer in = { .src = buf, .size = size };
	const size_t before = bytes_size(out);
	size_t left;

	if (ZSTD_isError(ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
		return -EBADMSG;
	do {
		ZSTD_outBuffer part = { .dst = bytes_room(out, STEP), .size = STEP };

		if (!part.dst)
			return -ENOMEM;
		left = ZSTD_decompressStream(ctx, &part, &in);
		if (ZSTD_isError(left))
			return -EBADMSG;
		bytes_commit(out, part.pos);
		if (bytes_size(out) - before > max)
			return -ENOBUFS;
		if (left != 0 && in.pos == size && part.pos < STEP)
			return -EBADMSG; /* cut */
	} while (left != 0);
	return in.pos == size ? 0 : -EBADMSG;
}

int zstdframe_decode(struct bytes *out, const uint8_t *buf, size_t size, size_t max)
{
	const size_t before = bytes_size(out);
	unsigned long long content;
	ZSTD_DCtx *ctx;
	int err;

	if (!zstdframe_is(buf, size) || ZSTD_findFrameCompressedSize(buf, size) != size)
		return -EBADMSG;
	content = ZSTD_getFrameContentSize(buf, size);
	if (content == ZSTD_CONTENTSIZE_ERROR)
		return -EBADMSG;
	if (content != ZSTD_CONTENTSIZE_UNKNOWN && content > max)
		return -ENOBUFS;
	ctx = ZSTD_createDCtx();
	if (!ctx)
		return -ENOMEM;
	if (content != ZSTD_CONTENTSIZE_UNKNOWN)
		err = decode_known(ctx, out, buf, size, (size_t)content);
	else
		err = decode_stream(ctx, out, buf, size, max);
	(void)ZSTD_freeDCtx(ctx);
	if (err)
		out->tail -= bytes_size(out) - before;
	return err;
}

int zstdframe_pieces(const uint8_t *buf, size_t size, size_t max,
		     int (*sink)(void *ctx, const uint8_t *p, size_t size), void *ctx)
{
	ZSTD_inBuffer in = { .src = buf, .size = size };
	ZSTD_DCtx *z;
	uint8_t *part;
	size_t left = 1, total = 0;
	int err = 0;

	if (!zstdframe_is(buf, size) || ZSTD_findFrameCompressedSize(buf, size) != size)
		return -EBADMSG;
	z = ZSTD_createDCtx();
	part = malloc(STEP);
	if (!z || !part)
		err = -ENOMEM;
	else if (ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
		err = -EBADMSG;
	while (!err && left != 0) {
		ZSTD_outBuffer out = { .dst = part, .size = STEP };

		left = ZSTD_decompressStream(z, &out, &in);
		total += out.pos;
		if (ZSTD_isError(left) || (left != 0 && in.pos == size && out.pos < STEP))
			err = -EBADMSG; /* damaged or cut */
		else if (total > max)
			err = -ENOBUFS;
		else if (out.pos)
			err = sink(ctx, part, out.pos);
	}
	free(part);
	(void)ZSTD_freeDCtx(z);
	return err ? err : in.pos == size ? 0 : -EBADMSG;
}

/* A context with our parameters, or null. */
static ZSTD_CCtx *encoder(void)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();

	if (z && (ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, LEVEL)) ||
		  ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, ENCODE_WINDOW_LOG)))) {
		(void)ZSTD_freeCCtx(z);
		z = NULL;
	}
	return z;
}

int zstdframe_encode(struct bytes *out, const uint8_t *buf, size_t size)
{
	const size_t bound = ZSTD_compressBound(size);
	uint8_t *dst = bytes_room(out, bound);
	ZSTD_CCtx *z = dst ? encoder() : NULL;
	size_t n;

	if (!z)
		return -ENOMEM;
	n = ZSTD_compress2(z, dst, bound, buf, size);
	(void)ZSTD_freeCCtx(z);
	if (ZSTD_isError(n))
		return -ENOMEM;
	bytes_commit(out, n);
	return 0;
}

/* The library's own object: the struct is never defined. */
struct zstdframe_w *zstdframe_w_new(void)
{
	return (struct zstdframe_w *)encoder();
}

void zstdframe_w_free(struct zstdframe_w *w)
{
	(void)ZSTD_freeCCtx((ZSTD_CCtx *)w);
}

int zstdframe_w_push(struct zstdframe_w *w, struct bytes *out, const uint8_t *buf, size_t size, bool is_last)
{
	ZSTD_inBuffer in = { .src = buf, .size = size };
	size_t left;

	do {
		ZSTD_outBuffer part = { .dst = bytes_room(out, STEP), .size = STEP };

		if (!part.dst)
			return -ENOMEM;
		left = ZSTD_compressStream2((ZSTD_CCtx *)w, &part, &in, is_last ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return -ENOMEM;
		bytes_commit(out, part.pos);
	} while (is_last ? left != 0 : in.pos < in.size);
	return 0;
}
