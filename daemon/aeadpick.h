/* SPDX-License-Identifier: MIT */
/* Creates what the AEAD backends need from the system and picks the fastest one by timing each for
 * 2 ms. Spec: PERFORMANCE 3. */
#ifndef DAEMON_AEADPICK_H
#define DAEMON_AEADPICK_H

#include "base/compiler.h"
#include "wg/aead.h"
#include "wg/crypto.h"

struct log;

/* Fills '*crypto' (one lane each way). 'name' forces a backend ("openssl", "ipsec-mb",
 * "libsodium"); null: the fastest that gives the reference's answer. For tests a mask of the CPU's
 * capabilities may follow, as in "ipsec-mb/avx2" or "/none" (any backend): aead_ipsecmb then uses no
 * more than "none", "sse", "avx" or "avx2". Returns 0; -ENOENT: the forced one is not there; -EIO: it
 * does not work, -ENOTSUP: not on this CPU. Calls sodium_init(). Before threads start. */
MESH_MUST_USE int aeadpick_init(struct crypto *crypto, const char *name, const struct log *log);
void aeadpick_wipe(struct crypto *crypto);

/* What each packet thread owns for the picked backend. Returns 0, -ENOMEM, or -ENOTSUP: the library
 * has nothing for this CPU. */
MESH_MUST_USE int aeadpick_thread_init(struct aead_thread *t, const struct crypto *crypto);
void aeadpick_thread_wipe(struct aead_thread *t);

#endif
