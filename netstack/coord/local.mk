# Sources and unit tests of netstack/coord.
libnetstack_a_SOURCES += \
	netstack/coord/admin.h \
	netstack/coord/ctlserver.h \
	netstack/coord/mapbuild.h \
	netstack/coord/policyfile.h \
	netstack/coord/registry.h
