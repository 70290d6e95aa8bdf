/* SPDX-License-Identifier: MIT */
/* Command lines of meshctl, words separated by NUL, without a daemon. Invariant: an exit code of the table, and
 * no control character of the input on either stream. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"

enum { WORDS_MAX = 32, OUT_SIZE = 1 << 18 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Escape sequences and other controls must not reach a terminal; tab and newline are ours. */
static void check_clean(const char *text, size_t size)
{
	for (size_t i = 0; i < size && text[i]; i++)
		if ((unsigned char)text[i] < 0x20 && text[i] != '\n' && text[i] != '\t')
			abort();
}

static bool is_known(int code)
{
	return (code >= EXIT_OK && code <= EXIT_DENIED) || code == EXIT_UNSUPPORTED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char program[] = "meshctl";
	char *words[WORDS_MAX + 1] = { (char *)(uintptr_t)program }, *text, *out;
	struct cli c = { .prog = program };
	int n = 1, null_fd, code;

	/* Keys may be asked for on standard input: there is nothing. */
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	text = malloc(size + 1);
	out = calloc(2, OUT_SIZE);
	if (null_fd < 0 || !text || !out || dup2(null_fd, STDIN_FILENO) < 0 ||
	    setenv("MESHD_SOCKET", "/nonexistent/meshd.sock", 1))
		abort();
	(void)close(null_fd);
	if (size)
		memcpy(text, data, size);
	text[size] = 0;
	for (size_t i = 0; i < size && n < WORDS_MAX; i += strlen(text + i) + 1)
		words[n++] = text + i;
	c.compat = size && data[0] & 1;
	c.out = fmemopen(out, OUT_SIZE - 1, "w");
	c.err = fmemopen(out + OUT_SIZE, OUT_SIZE - 1, "w");
	if (!c.out || !c.err)
		abort();
	code = cmd_main(&c, n, words);
	(void)fclose(c.out);
	(void)fclose(c.err);
	if (!is_known(code))
		abort();
	check_clean(out, OUT_SIZE);
	check_clean(out + OUT_SIZE, OUT_SIZE);
	free(text);
	free(out);
	return 0;
}
