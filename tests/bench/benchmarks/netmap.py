# SPDX-License-Identifier: MIT
"""Joining a large mesh: time from 'up' to Running and until the last peer is known, private memory at the peak and at rest.
The map is filled with members that are offline; a coordinator of the same kind serves either client. Then the same map in
one process without network (netmap.c): processor time until ready, and of one change."""
import os
import time

import pairs
import seed
import traffic
from benchmarks.aead import pinned
from lab import wait_until
from proc import PrivatePeak, memory_mib

USES_CABLES = False
SIZES = (1000, 10000)
SETTLE_S = 2


def join(ctx, number, label, pair, host, n_peers):
    node = pair.new_node(host).start()
    peak = PrivatePeak(node.process.pid)
    try:
        begin = time.monotonic()
        node.up(pair.url, pair.key, quiet=True)
        ctx.add(number, pair.name, label + ": to Running", time.monotonic() - begin, "s", "lower")
        wait_until("%s knows %d peers" % (pair.name, n_peers), 60,
                   lambda: len(node.status(check=False).get("Peer") or {}) >= n_peers, every_s=0.2)
        ctx.add(number, pair.name, label + ": to the last peer", time.monotonic() - begin, "s", "lower")
        time.sleep(SETTLE_S)
        ctx.add(number, pair.name, label + ": private, peak", peak.stop(), "MiB", "lower")
        ctx.add(number, pair.name, label + ": private, at rest", memory_mib(node.process.pid)[0], "MiB", "lower")
    finally:
        peak.stop()
        node.process.terminate()
        node.process.wait(20)


def in_process(ctx, number, size):
    for line in pinned([traffic.program("netmap"), str(size)]):
        if "name" not in line:
            continue
        ctx.add(number, "meshd, in process", "%d peers: %s" % (size, line["name"]), line["value"], line["unit"], "lower")


def run(ctx):
    for size in SIZES[:1] if ctx.options.quick else SIZES:
        label = "%d peers" % size
        with ctx.lab() as lab, ctx.made(lab, "meshd", "tailscaled") as running:
            for pair in running:
                pair.nodes = []
                pair.start_coordinator()
                seed.fill(pair.coord, size)
            for number in ctx.rounds():
                in_process(ctx, number, size)
                for pair in running:
                    host = pairs.public(lab, "%s%d" % (pair.prefix, number + 10), "passthrough")
                    join(ctx, number, label, pair, host, size)
