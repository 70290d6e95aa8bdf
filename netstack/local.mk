# The engine and what stands beside it: everything above the machines, still without I/O.
libnetstack_a_SOURCES += \
	netstack/coordconn.c netstack/coordconn.h \
	netstack/coordint.h \
	netstack/coordinator.c netstack/coordinator.h \
	netstack/coordsettings.c

check_PROGRAMS += tests/unit/test_coordinator

libnetstack_a_SOURCES += \
	netstack/engine.c netstack/engine.h netstack/engine_int.h \
	netstack/engine_debug.c \
	netstack/engine_derp.c \
	netstack/engine_disco.c \
	netstack/engine_info.c \
	netstack/engine_map.c \
	netstack/engine_net.c \
	netstack/engine_peer.c \
	netstack/engine_queue.c \
	netstack/engine_portmap.c \
	netstack/engine_relay.c \
	netstack/engine_status.c netstack/engine_warm.c
