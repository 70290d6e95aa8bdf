/* SPDX-License-Identifier: MIT */
/* Recognises the active firewall and writes the line that opens a port in it. */
#include "config.h"

#include "daemon/nft.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "daemon/loop.h"

enum { RUN_MS = 1000, OUTPUT_MAX = 4 << 20 };

/* --- running the list commands --- */

/* Reads until the end of the pipe or the deadline. */
static void read_all(int fd, struct bytes *out)
{
	const struct mono end = mono_add_ms(loop_clock(), RUN_MS);

	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		const int64_t left = mono_since_ms(end, loop_clock());
		uint8_t *room = bytes_room(out, 16384);
		ssize_t n;

		if (left <= 0 || !room || poll(&pfd, 1, (int)left) <= 0)
			return;
		n = read(fd, room, 16384);
		if (n <= 0)
			return;
		bytes_commit(out, (size_t)n);
	}
}

/* Runs a program of the system's path without a shell. True if it is there and exits with 0; '*out'
 * gets what it prints, with a final NUL. */
static bool run(const char *const argv[], struct bytes *out)
{
	static const char *const envp[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
					    NULL };
	posix_spawn_file_actions_t fa;
	int pipe_fds[2], status = -1;
	sigset_t none;
	posix_spawnattr_t attr;
	pid_t pid = -1;

	*out = (struct bytes){ .max = OUTPUT_MAX };
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return false;
	(void)posix_spawn_file_actions_init(&fa);
	(void)posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&fa, pipe_fds[1], 1);
	(void)posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	(void)posix_spawnattr_init(&attr);
	(void)sigemptyset(&none);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	if (posix_spawnp(&pid, argv[0], &fa, &attr, (char *const *)(uintptr_t)argv,
			 (char *const *)(uintptr_t)envp) != 0)
		pid = -1;
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&fa);
	(void)close(pipe_fds[1]);
	if (pid > 0) {
		read_all(pipe_fds[0], out);
		/* Ended by now, or it hangs. */
		(void)close(pipe_fds[0]);
		for (int i = 0; waitpid(pid, &status, WNOHANG) == 0; i++) {
			if (i == 50)
				(void)kill(pid, SIGKILL);
			(void)usleep(2000);
		}
	} else {
		(void)close(pipe_fds[0]);
	}
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
	       bytes_append(out, "", 1) == 0;
}

/* --- what they say --- */

static const char *text_of(const cJSON *obj, const char *key)
{
	const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(obj, key));

	return s ? s : "";
}

/* Does the rule drop whatever comes to it? Its expressions are a verdict and perhaps a counter. */
static bool drops_all(const cJSON *rule)
{
	const cJSON *e;
	bool drops = false;

	cJSON_ArrayForEach(e, cJSON_GetObjectItemCaseSensitive(rule, "expr"))
	{
		if (cJSON_HasObjectItem(e, "drop") || cJSON_HasObjectItem(e, "reject"))
			drops = true;
		else if (!cJSON_HasObjectItem(e, "counter") && !cJSON_HasObjectItem(e, "log"))
			return false;
	}
	return drops;
}

static bool is_in_chain(const cJSON *rule, const cJSON *chain)
{
	return strcmp(text_of(rule, "family"), text_of(chain, "family")) == 0 &&
	       strcmp(text_of(rule, "table"), text_of(chain, "table")) == 0 &&
	       strcmp(text_of(rule, "chain"), text_of(chain, "name")) == 0;
}

static bool is_closed(const cJSON *list, const cJSON *chain)
{
	const cJSON *e, *last = NULL;

	if (strcmp(text_of(chain, "policy"), "drop") == 0)
		return true;
	cJSON_ArrayForEach(e, list)
	{
		const cJSON *rule = cJSON_GetObjectItemCaseSensitive(e, "rule");

		if (rule && is_in_chain(rule, chain))
			last = rule;
	}
	return last && drops_all(last);
}

static void note_tailnet_only(struct nft_firewall *fw, long port)
{
	for (size_t i = 0; port > 0 && port <= UINT16_MAX && i < ARRAY_LEN(fw->tailnet_only); i++) {
		if (fw->tailnet_only[i])
			continue;
		fw->tailnet_only[i] = (uint16_t)port;
		return;
	}
}

bool nft_is_tailnet_only(const struct nft_firewall *fw, uint16_t port)
{
	for (size_t i = 0; i < ARRAY_LEN(fw->tailnet_only); i++)
		if (port && fw->tailnet_only[i] == port)
			return true;
	return false;
}

