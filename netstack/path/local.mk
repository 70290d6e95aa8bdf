# Sources and unit tests of netstack/path.
libnetstack_a_SOURCES += \
	netstack/path/netcheck.h

libnetstack_a_SOURCES += \
	netstack/path/ladder.c netstack/path/ladder.h netstack/path/ladderint.h \
	netstack/path/ladderwatch.c \
	netstack/path/metric.c netstack/path/metric.h \
	netstack/path/pathself.c netstack/path/pathself.h \
	netstack/path/prober.c netstack/path/prober.h

check_PROGRAMS += \
	tests/unit/test_ladder \
	tests/unit/test_metric
