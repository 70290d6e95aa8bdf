EXTRA_DIST += cli/client.h cli/cmd.h cli/flags.h cli/out.h
