/* SPDX-License-Identifier: MIT */
/* Names of the registry's nodes: labels made from host names, and the index that finds a node by its name. */
#include <stdlib.h>
#include <string.h>

#include "coord/registryint.h"

void reg_sanitize(char out[static REG_NAME_MAX + 1], const char *hostname)
{
	size_t n = 0;

	/* Only the first label counts; what is not a letter or digit becomes one '-'. */
	for (; *hostname && *hostname != '.' && n < REG_NAME_MAX; hostname++) {
		char c = *hostname;

		if (c >= 'A' && c <= 'Z')
			c = (char)(c | 32);
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			out[n++] = c;
		else if (n && out[n - 1] != '-' && c != '\'')
			out[n++] = '-';
	}
	while (n && out[n - 1] == '-')
		n--;
	out[n] = '\0';
	if (!n || strcmp(out, "localhost") == 0)
		memcpy(out, "node", 5);
}

static void name_key(struct reg_name *key, const char *name)
{
	const size_t len = strlen(name);

	*key = (struct reg_name){ "" };
	memcpy(key->text, name, len < REG_NAME_MAX ? len : REG_NAME_MAX);
}

struct reg_node *reg_named(const struct registry *r, const char *name)
{
	struct reg_name key;

	name_key(&key, name);
	return strlen(name) <= REG_NAME_MAX ? map_get(&r->by_name, &key) : NULL;
}

bool reg_name_put(struct registry *r, struct reg_node *n)
{
	struct reg_name key;

	name_key(&key, n->name);
	return map_put(&r->by_name, &key, n) == 0;
}

void reg_name_del(struct registry *r, const struct reg_node *n)
{
	struct reg_name key;

	name_key(&key, n->name);
	(void)map_del(&r->by_name, &key);
}

bool reg_name_set(struct registry *r, struct reg_node *n, char *name)
{
	struct reg_name key;

	if (!name)
		return false;
	name_key(&key, name);
	if (map_put(&r->by_name, &key, n) != 0) {
		free(name);
		return false;
	}
	if (strcmp(name, n->name) != 0)
		reg_name_del(r, n);
	free(n->name);
	n->name = name;
	return true;
}

static bool name_taken(const struct registry *r, const char *name, const struct reg_node *self)
{
	const struct reg_node *have = reg_named(r, name);

	return have && have != self;
}

char *reg_unique_name(const struct registry *r, const char *hostname, const struct reg_node *self)
{
	char base[REG_NAME_MAX + 1], name[REG_NAME_MAX + 1];

	reg_sanitize(base, hostname);
	memcpy(name, base, sizeof(name));
	for (unsigned k = 1; name_taken(r, name, self); k++) {
		char digits[12];
		size_t len = strlen(base), n = 0;

		for (unsigned v = k; v; v /= 10)
			digits[n++] = (char)('0' + v % 10);
		if (len > REG_NAME_MAX - 1 - n)
			len = REG_NAME_MAX - 1 - n;
		memcpy(name, base, len);
		name[len++] = '-';
		while (n)
			name[len++] = digits[--n];
		name[len] = '\0';
	}
	return strdup(name);
}
