/* SPDX-License-Identifier: MIT */
/* The settings of a node as flags: what `set` and `up` take, and what `get` prints, in one table. Values are
 * checked before the daemon is contacted. Spec: cli 2.1. */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "cli/cmd.h"
#include "wire/apijson.h"

/* The flags, for a command's own table. */
#define SETTINGS_FLAGS \
	{ "accept-dns", FLAG_BOOL, "true", "accept DNS configuration; MagicDNS is not in this build, false ends the warning about it", NULL, false }, \
	{ "accept-routes", FLAG_BOOL, "false", "accept routes advertised by other nodes", NULL, false }, \
	{ "advertise-connector", FLAG_BOOL, "false", "not in this build", NULL, false }, \
	{ "advertise-exit-node", FLAG_BOOL, "false", \
	  "offer to be an exit node for internet traffic for the tailnet", NULL, false }, \
	{ "advertise-relay-server", FLAG_BOOL, "false", \
	  "be a peer relay on the stored port (40000 if none was ever set)", NULL, false }, \
	{ "advertise-routes", FLAG_STRING, NULL, \
	  "routes to advertise to other nodes (comma-separated, e.g. \"10.0.0.0/8,192.168.0.0/24\") or empty " \
	  "string to not advertise routes", NULL, false }, \
	{ "advertise-tags", FLAG_STRING, NULL, \
	  "comma-separated ACL tags to request; each must start with \"tag:\" (e.g. \"tag:eng,tag:montreal\")", \
	  NULL, false }, \
	{ "auto-update", FLAG_BOOL, "false", "accepted for compatibility; the package manager updates", NULL, \
	  false }, \
	{ "exit-node", FLAG_STRING, NULL, "not in this build; only the empty string is accepted", \
	  NULL, false }, \
	{ "exit-node-allow-lan-access", FLAG_BOOL, "false", \
	  "not in this build", NULL, false }, \
	{ "hostname", FLAG_STRING, NULL, "hostname to use instead of the one provided by the OS", NULL, false }, \
	{ "netfilter-mode", FLAG_STRING, "on", "who manages firewall rules; only off is accepted, this build manages none", NULL, false }, \
	{ "nickname", FLAG_STRING, NULL, "nickname for the current account", NULL, false }, \
	{ "operator", FLAG_STRING, NULL, "Unix username to allow to operate meshd without sudo", NULL, false }, \
	{ "relay-server-port", FLAG_STRING, NULL, \
	  "UDP `port` (0 picks a free one) for the peer relay on all interfaces, or empty string to turn it off", \
	  NULL, false }, \
	{ "relay-server-static-endpoints", FLAG_STRING, NULL, \
	  "static `IP:port` endpoints to advertise as peer relay candidates (comma-separated, e.g. " \
	  "\"[2001:db8::1]:40000,192.0.2.1:40000\") or empty string to not advertise any", NULL, false }, \
	{ "remote-config", FLAG_BOOL, "false", "not supported; only false is accepted", NULL, false }, \
	{ "report-posture", FLAG_BOOL, "false", "accepted for compatibility", "posture-checking", false }, \
	{ "shields-up", FLAG_BOOL, "false", "don't allow incoming connections", NULL, false }, \
	{ "snat-subnet-routes", FLAG_BOOL, "true", \
	  "source NAT traffic to advertised routes; only false is accepted, sources are not translated in this build", NULL, false }, \
	{ "ssh", FLAG_BOOL, "false", "not in this build", NULL, \
	  false }, \
	{ "stateful-filtering", FLAG_BOOL, "false", \
	  "not in this build", NULL, false }, \
	{ "static-endpoints", FLAG_STRING, NULL, \
	  "fixed `IP:port` endpoints of this node to advertise (comma-separated), or empty string for none", NULL, \
	  false }, \
	{ "sync", FLAG_BOOL, "true", "accepted for compatibility", NULL, true }, \
	{ "update-check", FLAG_BOOL, "true", "accepted for compatibility", NULL, false }, \
	{ "webclient", FLAG_BOOL, "false", "accepted for compatibility", NULL, false }, \
	FLAG_NOT_BUILT("accept-routes-overlap", FLAG_BOOL), \
	FLAG_NOT_BUILT("fix-forwarding", FLAG_BOOL), \
	{ "accept-risk", FLAG_STRING, NULL, \
	  "accept risk and skip confirmation for `risk` types: lose-ssh, mac-app-connector, all", NULL, false }

/* Turns the flags that were named into an edit of an empty '*e', checked. Prints what is wrong and returns
 * an exit code; on failure '*e' is empty. Advertised routes need the current ones when only
 * --advertise-exit-node was named: then '*needs_old' is set and settings_finish() completes the edit. */
MESH_MUST_USE int settings_edit(struct cli *c, const struct flags *f, struct prefs_edit *e,
				bool *needs_old);
MESH_MUST_USE int settings_finish(struct cli *c, const struct flags *f, struct prefs_edit *e,
				  const struct prefs *old);
/* Warnings that follow from the flags alone, printed after success. */
void settings_warn(struct cli *c, const struct flags *f, const struct prefs *now);
/* After the relay was switched on: says when no peer may use it, with the grant to add, and which firewall
 * line is missing. */
void settings_warn_relay(struct cli *c, const struct prefs *now);

/* Fetches and parses the preferences in force into an empty '*p'. Prints on failure. */
MESH_MUST_USE int settings_fetch(struct cli *c, struct prefs *p);
/* Sends an edit; '*now' (empty, may be null) gets the new preferences. Prints on failure. */
MESH_MUST_USE int settings_send(struct cli *c, const struct prefs_edit *e, struct prefs *now);

/* The settings in alphabetical order, as `get` names them; null at the end. */
const char *settings_name(size_t i);
bool settings_is_bool(size_t i);
/* Would `set` refuse the value that the i-th setting has, because it is not in this build? */
bool settings_is_refused(size_t i, const struct prefs *p);
/* The value of the i-th setting as text, appended with a final NUL that is not counted. */
void settings_value(size_t i, const struct prefs *p, struct bytes *out);

#endif
