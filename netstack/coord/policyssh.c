/* SPDX-License-Identifier: MIT */
/* The ssh section compiled: which rules a node gets as SSHPolicy, and what a login would get.
 * Spec: coordinator 11. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coord/policyint.h"
#include "wire/json.h"

static const char *keep(struct policyset *s, const char *text)
{
	char **slot = POL_GROW(s->texts, s->n_texts);

	if (!slot)
		return NULL;
	*slot = strdup(text);
	return *slot;
}

static bool keep_all(struct policyset *s, char *const *from, size_t n_from, const char ***to, size_t *n)
{
	for (size_t i = 0; i < n_from; i++) {
		const char **slot = POL_GROW(*to, *n);

		if (!slot || !(*slot = keep(s, from[i])))
			return false;
	}
	return true;
}

/* One rule for the destinations that are, or are not, autogroup:self. */
static bool compile_rule(struct policyset *s, const struct policyfile *p, const struct policy_world *w,
			 const struct pol_ssh *from, bool self)
{
	struct pol_ssh_rule *r = POL_GROW(s->ssh, s->n_ssh);

	if (!r)
		return false;
	r->check = from->check;
	r->self = self;
	r->dst = calloc(s->n_words, sizeof(*r->dst));
	if (!r->dst)
		return false;
	for (size_t i = 0; i < from->src.n; i++)
		pol_resolve(p, w, &from->src.a[i], &r->src);
	ipset_normalize(&r->src);
	for (size_t i = 0; i < w->n_nodes; i++) {
		for (size_t k = 0; k < from->dst.n; k++) {
			const struct pol_alias *a = &from->dst.a[k];

			if (self ? a->kind == POL_SELF && w->nodes[i].user != 0 : pol_node_is(p, w, &w->nodes[i], a))
				pol_bit_set(r->dst, i);
		}
	}
	return !r->src.nomem && keep_all(s, from->users, from->n_users, &r->users, &r->n_users) &&
	       keep_all(s, from->env, from->n_env, &r->env, &r->n_env);
}

int pol_ssh_compile(struct policyset *s, const struct policyfile *p, const struct policy_world *w)
{
	s->has_ssh = p->has_ssh;
	/* Check rules come first: a client takes the first match. */
	for (int accept = 0; accept < 2; accept++) {
		for (size_t i = 0; i < p->n_ssh; i++) {
			bool self = false, other = false;

			if (p->ssh[i].check == (accept == 1))
				continue;
			for (size_t k = 0; k < p->ssh[i].dst.n; k++) {
				self |= p->ssh[i].dst.a[k].kind == POL_SELF;
				other |= p->ssh[i].dst.a[k].kind != POL_SELF;
			}
			if ((other && !compile_rule(s, p, w, &p->ssh[i], false)) ||
			    (self && !compile_rule(s, p, w, &p->ssh[i], true)))
				return -ENOMEM;
		}
	}
	return 0;
}

void pol_ssh_wipe(struct policyset *s)
{
	for (size_t i = 0; i < s->n_ssh; i++) {
		ipset_wipe(&s->ssh[i].src);
		free(s->ssh[i].dst);
		free(s->ssh[i].users);
		free(s->ssh[i].env);
	}
	free(s->ssh);
	pol_strs_free(s->texts, s->n_texts);
}

/* Is the node at 'ip' an allowed source of rule 'r' on 'node'? */
static bool source_ok(const struct policyset *s, const struct pol_ssh_rule *r, size_t node, const struct policy_node *src)
{
	if (!ipset_has(&r->src, &src->ip4) && !ipset_has(&r->src, &src->ip6))
		return false;
	return !r->self || src->user == s->nodes[node].user;
}

static size_t write_principals(const struct policyset *s, const struct pol_ssh_rule *r, size_t node, struct json_w *w)
{
	size_t n = 0;

	json_w_arr(w, "principals");
	for (int family = 0; family < 2; family++) {
		for (size_t i = 0; i < s->n_nodes; i++) {
			const struct ip *ip = family ? &s->nodes[i].ip6 : &s->nodes[i].ip4;
			char text[IP_TEXT_MAX];

			if (!ip_is_set(ip) || !source_ok(s, r, node, &s->nodes[i]))
				continue;
			json_w_obj(w, NULL);
			json_w_str(w, "nodeIP", ip_write(text, ip));
			json_w_end(w);
			n++;
		}
	}
	json_w_end(w);
	return n;
}

