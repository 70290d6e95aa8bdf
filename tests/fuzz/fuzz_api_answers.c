/* SPDX-License-Identifier: MIT */
/* Answers of a daemon as meshctl reads them: status, ping, network report, relay, path, whois, bus. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/apijson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void status_round_trip(const char *text, size_t len)
{
	struct status s = { 0 }, t = { 0 };
	struct bytes a = { 0 }, b = { 0 };

	if (status_parse(&s, text, len))
		return;
	if (status_write(&a, &s, NULL) ||
	    status_parse(&t, (const char *)bytes_data(&a), bytes_size(&a)) || status_write(&b, &t, NULL))
		abort();
	if (bytes_size(&a) != bytes_size(&b) || memcmp(bytes_data(&a), bytes_data(&b), bytes_size(&a)) != 0)
		abort();
	status_keep_active(&s);
	bytes_wipe(&a);
	bytes_wipe(&b);
	status_wipe(&s);
	status_wipe(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct notify_event e = { 0 };
	struct pingresult p = { 0 };
	struct netreport n = { 0 };
	struct relayinfo r = { 0 };
	struct pathinfo i = { 0 };
	struct whois w = { 0 };

	status_round_trip(text, size);
	if (pingresult_parse(&p, text, size) == 0)
		pingresult_wipe(&p);
	if (netreport_parse(&n, text, size) == 0)
		netreport_wipe(&n);
	if (relayinfo_parse(&r, text, size) == 0)
		relayinfo_wipe(&r);
	if (relayinfo_parse_sessions(&r, text, size) == 0)
		relayinfo_wipe(&r);
	if (pathinfo_parse(&i, text, size) == 0)
		pathinfo_wipe(&i);
	if (whois_parse(&w, text, size) == 0)
		whois_wipe(&w);
	if (notify_parse(&e, text, size) == 0)
		notify_event_wipe(&e);
	return 0;
}
