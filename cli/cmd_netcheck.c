/* SPDX-License-Identifier: MIT */
/* netcheck: the daemon's report on this network, with the mappings of the socket in use. Spec: netcheck 7. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/out.h"
#include "wire/apijson.h"

enum { REPORT_TIMEOUT_MS = 30000 };

static const struct flag netcheck_flags[] = {
	{ "bind-address", FLAG_STRING, NULL, "send and receive connectivity probes using this locally bound `IP` address",
	  NULL, true },
	{ "bind-port", FLAG_INT, "0", "send and receive connectivity probes using this `port`", NULL, true },
	{ "every", FLAG_DURATION, "0s", "if non-zero, do an incremental report with the given frequency", NULL, false },
	{ "format", FLAG_STRING, NULL, "output format: empty (for human-readable), \"json\" or \"json-line\"", NULL,
	  false },
	{ "json", FLAG_BOOL, "false", "the same as --format=json", NULL, false },
	FLAG_NOT_BUILT("standalone", FLAG_BOOL),
	{ "verbose", FLAG_BOOL, "false", "verbose output", NULL, false },
};

/* Local time with nanoseconds, trailing zeros cut, and "Z" or an offset. */
static void print_time(struct cli *c, int64_t now_ns)
{
	time_t s = (time_t)(now_ns / 1000000000);
	char date[64], frac[16], zone[48];
	struct tm tm;
	size_t n;

	if (!localtime_r(&s, &tm) || !strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm))
		return;
	(void)snprintf(frac, sizeof(frac), ".%09lld", (long long)(now_ns % 1000000000));
	for (n = strlen(frac); n && frac[n - 1] == '0'; n--)
		frac[n - 1] = 0;
	if (n == 1)
		frac[0] = 0;
	if (tm.tm_gmtoff == 0)
		(void)snprintf(zone, sizeof(zone), "Z");
	else
		(void)snprintf(zone, sizeof(zone), "%c%02ld:%02ld", tm.tm_gmtoff < 0 ? '-' : '+',
			       labs(tm.tm_gmtoff) / 3600, labs(tm.tm_gmtoff) / 60 % 60);
	(void)fprintf(c->out, "\t* Time: %s%s%s\n", date, frac, zone);
}

static const char *tri_text(enum tri v)
{
	return v == TRI_TRUE ? "true" : v == TRI_FALSE ? "false" : "";
}

static void print_port_mapping(struct cli *c, const struct netreport *r)
{
	const struct {
		enum tri v;
		const char *name;
	} kinds[] = { { r->upnp, "UPnP" }, { r->pmp, "NAT-PMP" }, { r->pcp, "PCP" } };
	const char *sep = "";

	(void)fprintf(c->out, "\t* PortMapping: ");
	if (r->upnp == TRI_UNSET && r->pmp == TRI_UNSET && r->pcp == TRI_UNSET)
		(void)fprintf(c->out, "not checked");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].v != TRI_TRUE)
			continue;
		(void)fprintf(c->out, "%s%s", sep, kinds[i].name);
		sep = ", ";
	}
	(void)fputc('\n', c->out);
}

static const struct netreport_region *region(const struct netreport *r, int64_t id)
{
	for (size_t i = 0; i < r->n_regions; i++)
		if (r->regions[i].id == id)
			return &r->regions[i];
	return NULL;
}

/* Nanoseconds of a region; -1 = not measured. */
static int64_t latency(const struct netreport *r, int64_t id)
{
	for (size_t i = 0; i < r->n_latency; i++)
		if (r->latency[i].region == id)
			return r->latency[i].ns;
	return -1;
}

/* Measured ones first by latency, then by id. */
static size_t next_region(const struct netreport *r, const bool *done)
{
	size_t best = r->n_regions;

	for (size_t i = 0; i < r->n_regions; i++) {
		int64_t a = latency(r, r->regions[i].id), b;

		if (done[i])
			continue;
		if (best == r->n_regions) {
			best = i;
			continue;
		}
		b = latency(r, r->regions[best].id);
		if ((a >= 0 && b < 0) || (a >= 0 && b >= 0 && a < b) ||
		    (a == b && r->regions[i].id < r->regions[best].id) ||
		    (a < 0 && b < 0 && r->regions[i].id < r->regions[best].id))
			best = i;
	}
	return best;
}

