# SPDX-License-Identifier: MIT
"""UDP through the tunnel: the highest rate with less than 1 % lost, and what arrives at 2.5 times it."""
import traffic

STEP_MS = 200


def run(ctx):
    program = traffic.program("udpload")
    with ctx.lab() as lab, ctx.started(lab, *ctx.tunnels()) as running:
        for number in ctx.rounds(control=running[0]):
            for pair in running[1:]:
                for size in (1200,) if ctx.options.quick else (1200, 64):
                    got = traffic.udp_search(program, pair.left, pair.right, pair.addr, size, STEP_MS)
                    clean = got["clean_bps"] / 1e6
                    ctx.add(number, pair.name, "UDP %d B, clean rate" % size, clean, "Mbit/s")
                    ctx.add(number, pair.name, "UDP %d B, goodput at 2.5x" % size,
                            got["overload_goodput_bps"] / 1e6, "Mbit/s")
                    if clean:
                        ctx.add(number, pair.name, "UDP %d B, goodput at 2.5x / clean" % size,
                                got["overload_goodput_bps"] / 1e6 / clean, "")