static void write_users(const struct pol_ssh_rule *r, struct json_w *w)
{
	bool root = false;

	json_w_obj(w, "sshUsers");
	for (size_t i = 0; i < r->n_users; i++) {
		if (strcmp(r->users[i], "autogroup:nonroot") == 0)
			json_w_str(w, "*", "=");
		else
			json_w_str(w, r->users[i], r->users[i]);
		root |= strcmp(r->users[i], "root") == 0;
	}
	if (!root)
		json_w_str(w, "root", "");
	json_w_end(w);
}

static void write_action(const struct pol_ssh_rule *r, const char *base_url, struct json_w *w)
{
	static const char path[] = "/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER";
	char url[512];
	size_t len = strlen(base_url);

	json_w_obj(w, "action");
	if (r->check && len + sizeof(path) <= sizeof(url)) {
		memcpy(url, base_url, len);
		memcpy(url + len, path, sizeof(path));
		json_w_str(w, "holdAndDelegate", url);
	} else if (r->check) {
		json_w_bool(w, "reject", true);
	} else {
		json_w_bool(w, "accept", true);
		json_w_bool(w, "allowAgentForwarding", true);
		json_w_bool(w, "allowLocalPortForwarding", true);
		json_w_bool(w, "allowRemotePortForwarding", true);
	}
	json_w_end(w);
}

/* A rule without a source is left out: an empty principal list would only confuse. */
static bool rule_has_source(const struct policyset *s, const struct pol_ssh_rule *r, size_t node)
{
	for (size_t i = 0; i < s->n_nodes; i++)
		if (source_ok(s, r, node, &s->nodes[i]))
			return true;
	return false;
}

int policyset_ssh(const struct policyset *s, size_t node, const char *base_url, struct bytes *out)
{
	struct json_w w = { 0 };
	bool any = false;
	size_t size;
	char *text;
	int err;

	json_w_obj(&w, NULL);
	for (size_t i = 0; i < s->n_ssh; i++) {
		const struct pol_ssh_rule *r = &s->ssh[i];

		if (!pol_bit(r->dst, node) || !rule_has_source(s, r, node))
			continue;
		if (!any)
			json_w_arr(&w, "rules");
		any = true;
		json_w_obj(&w, NULL);
		(void)write_principals(s, r, node, &w);
		write_users(r, &w);
		write_action(r, base_url, &w);
		if (r->n_env)
			json_w_strs(&w, "acceptEnv", (char *const *)(uintptr_t)r->env, r->n_env);
		json_w_end(&w);
	}
	if (any)
		json_w_end(&w);
	else
		json_w_null(&w, "rules");
	json_w_end(&w);
	text = json_w_take(&w, &size);
	if (!text)
		return -ENOMEM;
	err = bytes_append(out, text, size);
	free(text);
	return err ? -ENOMEM : 0;
}

static bool user_matches(const struct pol_ssh_rule *r, const char *user)
{
	for (size_t i = 0; i < r->n_users; i++) {
		if (strcmp(r->users[i], user) == 0)
			return true;
		if (strcmp(r->users[i], "autogroup:nonroot") == 0 && strcmp(user, "root") != 0)
			return true;
	}
	return false;
}

enum pol_ssh_verdict pol_ssh_decide(const struct policyset *s, size_t node, const struct ip *src, const char *user)
{
	for (size_t i = 0; i < s->n_ssh; i++) {
		const struct pol_ssh_rule *r = &s->ssh[i];
		bool from = false;

		if (!pol_bit(r->dst, node) || !user_matches(r, user))
			continue;
		for (size_t k = 0; k < s->n_nodes; k++)
			if ((ip_eq(&s->nodes[k].ip4, src) || ip_eq(&s->nodes[k].ip6, src)) &&
			    source_ok(s, r, node, &s->nodes[k]))
				from = true;
		if (from)
			return r->check ? POL_SSH_CHECK : POL_SSH_ACCEPT;
	}
	return POL_SSH_DENY;
}
