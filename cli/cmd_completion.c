/* SPDX-License-Identifier: MIT */
/* completion: scripts for three shells. They know nothing themselves: for the words on the command line they
 * ask `__complete`, which walks the command tables and, for peers, exit nodes, accounts and settings, asks the
 * daemon. Spec: cli 0.3. */
#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"
#include "cli/settings.h"

enum { WORD_MAX = 300, DAEMON_MS = 1000 };

/* One request for words. */
struct words {
	struct cli *c;
	const char *prefix;       /* of the word under the cursor */
};

/* What a shell would read as more than a word is not offered: names of peers are the peers' choice, and bash puts
 * words on the command line as they are. */
static bool is_plain(const char *word)
{
	return *word && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:=@/+,%")];
}

/* One word and what it is, behind a tab. */
static void put(const struct words *w, const char *word, const char *what)
{
	char safe[WORD_MAX];

	if (strncmp(word, w->prefix, strlen(w->prefix)) != 0 || !is_plain(word))
		return;
	(void)fprintf(w->c->out, "%s\t", word);
	out_safe(safe, sizeof(safe), what ? what : "");
	for (const char *p = safe; *p && *p != '\n' && *p != '\t'; p++)
		if (*p != '`') /* it names a value's type in usage */
			(void)fputc(*p, w->c->out);
	(void)fputc('\n', w->c->out);
}

/* --- words of the daemon --- */

/* Silent: a completion that cannot be made is none. */
static bool ask(struct cli *c, const char *path, struct client_reply *r)
{
	struct cli silent = *c;
	bool ok;

	silent.err = fopen("/dev/null", "we");
	if (!silent.err)
		return false;
	silent.quiet_timeout = true;
	ok = client_request(&silent, "GET", path, NULL, 0, DAEMON_MS, r) == EXIT_OK && r->status == 200;
	if (!ok)
		client_reply_wipe(r);
	(void)fclose(silent.err);
	return ok;
}

static void put_peers(const struct words *w, bool exit_nodes)
{
	struct status s = { 0 };
	struct client_reply r;

	if (!ask(w->c, "status", &r))
		return;
	if (status_parse(&s, (const char *)bytes_data(&r.body), bytes_size(&r.body)) == 0) {
		for (size_t i = 0; i < s.n_peers; i++) {
			char name[PEERS_NAME_MAX], ip[IP_TEXT_MAX] = "";

			if (exit_nodes && !s.peers[i].exit_node_option)
				continue;
			put(w, peers_base_name(name, &s.peers[i]), s.peers[i].n_ips ? ip_write(ip, &s.peers[i].ips[0]) : "");
		}
	}
	status_wipe(&s);
	client_reply_wipe(&r);
}

static void put_accounts(const struct words *w)
{
	struct client_reply r;
	const cJSON *p;
	cJSON *list;

	if (!ask(w->c, "profiles/", &r))
		return;
	list = json_parse((const char *)bytes_data(&r.body), bytes_size(&r.body), 0, NULL);
	cJSON_ArrayForEach(p, list) {
		const cJSON *id = json_get(p, "ID"), *name = json_get(p, "Name");

		if (cJSON_IsString(id) && cJSON_IsString(name))
			put(w, id->valuestring, name->valuestring);
	}
	cJSON_Delete(list);
	client_reply_wipe(&r);
}

/* --- words of the tables --- */

static const struct cmd *find_cmd(const struct cmd *cmd, const char *name)
{
	for (size_t i = 0; i < cmd->n_subs; i++)
		if (strcmp(cmd_sub(cmd, i)->name, name) == 0)
			return cmd_sub(cmd, i);
	return NULL;
}

static void put_flags(const struct words *w, const struct cmd *cmd)
{
	for (size_t i = 0; i < cmd->n_flags; i++) {
		char text[WORD_MAX];

		(void)snprintf(text, sizeof(text), "--%s%s", cmd->flags[i].name,
			       cmd->flags[i].kind == FLAG_BOOL ? "" : "=");
		if (cmd->flags[i].show == FLAG_SHOWN)
			put(w, text, cmd->flags[i].usage);
	}
}

