#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which rung two nodes end on, for each pair of NAT kinds. A peer relay and DERP are always there.

    left  -- natl (kind) --.
                           wan -- coord (coordinator, DERP, STUN, peer relay)
    right -- natr (kind) --'
"""
import time

from flow import UdpFlow, Witness
from lab import Lab, expect, say
from node import Node

RELAY_PORT = 40000
FIRST_PACKET_S = 2
RUNG_S = 5
# The table of the kinds that the lab makes: D direct, R peer relay, P DERP.
PAIRS = [
    ("cone", "hard", "direct"),
    ("address", "hard", "direct"),
    ("easy", "hard", "peer-relay"),
    ("one-to-one", "hard", "direct"),
    ("carrier", "easy", "direct"),
    ("easy", "no-udp", "derp"),
    ("no-udp", "no-udp", "derp"),
    ("hard+v6", "hard+v6", "direct"),
    ("hard+v6", "hard", "peer-relay"),
]


def host_behind(lab, name, kind):
    """A host behind one box, or for "carrier" behind a home's easy NAT behind the carrier's.
    "+v6": with IPv6 behind a stateful filter."""
    if kind == "carrier":
        return lab.host(name, lab.nat("home" + name, "easy", lab.nat("carrier" + name, "carrier")))
    return lab.host(name, lab.nat("nat" + name, kind.removesuffix("+v6"), has_v6=kind.endswith("+v6")))


def one_pair(lab, number, kinds, rung, url, key, witness):
    left, right = (Node(host_behind(lab, "%s%d" % (side, number), kind)).start()
                   for side, kind in zip(("left", "right"), kinds))
    left.up(url, key)
    right.up(url, key)
    joined = time.monotonic()
    what = "%s to %s" % kinds
    udp = UdpFlow(left.host, right.host, left.addr(), right.addr())
    witness.wait("%s: first packet" % what, FIRST_PACKET_S, lambda: udp.arrivals, joined, 0.01)
    witness.wait("%s: %s" % (what, rung), RUNG_S,
                 lambda: left.path(right.name) == right.path(left.name) == rung, joined)
    since = time.monotonic()
    time.sleep(1.5)
    expect(left.path(right.name) == rung, "%s: stays %s" % (what, rung))
    witness.holds("%s: and packets flow, silence" % what, udp.silence(since), 0.5, since)
    sent, lost, duplicated = udp.finish()
    expect(duplicated == 0, "%s: of %d datagrams %d were lost, %d came twice" % (what, sent, lost, duplicated))
    for node in (left, right):
        expect(node.stop() == 0, "meshd on %s ends well" % node.name)


def main():
    with Lab("NAT matrix") as lab:
        coord = Node(lab.public("coord")).start()
        url = coord.enable_coordinator()
        coord.ctl("set", "--relay-server-port=%d" % RELAY_PORT)
        key = coord.key("--reusable")
        witness = Witness(coord.host)
        for number, (left, right, rung) in enumerate(PAIRS):
            say("# %s to %s: expect %s" % (left, right, rung))
            one_pair(lab, number, (left, right), rung, url, key, witness)


if __name__ == "__main__":
    main()
