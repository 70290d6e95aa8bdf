# Sources and unit tests of netstack/policy.
libnetstack_a_SOURCES += \
	netstack/policy/filter.c netstack/policy/filter.h \
	netstack/policy/flow.c \
	netstack/policy/hostroutes.c netstack/policy/hostroutes.h

check_PROGRAMS += \
	tests/unit/test_filter \
	tests/unit/test_hostroutes
tests_unit_test_filter_SOURCES = \
	tests/unit/filterref.c tests/unit/filterref.h \
	tests/unit/test_filter.c
