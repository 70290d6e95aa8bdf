# SPDX-License-Identifier: MIT
"""What a connected node costs that has nothing to do: context switches, processor time, packets. All implementations are
watched in the same windows, all at once. With 100 and 1000 peers the map is filled with members that are offline."""
import contextlib
import json
import time

import seed
from proc import cpu_fine_s, switches

USES_CABLES = False
# Either implementation looks at the path of a session for 45 s after its last packet, and a keepalive is one: 75 s after
# the ping that showed that the nodes are connected nobody has anything to do.
SETTLE_S = 75


class Watch:
    """What one node did since it was made."""

    def __init__(self, node):
        self.node, self.pid = node, node.process.pid
        self.begin, self.first = time.monotonic(), self._read()

    def _read(self):
        link = json.loads(self.node.host.run("ip", "-s", "-j", "link", "show", "eth0", quiet=True).stdout)[0]["stats64"]
        return switches(self.pid), cpu_fine_s(self.pid), link["rx"]["packets"] + link["tx"]["packets"]

    def rates(self):
        """(switches a second, share of a core, packets a minute)."""
        seconds = time.monotonic() - self.begin
        n_switches, cpu, packets = (new - old for new, old in zip(self._read(), self.first))
        return n_switches / seconds, cpu / seconds, packets * 60 / seconds


def start(ctx, lab, stack, n_peers):
    """(label, pair) of each implementation, connected, with so many peers."""
    for pair in stack.enter_context(ctx.made(lab, "meshd", "tailscaled", prefix="p%d" % n_peers)):
        pair.start_coordinator()
        if n_peers > 2:
            seed.fill(pair.coord, n_peers - 2)
        pair.start_nodes()
        yield "%d peers" % n_peers, pair


def window(ctx, number, running, seconds):
    watches = [(label, pair, [Watch(node) for node in pair.nodes]) for label, pair in running]
    time.sleep(seconds)
    for label, pair, both in watches:
        n_switches, cpu, packets = (sum(values) / 2 for values in zip(*(w.rates() for w in both)))
        ctx.add(number, pair.name, label + ": context switches", n_switches, "/s", "lower")
        ctx.add(number, pair.name, label + ": CPU", cpu * 100, "% of a core", "lower")
        ctx.add(number, pair.name, label + ": packets", packets, "/min", "lower")


def run(ctx):
    with ctx.lab() as lab, contextlib.ExitStack() as stack:
        running = []
        for n_peers in (2,) if ctx.options.quick else (2, 100, 1000):
            running += start(ctx, lab, stack, n_peers)
        time.sleep(ctx.options.idle_seconds if ctx.options.quick else SETTLE_S)
        for number in ctx.rounds():
            window(ctx, number, running, max(5, ctx.options.idle_seconds // ctx.options.rounds))
