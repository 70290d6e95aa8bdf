/* SPDX-License-Identifier: MIT */
/* Creates the library objects of each AEAD backend. */
#include "tests/unit/testing.h"

#include "tests/unit/wgtest.h"

#include <openssl/evp.h>
#include <string.h>

#include "config.h"

#ifdef HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>

static bool init_ipsecmb(struct wgtest *t)
{
	IMB_MGR *mgr = alloc_mb_mgr(0);

	if (!mgr)
		return false;
	init_mb_mgr_auto(mgr, NULL);
	t->crypto.aead = &aead_ipsecmb;
	t->thread.imb_mgr = mgr;
	return true;
}

static void wipe_ipsecmb(struct wgtest *t)
{
	if (t->thread.imb_mgr)
		free_mb_mgr(t->thread.imb_mgr);
}
#else
static bool init_ipsecmb(struct wgtest *t)
{
	(void)t;
	return false;
}

static void wipe_ipsecmb(struct wgtest *t)
{
	(void)t;
}
#endif

unsigned wgtest_init_all(struct wgtest t[static WGTEST_BACKENDS_MAX])
{
	memset(t, 0, sizeof(*t) * WGTEST_BACKENDS_MAX);
	t[0].crypto.aead = &aead_sodium;
	t[1].crypto.aead = &aead_openssl;
	t[1].crypto.chacha20_poly1305 = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	assert_non_null(t[1].crypto.chacha20_poly1305);
	return init_ipsecmb(&t[2]) ? 3 : 2;
}

void wgtest_wipe(struct wgtest *t)
{
	EVP_CIPHER_free(t->crypto.chacha20_poly1305);
	wipe_ipsecmb(t);
	memset(t, 0, sizeof(*t));
}
