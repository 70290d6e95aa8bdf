/* SPDX-License-Identifier: MIT */
/* Typed values of settings. The sentences are part of the interface: scripts and people know them. */
#include "wire/prefval.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

enum {
	LIST_ITEMS_MAX = 10000,    /* routes and endpoints of one node */
	QUOTE_CHARS_MAX = 80,      /* shown of a bad value */
	LABEL_MAX = 63,            /* RFC 1035 2.3.4 */
	HOSTNAME_MAX = 253,
	URL_MAX = 1024,
};

/* --- quoting --- */

static size_t quote_char(char *out, size_t room, uint32_t cp, unsigned char c, size_t n)
{
	int len;

	if (n == 0)
		len = snprintf(out, room, "\\x%02x", c);
	else if (cp == '"' || cp == '\\')
		len = snprintf(out, room, "\\%c", (char)cp);
	else if (cp == '\n')
		len = snprintf(out, room, "\\n");
	else if (cp == '\t')
		len = snprintf(out, room, "\\t");
	else if (cp == '\r')
		len = snprintf(out, room, "\\r");
	else if (cp < 0x20 || cp == 0x7f)
		len = snprintf(out, room, "\\x%02x", (unsigned)cp);
	/* C1 controls, bidirectional marks and overrides, line separators, byte order mark. */
	else if ((cp >= 0x80 && cp < 0xa0) || (cp >= 0x200b && cp <= 0x200f) ||
		 (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff)
		len = snprintf(out, room, "\\u%04x", (unsigned)cp);
	else
		return 0;
	return len > 0 && (size_t)len < room ? (size_t)len : 0;
}

char *prefval_quote(char out[static PREFVAL_QUOTE_MAX], const char *text, size_t len)
{
	const char *p = text, *const end = text + len;
	size_t used = 0, shown = 0;

	out[used++] = '"';
	for (; p < end && shown < QUOTE_CHARS_MAX; shown++) {
		uint32_t cp = 0;
		size_t n = json_utf8(p, end, &cp);
		/* Room for the closing quote and the dots stays free. */
		size_t m = quote_char(out + used, PREFVAL_QUOTE_MAX - 8 - used, cp, (unsigned char)*p, n);

		if (m == 0) {
			memcpy(out + used, p, n);
			m = n;
		}
		used += m;
		p += n ? n : 1;
		if (used > PREFVAL_QUOTE_MAX - 20)
			break;
	}
	out[used++] = '"';
	if (p < end) {
		memcpy(out + used, "...", 3);
		used += 3;
	}
	out[used] = 0;
	return out;
}

char *prefval_bare(char out[static PREFVAL_QUOTE_MAX], const char *text, size_t len)
{
	size_t n;

	prefval_quote(out, text, len);
	n = strlen(out);
	if (out[n - 1] == '"') {
		out[n - 1] = 0;
	} else { /* cut: "text"... */
		memmove(out + n - 4, "...", 4);
	}
	memmove(out, out + 1, strlen(out));
	return out;
}

static bool is_secret_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
	       c == '_';
}

void prefval_mask_secrets(char *text)
{
	static const char *const prefixes[] = { "tskey-", "hskey-", "mkey:", "privkey:" };

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		char *p = text;

		while ((p = strstr(p, prefixes[i]))) {
			p += strlen(prefixes[i]);
			for (; is_secret_char(*p); p++)
				*p = 'X';
		}
	}
}

/* "PREFIX: "quoted" SUFFIX" as the sentence. */
static int bad(char err[static PREFS_ERR_MAX], const char *prefix, const char *text, size_t len,
	       const char *suffix)
{
	char quoted[PREFVAL_QUOTE_MAX];
	char line[PREFS_ERR_MAX + PREFVAL_QUOTE_MAX];

	(void)snprintf(line, sizeof(line), "%s%s%s", prefix, prefval_quote(quoted, text, len), suffix);
	prefval_mask_secrets(line);
	(void)snprintf(err, PREFS_ERR_MAX, "%.*s", PREFS_ERR_MAX - 1, line);
	return -EINVAL;
}

/* --- lists --- */

/* One item of a comma list without the blanks around it. */
struct item {
	const char *p;
	size_t len;
};