static void print_table(struct cli *c, const struct netreport *r, bool verbose)
{
	bool *done = calloc(r->n_regions ? r->n_regions : 1, sizeof(*done));
	size_t i;

	if (!done)
		abort();
	(void)fprintf(c->out, "\t* DERP latency:\n");
	while ((i = next_region(r, done)) < r->n_regions) {
		const struct netreport_region *g = &r->regions[i];
		int64_t ns = latency(r, g->id);
		char text[OUT_DURATION_MAX] = "", number[24] = "", code[32], name[128];
		size_t width;

		done[i] = true;
		if (ns >= 0)
			out_duration(text, out_round(ns, 100000));
		if (verbose)
			(void)snprintf(number, sizeof(number), "derp%lld, ", (long long)g->id);
		/* %-7s counts code points, as Go does: "300µs" has five. */
		width = strlen(text);
		for (const char *p = text; *p; p++)
			width -= ((unsigned char)*p & 0xc0) == 0x80;
		(void)fprintf(c->out, "\t\t- %3s: %s%*s (%s%s)\n", out_safe(code, sizeof(code), g->code), text,
			      (int)(width < 7 ? 7 - width : 0), "", number, out_safe(name, sizeof(name), g->name));
	}
	free(done);
}

static const char *nat_type(const struct netreport *r)
{
	if (!r->udp)
		return "UDP blocked (peers are reached through DERP only; allow outgoing UDP)";
	if (r->mapping_varies == TRI_TRUE)
		return "hard (address-dependent); direct paths need a peer with an easy NAT, else a peer relay is used";
	if (r->mapping_varies == TRI_FALSE)
		return "easy (endpoint-independent mapping)";
	return "unknown (fewer than two STUN servers answered)";
}

static void print_own(struct cli *c, const struct netreport *r)
{
	char name[200], text[IP_TEXT_MAX];

	(void)fprintf(c->out, "\t* NAT type: %s\n", nat_type(r));
	if (r->n_relays)
		(void)fprintf(c->out, "\t* Peer relays:\n");
	for (size_t i = 0; i < r->n_relays; i++) {
		const struct netreport_relay *p = &r->relays[i];

		(void)fprintf(c->out, "\t\t- %s (%s): %s", out_safe(name, sizeof(name), p->name),
			      ip_write(text, &p->ip), p->online ? "online" : "offline");
		if (p->latency_ms > 0)
			(void)fprintf(c->out, ", %.1fms", p->latency_ms);
		(void)fputc('\n', c->out);
	}
}

static const char *ipv6_text(const struct netreport *r)
{
	if (r->ipv6)
		return "(no addr found)";
	return r->os_has_ipv6 ? "no, but OS has support" : "no, unavailable in OS";
}

static void print_text(struct cli *c, const struct netreport *r, bool verbose)
{
	const struct netreport_region *home = region(r, r->preferred_derp);
	char name[128];

	(void)fprintf(c->out, "\nReport:\n");
	print_time(c, r->now_ns);
	(void)fprintf(c->out, "\t* UDP: %s\n", r->udp ? "true" : "false");
	if (r->global_v4 && *r->global_v4)
		(void)fprintf(c->out, "\t* IPv4: yes, %s\n", r->global_v4);
	else
		(void)fprintf(c->out, "\t* IPv4: (no addr found)\n");
	if (r->global_v6 && *r->global_v6)
		(void)fprintf(c->out, "\t* IPv6: yes, %s\n", r->global_v6);
	else
		(void)fprintf(c->out, "\t* IPv6: %s\n", ipv6_text(r));
	(void)fprintf(c->out, "\t* MappingVariesByDestIP: %s\n", tri_text(r->mapping_varies));
	print_port_mapping(c, r);
	if (r->captive_portal != TRI_UNSET)
		(void)fprintf(c->out, "\t* CaptivePortal: %s\n", tri_text(r->captive_portal));
	if (!r->n_latency) {
		(void)fprintf(c->out, "\t* Nearest DERP: unknown (no response to latency probes)\n");
	} else {
		if (home)
			(void)fprintf(c->out, "\t* Nearest DERP: %s\n", out_safe(name, sizeof(name), home->name));
		else if (r->preferred_derp)
			(void)fprintf(c->out, "\t* Nearest DERP: %lld (region not found in map)\n",
				      (long long)r->preferred_derp);
		else
			(void)fprintf(c->out, "\t* Nearest DERP: [none]\n");
		print_table(c, r, verbose);
	}
	if (!c->compat)
		print_own(c, r);
}

