#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast a flow leaves the relay when the direct path opens (RELIABILITY F3: 10 s).

    alice -- nata --.
                    wan -- coord (coordinator, DERP, STUN), relay (peer relay)
    bob   -- natb --'

Two ways of opening: a firewall that dropped what went between two easy NATs lets it pass, and a hard NAT
becomes a full cone. "upgrade.py ROUNDS" repeats each; the figures of all rounds are printed.
"""
import sys
import time

from flow import UdpFlow, Witness
from lab import Lab, expect, never, say, wait_until
from node import Node

DIRECT_S = 10
RELAY_S = 40
RELAY_PORT = 40000


def on(a, b, rung):
    return a.path(b.name) == rung and b.path(a.name) == rung


def blocked(box, far, is_on):
    """The box drops UDP to and from the outside address of the other box."""
    box.fault("pair", "meta l4proto udp ip daddr %s drop\nmeta l4proto udp ip saddr %s drop" % (far, far)
              if is_on else None)


def measure(lab, name, kind, rounds, shut, openly):
    """One pair of laptops with a flow: how long each opening takes to be used."""
    nata, natb = lab.nat("nata", kind), lab.nat("natb", kind)
    coord, relay = Node(lab.public("coord")).start(), Node(lab.public("relay")).start()
    alice, bob = Node(lab.host("alice", nata)).start(), Node(lab.host("bob", natb)).start()
    shut(nata, natb)
    url = coord.enable_coordinator()
    key = coord.key("--reusable")
    relay.up(url, key)
    relay.ctl("set", "--relay-server-port=%d" % RELAY_PORT)
    bob.up(url, key)
    alice.up(url, key)
    udp, witness = UdpFlow(alice.host, bob.host, alice.addr(), bob.addr()), Witness(coord.host)
    wait_until("both ends on the relay", RELAY_S, lambda: on(alice, bob, "peer-relay"))
    took = []
    for number in range(rounds):
        # Not always at the same point of the timers.
        never("it is not direct while shut", 2.0 + 0.7 * number, lambda: alice.path("bob") == "direct")
        since = time.monotonic()
        openly(nata, natb)
        took.append(witness.wait("%s: direct at both ends" % name, DIRECT_S, lambda: on(alice, bob, "direct"), since)[1])
        shut(nata, natb)
        wait_until("both ends on the relay again", RELAY_S, lambda: on(alice, bob, "peer-relay"))
    sent, _, duplicated = udp.finish()
    expect(duplicated == 0, "none of %d datagrams came twice" % sent)
    return took


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    figures = {}
    with Lab("a firewall opens") as lab:
        figures["a firewall opens"] = measure(
            lab, "a firewall opens", "easy", rounds,
            lambda a, b: (blocked(a, b.addr, True), blocked(b, a.addr, True)),
            lambda a, b: (blocked(a, b.addr, False), blocked(b, a.addr, False)))
    with Lab("a hard NAT becomes a full cone") as lab:
        figures["a NAT opens"] = measure(lab, "a NAT opens", "hard", rounds,
                                         lambda a, b: a.become("hard"), lambda a, b: a.become("cone"))
    say("# seconds until direct")
    for name, took in figures.items():
        say("%-20s %s" % (name, "  ".join("%.2f" % s for s in took)))


if __name__ == "__main__":
    main()
