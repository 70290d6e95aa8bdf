# The virtual world: whole nodes in virtual time.
check_LIBRARIES += tests/sim/libsim.a
tests_sim_libsim_a_SOURCES = \
	tests/sim/light.c tests/sim/light.h \
	tests/sim/net.c tests/sim/net.h \
	tests/sim/stock.c tests/sim/stock.h \
	tests/sim/topo.c tests/sim/topo.h \
	tests/sim/wcoord.c tests/sim/wcoord.h \
	tests/sim/wdp.c tests/sim/wdp.h \
	tests/sim/whole.c tests/sim/whole.h \
	tests/sim/world.c tests/sim/world.h

SIM_LDADD = tests/sim/libsim.a $(LDADD)

check_PROGRAMS += \
	tests/sim/sim_failover \
	tests/sim/sim_first \
	tests/sim/sim_ladder \
	tests/sim/sim_limits \
	tests/sim/sim_mesh \
	tests/sim/sim_meshsoak \
	tests/sim/sim_nomem \
	tests/sim/sim_roaming \
	tests/sim/sim_soak \
	tests/sim/sim_stock
tests_sim_sim_failover_LDADD = $(SIM_LDADD)
tests_sim_sim_first_LDADD = $(SIM_LDADD)
tests_sim_sim_ladder_LDADD = $(SIM_LDADD)
tests_sim_sim_limits_LDADD = $(SIM_LDADD)
tests_sim_sim_mesh_LDADD = $(SIM_LDADD)
tests_sim_sim_meshsoak_LDADD = $(SIM_LDADD)
tests_sim_sim_nomem_LDADD = $(SIM_LDADD)
# Memory that runs out where the test says so.
tests_sim_sim_nomem_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=eq_new -Wl,--wrap=eq_push
tests_sim_sim_roaming_LDADD = $(SIM_LDADD)
tests_sim_sim_soak_LDADD = $(SIM_LDADD)
tests_sim_sim_stock_LDADD = $(SIM_LDADD)
