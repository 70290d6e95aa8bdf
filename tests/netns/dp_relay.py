#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The data plane's other paths: through a peer relay's workers, through control as if by DERP, and on two paths at
once, where every packet arrives twice and is taken once.

    a -- wan -- relay -- wan -- b      static keys, VNI 77 bound by hand (dptest.c)
"""
from dp import ADDR4, PORT, End, Tunnel, expect_clean, expect_share, iperf
from flow import Echoes
from lab import Lab, expect, say

RELAY_PORT, VNI = 40000, 77
RELAY4, DERP, DIRECT4 = 3, 2, 0
REPLAY = 4


def through_relay(hosts, relay_host, underlay, port=RELAY_PORT):
    a, b, r = (h.addr if underlay == 4 else "[%s]" % h.addr6 for h in (hosts["a"], hosts["b"], relay_host))
    relay = End(relay_host, "--relay", str(port), "--vni", str(VNI),
                "--bound", "%s:%d" % (a, PORT), "--bound", "%s:%d" % (b, PORT))
    way = ("--peer", "%s:%d" % (r, port), "--vni", str(VNI))
    with Tunnel(hosts, args_a=way, args_b=way) as t:
        t.pings()
        rate = t.tcp(3)
    say("# through the relay's port %d over IPv%d: %.2f Gb/s" % (port, underlay, rate))
    counters = relay.stop()
    expect_clean(t.counters, "relay")
    kind = RELAY4 + (underlay == 6)
    expect(t.counters["b"]["in_pkts"][kind] > 1000, "b received by the relay path")
    sent = t.counters["a"]["out_pkts"][kind]
    # A busy machine lets the relay's socket overflow: the kernel tells how often.
    expect(abs(counters["vni_pkts"][0] - sent) <= sent * 0.02 + counters["overflow"],
           "the relay counted what a sent: %d of %d packets (%d lost in its socket)" % (
               counters["vni_pkts"][0], sent, counters["overflow"]))
    return rate


def main():
    with Lab("data plane: relay, DERP, two paths") as lab:
        hosts = {"a": lab.public("a"), "b": lab.public("b")}
        relay_host = lab.public("r")
        stranger = lab.public("x")

        say("# a relay with another VNI or for another address forwards nothing")
        relay = End(relay_host, "--relay", str(RELAY_PORT), "--vni", str(VNI),
                    "--bound", "%s:%d" % (stranger.addr, PORT), "--bound", "%s:%d" % (hosts["b"].addr, PORT))
        way = ("--peer", "%s:%d" % (relay_host.addr, RELAY_PORT), "--vni", str(VNI))
        with Tunnel(hosts, args_a=way, args_b=way):
            expect(not hosts["a"].pings(ADDR4["b"]), "no ping through a session bound to others")
        expect(relay.stop()["events"][3] > 0, "such packets go to the relay's control")

        def direct():
            with Tunnel(hosts) as t:
                t.pings()
                return t.tcp(2)
        expect_share("through a relay against directly", 0.1, lambda: through_relay(hosts, relay_host, 4), direct)
        through_relay(hosts, relay_host, 6)
        say("# the relay on the node's own port")
        through_relay(hosts, relay_host, 4, PORT)

        say("# by DERP: sealed packets through control")
        with Tunnel(hosts, "--derp") as t:
            t.pings()
            say("# by DERP: %.3f Gb/s" % t.tcp(2))
        expect_clean(t.counters, "derp")
        expect(t.counters["b"]["in_pkts"][DERP] > 100 and t.counters["b"]["in_pkts"][DIRECT4] == 0,
               "everything came by DERP")

        say("# on two paths at once")
        relay = End(relay_host, "--relay", str(RELAY_PORT), "--vni", str(VNI),
                    "--bound", "%s:%d" % (hosts["a"].addr, PORT), "--bound", "%s:%d" % (hosts["b"].addr, PORT))
        with Tunnel(hosts, args_a=way + ("--second", "%s:%d" % (hosts["b"].addr, PORT)),
                    args_b=way + ("--second", "%s:%d" % (hosts["a"].addr, PORT))) as t:
            t.pings()
            expect(Echoes(hosts["a"], ADDR4["b"], 5, 0.2).result() == (0, 0), "five pings, no duplicate")
            say("# on two paths: %.2f Gb/s" % iperf(hosts["a"], hosts["b"], ADDR4["b"], 2))
        relay.stop()
        c = t.counters["b"]
        expect(c["in_dropped"][REPLAY] > 100, "the second copies were dropped as replays: %d" % c["in_dropped"][REPLAY])
        expect(c["out_dropped"][8] == 0 and c["in_dropped"][3] == 0, "nothing failed to be sent or to open")


main()
