#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a daemon costs: how soon it has joined, idle (memory, wake-ups), after a bulk transfer, and a minute later.

    alice -- wan -- coord (all roles)
    bob   -- wan

Limits are those of a release with room for a slow machine; what was measured is in the log.
"""
import json
import os
import time

from lab import Lab, expect, say, wait_until
from node import Node

SETTLE_S = 8
IDLE_S = 20
QUIET_S = 50  # until a session without traffic counts as idle, and the ladder stops looking at its path
JOIN_S = 2  # goal 0.5
# KiB: private memory and resident set (the libraries' pages are shared by all processes).
NODE_ANON, NODE_RSS = 5 * 1024, 20 * 1024
ALL_ANON, ALL_RSS = 10 * 1024, 22 * 1024
BULK_MIB = 1536
BULK_ANON = 10 * 1024
BACK_S, BACK_KIB = 60, 512  # then within so much of the idle figure
SWITCHES = 7  # a second; a node with two peers and nothing to do


def switches(node):
    """Context switches of all threads so far."""
    total = 0
    folder = "/proc/%d/task" % node.process.pid
    for task in os.listdir(folder):
        with open(os.path.join(folder, task, "status")) as f:
            total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def idle(nodes):
    before = [switches(n) for n in nodes]
    time.sleep(IDLE_S)
    for node, was in zip(nodes, before):
        rate = (switches(node) - was) / IDLE_S
        expect(rate <= SWITCHES, "%s idle: %.2f context switches/s (limit %d)" % (node.name, rate, SWITCHES))


def transfer(source, sink):
    """Gbit/s of one TCP stream of BULK_MIB."""
    sink.host.spawn("iperf3", "-s", "-1", log="iperf3.log")
    wait_until("iperf3 listens", 20, lambda: sink.host.run("ss", "-Hltn", "sport = :5201", quiet=True).stdout.strip())
    out = source.host.run("iperf3", "-c", sink.addr(), "-n", "%dM" % BULK_MIB, "-J", quiet=True, timeout=400).stdout
    return json.loads(out)["end"]["sum_received"]["bits_per_second"] / 1e9


def main():
    with Lab("memory and wake-ups") as lab:
        coord = Node(lab.public("coord")).start()
        url = coord.enable_coordinator()
        coord.ctl("set", "--relay-server-port=40000")
        key = coord.key("--reusable")
        alice, bob = (Node(lab.public(name)).start() for name in ("alice", "bob"))
        took = []
        for node in (alice, bob):
            wait_until("the network carries packets", 20, lambda n=node: n.host.pings(coord.host.addr))
            began = time.monotonic()
            node.up(url, key)
            took.append(time.monotonic() - began)
        # A busy machine may hold one of them up; what is slow by itself is slow for both.
        expect(min(took) <= JOIN_S, "alice joined after %.3f s, bob after %.3f (limit %d)" % (*took, JOIN_S))
        wait_until("alice reaches bob", 20, lambda: alice.host.pings(bob.addr()))
        wait_until("alice reaches coord", 20, lambda: alice.host.pings(coord.addr()))
        time.sleep(SETTLE_S)  # what is measured is a state, not an event
        for node, anon_max, rss_max in ((alice, NODE_ANON, NODE_RSS), (coord, ALL_ANON, ALL_RSS)):
            anon, rss = node.memory_kib()
            expect(anon <= anon_max and rss <= rss_max, "%s idle: %d KiB private (limit %d), %d KiB resident (limit %d)"
                   % (node.name, anon, anon_max, rss, rss_max))
        before = {n: n.memory_kib()[0] for n in (alice, bob)}
        say("# %.2f Gbit/s" % transfer(alice, bob))
        for node in (alice, bob):
            anon, rss = node.memory_kib()
            expect(anon <= BULK_ANON, "%s after %d MiB: %d KiB private (limit %d), %d KiB resident" % (
                node.name, BULK_MIB, anon, BULK_ANON, rss))
        ended = time.monotonic()
        for node in (alice, bob):
            wait_until("%s has given its buffers back" % node.name, BACK_S,
                       lambda n=node: n.memory_kib()[0] <= before[n] + BACK_KIB, every_s=1, since=ended)
        time.sleep(max(0, ended + QUIET_S - time.monotonic()))
        idle((alice, bob, coord))


if __name__ == "__main__":
    main()
