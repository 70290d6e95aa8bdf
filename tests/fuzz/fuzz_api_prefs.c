/* SPDX-License-Identifier: MIT */
/* Edits and preferences as JSON: what parses is written and parses to the same; applying it never breaks. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/apijson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct prefs_edit *e)
{
	char err[PREFS_ERR_MAX];
	struct prefs_edit f = { 0 };
	struct bytes b = { 0 };

	if (prefs_edit_write(&b, e) ||
	    prefs_edit_parse(&f, (const char *)bytes_data(&b), bytes_size(&b), err))
		abort();
	if (f.mask != e->mask || f.relay_on != e->relay_on || prefs_diff(&f.prefs, &e->prefs) & e->mask)
		abort();
	bytes_wipe(&b);
	prefs_edit_wipe(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[PREFS_ERR_MAX];
	struct prefs_edit e = { 0 };
	struct prefs old, next = { 0 }, p = { 0 };

	prefs_defaults(&old);
	if (prefs_edit_parse(&e, (const char *)data, size, err) == 0) {
		round_trip(&e);
		(void)prefs_unbuilt_typed(&e.prefs, e.mask);
		if (prefs_apply(&next, &old, &e, err) == 0 && prefs_check(&next, err))
			abort();
		prefs_wipe(&next);
		prefs_edit_wipe(&e);
	}
	if (prefs_parse(&p, (const char *)data, size, err) == 0)
		prefs_wipe(&p);
	return 0;
}
