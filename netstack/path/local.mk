# Sources and unit tests of netstack/path.
libnetstack_a_SOURCES += \
	netstack/path/netcheck.c netstack/path/netcheck.h netstack/path/netcheck_int.h \
	netstack/path/netcheckreport.c

libnetstack_a_SOURCES += \
	netstack/path/discogate.c netstack/path/discogate.h \
	netstack/path/ladder.c netstack/path/ladder.h netstack/path/ladderint.h \
	netstack/path/ladderwatch.c \
	netstack/path/metric.c netstack/path/metric.h \
	netstack/path/pathself.c netstack/path/pathself.h \
	netstack/path/portmapper.c netstack/path/portmapper.h \
	netstack/path/prober.c netstack/path/prober.h

check_PROGRAMS += \
	tests/unit/test_discogate \
	tests/unit/test_ladder \
	tests/unit/test_metric \
	tests/unit/test_portmapper

check_PROGRAMS += \
	tests/unit/test_netcheck
