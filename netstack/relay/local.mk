# Sources and unit tests of netstack/relay.
libnetstack_a_SOURCES += \
	netstack/relay/derpclient.c netstack/relay/derpclient.h \
	netstack/relay/derplink.c netstack/relay/derplink.h \
	netstack/relay/derpserver.c netstack/relay/derpserver.h \
	netstack/relay/frameq.c netstack/relay/frameq.h \
	netstack/relay/relaybind.c netstack/relay/relaybind.h \
	netstack/relay/relayfair.c netstack/relay/relayfair.h \
	netstack/relay/relaypace.c netstack/relay/relaypace.h \
	netstack/relay/relayqueue.c netstack/relay/relayqueue.h \
	netstack/relay/relayserver.c netstack/relay/relayserver.h \
	netstack/relay/stunserver.c netstack/relay/stunserver.h

# The client side of the peer relay.
libnetstack_a_SOURCES += \
	netstack/relay/relayclient.c netstack/relay/relayclient.h

check_PROGRAMS += tests/unit/test_relayclient

check_PROGRAMS += \
	tests/unit/test_relaypace tests/unit/test_relayqueue tests/unit/test_relayserver
check_PROGRAMS += \
	tests/unit/test_derp
