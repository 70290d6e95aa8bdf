# Sources and unit tests of netstack/path.
libnetstack_a_SOURCES += \
	netstack/path/netcheck.h

libnetstack_a_SOURCES += \
	netstack/path/ladder.h \
	netstack/path/pathself.h \
	netstack/path/prober.h
