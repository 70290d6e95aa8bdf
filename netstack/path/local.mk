# Sources and unit tests of netstack/path.
libnetstack_a_SOURCES += \
	netstack/path/netcheck.h
