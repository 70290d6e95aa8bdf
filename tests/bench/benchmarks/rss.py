# SPDX-License-Identifier: MIT
"""Memory at start, connected, after a transfer and after a rest; the time to join; the size of the binary.

Each round has nodes of its own; those of all rounds run side by side, transfer one after the other and rest together.
The first round sends all of --gigabytes, the others a tenth of it each."""
import contextlib
import os
import shutil
import subprocess
import time

import traffic
from lab import Failure
from proc import memory_mib

USES_CABLES = False
SETTLE_S = 5


def add_memory(ctx, number, pair, when, pids):
    """The larger of the processes: a node has to fit."""
    private, resident = (max(values) for values in zip(*(memory_mib(pid) for pid in pids)))
    ctx.add(number, pair.name, "private, " + when, private, "MiB", "lower")
    ctx.add(number, pair.name, "resident, " + when, resident, "MiB", "lower")


def start(ctx, number, pair):
    """Starts both ends; for a mesh also the time from 'up' to Running of the second."""
    if not hasattr(pair, "start_coordinator"):
        pair.start()
        return
    pair.start_coordinator()
    pair.nodes = [pair.new_node(host).start() for host in (pair.left, pair.right)]
    add_memory(ctx, number, pair, "at start", pair.pids())
    pair.nodes[0].up(pair.url, pair.key, quiet=True)
    begin = time.monotonic()
    pair.nodes[1].up(pair.url, pair.key, quiet=True)
    ctx.add(number, pair.name, "join to Running", time.monotonic() - begin, "s", "lower")
    pair.addr = pair.nodes[1].addr()
    pair.ready()
    pair.wait_path("direct")


def binary_size(ctx, number, name, program):
    copy = os.path.join(ctx.options.out, "stripped")
    shutil.copy(program, copy)
    done = subprocess.run(["strip", copy], stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failure("strip %s: %s" % (program, done.stderr.strip()))
    ctx.add(number, name, "binary, stripped", os.path.getsize(copy) / 1e6, "MB", "lower")
    os.unlink(copy)


def transfer(pair, gigabytes):
    n_bytes, limit_s = int(gigabytes * 1e9), 30 + int(gigabytes * 30)
    traffic.iperf(pair.left, pair.right, pair.addr, limit_s, n_bytes=n_bytes)


def all_rounds(ctx, lab, stack):
    """The pairs of every round, each set new; they rest together at the end."""
    sets = []
    for number in ctx.rounds():
        sets.append(stack.enter_context(
            ctx.made(lab, "meshd", "tailscaled", "wireguard-go", prefix="r%d" % number)))
        for pair in sets[-1]:
            start(ctx, number, pair)
    return sets


def each(ctx, sets, when):
    for number, running in enumerate(sets):
        for pair in running:
            add_memory(ctx, number, pair, when, pair.pids())


def run(ctx):
    ctx.profile = "passthrough"
    with ctx.lab() as lab, contextlib.ExitStack() as stack:
        sets = all_rounds(ctx, lab, stack)
        time.sleep(SETTLE_S)
        each(ctx, sets, "connected")
        for number, running in enumerate(sets):
            for pair in running:
                transfer(pair, ctx.options.gigabytes / (1 if number == 0 else 10))
                add_memory(ctx, number, pair, "after the transfer", pair.pids())
        time.sleep(ctx.options.idle_seconds)
        each(ctx, sets, "after the rest")
        for pair in sets[0]:
            binary_size(ctx, 0, pair.name, ctx.programs.paths.get(pair.name) or pair.nodes[0].meshd)
