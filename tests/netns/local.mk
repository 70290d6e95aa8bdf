# Namespace tests: they need root and namespaces, so they stand outside make check. fresh.py installs packages on
# two machines and is a step of its own in contrib/check.
NETNS_TESTS = \
	tests/netns/ladder.py \
	tests/netns/upgrade.py \
	tests/netns/relay_share.py \
	tests/netns/portmap.py \
	tests/netns/grants.py \
	tests/netns/coordinator.py \
	tests/netns/login.py \
	tests/netns/nat11.py \
	tests/netns/nat_matrix.py \
	tests/netns/roam.py \
	tests/netns/reboot.py \
	tests/netns/badinput.py \
	tests/netns/killed.py \
	tests/netns/rows.py \
	tests/netns/memory.py \
	tests/netns/nat_recipes.py \
	tests/netns/dp_host.py \
	tests/netns/dp_relay.py \
	tests/netns/dp_tunnel.py \
	tests/netns/fallbacks.py \
	tests/netns/backends.py \
	tests/netns/wg_interop.py
EXTRA_DIST += $(NETNS_TESTS) \
	tests/netns/data.py tests/netns/dp.py tests/netns/flow.py tests/netns/fresh.py tests/netns/gateway.py tests/netns/lab.py tests/netns/machine.py tests/netns/nat.py tests/netns/node.py tests/netns/run.py

# One end of a tunnel with static keys, for dp_*.py.
EXTRA_PROGRAMS = tests/netns/dptest tests/netns/shim tests/netns/wgpeer
CLEANFILES += $(EXTRA_PROGRAMS)
tests_netns_dptest_LDADD = libdaemon.a libnetstack.a $(NETSTACK_LIBS) $(URCU_LIBS) $(MNL_LIBS)
# A bad line, for fallbacks.py and backends.py.
tests_netns_shim_LDADD = libdaemon.a libnetstack.a $(NETSTACK_LIBS)
# Our WireGuard alone, for wg_interop.py.
tests_netns_wgpeer_SOURCES = tests/netns/wgpeer.c tests/unit/wgtest.c tests/unit/wgtest.h

# The programs after "all", which is a make of its own: both at once would write the same archives.
check-netns: all
	@$(MAKE) $(AM_MAKEFLAGS) $(EXTRA_PROGRAMS)
	@top_builddir='$(abs_top_builddir)' $(PYTHON3) $(srcdir)/tests/netns/run.py \
		$(addprefix $(srcdir)/,$(NETNS_TESTS))
.PHONY: check-netns
