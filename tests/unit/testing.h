/* SPDX-License-Identifier: MIT */
/* What unit tests share: a seeded environment, hex, and access to tests/vectors. */
#ifndef TESTS_UNIT_TESTING_H
#define TESTS_UNIT_TESTING_H

/* cmocka.h needs these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "base/env.h"

/* A deterministic environment: a seeded generator and a calendar that stands at 'wall_ns' until the
 * test moves it. */
struct test_env {
	struct env env;
	uint64_t state;
	int64_t wall_ns;
};

/* 2026-01-02T03:04:05Z */
#define TEST_WALL_NS (INT64_C(1767323045) * 1000000000)

void test_env_init(struct test_env *t, uint64_t seed);
uint64_t test_random(struct test_env *t);

/* Hex text to bytes; fails the test unless it gives exactly 'size' bytes. */
void test_unhex(void *dst, size_t size, const char *hex);
/* Hex text to fresh bytes (free() them); '*size' gets the count. */
uint8_t *test_unhex_dup(const char *hex, size_t *size);

/* Reads tests/vectors/NAME; fails the test if it is missing or not JSON. cJSON_Delete() it. */
cJSON *test_vectors(const char *name);
/* A file below the source directory as fresh bytes with a final NUL (free() them). */
char *test_file(const char *path, size_t *size);
/* Removes these files of a directory, and it; fails the test if there is anything else. */
void test_remove_dir(const char *dir, const char *const *names, size_t n);
/* The member 'key', failing the test if it is absent. */
const cJSON *test_get(const cJSON *obj, const char *key);
/* The member as text, failing the test if it is not a string. */
const char *test_str(const cJSON *obj, const char *key);

#endif
