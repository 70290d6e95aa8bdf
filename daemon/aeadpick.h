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
 * "libsodium"); null: the fastest that gives the reference's answer. Returns 0; -ENOENT: the forced
 * one is not there; -EIO: it does not work. Calls sodium_init(). Before threads start. */
MESH_MUST_USE int aeadpick_init(struct crypto *crypto, const char *name, const struct log *log);
void aeadpick_wipe(struct crypto *crypto);

/* What each packet thread owns for the picked backend. Returns 0 or -ENOMEM. */
MESH_MUST_USE int aeadpick_thread_init(struct aead_thread *t, const struct crypto *crypto);
void aeadpick_thread_wipe(struct aead_thread *t);

#endif
