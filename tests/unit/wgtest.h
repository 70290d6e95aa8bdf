/* SPDX-License-Identifier: MIT */
/* Library objects for tests of wg/: what daemon/ creates at start in production. */
#ifndef TESTS_UNIT_WGTEST_H
#define TESTS_UNIT_WGTEST_H

#include "wg/aead.h"
#include "wg/crypto.h"

/* One AEAD backend ready for use. */
struct wgtest {
	struct crypto crypto;
	struct aead_thread thread;
};

/* How many backends this build and this machine have; the first is the reference. */
enum { WGTEST_BACKENDS_MAX = 3 };
unsigned wgtest_init_all(struct wgtest t[static WGTEST_BACKENDS_MAX]);
void wgtest_wipe(struct wgtest *t);

#endif