static bool next_item(const char **at, struct item *it)
{
	const char *p = *at, *end;

	if (!p)
		return false;
	end = strchr(p, ',');
	*at = end ? end + 1 : NULL;
	it->len = end ? (size_t)(end - p) : strlen(p);
	while (it->len && *p == ' ') {
		p++;
		it->len--;
	}
	while (it->len && p[it->len - 1] == ' ')
		it->len--;
	it->p = p;
	return true;
}

static size_t count_items(const char *text)
{
	size_t n = 1;

	for (; *text; text++)
		n += *text == ',';
	return n;
}

static bool is_blank(const char *text)
{
	return text[strspn(text, " ")] == 0;
}

/* --- endpoints --- */

int prefval_check_endpoint(const struct ep *ep, const char **why)
{
	*why = NULL;
	if (ep->port == 0)
		*why = "port 0";
	else if (ip_is_unspecified(&ep->ip))
		*why = "unspecified address";
	else if (ip_is_multicast(&ep->ip))
		*why = "multicast or broadcast address";
	else if (ip_is_loopback(&ep->ip))
		*why = "loopback address";
	else if (ip_is_link_local(&ep->ip))
		*why = "link-local address";
	else if (ip_is_cgnat(&ep->ip) || ip_is_tailnet(&ep->ip))
		*why = "tailnet address";
	return *why ? -EINVAL : 0;
}

static bool is_number(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] < '0' || p[i] > '9')
			return false;
	return len > 0;
}

/* Why a text is not an IP:port, in words of the person who typed it. */
static const char *endpoint_hint(const char *p, size_t len)
{
	size_t colons = 0, last = 0;
	struct ip ip;

	if (len == 0)
		return " (empty item)";
	for (size_t i = 0; i < len; i++) {
		if (p[i] == ':') {
			colons++;
			last = i;
		}
	}
	if (memchr(p, '%', len))
		return " (addresses with a zone are not allowed here)";
	if (ip_parse(&ip, p, len) == 0 && ip.family == IP_V4)
		return " (missing port)";
	if (p[0] != '[' && colons >= 2)
		return " (IPv6 needs brackets: [2001:db8::1]:40000)";
	if (p[0] == '[' && p[len - 1] == ']')
		return " (missing port)";
	if (colons == 0)
		return " (missing port)";
	if (ip_parse(&ip, p, last) == 0 || p[0] == '[')
		return is_number(p + last + 1, len - last - 1) ? " (port out of range)" :
								  " (the port is not a number)";
	if (is_number(p + last + 1, len - last - 1) && p[strspn(p, "0123456789.")] != ':')
		return " (host names are not allowed here)";
	return "";
}

static int compare_eps(const void *a, const void *b)
{
	return ep_cmp(a, b);
}

size_t prefval_sort_endpoints(struct ep *eps, size_t n)
{
	size_t kept = 0;

	if (n == 0)
		return 0;
	qsort(eps, n, sizeof(*eps), compare_eps);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || !ep_eq(&eps[kept - 1], &eps[i]))
			eps[kept++] = eps[i];
	return kept;
}

static int parse_endpoints(struct ep **out, size_t *n_out, const char *text, const char *what,
			   char err[static PREFS_ERR_MAX])
{
	char suffix[96];
	const char *at = text, *why;
	struct item it;
	size_t n = 0;
	struct ep *eps;

	*out = NULL;
	*n_out = 0;
	if (is_blank(text))
		return 0;
	if (count_items(text) > LIST_ITEMS_MAX)
		return bad(err, what, text, strlen(text), " has too many items");
	eps = calloc(count_items(text), sizeof(*eps));
	if (!eps)
		return -ENOMEM;
	while (next_item(&at, &it)) {
		if (ep_parse(&eps[n], it.p, it.len)) {
			(void)snprintf(suffix, sizeof(suffix), " is not a valid IP:port%s",
				       endpoint_hint(it.p, it.len));
			free(eps);
			return bad(err, what, it.p, it.len, suffix);
		}
		if (prefval_check_endpoint(&eps[n], &why)) {
			(void)snprintf(suffix, sizeof(suffix), " cannot be used: %s", why);
			free(eps);
			return bad(err, what, it.p, it.len, suffix);
		}
		n++;
	}
	*out = eps;
	*n_out = prefval_sort_endpoints(eps, n);
	return 0;
}

