/* SPDX-License-Identifier: MIT */
/* A map message that comes in pieces. The text is never held whole: an element of Peers or PeersChanged is parsed
 * as soon as its last byte is there, and in the text that is kept a 0 stands for it. At the end that text,
 * which is small, is parsed like any other message; its zeros take the nodes that were read.
 *
 *   {"Node":{…},"Peers":[{A},{B}],"Domain":"x"}    kept: {"Node":{…},"Peers":[0,0],"Domain":"x"}
 *                        nodes: A, B
 *
 * Nothing is trusted here: the cut needs only to know where strings and brackets end. Elements and the kept
 * text go through the same checks as a whole message; a text with other numbers of zeros than nodes is refused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson_priv.h"

/* Brackets around an element, so that it is checked at the depth it was found. */
enum { LISTS_DEPTH = 2 };

struct ctl_map_reader {
	struct bytes rest; /* the text without elements */
	struct bytes elem; /* the element that is being gathered, behind its brackets */
	size_t total;      /* bytes of the whole */
	uint32_t depth;    /* open brackets */
	bool in_string, is_escaped;
	bool want_key;     /* at depth 1: the next string names a member */
	size_t key_at;     /* where the name of the present member begins in 'rest', behind its quote */
	size_t key_size;
	int list;          /* at depth 2 and deeper: which of the lists this is, or -1 */
	bool in_elem;
	struct ctljson_list lists[CTLJSON_LISTS];
	struct json_in in; /* the first error stays */
	const char *where; /* the list it was in, or null */
};

struct ctl_map_reader *ctl_map_reader_new(void)
{
	struct ctl_map_reader *r = calloc(1, sizeof(*r));

	if (r)
		r->rest.max = r->elem.max = CTLJSON_MAP_MAX + 2 * LISTS_DEPTH + 1;
	if (r)
		r->list = -1;
	return r;
}

void ctl_map_reader_free(struct ctl_map_reader *r)
{
	if (!r)
		return;
	for (int k = 0; k < CTLJSON_LISTS; k++)
		ctljson_nodes_wipe(r->lists[k].p, r->lists[k].n);
	bytes_wipe(&r->rest);
	bytes_wipe(&r->elem);
	free(r);
}

static void keep(struct ctl_map_reader *r, struct bytes *to, const char *p, size_t size)
{
	if (size && bytes_append(to, p, size) != 0)
		json_fail(&r->in, -ENOMEM, NULL, "out of memory");
}

/* The element is complete: brackets, text, brackets. */
static void take_element(struct ctl_map_reader *r)
{
	const char *text;
	struct json_span v;
	struct map_node *slot;
	bool is_prepared = false;
	cJSON *tree;
	int err;

	keep(r, &r->elem, "]]", LISTS_DEPTH);
	text = (const char *)bytes_data(&r->elem);
	v = (struct json_span){ .p = text + LISTS_DEPTH, .size = bytes_size(&r->elem) - 2 * LISTS_DEPTH };
	err = r->in.err ? 0 : json_check_prepared(text, bytes_size(&r->elem), JSON_UNIQUE, NULL, &is_prepared);
	if (err)
		json_fail(&r->in, err, NULL, err == -ENOMEM ? "out of memory" : "is not JSON");
	tree = r->in.err ? NULL : is_prepared ? json_tree_prepared(v) : json_tree(v);
	slot = tree ? ctljson_push(&r->in, &r->lists[r->list], sizeof(*slot)) : NULL;
	if (r->lists[r->list].n > MAP_PEERS_MAX)
		json_fail(&r->in, -EBADMSG, NULL, "has too many elements");
	if (slot)
		ctl_node_read(&r->in, tree, slot);
	else
		json_fail(&r->in, -ENOMEM, NULL, "out of memory");
	cJSON_Delete(tree);
	if (r->in.err && !r->where)
		r->where = ctljson_lists[r->list];
	bytes_consume(&r->elem, bytes_size(&r->elem));
	keep(r, &r->rest, "0", 1);
	r->in_elem = false;
}

/* Which list the member at hand is; -1: another member. */
static int which_list(const struct ctl_map_reader *r)
{
	const char *key = (const char *)bytes_data(&r->rest) + r->key_at;

	for (int k = 0; k < CTLJSON_LISTS; k++)
		if (r->key_size == strlen(ctljson_lists[k]) && memcmp(key, ctljson_lists[k], r->key_size) == 0)
			return k;
	return -1;
}

