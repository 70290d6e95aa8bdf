# Fuzz targets: add "tests/fuzz/fuzz_x" to check_PROGRAMS here. Without --enable-fuzzing each replays its
# corpus tests/fuzz/corpus/x/ (tests/fuzz/replay.c) in make check; with it, libFuzzer supplies main().
EXTRA_DIST += tests/fuzz/corpus
if FUZZING
FUZZ_MAIN = $(FUZZ_ENGINE)
else
FUZZ_MAIN = tests/fuzz/libreplay.a
check_LIBRARIES += tests/fuzz/libreplay.a
tests_fuzz_libreplay_a_SOURCES = tests/fuzz/replay.c
endif

check_PROGRAMS += tests/fuzz/fuzz_classify
check_PROGRAMS += tests/fuzz/fuzz_derp_client
check_PROGRAMS += tests/fuzz/fuzz_derp_frame
check_PROGRAMS += tests/fuzz/fuzz_derp_server
check_PROGRAMS += tests/fuzz/fuzz_disco
check_PROGRAMS += tests/fuzz/fuzz_http1
check_PROGRAMS += tests/fuzz/fuzz_json
check_PROGRAMS += tests/fuzz/fuzz_pcp
check_PROGRAMS += tests/fuzz/fuzz_portmapper
check_PROGRAMS += tests/fuzz/fuzz_relay_srv
check_PROGRAMS += tests/fuzz/fuzz_stun
check_PROGRAMS += tests/fuzz/fuzz_tsmp
check_PROGRAMS += tests/fuzz/fuzz_tso_gro

# The control connection.
check_PROGRAMS += \
	tests/fuzz/fuzz_ctlbody \
	tests/fuzz/fuzz_ctlnoise \
	tests/fuzz/fuzz_h2 \
	tests/fuzz/fuzz_http1 \
	tests/fuzz/fuzz_json \
	tests/fuzz/fuzz_map_response \
	tests/fuzz/fuzz_texts \
	tests/fuzz/fuzz_zstdframe

# Machines under random sequences of events.
check_PROGRAMS += \
	tests/fuzz/fuzz_ladder \
	tests/fuzz/fuzz_relayclient

# WireGuard, inner packets and the filter.
check_PROGRAMS += \
	tests/fuzz/fuzz_filter_match \
	tests/fuzz/fuzz_inner_ip \
	tests/fuzz/fuzz_wg_initiation \
	tests/fuzz/fuzz_wg_response \
	tests/fuzz/fuzz_wg_timers \
	tests/fuzz/fuzz_wg_transport
tests_fuzz_fuzz_filter_match_SOURCES = tests/fuzz/fuzz_filter_match.c tests/unit/filterref.c
tests_fuzz_fuzz_wg_initiation_SOURCES = tests/fuzz/fuzz_wg_initiation.c tests/fuzz/wgfuzz.c tests/fuzz/wgfuzz.h
tests_fuzz_fuzz_wg_response_SOURCES = tests/fuzz/fuzz_wg_response.c tests/fuzz/wgfuzz.c tests/fuzz/wgfuzz.h
tests_fuzz_fuzz_wg_timers_SOURCES = tests/fuzz/fuzz_wg_timers.c tests/unit/wgworld.c tests/unit/wgworld.h

# The local API, its bodies, meshctl's command line and meshd's configuration.
check_PROGRAMS += tests/fuzz/fuzz_local_api tests/fuzz/fuzz_api_prefs tests/fuzz/fuzz_api_answers \
	tests/fuzz/fuzz_conf_file tests/fuzz/fuzz_cli_args tests/fuzz/fuzz_tsstate
tests_fuzz_fuzz_local_api_LDADD = tests/libapifake.a libdaemon.a $(LDADD) -lm
tests_fuzz_fuzz_conf_file_LDADD = libdaemon.a $(LDADD)
tests_fuzz_fuzz_cli_args_LDADD = libcli.a $(LDADD) -lm
# The coordinator.
check_PROGRAMS += \
	tests/fuzz/fuzz_coord_sm \
	tests/fuzz/fuzz_coordconn \
	tests/fuzz/fuzz_ctl_body \
	tests/fuzz/fuzz_policy

# Certificates of DERP servers.
check_PROGRAMS += tests/fuzz/fuzz_x509
tests_fuzz_fuzz_x509_LDADD = libdaemon.a $(LDADD) $(SSL_LIBS)
