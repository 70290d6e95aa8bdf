/* SPDX-License-Identifier: MIT */
/* main() of fuzz targets in ordinary builds: runs every file of tests/fuzz/corpus/<name>/ (or the
 * files named on the command line), each also truncated at every length and with each bit of its
 * first 128 bytes flipped, so that make check covers the neighbourhood of the corpus. An empty corpus
 * is an error: a target without one tests nothing. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_MAX = 1 << 22, MUTATE_MAX = 4096, FLIP_BYTES = 128 };

/* Each run gets its own exact-size copy, so that ASan sees a read past the end. */
static void run(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	(void)LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int run_file(const char *path)
{
	static const size_t step_above = 256;
	uint8_t *buf = malloc(FILE_MAX);
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f || !buf) {
		(void)fprintf(stderr, "cannot read %s\n", path);
		exit(1);
	}
	n = fread(buf, 1, FILE_MAX, f);
	(void)fclose(f);
	run(buf, n);
	for (size_t i = 0; i < n && n <= MUTATE_MAX; i += n > step_above ? 7 : 1)
		run(buf, i);
	for (size_t i = 0; i < n && i < FLIP_BYTES; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			buf[i] ^= (uint8_t)(1u << bit);
			run(buf, n);
			buf[i] ^= (uint8_t)(1u << bit);
		}
	}
	free(buf);
	return 1;
}

int main(int argc, char **argv)
{
	const char *base = strrchr(argv[0], '/'), *src = getenv("srcdir");
	char dir[2048], path[4096];
	struct dirent *e;
	int files = 0;
	DIR *d;

	for (int i = 1; i < argc; i++)
		files += run_file(argv[i]);
	if (argc > 1)
		return 0;
	base = base ? base + 1 : argv[0];
	if (strncmp(base, "fuzz_", 5) == 0)
		base += 5;
	(void)snprintf(dir, sizeof(dir), "%s/tests/fuzz/corpus/%s", src ? src : ".", base);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		files += run_file(path);
	}
	if (d)
		(void)closedir(d);
	(void)printf("%s: %d corpus files\n", base, files);
	return files > 0 ? 0 : 1;
}