/* "ip saddr 100.64.0.0/10 udp dport N accept", in any order, with whatever else. */
static void look_at_rule(struct nft_firewall *fw, const cJSON *rule)
{
	bool is_narrow = false, accepts = false;
	long port = 0;
	const cJSON *e;

	cJSON_ArrayForEach(e, cJSON_GetObjectItemCaseSensitive(rule, "expr"))
	{
		const cJSON *m = cJSON_GetObjectItemCaseSensitive(e, "match");
		const cJSON *left = cJSON_GetObjectItemCaseSensitive(m, "left");
		const cJSON *load = cJSON_GetObjectItemCaseSensitive(left, "payload");
		const cJSON *right = cJSON_GetObjectItemCaseSensitive(m, "right");
		const cJSON *prefix = cJSON_GetObjectItemCaseSensitive(right, "prefix");

		if (strcmp(text_of(load, "field"), "saddr") == 0)
			is_narrow = strcmp(text_of(prefix, "addr"), "100.64.0.0") == 0;
		if (strcmp(text_of(load, "protocol"), "udp") == 0 && strcmp(text_of(load, "field"), "dport") == 0 &&
		    cJSON_IsNumber(right))
			port = (long)right->valuedouble;
		accepts |= cJSON_HasObjectItem(e, "accept");
	}
	if (is_narrow && accepts)
		note_tailnet_only(fw, port);
}

/* The number behind a word of a line, or 0. */
static long number_behind(const char *line, size_t len, const char *word)
{
	const char *at = strstr(line, word);

	return at && at < line + len ? strtol(at + strlen(word), NULL, 10) : 0;
}

static bool names_tailnet(const char *line, size_t len)
{
	const char *at = strstr(line, " 100.64.0.0/10 ");

	return at && at < line + len;
}

void nft_parse_ufw(struct nft_firewall *fw, const char *text)
{
	static const char mark[] = "### tuple ### allow udp ";

	for (const char *line = text; *line;) {
		const size_t len = strcspn(line, "\n");

		if (strncmp(line, mark, sizeof(mark) - 1) == 0 && names_tailnet(line, len))
			note_tailnet_only(fw, strtol(line + sizeof(mark) - 1, NULL, 10));
		line += len + (line[len] == '\n');
	}
}

struct nft_firewall nft_parse_ruleset(const char *json, size_t size)
{
	cJSON *root = cJSON_ParseWithLength(json, size);
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "nftables"), *e;
	struct nft_firewall fw = { .kind = NFT_NONE };

	cJSON_ArrayForEach(e, list)
	{
		const cJSON *chain = cJSON_GetObjectItemCaseSensitive(e, "chain");
		const char *family = text_of(chain, "family"), *table = text_of(chain, "table");

		look_at_rule(&fw, cJSON_GetObjectItemCaseSensitive(e, "rule"));
		/* Packets for this host by IP; an accept elsewhere does not help against a drop
		 * here. */
		if (!chain || strcmp(text_of(chain, "hook"), "input") != 0 ||
		    (strcmp(family, "ip") != 0 && strcmp(family, "ip6") != 0 &&
		     strcmp(family, "inet") != 0) ||
		    fw.kind != NFT_NONE || !is_closed(list, chain))
			continue;
		/* What the iptables program made is changed with it. */
		if (strcmp(table, "filter") == 0 && strcmp(text_of(chain, "name"), "INPUT") == 0) {
			fw.kind = NFT_IPTABLES;
			continue;
		}
		fw.kind = NFT_NFTABLES;
		(void)snprintf(fw.family, sizeof(fw.family), "%s", family);
		(void)snprintf(fw.table, sizeof(fw.table), "%s", table);
		(void)snprintf(fw.chain, sizeof(fw.chain), "%s", text_of(chain, "name"));
	}
	cJSON_Delete(root);
	return fw;
}

struct nft_firewall nft_parse_iptables(const char *text)
{
	struct nft_firewall fw = { .kind = NFT_NONE };
	const char *last = "";

