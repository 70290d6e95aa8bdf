/* SPDX-License-Identifier: MIT */
/* Bytes of an unprivileged caller on the local API's socket. Invariant: whatever it sends, nothing changes. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/apifake.h"

enum { STRANGER = 12345 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apifake f;
	uint8_t sink[4096];
	int fd;

	apifake_init(&f);
	fd = apifake_connect(&f, STRANGER);
	while (size) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n <= 0)
			break;
		data += n;
		size -= (size_t)n;
		apifake_run(&f);
		while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}
	if (f.writes)
		abort();
	(void)close(fd);
	apifake_run(&f);
	if (api_n_conns(f.api))
		abort();
	apifake_wipe(&f);
	return 0;
}
