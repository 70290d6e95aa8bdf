/* SPDX-License-Identifier: MIT */
/* The documents of mapnews.h. */
#include "control/mapnews.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/netmap.h"
#include "wire/ctljson.h"
#include "wire/json.h"

/* One document while it is written, and how much it says. */
struct doc {
	struct json_w w;
	size_t n;
};

struct news {
	struct doc self, changed, all, patches, removed, users;
};

/* What a patch can say; everything else needs the whole node. */
static bool is_patch(unsigned bits)
{
	return !(bits & ~(unsigned)(NETMAP_NODE_ONLINE | NETMAP_NODE_HOME | NETMAP_NODE_ENDPOINTS));
}

static void put_patch(struct doc *d, const struct netmap_node_change *c)
{
	const struct map_node *n = c->node;
	struct json_w *w = &d->w;
	char text[EP_TEXT_MAX];

	json_w_obj(w, NULL);
	json_w_i64(w, "NodeID", n->id);
	if (c->bits & NETMAP_NODE_HOME)
		json_w_i64(w, "DERPRegion", n->home_derp);
	if (c->bits & NETMAP_NODE_ENDPOINTS) {
		json_w_arr(w, "Endpoints");
		for (size_t i = 0; i < n->n_endpoints; i++)
			json_w_str(w, NULL, ep_write(text, &n->endpoints[i]));
		json_w_end(w);
	}
	if (c->bits & NETMAP_NODE_ONLINE && n->online != TRI_UNSET)
		json_w_bool(w, "Online", n->online == TRI_TRUE);
	if (c->bits & NETMAP_NODE_ONLINE && n->online != TRI_TRUE && n->last_seen_s)
		json_w_time(w, "LastSeen", n->last_seen_s);
	json_w_end(w);
	d->n++;
}

static void put_node(struct doc *d, const struct map_node *node)
{
	ctl_node_write(&d->w, NULL, node);
	d->n++;
}

static void put_user(struct doc *d, const struct netmap *map, int64_t id)
{
	const struct user_profile *u = netmap_user(map, id);
	char key[24];

	if (!u)
		return;
	(void)snprintf(key, sizeof(key), "%lld", (long long)id);
	json_w_obj(&d->w, key);
	json_w_i64(&d->w, "ID", id);
	json_w_str(&d->w, "LoginName", u->login_name);
	json_w_str(&d->w, "DisplayName", u->display_name);
	json_w_end(&d->w);
	d->n++;
}

static void put_change(struct news *w, const struct netmap *map, const struct netmap_node_change *c)
{
	if (!c->node) {
		json_w_i64(&w->removed.w, NULL, c->id);
		w->removed.n++;
		return;
	}
	put_node(&w->all, c->node);
	if (is_patch(c->bits)) {
		put_patch(&w->patches, c);
		return;
	}
	put_node(&w->changed, c->node);
	/* Only with a node that is new or another's: profiles of known ones were told with it. */
	if (!c->old || c->old->user != c->node->user)
		put_user(&w->users, map, c->node->user);
}

/* The text of a document, or null when it says nothing. */
static char *take(struct doc *d, bool *bad)
{
	char *text = json_w_take(&d->w, NULL);

	*bad |= !text;
	if (d->n)
		return text;
	free(text);
	return NULL;
}

static int take_all(struct mapnews *n, struct news *w)
{
	bool bad = false;

	if (w->self.n)
		n->self = take(&w->self, &bad);
	json_w_end(&w->changed.w);
	n->changed = take(&w->changed, &bad);
	json_w_end(&w->all.w);
	n->all = take(&w->all, &bad);
	json_w_end(&w->patches.w);
	n->patches = take(&w->patches, &bad);
	json_w_end(&w->removed.w);
	n->removed = take(&w->removed, &bad);
	json_w_end(&w->users.w);
	n->users = take(&w->users, &bad);
	if (bad)
		mapnews_wipe(n);
	return bad ? -ENOMEM : 0;
}

int mapnews_make(struct mapnews *n, const struct netmap *old, const struct netmap *now, bool with_peers)
{
	struct netmap_change c = { 0 };
	struct news w = { 0 };

	if (netmap_diff(old, now, &c) < 0)
		return -ENOMEM;
	if (c.self_bits)
		put_node(&w.self, netmap_self(now));
	json_w_arr(&w.changed.w, NULL);
	json_w_arr(&w.all.w, NULL);
	json_w_arr(&w.patches.w, NULL);
	json_w_arr(&w.removed.w, NULL);
	json_w_obj(&w.users.w, NULL);
	for (size_t i = 0; with_peers && i < c.n_peers; i++)
		put_change(&w, now, &c.peers[i]);
	netmap_change_wipe(&c);
	return take_all(n, &w);
}

void mapnews_wipe(struct mapnews *n)
{
	free(n->self);
	free(n->changed);
	free(n->all);
	free(n->patches);
	free(n->removed);
	free(n->users);
	*n = (struct mapnews){ 0 };
}
