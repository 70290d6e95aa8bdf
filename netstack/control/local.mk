# Sources and unit tests of netstack/control.
libnetstack_a_SOURCES += \
	netstack/control/ctlclient.c netstack/control/ctlclient_dial.c netstack/control/ctlclient_login.c \
	netstack/control/ctlclient_map.c netstack/control/ctlclient_ping.c netstack/control/ctlclient_url.c \
	netstack/control/ctlclient.h netstack/control/ctlclient_int.h \
	netstack/control/ctlnoise.c netstack/control/ctlnoise.h \
	netstack/control/h2.c netstack/control/h2.h \
	netstack/control/mapnews.c netstack/control/mapnews.h \
	netstack/control/netmap.c netstack/control/netmap_apply.c netstack/control/netmap.h \
	netstack/control/netmap_priv.h

check_PROGRAMS += \
	tests/unit/test_ctlclient \
	tests/unit/test_ctlnoise \
	tests/unit/test_h2 \
	tests/unit/test_mapnews \
	tests/unit/test_netmap \
	tests/unit/test_nomem

tests_unit_test_nomem_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc \
	-Wl,--wrap=free

tests_unit_test_ctlclient_SOURCES = \
	tests/unit/ctlworld.c tests/unit/ctlworld.h \
	tests/unit/test_ctlclient.c
