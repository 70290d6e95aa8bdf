# Sources and unit tests of netstack/coord.
libnetstack_a_SOURCES += \
	netstack/coord/admin.c netstack/coord/admin.h \
	netstack/coord/ctlint.h \
	netstack/coord/ctlpolicy.c \
	netstack/coord/ctlserver.c netstack/coord/ctlserver.h \
	netstack/coord/ctlstream.c \
	netstack/coord/ipset.c netstack/coord/ipset.h \
	netstack/coord/mapbuild.h \
	netstack/coord/mapstream.c \
	netstack/coord/mapview.c netstack/coord/mapview.h \
	netstack/coord/policyfile.h \
	netstack/coord/policyint.h \
	netstack/coord/policyparse.c netstack/coord/policyparse.h \
	netstack/coord/policyrule.h \
	netstack/coord/policyrules.c \
	netstack/coord/policyset.c \
	netstack/coord/policyssh.c \
	netstack/coord/policytest.c \
	netstack/coord/policyview.c \
	netstack/coord/regjoin.c \
	netstack/coord/regname.c \
	netstack/coord/registry.c netstack/coord/registry.h netstack/coord/registryint.h \
	netstack/coord/regrows.c

check_PROGRAMS += \
	tests/unit/test_ctlserver \
	tests/unit/test_policies \
	tests/unit/test_policyfile \
	tests/unit/test_registry

# A control server without transport and its clients, for tests.
check_LIBRARIES += tests/libcoordtest.a
tests_libcoordtest_a_SOURCES = \
	tests/unit/coordtest.c tests/unit/coordtest.h
tests_unit_test_ctlserver_LDADD = tests/libcoordtest.a $(LDADD)
