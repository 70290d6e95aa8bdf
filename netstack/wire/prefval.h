/* SPDX-License-Identifier: MIT */
/* Texts that people type (flags, environment, configuration file) to preference values, with the
 * sentences that tell them what is wrong. Pure; shared by meshctl (which checks before it contacts
 * the daemon) and meshd. Spec: cli 2.1, 2.1.2.
 *
 * All take 'text' as typed, set fields of '*p' only on success, and on failure return -EINVAL (-ENOMEM)
 * with a sentence in 'err' that shows the value escaped and cut. */
#ifndef NETSTACK_WIRE_PREFVAL_H
#define NETSTACK_WIRE_PREFVAL_H

#include "wire/prefs.h"

/* relay_port: decimal 0..65535, or empty = off. */
MESH_MUST_USE int prefval_relay_port(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX]);
/* relay_endpoints: comma list of IP:port; sorted, no doubles; empty clears. */
MESH_MUST_USE int prefval_relay_endpoints(struct prefs *p, const char *text,
					  char err[static PREFS_ERR_MAX]);
/* static_endpoints: the same list. */
MESH_MUST_USE int prefval_static_endpoints(struct prefs *p, const char *text,
					   char err[static PREFS_ERR_MAX]);
/* advertise_routes: comma list of prefixes; 'exit_node' adds both default routes. Sorted. */
MESH_MUST_USE int prefval_routes(struct prefs *p, const char *text, bool exit_node,
				 char err[static PREFS_ERR_MAX]);
/* advertise_tags: comma list, "tag:" optional. */
MESH_MUST_USE int prefval_tags(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX]);
/* hostname: a DNS label or name; empty = the system's. */
MESH_MUST_USE int prefval_hostname(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX]);
/* netfilter_mode: on, nodivert, off. */
MESH_MUST_USE int prefval_netfilter(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX]);
/* The hosted service under its present name. */
#define PREFVAL_HOSTED_URL "https://controlplane.tailscale.com"
/* control_url: http(s)://HOST[:PORT][/]; no user, no other path. "" is refused. */
MESH_MUST_USE int prefval_control_url(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX]);

/* Checks of values that are preferences already. 'why' gets a static text on failure. */
MESH_MUST_USE int prefval_check_endpoint(const struct ep *ep, const char **why);
MESH_MUST_USE int prefval_check_routes(const struct prefix *routes, size_t n, char err[static PREFS_ERR_MAX]);
MESH_MUST_USE int prefval_check_tag(const char *tag, char err[static PREFS_ERR_MAX]);
MESH_MUST_USE int prefval_check_hostname(const char *name, char err[static PREFS_ERR_MAX]);

/* Sort and drop doubles in place; return the new count. */
size_t prefval_sort_endpoints(struct ep *eps, size_t n);
size_t prefval_sort_routes(struct prefix *routes, size_t n);

/* Do the advertised routes contain both default routes? */
bool prefval_is_exit_node(const struct prefs *p);

/* 'text' in Go's quoted form, cut after about 80 characters; control characters and invalid UTF-8
 * escaped, so that it can go to a terminal. Returns 'out'. */
enum { PREFVAL_QUOTE_MAX = 420 };
char *prefval_quote(char out[static PREFVAL_QUOTE_MAX], const char *text, size_t len);
/* The same without the quotes. */
char *prefval_bare(char out[static PREFVAL_QUOTE_MAX], const char *text, size_t len);
/* Replaces in place what follows tskey-, hskey-, mkey: or privkey: by X (cli 0.3). */
void prefval_mask_secrets(char *text);

#endif
