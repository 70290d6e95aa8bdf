# Namespace tests: they need root and namespaces, so they stand outside make check.
NETNS_TESTS = \
	tests/netns/nat_recipes.py
EXTRA_DIST += $(NETNS_TESTS) \
	tests/netns/flow.py tests/netns/lab.py tests/netns/nat.py tests/netns/node.py tests/netns/run.py

check-netns: all
	@top_builddir='$(abs_top_builddir)' $(PYTHON3) $(srcdir)/tests/netns/run.py \
		$(addprefix $(srcdir)/,$(NETNS_TESTS))
.PHONY: check-netns
