# Sources and unit tests of netstack/policy.
libnetstack_a_SOURCES += \
	netstack/policy/filter.h
