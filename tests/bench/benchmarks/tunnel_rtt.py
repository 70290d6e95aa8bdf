# SPDX-License-Identifier: MIT
"""Round trips through the tunnel at 100 Hz, idle and beside a TCP stream: median and 99th percentile."""
import traffic

BARE = "no tunnel"


def measure(ctx, number, name, left, right, addr, loaded):
    seconds = max(1, ctx.seconds)
    load = traffic.background_tcp(left, right, addr, seconds + 2) if loaded else []
    try:
        p50, p99 = traffic.ping(left, addr, seconds)
    finally:
        for process in load:
            process.terminate()
        traffic.end(load)
    what = "under load" if loaded else "idle"
    ctx.add(number, name, "ping p50, " + what, p50, "ms", "lower")
    ctx.add(number, name, "ping p99, " + what, p99, "ms", "lower")


def run(ctx):
    with ctx.lab() as lab, ctx.started(lab, *ctx.tunnels()) as running:
        for number in ctx.rounds():
            for loaded in (False, True):
                measure(ctx, number, BARE, running[0].left, running[0].right, running[0].right.addr, loaded)
                for pair in running:
                    measure(ctx, number, pair.name, pair.left, pair.right, pair.addr, loaded)
