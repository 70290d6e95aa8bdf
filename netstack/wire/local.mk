# Sources and unit tests of netstack/wire.
libnetstack_a_SOURCES += \
	netstack/wire/mapdata.h \
	netstack/wire/pathaddr.c netstack/wire/pathaddr.h \
	netstack/wire/peerid.h
