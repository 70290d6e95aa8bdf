/* SPDX-License-Identifier: MIT */
#include "cli/peers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/client.h"
#include "cli/out.h"

int peers_fetch(struct cli *c, bool with_peers, struct status *s)
{
	struct client_reply r;
	int err = client_get(c, with_peers ? "status" : "status?peers=false", &r);

	if (err)
		return err;
	if (status_parse(s, (const char *)bytes_data(&r.body), bytes_size(&r.body)))
		err = out_error(c, "unexpected answer of the daemon to status");
	client_reply_wipe(&r);
	return err;
}

int peers_require_running(struct cli *c, const struct status *s)
{
	const char *state = s->backend_state ? s->backend_state : "";
	char safe[400];

	if (strcmp(state, "Running") == 0 || strcmp(state, "Starting") == 0)
		return EXIT_OK;
	if (s->n_health && strcmp(state, "NoState") == 0) {
		(void)fprintf(c->out, "# Health check:\n");
		for (size_t i = 0; i < s->n_health; i++)
			(void)fprintf(c->out, "#     - %s\n", out_safe(safe, sizeof(safe), s->health[i]));
		(void)fputc('\n', c->out);
	}
	if (strcmp(state, "Stopped") == 0) {
		(void)fprintf(c->out, "Tailscale is stopped.\n");
	} else if (strcmp(state, "NeedsLogin") == 0) {
		(void)fprintf(c->out, "Logged out.\n");
		if (s->auth_url && *s->auth_url)
			(void)fprintf(c->out, "Log in at: %s\n", out_safe(safe, sizeof(safe), s->auth_url));
	} else if (strcmp(state, "NeedsMachineAuth") == 0) {
		(void)fprintf(c->out, "Machine is not yet approved by tailnet admin.\n");
	} else {
		(void)fprintf(c->out, "unexpected state: %s\n", out_safe(safe, sizeof(safe), state));
	}
	return EXIT_FAILED;
}

const char *peers_suggest(const struct status *s, const char *text)
{
	for (size_t i = 0; i < s->n_peers; i++) {
		const char *name = s->peers[i].dns_name && *s->peers[i].dns_name ? s->peers[i].dns_name :
										    s->peers[i].host_name;
		struct flag row = { .kind = FLAG_STRING, .usage = "" };
		char base[PEERS_NAME_MAX];

		if (!name)
			continue;
		row.name = peers_base_name(base, &s->peers[i]);
		if (flags_suggest(&row, 1, text))
			return name;
	}
	return NULL;
}

char *peers_name(char text[static PEERS_NAME_MAX], const struct status *s, const struct status_peer *p)
{
	const char *dns = p->dns_name ? p->dns_name : "", *suffix = s->magic_dns_suffix;
	char name[PEERS_NAME_MAX], safe[PEERS_NAME_MAX - 4];
	size_t len = strlen(dns), slen = suffix ? strlen(suffix) : 0;

	if (!len) {
		(void)snprintf(text, PEERS_NAME_MAX, "(\"%s\")",
			       out_safe(safe, sizeof(safe), p->host_name));
		return text;
	}
	if (dns[len - 1] == '.')
		len--;
	if (slen && suffix[slen - 1] == '.')
		slen--;
	if (slen && len > slen + 1 && dns[len - slen - 1] == '.' &&
	    strncasecmp(dns + len - slen, suffix, slen) == 0)
		len -= slen + 1;
	(void)snprintf(name, sizeof(name), "%.*s", (int)(len < sizeof(name) ? len : sizeof(name) - 1), dns);
	return out_safe(text, PEERS_NAME_MAX, name);
}

char *peers_base_name(char text[static PEERS_NAME_MAX], const struct status_peer *p)
{
	const char *dns = p->dns_name ? p->dns_name : "";
	char name[PEERS_NAME_MAX];

	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(dns, "."), dns);
	return out_safe(text, PEERS_NAME_MAX, *name ? name : p->host_name);
}

char *peers_owner(char text[static PEERS_NAME_MAX], const struct status *s, const struct status_peer *p)
{
	char name[PEERS_NAME_MAX];

	if (p->user_id == 0) {
		(void)snprintf(text, PEERS_NAME_MAX, "-");
		return text;
	}
	for (size_t i = 0; i < s->n_users; i++) {
		const char *login = s->users[i].login_name ? s->users[i].login_name : "";
		size_t len = strcspn(login, "@");

		if (s->users[i].id != p->user_id)
			continue;
		len += login[len] == '@';
		(void)snprintf(name, sizeof(name), "%.*s", (int)len, login);
		return out_safe(text, PEERS_NAME_MAX, name);
	}
	(void)snprintf(text, PEERS_NAME_MAX, "%lld", (long long)p->user_id);
	return text;
}

static int by_name(const void *a, const void *b)
{
	const struct status_peer *x = *(const struct status_peer *const *)a;
	const struct status_peer *y = *(const struct status_peer *const *)b;
	int d = strcmp(x->dns_name ? x->dns_name : "", y->dns_name ? y->dns_name : "");

	if (!d)
		d = strcmp(x->host_name ? x->host_name : "", y->host_name ? y->host_name : "");
	if (!d && x->n_ips && y->n_ips)
		d = ip_cmp(&x->ips[0], &y->ips[0]);
	return d ? d : memcmp(x->key.b, y->key.b, KEY_SIZE); /* public keys */
}

const struct status_peer **peers_sorted(const struct status *s)
{
	const struct status_peer **list = calloc(s->n_peers + 1, sizeof(struct status_peer *));

	if (!list)
		abort();
	for (size_t i = 0; i < s->n_peers; i++)
		list[i] = &s->peers[i];
	qsort(list, s->n_peers, sizeof(struct status_peer *), by_name);
	return list;
}