int prefval_relay_endpoints(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	struct ep *eps;
	size_t n;
	int ret = parse_endpoints(&eps, &n, text, "failed to set relay server static endpoints: ", err);

	if (ret)
		return ret;
	free(p->relay_endpoints);
	p->relay_endpoints = eps;
	p->n_relay_endpoints = n;
	return 0;
}

int prefval_static_endpoints(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	struct ep *eps;
	size_t n;
	int ret = parse_endpoints(&eps, &n, text, "failed to set static endpoints: ", err);

	if (ret)
		return ret;
	free(p->static_endpoints);
	p->static_endpoints = eps;
	p->n_static_endpoints = n;
	return 0;
}

int prefval_relay_port(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	static const char *const what = "failed to set relay server port: ";
	size_t len = strlen(text);
	uint32_t port = 0;

	if (len == 0) {
		p->has_relay_port = false;
		p->relay_port = 0;
		return 0;
	}
	if (!is_number(text, len))
		return bad(err, what, text, len, text[0] == '-' && is_number(text + 1, len - 1) ?
			   " is out of range (want 0-65535, or empty to turn the relay off)" :
			   " is not a number");
	for (size_t i = 0; i < len && port <= UINT16_MAX; i++)
		port = port * 10 + (uint32_t)(text[i] - '0');
	if (port > UINT16_MAX)
		return bad(err, what, text, len,
			   " is out of range (want 0-65535, or empty to turn the relay off)");
	p->has_relay_port = true;
	p->relay_port = (uint16_t)port;
	return 0;
}

/* --- routes --- */

static int compare_routes(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;

	return x->bits != y->bits ? x->bits - y->bits : ip_cmp(&x->ip, &y->ip);
}

size_t prefval_sort_routes(struct prefix *routes, size_t n)
{
	size_t kept = 0;

	if (n == 0)
		return 0;
	qsort(routes, n, sizeof(*routes), compare_routes);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || !prefix_eq(&routes[kept - 1], &routes[i]))
			routes[kept++] = routes[i];
	return kept;
}

/* Bit 0: 0.0.0.0/0 is there; bit 1: ::/0. */
static unsigned default_routes(const struct prefix *routes, size_t n)
{
	unsigned found = 0;

	for (size_t i = 0; i < n; i++)
		if (routes[i].bits == 0)
			found |= routes[i].ip.family == IP_V4 ? 1 : 2;
	return found;
}

bool prefval_is_exit_node(const struct prefs *p)
{
	return default_routes(p->advertise_routes, p->n_advertise_routes) == 3;
}

int prefval_check_routes(const struct prefix *routes, size_t n, char err[static PREFS_ERR_MAX])
{
	unsigned defaults = default_routes(routes, n);

	for (size_t i = 0; i < n; i++) {
		char have[PREFIX_TEXT_MAX], want[PREFIX_TEXT_MAX];
		struct prefix masked = prefix_masked(&routes[i]);

		if (prefix_is_masked(&routes[i]))
			continue;
		(void)snprintf(err, PREFS_ERR_MAX, "%s has non-address bits set; expected %s",
			       prefix_write(have, &routes[i]), prefix_write(want, &masked));
		return -EINVAL;
	}
	if (defaults == 0 || defaults == 3)
		return 0;
	(void)snprintf(err, PREFS_ERR_MAX,
		       "%s advertised without its %s counterpart, please also advertise %s",
		       defaults == 1 ? "0.0.0.0/0" : "::/0", defaults == 1 ? "IPv6" : "IPv4",
		       defaults == 1 ? "::/0" : "0.0.0.0/0");
	return -EINVAL;
}

