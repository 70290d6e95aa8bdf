# Sources and unit tests of netstack/coord.
libnetstack_a_SOURCES += \
	netstack/coord/admin.h \
	netstack/coord/ctlserver.h \
	netstack/coord/ipset.c netstack/coord/ipset.h \
	netstack/coord/mapbuild.h \
	netstack/coord/policyfile.h \
	netstack/coord/policyint.h \
	netstack/coord/policyparse.c netstack/coord/policyparse.h \
	netstack/coord/policyrule.h \
	netstack/coord/policyrules.c \
	netstack/coord/policyset.c \
	netstack/coord/policyssh.c \
	netstack/coord/policytest.c \
	netstack/coord/policyview.c \
	netstack/coord/registry.h

check_PROGRAMS += \
	tests/unit/test_policyfile
