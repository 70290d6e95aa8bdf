# Benchmarks: contrib/bench runs them; their programs are built when it asks for them (make bench-programs).
bench_list = tests/bench/aead tests/bench/handshake tests/bench/relayfloor tests/bench/relayload \
	tests/bench/udpio tests/bench/udpload
EXTRA_PROGRAMS += $(bench_list)
tests_bench_aead_LDADD = libdaemon.a libnetstack.a $(NETSTACK_LIBS)
tests_bench_handshake_LDADD = libnetstack.a $(NETSTACK_LIBS)
tests_bench_relayfloor_LDADD = libnetstack.a $(NETSTACK_LIBS)
tests_bench_relayload_LDADD = libnetstack.a $(NETSTACK_LIBS)
tests_bench_udpio_LDADD =
tests_bench_udpload_LDADD =

# One after the other, as "all" is a make of its own: both at once would write the same archives.
bench-programs: all
	$(MAKE) $(AM_MAKEFLAGS) $(bench_list) tests/bench/insn tests/bench/netmap tests/netns/dptest
.PHONY: bench-programs

dist_check_SCRIPTS += tests/bench/check-bench
EXTRA_DIST += tests/bench/README tests/bench/RESULTS.md tests/bench/plots tests/bench/benchmarks tests/bench/samples tests/bench/wgpeer \
	tests/bench/context.py tests/bench/goals.py tests/bench/main.py tests/bench/pairs.py tests/bench/peers.py \
	tests/bench/plot.py tests/bench/proc.py tests/bench/record.py tests/bench/results.py tests/bench/seed.py \
	tests/bench/traffic.py