int prefval_routes(struct prefs *p, const char *text, bool exit_node, char err[static PREFS_ERR_MAX])
{
	size_t n = 0, items = is_blank(text) ? 0 : count_items(text);
	const char *at = items ? text : NULL;
	struct prefix *routes;
	struct item it;
	int ret;

	if (items > LIST_ITEMS_MAX)
		return bad(err, "", text, strlen(text), " has too many routes");
	routes = calloc(items + 2, sizeof(*routes));
	if (!routes)
		return -ENOMEM;
	while (next_item(&at, &it)) {
		if (prefix_parse(&routes[n], it.p, it.len, true)) {
			free(routes);
			return bad(err, "", it.p, it.len, " is not a valid IP address or CIDR prefix");
		}
		n++;
	}
	if (exit_node) {
		routes[n++] = (struct prefix){ .ip = { .family = IP_V4 } };
		routes[n++] = (struct prefix){ .ip = { .family = IP_V6 } };
	}
	ret = prefval_check_routes(routes, n, err);
	if (ret) {
		free(routes);
		return ret;
	}
	free(p->advertise_routes);
	p->n_advertise_routes = prefval_sort_routes(routes, n);
	p->advertise_routes = n ? routes : NULL;
	if (!n)
		free(routes);
	return 0;
}

/* --- names --- */

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(char c)
{
	return is_alpha(c) || (c >= '0' && c <= '9');
}

int prefval_check_tag(const char *tag, char err[static PREFS_ERR_MAX])
{
	const char *name = tag + 4, *why = NULL;
	char suffix[96];

	if (strncmp(tag, "tag:", 4) != 0)
		why = "tags must start with 'tag:'";
	else if (!*name)
		why = "tag names must not be empty";
	else if (!is_alpha(*name))
		why = "tag names must start with a letter, after 'tag:'";
	for (const char *c = name; !why && *c; c++)
		if (!is_alnum(*c) && *c != '-')
			why = "tag names can only contain numbers, letters, or dashes";
	if (!why)
		return 0;
	(void)snprintf(suffix, sizeof(suffix), ": %s", why);
	return bad(err, "tag: ", tag, strlen(tag), suffix);
}

static void free_strs(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static char *tag_text(const struct item *it)
{
	bool bare = it->len < 4 || memcmp(it->p, "tag:", 4) != 0;
	char *tag = malloc(it->len + 5);

	if (!tag)
		return NULL;
	(void)snprintf(tag, it->len + 5, "%s%.*s", bare ? "tag:" : "", (int)it->len, it->p);
	return tag;
}

int prefval_tags(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	size_t n = 0, items = is_blank(text) ? 0 : count_items(text);
	const char *at = items ? text : NULL;
	char **tags = NULL;
	struct item it;
	int ret = 0;

	if (strlen(text) > LIST_ITEMS_MAX)
		return bad(err, "tag: ", text, strlen(text), " is too long");
	if (items) {
		tags = calloc(items, sizeof(*tags));
		if (!tags)
			return -ENOMEM;
	}
	while (!ret && next_item(&at, &it)) {
		tags[n] = tag_text(&it);
		ret = tags[n] ? prefval_check_tag(tags[n], err) : -ENOMEM;
		n++;
	}
	if (ret) {
		free_strs(tags, n);
		return ret;
	}
	free_strs(p->advertise_tags, p->n_advertise_tags);
	p->advertise_tags = tags;
	p->n_advertise_tags = n;
	return 0;
}

/* One DNS label; 'whole' is what the sentence quotes. */
static int check_label(const char *label, size_t len, char err[static PREFS_ERR_MAX])
{
	if (len == 0) {
		(void)snprintf(err, PREFS_ERR_MAX, "empty DNS label");
		return -EINVAL;
	}
	if (len > LABEL_MAX)
		return bad(err, "", label, len, " is too long, max length is 63 bytes");
	if (!is_alnum(label[0]))
		return bad(err, "", label, len,
			   " is not a valid DNS label: must start with a letter or number");
	if (!is_alnum(label[len - 1]))
		return bad(err, "", label, len,
			   " is not a valid DNS label: must end with a letter or number");
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(label[i]) && label[i] != '-')
			return bad(err, "", label, len,
				   " is not a valid DNS label: contains an invalid character");
	return 0;
}

