/* SPDX-License-Identifier: MIT */
/* Pages of files are given back, and everything is there as before. */
#include "config.h"

#include "tests/unit/testing.h"

#include <link.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/filepages.h"

enum { STEP = 1024, FREED_KIB_MIN = 1024 };

static long file_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "RssFile:", 8) == 0)
			kib = strtol(line + 8, NULL, 10);
	if (f)
		(void)fclose(f);
	return kib;
}

/* A sum over all that is loaded and not written to, which makes all of it resident. */
static int read_object(struct dl_phdr_info *o, size_t size, void *ctx)
{
	uint64_t *sum = ctx;

	(void)size;
	if (strstr(o->dlpi_name, "vdso"))
		return 0;
	for (size_t i = 0; i < o->dlpi_phnum; i++) {
		const volatile uint8_t *p = (const volatile uint8_t *)(o->dlpi_addr + o->dlpi_phdr[i].p_vaddr);

		if (o->dlpi_phdr[i].p_type != PT_LOAD || (o->dlpi_phdr[i].p_flags & PF_W))
			continue;
		for (size_t k = 0; k < o->dlpi_phdr[i].p_memsz; k += STEP)
			*sum = *sum * 31 + p[k];
	}
	return 0;
}

static void nothing_changes_but_what_is_resident(void **state)
{
	uint8_t first[32], second[32];
	uint64_t before = 0, after = 0;
	long full, released;

	(void)state;
	if (file_kib() < 0)
		skip();
	assert_int_equal(EVP_Digest("mesh", 4, first, NULL, EVP_sha256(), NULL), 1);
	(void)dl_iterate_phdr(read_object, &before);
	full = file_kib();
	filepages_release();
	released = file_kib();
	printf("%ld KiB of files resident, %ld afterwards\n", full, released);
	assert_true(full - released >= FREED_KIB_MIN);
	(void)dl_iterate_phdr(read_object, &after);
	assert_true(before == after);
	filepages_release();
	assert_int_equal(EVP_Digest("mesh", 4, second, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(first, second, sizeof(first));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_changes_but_what_is_resident),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
