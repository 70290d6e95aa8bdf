libnetstack_a_SOURCES += \
	netstack/base/bucket.h \
	netstack/base/addr.h \
	netstack/base/bytes.c netstack/base/bytes.h \
	netstack/base/compiler.h \
	netstack/base/env.h \
	netstack/base/ep.c netstack/base/ep.h \
	netstack/base/group.c netstack/base/group.h \
	netstack/base/heap.c netstack/base/heap.h \
	netstack/base/hkdf.c netstack/base/hkdf.h \
	netstack/base/key.c netstack/base/key.h \
	netstack/base/log.c netstack/base/log.h \
	netstack/base/map.c netstack/base/map.h \
	netstack/base/mono.h \
	netstack/base/near.c netstack/base/near.h

check_PROGRAMS += \
	tests/unit/test_base \
	tests/unit/test_group