static int print_json(struct cli *c, const struct netreport *r, const char *indent)
{
	struct bytes doc = { 0 };

	if (netreport_write(&doc, r, indent, !c->compat))
		return out_error(c, "out of memory");
	(void)fprintf(c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	bytes_wipe(&doc);
	return EXIT_OK;
}

static int one_report(struct cli *c, const struct flags *f, const char *format)
{
	struct client_reply r;
	struct netreport report = { 0 };
	int err = client_request(c, "GET", "netcheck", NULL, 0, REPORT_TIMEOUT_MS, &r);

	if (err)
		return err;
	err = client_check(c, &r);
	if (!err && netreport_parse(&report, (const char *)bytes_data(&r.body), bytes_size(&r.body)))
		err = out_error(c, "unexpected answer of the daemon to netcheck");
	client_reply_wipe(&r);
	if (!err && strcmp(format, "json") == 0)
		err = print_json(c, &report, "\t");
	else if (!err && strcmp(format, "json-line") == 0)
		err = print_json(c, &report, NULL);
	else if (!err)
		print_text(c, &report, flags_bool(f, "verbose"));
	netreport_wipe(&report);
	return err;
}

static int check_flags(struct cli *c, const struct flags *f, const char *format)
{
	const char *addr = flags_str(f, "bind-address");
	char quoted[PREFVAL_QUOTE_MAX];
	struct ip ip;

	if (flags_int(f, "bind-port") < 0 || flags_int(f, "bind-port") > UINT16_MAX)
		return out_error(c, "invalid bind port number: %s", flags_str(f, "bind-port"));
	if (*addr && ip_parse(&ip, addr, strlen(addr)))
		return out_error(c, "invalid bind address: %s", prefval_quote(quoted, addr, strlen(addr)));
	if (*addr || flags_int(f, "bind-port"))
		return out_unsupported(c, "not in this build: --bind-address and --bind-port; the daemon's own "
					  "socket is used");
	if (*format && strcmp(format, "json") != 0 && strcmp(format, "json-line") != 0)
		return out_error(c, "unknown output format %s", prefval_quote(quoted, format, strlen(format)));
	if (flags_int(f, "every") < 0)
		return out_error(c, "invalid value \"%s\" for --every; want 0 or more", flags_str(f, "every"));
	return EXIT_OK;
}

static int run_netcheck(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const char *format = flags_bool(f, "json") ? "json" : flags_str(f, "format");
	int64_t every = flags_int(f, "every");
	const struct timespec pause = { .tv_sec = every / 1000000000, .tv_nsec = every % 1000000000 };
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected non-flag arguments to '%s netcheck'", c->prog);
	err = check_flags(c, f, format);
	if (!err && *format && c->compat)
		(void)fprintf(c->err, "# Warning: this JSON format is not yet considered a stable interface\n");
	while (!err) {
		err = one_report(c, f, format);
		if (err || !every || out_is_broken(c))
			return err;
		(void)nanosleep(&pause, NULL);
	}
	return err;
}

const struct cmd cmd_netcheck = {
	.name = "netcheck",
	.usage = "netcheck",
	.short_help = "Print an analysis of local network conditions",
	CMD_FLAGS(netcheck_flags),
	.run = run_netcheck,
};
