# SPDX-License-Identifier: MIT
"""The ceiling: our forwarder without crypto, TCP with 1 and 4 streams."""
import traffic


def run(ctx):
    with ctx.lab() as lab, ctx.started(lab, "tunnel-null") as (null,):
        for number in ctx.rounds():
            for streams in (1, 4):
                rate, _ = traffic.iperf(null.left, null.right, null.addr, ctx.seconds, streams)
                ctx.add(number, null.name, "TCP, %d stream%s" % (streams, "s" if streams > 1 else ""), rate, "Gbit/s")
