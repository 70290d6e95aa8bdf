/* SPDX-License-Identifier: MIT */
/* One zstd frame, in one piece where its size is declared, else streamed with a bounded window. */
#include "wire/zstdframe.h"

#include <errno.h>
#include <zstd.h>

/* Encoders of the reference servers use up to 8 MiB when they do not know the size beforehand. */
enum { WINDOW_LOG_MAX = 24, STEP = 64 << 10, LEVEL = 1 };

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

int zstdframe_encode(struct bytes *out, const uint8_t *buf, size_t size)
{
	const size_t bound = ZSTD_compressBound(size);
	uint8_t *dst = bytes_room(out, bound);
	size_t n;

	if (!dst)
		return -ENOMEM;
	n = ZSTD_compress(dst, bound, buf, size, LEVEL);
	if (ZSTD_isError(n))
		return -ENOMEM;
	bytes_commit(out, n);
	return 0;
}
