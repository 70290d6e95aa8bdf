# meshctl: everything but main() is a library, which the fuzz target links too.
noinst_LIBRARIES += libcli.a
libcli_a_SOURCES = \
	cli/authkey.c cli/authkey.h \
	cli/client.c cli/client.h \
	cli/cmd.h \
	cli/cmd_completion.c \
	cli/cmd_coordinator.c cli/coordinator.h \
	cli/cmd_coordnodes.c \
	cli/cmd_debug.c \
	cli/cmd_down.c \
	cli/cmd_exit_node.c \
	cli/cmd_ip.c \
	cli/cmd_metrics.c \
	cli/cmd_netcheck.c \
	cli/cmd_other.c cli/other.h \
	cli/cmd_path.c \
	cli/cmd_ping.c \
	cli/cmd_relay.c cli/relay.h \
	cli/cmd_set.c \
	cli/cmd_status.c \
	cli/cmd_up.c \
	cli/cmd_version.c \
	cli/cmd_wait.c \
	cli/cmd_whois.c \
	cli/flags.c cli/flags.h \
	cli/out.c cli/out.h \
	cli/peers.c cli/peers.h \
	cli/risk.c cli/risk.h \
	cli/root.c \
	cli/settings.c cli/settings.h

bin_PROGRAMS += meshctl
meshctl_SOURCES = cli/main.c
meshctl_LDADD = libcli.a libnetstack.a $(NETSTACK_LIBS) -lm

# Bytes on stdout and stderr against a fake daemon.
dist_check_SCRIPTS += tests/cli/golden.py
check_PROGRAMS += tests/unit/test_cli
tests_unit_test_cli_LDADD = libcli.a $(LDADD) -lm
