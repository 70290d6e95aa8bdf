check_LIBRARIES += tests/libtest.a
tests_libtest_a_SOURCES = \
	tests/unit/testing.c tests/unit/testing.h

dist_check_SCRIPTS += \
	tests/check-insn \
	tests/check-layers \
	tests/check-listed \
	tests/check-pure \
	tests/check-size
EXTRA_DIST += tests/vectors tests/pure.allow tests/size.allow tests/codespell.ignore

# Pieces of the packet path on fixed input, counted by check-insn.
check_PROGRAMS += tests/bench/insn
tests_bench_insn_LDADD = libdaemon.a $(LDADD) $(URCU_LIBS)
EXTRA_DIST += tests/insn.baseline

# What a large map costs.
check_PROGRAMS += tests/bench/netmap
tests_bench_netmap_LDADD = libdaemon.a $(LDADD) $(URCU_LIBS) -lm
