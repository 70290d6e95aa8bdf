# SPDX-License-Identifier: MIT
"""Handshakes a second on one core (both ends, real messages), bad ones turned away, cookie replies; beside wireguard-go's,
and beside the eight scalar multiplications of both ends, which no implementation can do without."""
import traffic
from benchmarks.aead import pinned

USES_CABLES = False


def run(ctx):
    program = traffic.program("handshake")
    for number in ctx.rounds():
        got, = pinned([program, str(min(ctx.seconds, 2))])
        ctx.add(number, "meshd", "handshakes", got["handshakes"], "/s")
        ctx.add(number, "meshd", "8 scalar multiplications", got["multiplications"], "/s")
        ctx.add(number, "meshd", "bad mac1 turned away", got["bad_mac1"], "/s")
        ctx.add(number, "meshd", "cookie replies", got["cookie_replies"], "/s")
        if number == 0 and ctx.absent("wgpeer"):
            continue
        if "wgpeer" in ctx.programs:
            theirs, = pinned([ctx.programs["wgpeer"], "-measure", "handshake"])
            ctx.add(number, "wireguard-go", "handshakes", theirs["handshakes"], "/s")
