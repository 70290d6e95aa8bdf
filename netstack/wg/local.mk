# Sources and unit tests of netstack/wg.
libnetstack_a_SOURCES += \
	netstack/wg/aead.h \
	netstack/wg/aead_openssl.c \
	netstack/wg/aead_sodium.c \
	netstack/wg/cookie.c netstack/wg/cookie.h \
	netstack/wg/crypto.h \
	netstack/wg/device.c netstack/wg/device.h \
	netstack/wg/hasten.c netstack/wg/hasten.h \
	netstack/wg/index.c netstack/wg/index.h \
	netstack/wg/keypair.c netstack/wg/keypair.h \
	netstack/wg/noise.c netstack/wg/noise.h \
	netstack/wg/ratelimit.c netstack/wg/ratelimit.h \
	netstack/wg/replay.c netstack/wg/replay.h \
	netstack/wg/routes.c netstack/wg/routes.h \
	netstack/wg/session.c netstack/wg/session.h
if IPSEC_MB
libnetstack_a_SOURCES += netstack/wg/aead_ipsecmb.c
endif

check_PROGRAMS += \
	tests/unit/test_aead \
	tests/unit/test_cookie \
	tests/unit/test_device \
	tests/unit/test_hasten \
	tests/unit/test_index \
	tests/unit/test_keypair \
	tests/unit/test_noise \
	tests/unit/test_ratelimit \
	tests/unit/test_replay \
	tests/unit/test_routes
tests_unit_test_aead_SOURCES = tests/unit/test_aead.c tests/unit/wgtest.c tests/unit/wgtest.h
tests_unit_test_keypair_SOURCES = tests/unit/test_keypair.c tests/unit/wgtest.c tests/unit/wgtest.h
tests_unit_test_device_SOURCES = tests/unit/test_device.c tests/unit/wgworld.c tests/unit/wgworld.h
tests_unit_test_hasten_SOURCES = tests/unit/test_hasten.c tests/unit/wgworld.c tests/unit/wgworld.h
