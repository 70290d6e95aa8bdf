# SPDX-License-Identifier: MIT
"""How fast paths are found and changed: first packet and direct path after joining, silence when the direct path breaks,
time back to direct when it opens. All implementations live through the same events at the same moment.

    left -- wan -- right, relay        the direct path is broken by packet filters in both hosts
"""
import time

from flow import UdpFlow
from lab import wait_until

USES_CABLES = False
SETTLE_S = 3
LIMIT_S = 60
EVERY_S = 0.05  # 20 Hz


def join(ctx, number, pair):
    """From 'up' on the second node to its first answer, and to direct at both ends."""
    pair.start_coordinator()
    pair.nodes = [pair.new_node(host).start() for host in (pair.left, pair.right)]
    pair.nodes[1].up(pair.url, pair.key, quiet=True)
    pair.addr = pair.nodes[1].addr()
    begin = time.monotonic()
    pair.nodes[0].up(pair.url, pair.key, quiet=True)
    pair.ready()
    ctx.add(number, pair.name, "join to first answer", time.monotonic() - begin, "s", "lower")
    pair.wait_path("direct")
    ctx.add(number, pair.name, "join to direct", time.monotonic() - begin, "s", "lower")


def break_path(ctx, number, flows):
    begin = time.monotonic()
    for pair in flows:
        pair.only_by("relay", wait=False)
    for pair, flow in flows.items():
        wait_until("%s is on the relay" % pair.name, LIMIT_S, lambda: pair.path_is("relay") and
                   flow.arrived_since(time.monotonic() - 0.5), since=begin)
    for pair, flow in flows.items():
        ctx.add(number, pair.name, "gap direct to relay", flow.silence(begin - EVERY_S), "s", "lower")


def open_path(ctx, number, flows):
    begin, waiting = time.monotonic(), dict(flows)
    for pair in flows:
        pair.only_by("direct", wait=False)
    while waiting and time.monotonic() - begin < LIMIT_S:
        for pair in [p for p in waiting if p.path_is("direct")]:
            ctx.add(number, pair.name, "relay to direct", time.monotonic() - begin, "s", "lower")
            del waiting[pair]
        time.sleep(0.05)
    for pair in waiting:
        ctx.note("%s was not back on direct within %d s in round %d" % (pair.name, LIMIT_S, number + 1))
    for pair, flow in flows.items():
        ctx.add(number, pair.name, "gap relay to direct", flow.silence(begin - EVERY_S), "s", "lower")


def one_round(ctx, number):
    with ctx.lab() as lab, ctx.made(lab, "meshd", "tailscaled") as running:
        for pair in running:
            join(ctx, number, pair)
            pair.start_relay()
        # The relay is known to both ends before the path breaks: what is measured is the change, not the discovery.
        time.sleep(SETTLE_S)
        flows = {}
        try:
            for pair in running:
                flows[pair] = UdpFlow(pair.left, pair.right, pair.nodes[0].addr(), pair.addr, EVERY_S)
            time.sleep(SETTLE_S)
            break_path(ctx, number, flows)
            time.sleep(SETTLE_S)
            open_path(ctx, number, flows)
        finally:
            for flow in flows.values():
                flow.finish()


def run(ctx):
    for number in ctx.rounds():
        one_round(ctx, number)
