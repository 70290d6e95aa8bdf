/* SPDX-License-Identifier: MIT */
/* Shared helpers of the unit tests. */
#include "tests/unit/testing.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t test_random(struct test_env *t)
{
	uint64_t z = (t->state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void fill(void *ctx, void *dst, size_t size)
{
	uint8_t *p = dst;

	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)test_random(ctx);
}

static int64_t wall(void *ctx)
{
	const struct test_env *t = ctx;

	return t->wall_ns;
}

void test_env_init(struct test_env *t, uint64_t seed)
{
	*t = (struct test_env){ .state = seed, .wall_ns = TEST_WALL_NS };
	t->env = (struct env){ .fill = fill, .wall_ns = wall, .ctx = t };
}

void test_unhex(void *dst, size_t size, const char *hex)
{
	size_t got = 0;

	if (sodium_hex2bin(dst, size, hex, strlen(hex), NULL, &got, NULL) != 0 || got != size)
		fail_msg("bad hex of %zu characters for %zu bytes", strlen(hex), size);
}

uint8_t *test_unhex_dup(const char *hex, size_t *size)
{
	uint8_t *p = malloc(strlen(hex) / 2 + 1);

	assert_non_null(p);
	*size = strlen(hex) / 2;
	test_unhex(p, *size, hex);
	return p;
}

char *test_file(const char *path, size_t *size)
{
	const char *dir = getenv("srcdir");
	char full[4096];
	char *buf = NULL;
	size_t n = 0, cap = 0, got;
	FILE *f;

	(void)snprintf(full, sizeof(full), "%s/%s", dir ? dir : ".", path);
	f = fopen(full, "rb");
	if (!f)
		fail_msg("cannot open %s", full);
	do {
		cap += 1 << 20;
		buf = realloc(buf, cap + 1);
		assert_non_null(buf);
		got = fread(buf + n, 1, cap - n, f);
		n += got;
	} while (got > 0);
	(void)fclose(f);
	buf[n] = 0;
	if (size)
		*size = n;
	return buf;
}

cJSON *test_vectors(const char *name)
{
	char path[256];
	char *text;
	cJSON *v;

	(void)snprintf(path, sizeof(path), "tests/vectors/%s", name);
	text = test_file(path, NULL);
	v = cJSON_Parse(text);
	if (!v)
		fail_msg("%s is not JSON", path);
	free(text);
	return v;
}

void test_remove_dir(const char *dir, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char path[256];

		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

const cJSON *test_get(const cJSON *obj, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, key);

	if (!v)
		fail_msg("no member %s", key);
	return v;
}

const char *test_str(const cJSON *obj, const char *key)
{
	const cJSON *v = test_get(obj, key);

	if (!cJSON_IsString(v))
		fail_msg("member %s is not a string", key);
	return v->valuestring;
}