/* Flags whose values are a few words. */
static const struct {
	const char *flag, *words;
} flag_words[] = {
	{ "accept-risk", "all lose-ssh mac-app-connector" },
	{ "format", "json json-line" },
	{ "netfilter-mode", "off" },
	{ "only", "direct peer-relay relay offline" },
	{ "require", "direct peer-relay any" },
	{ "until", "direct peer-relay any" },
};

/* The flag that a word of the command line names, or null. */
static const struct flag *find_flag(const struct cmd *cmd, const char *word)
{
	const char *name = word + strspn(word, "-");
	const size_t len = strcspn(name, "=");

	for (size_t i = 0; *word == '-' && i < cmd->n_flags; i++)
		if (strlen(cmd->flags[i].name) == len && memcmp(cmd->flags[i].name, name, len) == 0)
			return &cmd->flags[i];
	return NULL;
}

/* Does the value of this flag stand in the next word? --socket is taken everywhere. */
static bool takes_next(const struct cmd *cmd, const char *word)
{
	const struct flag *f = find_flag(cmd, word);

	f = f ? f : find_flag(&cmd_root, word);
	return f && f->kind != FLAG_BOOL && !strchr(word, '=');
}

/* The values of a flag that begin with 'prefix'. */
static void put_values(const struct words *w, const struct flag *f, const char *prefix)
{
	const struct words mine = { .c = w->c, .prefix = prefix };
	const bool is_exit = f && strcmp(f->name, "exit-node") == 0;
	char word[WORD_MAX];

	if (f && f->kind == FLAG_BOOL) {
		put(&mine, "true", "");
		put(&mine, "false", "");
	}
	if (is_exit || (f && strcmp(f->name, "peer") == 0))
		put_peers(&mine, is_exit);
	for (size_t i = 0; f && i < ARRAY_LEN(flag_words); i++) {
		const char *p = strcmp(flag_words[i].flag, f->name) == 0 ? flag_words[i].words : "";

		for (size_t n; *p; p += n + (p[n] == ' ')) {
			n = strcspn(p, " ");
			(void)snprintf(word, sizeof(word), "%.*s", (int)n, p);
			put(&mine, word, "");
		}
	}
}

static void put_arguments(const struct words *w, const struct cmd *cmd)
{
	static const char *const of_peers[] = { "ping", "path", "ip", "whois" };

	for (size_t i = 0; i < ARRAY_LEN(of_peers); i++)
		if (strcmp(cmd->name, of_peers[i]) == 0)
			put_peers(w, false);
	if (strcmp(cmd->name, "switch") == 0)
		put_accounts(w);
	for (size_t i = 0; strcmp(cmd->name, "get") == 0 && settings_name(i); i++)
		put(w, settings_name(i), "setting");
}

/* 'args' are the words behind the program's name; the last one is under the cursor. */
static int run_words(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct words w = { .c = c, .prefix = n_args ? args[n_args - 1] : "" };
	const struct cmd *cmd = &cmd_root;
	const char *eq = strchr(w.prefix, '=');

	(void)f;
	for (int i = 0; i + 1 < n_args; i++) {
		const struct cmd *sub = args[i][0] == '-' ? NULL : find_cmd(cmd, args[i]);

		if (i + 2 == n_args && takes_next(cmd, args[i])) {
			put_values(&w, find_flag(cmd, args[i]), w.prefix);
			return EXIT_OK;
		}
		i += takes_next(cmd, args[i]);
		cmd = sub ? sub : cmd;
	}
	/* The words lack the flag in front, which some shells want back. */
	if (w.prefix[0] == '-' && eq) {
		put_values(&w, find_flag(cmd, w.prefix), eq + 1);
		return EXIT_OK;
	}
	if (w.prefix[0] == '-') {
		put_flags(&w, cmd);
		return EXIT_OK;
	}
	for (size_t i = 0; i < cmd->n_subs; i++)
		if (!cmd_sub(cmd, i)->is_hidden)
			put(&w, cmd_sub(cmd, i)->name, cmd_sub(cmd, i)->short_help);
	put_arguments(&w, cmd);
	return EXIT_OK;
}

