# Sources and unit tests of netstack/wg.
libnetstack_a_SOURCES += \
	netstack/wg/aead.h \
	netstack/wg/cookie.h \
	netstack/wg/crypto.h \
	netstack/wg/device.h \
	netstack/wg/index.h \
	netstack/wg/keypair.h \
	netstack/wg/noise.h \
	netstack/wg/ratelimit.h \
	netstack/wg/replay.h \
	netstack/wg/routes.h \
	netstack/wg/session.h