	for (const char *line = text; *line;) {
		const char *end = strchr(line, '\n');

		if (strncmp(line, "-P INPUT DROP", 13) == 0)
			fw.kind = NFT_IPTABLES;
		if (strncmp(line, "-A INPUT ", 9) == 0) {
			const size_t len = strcspn(line, "\n");
			const char *accept = strstr(line, "-j ACCEPT");

			last = line;
			if (names_tailnet(line, len) && accept && accept < line + len)
				note_tailnet_only(&fw, number_behind(line, len, "--dport "));
		}
		line = end ? end + 1 : line + strlen(line);
	}
	/* A last rule without conditions. */
	if (strncmp(last, "-A INPUT -j DROP", 16) == 0 ||
	    strncmp(last, "-A INPUT -j REJECT", 18) == 0)
		fw.kind = NFT_IPTABLES;
	return fw;
}

static bool ufw_is_on(void)
{
	FILE *f = fopen("/etc/ufw/ufw.conf", "re");
	char line[256];
	bool on = false;

	while (f && fgets(line, sizeof(line), f))
		on |= strncmp(line, "ENABLED=yes", 11) == 0;
	if (f)
		(void)fclose(f);
	return on;
}

static void look_at_ufw(struct nft_firewall *fw)
{
	FILE *f = fopen("/etc/ufw/user.rules", "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		nft_parse_ufw(fw, line);
	if (f)
		(void)fclose(f);
}

/* The old kernel tables, which nft does not show. */
static bool has_legacy_tables(void)
{
	FILE *f = fopen("/proc/net/ip_tables_names", "re");
	char line[64];
	bool has = false;

	while (f && fgets(line, sizeof(line), f))
		has |= strncmp(line, "filter", 6) == 0;
	if (f)
		(void)fclose(f);
	return has;
}

struct nft_firewall nft_detect(void)
{
	static const char *const firewalld[] = { "firewall-cmd", "--state", NULL };
	static const char *const nft[] = { "nft", "-j", "list", "ruleset", NULL };
	static const char *const legacy[] = { "iptables-legacy", "-S", "INPUT", NULL };
	struct nft_firewall fw = { .kind = NFT_NONE };
	struct bytes out;

	if (ufw_is_on()) {
		fw.kind = NFT_UFW;
		look_at_ufw(&fw);
		return fw;
	}
	if (run(firewalld, &out))
		fw.kind = NFT_FIREWALLD;
	bytes_wipe(&out);
	if (fw.kind != NFT_NONE)
		return fw;
	if (run(nft, &out))
		fw = nft_parse_ruleset((const char *)bytes_data(&out), bytes_size(&out) - 1);
	bytes_wipe(&out);
	if (fw.kind != NFT_NONE || !has_legacy_tables())
		return fw;
	if (run(legacy, &out))
		fw = nft_parse_iptables((const char *)bytes_data(&out));
	bytes_wipe(&out);
	return fw;
}

/* --- the line to type --- */

static char *hint(char text[static NFT_HINT_MAX], const struct nft_firewall *fw, const char *proto,
		  uint16_t port)
{
	text[0] = 0;
	switch (fw->kind) {
	case NFT_NONE:
		break;
	case NFT_UFW:
		(void)snprintf(text, NFT_HINT_MAX, "sudo ufw allow %u/%s", port, proto);
		break;
	case NFT_FIREWALLD:
		(void)snprintf(text, NFT_HINT_MAX,
			       "sudo firewall-cmd --permanent --add-port=%u/%s && sudo "
			       "firewall-cmd --reload",
			       port, proto);
		break;
	case NFT_IPTABLES:
		(void)snprintf(text, NFT_HINT_MAX,
			       "sudo iptables -I INPUT -p %s --dport %u -j ACCEPT && "
			       "sudo ip6tables -I INPUT -p %s --dport %u -j ACCEPT",
			       proto, port, proto, port);
		break;
	case NFT_NFTABLES:
		(void)snprintf(text, NFT_HINT_MAX,
			       "sudo nft insert rule %s %s %s %s dport %u accept", fw->family,
			       fw->table, fw->chain, proto, port);
		break;
	}
	return text;
}

char *nft_hint(char text[static NFT_HINT_MAX], struct nft_firewall fw, uint16_t port)
{
	return hint(text, &fw, "udp", port);
}

char *nft_hint_tcp(char text[static NFT_HINT_MAX], struct nft_firewall fw, uint16_t port)
{
	return hint(text, &fw, "tcp", port);
}

const char *nft_name(enum nft_kind kind)
{
	switch (kind) {
	case NFT_NONE:
		return "none";
	case NFT_UFW:
		return "ufw";
	case NFT_FIREWALLD:
		return "firewalld";
	case NFT_IPTABLES:
		return "iptables";
	case NFT_NFTABLES:
		return "nftables";
	}
	return "";
}
