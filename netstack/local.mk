# The engine and what stands beside it: everything above the machines, still without I/O.
libnetstack_a_SOURCES += \
	netstack/coordconn.h \
	netstack/coordinator.h
