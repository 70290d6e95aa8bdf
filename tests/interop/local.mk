# Tests against real nodes, servers and tools; see README in this folder. They need root, namespaces and Go.
INTEROP_TESTS = \
	tests/interop/cli_stock.py \
	tests/interop/control.py \
	tests/interop/mixes.py \
	tests/interop/derp.py \
	tests/interop/edges.py \
	tests/interop/members.py \
	tests/interop/moving.py \
	tests/interop/oddities.py \
	tests/interop/silence.py \
	tests/interop/soak.py \
	tests/interop/tsmp.py
# How many run at a time, and the seconds each may take: they mostly wait.
INTEROP_JOBS = 3
INTEROP_LIMIT = 1800
EXTRA_DIST += $(INTEROP_TESTS) tests/interop/README tests/interop/cli_stock.golden \
	tests/interop/real.py tests/interop/stock.py

check-interop: all
	@top_builddir='$(abs_top_builddir)' $(PYTHON3) -B $(srcdir)/tests/netns/run.py --jobs $(INTEROP_JOBS) \
		--limit $(INTEROP_LIMIT) $(addprefix $(srcdir)/,$(INTEROP_TESTS))
.PHONY: check-interop

# By file: the build directory has a program of the folder's name, which make dist would take instead.
EXTRA_DIST += \
	tests/interop/peer/cli.go tests/interop/peer/control.go tests/interop/peer/controllines.go \
	tests/interop/peer/derp.go tests/interop/peer/derpclient.go tests/interop/peer/go.mod \
	tests/interop/peer/go.sum tests/interop/peer/main.go tests/interop/peer/node.go tests/interop/peer/probe.go tests/interop/peer/relay.go
