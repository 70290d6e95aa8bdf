/* SPDX-License-Identifier: MIT */
/* Commands of the stock program that this build does not have. */
#ifndef CLI_OTHER_H
#define CLI_OTHER_H

#include "cli/cmd.h"

/* Answers for a command that is known but absent and returns its exit code; -1 if 'name' is no such one. */
int other_run(struct cli *c, const char *name);

#endif