const struct cmd cmd_words = {
	.name = "__complete",
	.usage = "__complete -- <words>",
	.short_help = "Print the words that may stand at the end of a command line",
	.is_hidden = true,
	.run = run_words,
};

/* --- scripts --- */

static int run_bash(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)f;
	(void)args;
	if (n_args > 0)
		return out_error(c, "too many non-flag arguments");
	/* readline splits words at '=': they are put together again before asking. */
	(void)fprintf(c->out,
		      "# bash completion of %s\n"
		      "_%s() {\n"
		      "\tlocal line=\"${COMP_LINE:0:COMP_POINT}\" words\n"
		      "\tread -r -a words <<<\"$line\"\n"
		      "\t[[ $line == *' ' ]] && words+=(\"\")\n"
		      "\tmapfile -t COMPREPLY < <(%s __complete -- \"${words[@]:1}\" 2>/dev/null | cut -f1)\n"
		      "\t[[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
		      "}\n"
		      "complete -o bashdefault -o default -F _%s %s\n",
		      c->prog, c->prog, c->prog, c->prog, c->prog);
	return EXIT_OK;
}

static int run_zsh(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)f;
	(void)args;
	if (n_args > 0)
		return out_error(c, "too many non-flag arguments");
	(void)fprintf(c->out,
		      "#compdef %s\n"
		      "# zsh completion of %s\n"
		      "_%s() {\n"
		      "\tlocal -a plain flags\n"
		      "\tlocal word what\n"
		      "\twhile IFS=$'\\t' read -r word what; do\n"
		      "\t\tif [[ $word == *= ]]; then flags+=(\"$word:$what\"); else plain+=(\"${word//:/\\\\:}:$what\"); fi\n"
		      "\tdone < <(%s __complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
		      "\t[[ $PREFIX == -*=* ]] && compset -P '*='\n"
		      "\t_describe -t words %s plain\n"
		      "\t_describe -t flags %s flags -S ''\n"
		      "}\n"
		      "if [[ ${funcstack[1]} == _%s ]]; then _%s \"$@\"; else compdef _%s %s; fi\n",
		      c->prog, c->prog, c->prog, c->prog, c->prog, c->prog, c->prog, c->prog, c->prog, c->prog);
	return EXIT_OK;
}

static int run_fish(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)f;
	(void)args;
	if (n_args > 0)
		return out_error(c, "too many non-flag arguments");
	(void)fprintf(c->out,
		      "# fish completion of %s\n"
		      "function __%s_words\n"
		      "\tset -l words (commandline -opc)\n"
		      "\tset -l cur (commandline -ct)\n"
		      "\tset -l lead (string match -r -- '^-.*=' \"$cur\")\n"
		      "\tfor word in (%s __complete -- $words[2..-1] \"$cur\" 2>/dev/null)\n"
		      "\t\techo -- \"$lead$word\"\n"
		      "\tend\n"
		      "end\n"
		      "complete -c %s -f -a '(__%s_words)'\n",
		      c->prog, c->prog, c->prog, c->prog, c->prog);
	return EXIT_OK;
}

static const struct cmd completion_subs[] = {
	{ .name = "bash", .usage = "completion bash", .short_help = "Generate bash shell completion", .run = run_bash },
	{ .name = "zsh", .usage = "completion zsh", .short_help = "Generate zsh shell completion", .run = run_zsh },
	{ .name = "fish", .usage = "completion fish", .short_help = "Generate fish shell completion", .run = run_fish },
};

const struct cmd cmd_completion = {
	.name = "completion",
	.usage = "completion <shell>",
	.short_help = "Shell tab-completion scripts",
	.long_help = "The script goes to standard output: \"eval\" it or put it where the shell looks for completions.",
	CMD_SUBS(completion_subs),
};
