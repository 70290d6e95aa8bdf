/* SPDX-License-Identifier: MIT */
/* Text form and comparison of paths. */
#include "wire/pathaddr.h"

#include <stdio.h>
#include <string.h>

char *path_write(char text[static PATH_TEXT_MAX], const struct path_addr *path)
{
	char ep[EP_TEXT_MAX];

	text[0] = 0;
	switch ((enum path_kind)path->kind) {
	case PATH_NONE:
		break;
	case PATH_DIRECT:
		(void)snprintf(text, PATH_TEXT_MAX, "%s", ep_write(ep, &path->ep));
		break;
	case PATH_RELAY:
		(void)snprintf(text, PATH_TEXT_MAX, "%s:vni:%u", ep_write(ep, &path->ep), path->vni);
		break;
	case PATH_DERP:
		(void)snprintf(text, PATH_TEXT_MAX, "derp-%u", path->region);
		break;
	}
	return text;
}

bool path_eq(const struct path_addr *a, const struct path_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}
