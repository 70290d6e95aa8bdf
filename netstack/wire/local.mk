# Sources and unit tests of netstack/wire.
libnetstack_a_SOURCES += \
	netstack/wire/mapdata.h \
	netstack/wire/pathaddr.c netstack/wire/pathaddr.h \
	netstack/wire/pcp.c netstack/wire/pcp.h \
	netstack/wire/peerid.h

# The control connection's codecs.
libnetstack_a_SOURCES += \
	netstack/wire/ctlframe.c netstack/wire/ctlframe.h \
	netstack/wire/ctljson.c netstack/wire/ctljson_map.c netstack/wire/ctljson_reader.c netstack/wire/ctljson_mapw.c netstack/wire/ctljson_node.c \
	netstack/wire/ctljson_parts.c netstack/wire/ctljson.h netstack/wire/ctljson_priv.h \
	netstack/wire/http1.c netstack/wire/http1_write.c netstack/wire/http1.h netstack/wire/http1_lib.h \
	netstack/wire/json.c netstack/wire/json_in.c netstack/wire/json_w.c netstack/wire/json.h \
	netstack/wire/mapdata.c netstack/wire/mapdata_eq.c \
	netstack/wire/rfc3339.c netstack/wire/rfc3339.h \
	netstack/wire/zstdframe.c netstack/wire/zstdframe.h

check_PROGRAMS += \
	tests/unit/test_ctljson \
	tests/unit/test_http1 \
	tests/unit/test_json

# Bodies of the local API.
libnetstack_a_SOURCES += \
	netstack/wire/apijson.h \
	netstack/wire/jsonmap.c netstack/wire/jsonmap.h \
	netstack/wire/jsonmap_mem.c netstack/wire/jsonmappriv.h \
	netstack/wire/netreport.c netstack/wire/netreport.h \
	netstack/wire/notify.c netstack/wire/notifydoc.c netstack/wire/notify.h \
	netstack/wire/pathinfo.c netstack/wire/pathinfo.h \
	netstack/wire/pingresult.c netstack/wire/pingresult.h \
	netstack/wire/prefs.c netstack/wire/prefs.h \
	netstack/wire/prefval.c netstack/wire/prefval.h \
	netstack/wire/relayinfo.c netstack/wire/relayinfo.h \
	netstack/wire/status.c netstack/wire/status.h \
	netstack/wire/tsstate.c netstack/wire/tsstate.h \
	netstack/wire/whois.c netstack/wire/whois.h

libnetstack_a_SOURCES += \
	netstack/wire/derp.c netstack/wire/derp.h \
	netstack/wire/echo.c netstack/wire/echo.h \
	netstack/wire/streamaddr.h \
	netstack/wire/stun.c netstack/wire/stun.h

# Disco and the relay's framing.
libnetstack_a_SOURCES += \
	netstack/wire/classify.c netstack/wire/classify.h \
	netstack/wire/disco.c netstack/wire/disco.h netstack/wire/discomsg.c \
	netstack/wire/geneve.h \
	netstack/wire/relaypath.h \
	netstack/wire/tsmp.c netstack/wire/tsmp.h

# WireGuard's messages and inner packets.
libnetstack_a_SOURCES += \
	netstack/wire/ip.c netstack/wire/ip.h \
	netstack/wire/wgmsg.c netstack/wire/wgmsg.h

check_PROGRAMS += \
	tests/unit/test_ip \
	tests/unit/test_wgmsg

check_PROGRAMS += \
	tests/unit/test_apijson \
	tests/unit/test_stun


check_PROGRAMS += \
	tests/unit/test_disco

# Super-packets of the TUN device.
libnetstack_a_SOURCES += \
	netstack/wire/offload.c netstack/wire/offload.h

check_PROGRAMS += \
	tests/unit/test_offload

# What the codecs implement, as we understood it.
EXTRA_DIST += \
	netstack/wire/apijson.md netstack/wire/ctlframe.md netstack/wire/ctljson.md \
	netstack/wire/derp.md netstack/wire/disco.md netstack/wire/geneve.md \
	netstack/wire/http1.md netstack/wire/ip.md netstack/wire/json.md \
	netstack/wire/offload.md netstack/wire/pcp.md netstack/wire/stun.md netstack/wire/tsstate.md \
	netstack/wire/wgmsg.md
