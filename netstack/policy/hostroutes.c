/* SPDX-License-Identifier: MIT */
/* Shared routes instead of one a peer, see hostroutes.h. */
#include "policy/hostroutes.h"

enum kind { PLAIN, ULA, CGNAT };

static enum kind kind_of(const struct prefix *p)
{
	if (p->ip.family == IP_V6)
		return p->bits == 128 && ip_is_tailnet(&p->ip) ? ULA : PLAIN;
	return p->bits == 32 && ip_is_cgnat(&p->ip) ? CGNAT : PLAIN;
}

static struct prefix ula_range(void)
{
	const uint8_t bytes[16] = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 };

	return (struct prefix){ .ip = ip6(bytes), .bits = 48 };
}

static struct prefix cgnat_range(void)
{
	return (struct prefix){ .ip = ip4(100, 64, 0, 0), .bits = 10 };
}

/* Leaves those that have a route of their own. */
static size_t keep_own(const struct hostroutes *h, struct prefix *list, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		const enum kind kind = kind_of(&list[i]);

		if (kind == PLAIN || (kind == CGNAT && !h->is_coarse))
			list[kept++] = list[i];
	}
	return kept;
}

/* Adds up the prefixes of each shared range. */
static void count(const struct prefix *list, size_t n, size_t *n_ula, size_t *n_cgnat)
{
	*n_ula = *n_cgnat = 0;
	for (size_t i = 0; i < n; i++) {
		const enum kind kind = kind_of(&list[i]);

		*n_ula += kind == ULA;
		*n_cgnat += kind == CGNAT;
	}
}

static bool wants_coarse(bool is_coarse, size_t n_cgnat)
{
	return n_cgnat > (is_coarse ? (size_t)HOSTROUTES_EACH_AGAIN : (size_t)HOSTROUTES_EACH_MAX);
}

size_t hostroutes_all(struct hostroutes *h, struct prefix *list, size_t n)
{
	count(list, n, &h->n_ula, &h->n_cgnat);
	h->is_coarse = wants_coarse(h->is_coarse, h->n_cgnat);
	n = keep_own(h, list, n);
	/* Each stands for at least one that was left out: there is room. */
	if (h->n_ula)
		list[n++] = ula_range();
	if (h->is_coarse)
		list[n++] = cgnat_range();
	return n;
}

bool hostroutes_change(struct hostroutes *h, struct prefix *in, size_t *n_in, struct prefix *out, size_t *n_out)
{
	size_t ula_in, ula_out, cgnat_in, cgnat_out;
	const bool had_ula = h->n_ula > 0;

	count(in, *n_in, &ula_in, &cgnat_in);
	count(out, *n_out, &ula_out, &cgnat_out);
	if (ula_out > h->n_ula + ula_in || cgnat_out > h->n_cgnat + cgnat_in)
		return false; /* more than was told: start again from what is */
	h->n_ula = h->n_ula + ula_in - ula_out;
	h->n_cgnat = h->n_cgnat + cgnat_in - cgnat_out;
	if (had_ula != (h->n_ula > 0) || h->is_coarse != wants_coarse(h->is_coarse, h->n_cgnat))
		return false;
	*n_in = keep_own(h, in, *n_in);
	*n_out = keep_own(h, out, *n_out);
	return true;
}