static void open_bracket(struct ctl_map_reader *r, char c)
{
	if (r->depth == 1 && c == '[')
		r->list = which_list(r);
	if (r->depth == LISTS_DEPTH && c == '{' && r->list >= 0) {
		r->in_elem = true;
		keep(r, &r->elem, "[[", LISTS_DEPTH);
	}
	if (r->depth == 0)
		r->want_key = true;
	r->depth++;
}

/* One byte outside strings, not kept yet. */
static void structure(struct ctl_map_reader *r, char c)
{
	switch (c) {
	case '"':
		r->in_string = true;
		if (r->depth == 1 && r->want_key)
			r->key_at = bytes_size(&r->rest) + 1;
		break;
	case '{':
	case '[':
		open_bracket(r, c);
		break;
	case '}':
	case ']':
		if (r->depth > 0)
			r->depth--;
		if (r->depth < LISTS_DEPTH)
			r->list = -1;
		break;
	case ',':
		r->want_key |= r->depth == 1;
		break;
	default:
		break;
	}
}

static void in_string(struct ctl_map_reader *r, char c)
{
	if (r->is_escaped) {
		r->is_escaped = false;
	} else if (c == '\\') {
		r->is_escaped = true;
	} else if (c == '"') {
		r->in_string = false;
		if (r->depth == 1 && r->want_key) {
			r->key_size = bytes_size(&r->rest) - r->key_at;
			r->want_key = false;
		}
	}
}

enum { IN_STRING = 1, OUTSIDE = 2 };

/* Where a byte needs a look: in strings the next quote or backslash, outside what structure() knows. */
static const uint8_t marks[256] = {
	['"'] = IN_STRING | OUTSIDE, ['\\'] = IN_STRING, ['{'] = OUTSIDE, ['}'] = OUTSIDE,
	['['] = OUTSIDE, [']'] = OUTSIDE, [','] = OUTSIDE,
};

/* Bytes that need no look. */
static size_t plain_run(const struct ctl_map_reader *r, const char *p, size_t size)
{
	const uint8_t mark = r->in_string ? IN_STRING : OUTSIDE;
	size_t n = 0;

	if (r->is_escaped)
		return 0;
	while (n < size && !(marks[(uint8_t)p[n]] & mark))
		n++;
	return n;
}

/* Takes what is here of the element at hand, most of the message, in one piece. Returns its bytes. */
static size_t push_element(struct ctl_map_reader *r, const char *p, size_t size)
{
	bool is_done = false;
	size_t n = 0;

	while (!is_done && (n += plain_run(r, p + n, size - n)) < size) {
		if (r->in_string)
			in_string(r, p[n]);
		else
			structure(r, p[n]);
		/* Whichever bracket closes it: the check of the element finds the wrong one. */
		is_done = !r->in_string && r->depth == LISTS_DEPTH && (p[n] == '}' || p[n] == ']');
		n++;
	}
	keep(r, &r->elem, p, n);
	if (is_done)
		take_element(r);
	return n;
}

int ctl_map_reader_push(struct ctl_map_reader *r, const char *p, size_t size)
{
	r->total += size;
	if (r->total > CTLJSON_MAP_MAX)
		json_fail(&r->in, -EBADMSG, NULL, "too long");
	while (size > 0 && !r->in.err) {
		size_t n = 0;

		if (r->in_elem) {
			n = push_element(r, p, size);
		} else {
			n = plain_run(r, p, size);
			keep(r, &r->rest, p, n);
			if (n < size && r->in_string)
				in_string(r, p[n]);
			else if (n < size)
				structure(r, p[n]);
			if (n < size)
				keep(r, r->in_elem ? &r->elem : &r->rest, &p[n++], 1);
		}
		p += n;
		size -= n;
	}
	return r->in.err;
}

int ctl_map_reader_finish(struct ctl_map_reader *r, struct ctl_map_response *out, struct ctl_why *why)
{
	int err;

	*out = (struct ctl_map_response){ 0 };
	if (!r->in.err && r->in_elem)
		json_fail(&r->in, -EBADMSG, NULL, "is cut");
	err = r->in.err ? ctljson_result(&r->in, r->where, why)
			: ctljson_map_parse(out, (const char *)bytes_data(&r->rest), bytes_size(&r->rest), r->lists,
					    why);
	ctl_map_reader_free(r);
	return err;
}
