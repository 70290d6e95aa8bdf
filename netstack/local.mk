# The engine and what stands beside it: everything above the machines, still without I/O.
libnetstack_a_SOURCES += \
	netstack/coordconn.c netstack/coordconn.h \
	netstack/coordint.h \
	netstack/coordinator.c netstack/coordinator.h \
	netstack/coordsettings.c

check_PROGRAMS += tests/unit/test_coordinator
