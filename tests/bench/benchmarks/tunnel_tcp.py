# SPDX-License-Identifier: MIT
"""TCP straight through the tunnel, 1 and 4 streams: Gbit/s, and processor seconds a GB of both ends."""
import traffic
from proc import CpuClock

LABEL = {1: "TCP, 1 stream", 4: "TCP, 4 streams"}


def measure(ctx, number, pair, label, seconds, streams=1):
    """One transfer: its rate, and what the processes of both ends used for it."""
    clock = CpuClock(pair.pids())
    rate, n_bytes = traffic.iperf(pair.left, pair.right, pair.addr, seconds, streams)
    ctx.add(number, pair.name, label, rate, "Gbit/s")
    if pair.name != "tunnel-null" and clock.pids:
        ctx.add(number, pair.name, label + ": CPU", clock.used_s() / (n_bytes / 1e9), "s/GB", "lower")


def run(ctx):
    with ctx.lab() as lab, ctx.started(lab, *ctx.tunnels()) as running:
        for number in ctx.rounds(control=running[0]):
            for pair in running:
                # The ceiling is a matter of one stream.
                for streams in (1,) if ctx.options.quick or pair is running[0] else (1, 4):
                    measure(ctx, number, pair, LABEL[streams], ctx.seconds, streams)
