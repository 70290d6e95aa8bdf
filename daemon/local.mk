# Everything that touches the system. libdaemon.a is linked by meshd and by the tests of daemon/.
noinst_LIBRARIES += libdaemon.a
libdaemon_a_SOURCES = \
	daemon/counters.c daemon/counters.h \
	daemon/aeadpick.c daemon/aeadpick.h \
	daemon/crew.c daemon/crew.h \
	daemon/filepages.c daemon/filepages.h \
	daemon/dp.c daemon/dp_poll.c daemon/dp_relay.c daemon/dp.h daemon/dpstate.h \
	daemon/forward.c \
	daemon/loop.c daemon/loop.h \
	daemon/nft.c daemon/nft.h \
	daemon/ring.c daemon/ring.h \
	daemon/rtnl.c daemon/rtnl_apply.c daemon/rtnl.h daemon/rtnlstate.h \
	daemon/slots.c daemon/slots.h \
	daemon/snapshot.c daemon/snapshot.h \
	daemon/tun.c daemon/tun.h \
	daemon/usock.c daemon/usock.h \
	daemon/worker.c daemon/worker_in.c daemon/worker_out.c

# The local API, state and settings.
libdaemon_a_SOURCES += \
	daemon/api.c daemon/api.h daemon/api_core.c daemon/api_meshd.c daemon/api_net.c \
	daemon/api_stock.c \
	daemon/conf.c daemon/conf.h daemon/conf_file.c daemon/confpriv.h \
	daemon/importstate.c daemon/importstate.h \
	daemon/metrics.c daemon/metrics.h \
	daemon/metricsd.c daemon/metricsd.h \
	daemon/persist.c daemon/persist.h \
	daemon/store.c daemon/store.h daemon/storedb.c daemon/storedb.h \
	daemon/unixlisten.c daemon/unixlisten.h \
	daemon/wholefile.c daemon/wholefile.h
check_PROGRAMS += tests/unit/test_conf tests/unit/test_importstate tests/unit/test_metrics tests/unit/test_store
tests_unit_test_importstate_LDADD = libdaemon.a $(LDADD) $(SQLITE_LIBS)
tests_unit_test_conf_LDADD = libdaemon.a $(LDADD)
tests_unit_test_metrics_LDADD = libdaemon.a $(LDADD) -lm
tests_unit_test_store_LDADD = libdaemon.a $(LDADD) $(SQLITE_LIBS)
check_LIBRARIES += tests/libslowdisk.a
tests_libslowdisk_a_SOURCES = tests/unit/slowdisk.c tests/unit/slowdisk.h
check_PROGRAMS += tests/unit/test_persist
tests_unit_test_persist_LDADD = tests/libslowdisk.a libdaemon.a $(LDADD) $(SQLITE_LIBS)
# Memory that runs out when the test says so.
tests_unit_test_persist_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=calloc
check_LIBRARIES += tests/libapifake.a
tests_libapifake_a_SOURCES = tests/unit/apifake.c tests/unit/apifake.h
check_PROGRAMS += tests/unit/test_api
tests_unit_test_api_LDADD = tests/libapifake.a libdaemon.a $(LDADD) -lm

libdaemon_a_SOURCES += \
	daemon/cert.c daemon/cert.h daemon/cert_ssl.h \
	daemon/httpd.c daemon/httpd.h \
	daemon/resolve.c daemon/resolve.h \
	daemon/stund.c daemon/stund.h \
	daemon/tlsconn.c daemon/tlsconn.h

# Tests of daemon/ link libdaemon.a before the pure library.
check_PROGRAMS += tests/unit/test_loop
tests_unit_test_loop_LDADD = libdaemon.a $(LDADD)
check_PROGRAMS += tests/unit/test_ring
tests_unit_test_ring_LDADD = libdaemon.a $(LDADD)
check_PROGRAMS += tests/unit/test_snapshot
tests_unit_test_snapshot_LDADD = libdaemon.a $(LDADD) $(URCU_LIBS)
check_PROGRAMS += tests/unit/test_streams
tests_unit_test_streams_LDADD = libdaemon.a $(LDADD) $(CURL_LIBS) $(SSL_LIBS)

# The coordinator's database and administration.
libdaemon_a_SOURCES += \
	daemon/api_coord.c daemon/api_coord.h \
	daemon/coordconf.c daemon/coordconf.h \
	daemon/coordrole.c daemon/coordrole.h \
	daemon/coordsave.c daemon/coordsave.h \
	daemon/coordstore.c daemon/coordstore.h \
	daemon/coordurl.c daemon/coordurl.h
libdaemon_a_SOURCES += daemon/hostnet.c daemon/hostnet.h
check_PROGRAMS += tests/unit/test_coordstore
tests_unit_test_coordstore_LDADD = libdaemon.a $(LDADD) $(SQLITE_LIBS)
check_PROGRAMS += tests/unit/test_coordrole
tests_unit_test_coordrole_LDADD = tests/libslowdisk.a libdaemon.a $(LDADD) $(SQLITE_LIBS) $(SSL_LIBS) $(CURL_LIBS)
check_PROGRAMS += tests/unit/test_nft
tests_unit_test_nft_LDADD = libdaemon.a $(LDADD)
check_PROGRAMS += tests/unit/test_filepages
tests_unit_test_filepages_LDADD = libdaemon.a $(LDADD)
check_PROGRAMS += tests/unit/test_hostnet
tests_unit_test_hostnet_LDADD = libdaemon.a $(LDADD)
check_PROGRAMS += tests/unit/test_rtnl
tests_unit_test_rtnl_LDADD = libdaemon.a $(LDADD) $(MNL_LIBS)
check_PROGRAMS += tests/unit/test_rtnldump
tests_unit_test_rtnldump_LDADD = libdaemon.a $(LDADD) $(MNL_LIBS)
check_PROGRAMS += tests/unit/test_slots
tests_unit_test_slots_LDADD = libdaemon.a $(LDADD) $(URCU_LIBS)
check_PROGRAMS += tests/unit/test_usock
tests_unit_test_usock_LDADD = libdaemon.a $(LDADD)
check_PROGRAMS += tests/unit/test_crew
tests_unit_test_crew_LDADD = libdaemon.a $(LDADD)
check_PROGRAMS += tests/unit/test_aeadpick
tests_unit_test_aeadpick_LDADD = libdaemon.a $(LDADD)

sbin_PROGRAMS += meshd
meshd_SOURCES = \
	daemon/main.c \
	daemon/meshd.c daemon/meshd.h \
	daemon/act.c \
	daemon/backend.c daemon/backend_relay.c daemon/bus.c \
	daemon/events.c \
	daemon/figures.c \
	daemon/portmap.c daemon/portmap.h
meshd_CFLAGS = $(AM_CFLAGS) $(MNL_CFLAGS) $(CURL_CFLAGS) $(SQLITE_CFLAGS) $(SSL_CFLAGS) $(URCU_CFLAGS) $(MINIUPNPC_CFLAGS)
meshd_LDADD = libdaemon.a libnetstack.a $(NETSTACK_LIBS) $(MNL_LIBS) $(CURL_LIBS) $(SQLITE_LIBS) \
	$(SSL_LIBS) $(URCU_LIBS) $(MINIUPNPC_LIBS) $(NATPMP_LIBS) -lm
