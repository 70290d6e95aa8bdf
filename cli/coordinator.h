/* SPDX-License-Identifier: MIT */
/* What the files of the coordinator command share: requests to the daemon's coordinator API and reading its JSON. */
#ifndef CLI_COORDINATOR_H
#define CLI_COORDINATOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "cli/client.h"
#include "cli/cmd.h"
#include "wire/apijson.h"

/* One request to /localapi/v0/meshd/coordinator/'verb' and its answer, which is all that most commands are: laid out
 * with --json, else told by 'print' (null: success says nothing). 'body' is an open object, which is closed and
 * wiped here, and posted; null: a GET. Returns an exit code, after printing what is wrong. */
MESH_MUST_USE int coordinator_run(struct cli *c, const struct flags *f, const char *verb, struct json_w *body,
				  void (*print)(struct cli *c, const cJSON *v));
/* EXIT_OK when there are no positional arguments; else an exit code after printing. */
MESH_MUST_USE int coordinator_no_args(struct cli *c, int n_args, char *const *args);
/* The answer as a tree (cJSON_Delete it), or null after printing. */
cJSON *coordinator_tree(struct cli *c, const struct client_reply *r);
/* Prints the answer as it is, laid out. Returns an exit code. */
MESH_MUST_USE int coordinator_json(struct cli *c, const struct client_reply *r);
/* Members: "" or 0 when absent or of another type. */
const char *coordinator_str(const cJSON *v, const char *key);
int64_t coordinator_int(const cJSON *v, const char *key);
/* A list of texts as "a,b", or "-". Returns 'buf'. */
char *coordinator_list(char *buf, size_t size, const cJSON *v, const char *key);
/* Writes a comma-separated flag as a list; 'prefix' is put before words that lack it. */
void coordinator_words(struct json_w *w, const char *key, const char *text, const char *prefix);
/* A positive number. Returns EXIT_OK, or an exit code after printing. */
MESH_MUST_USE int coordinator_number(struct cli *c, const char *what, const char *text, int64_t *out);

/* cmd_coordnodes.c */
int coordinator_nodes_list(struct cli *c, const struct flags *f, int n_args, char *const *args);
extern const struct cmd coordinator_nodes_subs[7];
extern const struct cmd coordinator_derp_subs[3];

#endif
