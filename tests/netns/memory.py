#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an idle daemon costs: a plain node, and one that is coordinator, DERP, STUN and relay too.

    alice -- nata (easy) -- wan -- coord (all roles)
    bob   -- natb (easy) -- wan
"""
import time

from lab import Lab, expect, wait_until
from node import Node

SETTLE_S = 8
# KiB: private memory and resident set (the libraries' pages are shared by all processes).
NODE_ANON, NODE_RSS = 6 * 1024, 22 * 1024
ALL_ANON, ALL_RSS = 10 * 1024, 28 * 1024


def main():
    with Lab("idle memory") as lab:
        coord = Node(lab.public("coord")).start()
        url = coord.enable_coordinator()
        coord.ctl("set", "--relay-server-port=40000")
        key = coord.key("--reusable")
        alice, bob = (Node(lab.host(name, lab.nat("nat" + name[0], "easy"))).start() for name in ("alice", "bob"))
        alice.up(url, key)
        bob.up(url, key)
        wait_until("alice reaches bob", 5, lambda: alice.host.pings(bob.addr()))
        wait_until("alice reaches coord", 5, lambda: alice.host.pings(coord.addr()))
        time.sleep(SETTLE_S)  # what is measured is a state, not an event
        for node, anon_max, rss_max in ((alice, NODE_ANON, NODE_RSS), (coord, ALL_ANON, ALL_RSS)):
            anon, rss = node.memory_kib()
            expect(anon <= anon_max and rss <= rss_max, "%s idle: %d KiB private (limit %d), %d KiB resident (limit %d)"
                   % (node.name, anon, anon_max, rss, rss_max))


if __name__ == "__main__":
    main()
