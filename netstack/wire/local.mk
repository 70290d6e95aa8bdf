# Sources and unit tests of netstack/wire.
libnetstack_a_SOURCES += \
	netstack/wire/mapdata.h \
	netstack/wire/pathaddr.c netstack/wire/pathaddr.h \
	netstack/wire/peerid.h

# The control connection's codecs.
libnetstack_a_SOURCES += \
	netstack/wire/ctlframe.h \
	netstack/wire/ctljson.h \
	netstack/wire/http1.h \
	netstack/wire/json.h \
	netstack/wire/rfc3339.h \
	netstack/wire/zstdframe.h