int prefval_check_hostname(const char *name, char err[static PREFS_ERR_MAX])
{
	size_t len = strlen(name);
	const char *p = name;
	int ret = 0;

	if (len == 0)
		return 0;
	if (len > HOSTNAME_MAX) {
		(void)snprintf(err, PREFS_ERR_MAX, "hostname too long: %zu bytes (max %d)", len,
			       HOSTNAME_MAX);
		return -EINVAL;
	}
	while (!ret) {
		size_t n = strcspn(p, ".");

		ret = check_label(p, n, err);
		if (!p[n] || ret)
			break;
		p += n + 1;
		if (!*p)
			break; /* the final dot of a full name */
	}
	return ret;
}

static int set_str(char **to, const char *text, size_t len)
{
	char *s = strndup(text, len);

	if (!s)
		return -ENOMEM;
	free(*to);
	*to = s;
	return 0;
}

int prefval_hostname(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	int ret = prefval_check_hostname(text, err);

	return ret ? ret : set_str(&p->hostname, text, strlen(text));
}

int prefval_netfilter(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	if (strcmp(text, "on") == 0)
		p->netfilter_mode = PREFS_NETFILTER_ON;
	else if (strcmp(text, "nodivert") == 0)
		p->netfilter_mode = PREFS_NETFILTER_NODIVERT;
	else if (strcmp(text, "off") == 0)
		p->netfilter_mode = PREFS_NETFILTER_OFF;
	else
		return bad(err, "invalid value --netfilter-mode=", text, strlen(text), "");
	return 0;
}

/* --- control URL --- */

/* "HOST[:PORT]" or "[v6]:PORT". */
static const char *check_authority(const char *p, size_t len)
{
	const char *colon = NULL, *port;
	size_t host = len;
	uint32_t n = 0;
	struct ip ip;

	if (len == 0)
		return "no host";
	if (memchr(p, '@', len))
		return "a user name or password does not belong there";
	if (p[0] == '[') {
		const char *end = memchr(p, ']', len);

		if (!end || ip_parse(&ip, p + 1, (size_t)(end - p - 1)) || ip.family != IP_V6)
			return "malformed IPv6 address";
		host = (size_t)(end - p) + 1;
		if (host < len)
			colon = end + 1;
		if (colon && *colon != ':')
			return "malformed host";
	} else {
		colon = memchr(p, ':', len);
		host = colon ? (size_t)(colon - p) : len;
		if (host == 0)
			return "no host";
		for (size_t i = 0; i < host; i++)
			if (!is_alnum(p[i]) && p[i] != '-' && p[i] != '.' && p[i] != '_')
				return "malformed host";
	}
	if (!colon)
		return NULL;
	port = colon + 1;
	if (!is_number(port, len - host - 1))
		return "the port is not a number";
	for (size_t i = 0; i < len - host - 1 && n <= UINT16_MAX; i++)
		n = n * 10 + (uint32_t)(port[i] - '0');
	return n == 0 || n > UINT16_MAX ? "the port is out of range" : NULL;
}

int prefval_control_url(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	size_t len = strlen(text), scheme = 0;
	const char *why = NULL, *host;
	char suffix[96];

	if (strncmp(text, "https://", 8) == 0)
		scheme = 8;
	else if (strncmp(text, "http://", 7) == 0)
		scheme = 7;
	host = text + scheme;
	if (len > URL_MAX)
		why = "too long";
	else if (!scheme)
		why = "want http://HOST[:PORT] or https://HOST[:PORT]";
	if (!why) {
		while (len > scheme && text[len - 1] == '/')
			len--;
		if (memchr(host, '/', len - scheme) || memchr(host, '?', len - scheme) ||
		    memchr(host, '#', len - scheme))
			why = "a path does not belong there";
		else
			why = check_authority(host, len - scheme);
	}
	if (why) {
		(void)snprintf(suffix, sizeof(suffix), ": %s", why);
		return bad(err, "invalid server URL ", text, strlen(text), suffix);
	}
	/* The hosted service's old name is the same server. */
	if (len - scheme == 19 && memcmp(host, "login.tailscale.com", 19) == 0)
		return set_str(&p->control_url, PREFVAL_HOSTED_URL, strlen(PREFVAL_HOSTED_URL));
	return set_str(&p->control_url, text, len);
}
