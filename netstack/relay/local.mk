# Sources and unit tests of netstack/relay.
libnetstack_a_SOURCES += \
	netstack/relay/derpclient.h \
	netstack/relay/derpserver.h \
	netstack/relay/frameq.h \
	netstack/relay/relayserver.h \
	netstack/relay/stunserver.h

# The client side of the peer relay.
libnetstack_a_SOURCES += \
	netstack/relay/relayclient.h
