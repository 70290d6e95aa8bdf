# SPDX-License-Identifier: MIT
"""Nanoseconds a packet of every AEAD backend here, and of Go's x/crypto, which wireguard-go and tailscaled use."""
import json
import os
import subprocess

import traffic
from lab import Failure

USES_CABLES = False
GO = "Go x/crypto"


def pinned(argv):
    """Runs on one core; the JSON lines it prints."""
    core = {max(os.sched_getaffinity(0))}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300, preexec_fn=lambda: os.sched_setaffinity(0, core))
    if done.returncode != 0:
        raise Failure("%s: exit %d: %s" % (argv[0], done.returncode, done.stderr.strip()))
    return [json.loads(line) for line in done.stdout.splitlines()]


def label(line):
    return "%s %d B, batch of %d" % (line["what"], line["size"], line["batch"])


def run(ctx):
    program = traffic.program("aead")
    sizes = (1280,) if ctx.options.quick else (64, 256, 1280, 1420, 8192)
    for number in ctx.rounds():
        lines = pinned([program])
        picked = next(line["picked"] for line in lines if "picked" in line)
        for line in lines:
            if "ns" in line and line["size"] in sizes:
                ctx.add(number, line["backend"], label(line), line["ns"], "ns", "lower")
                if line["backend"] == picked:
                    ctx.add(number, "meshd", label(line), line["ns"], "ns", "lower")
        if number == 0 and ctx.absent("wgpeer"):
            continue
        if "wgpeer" in ctx.programs:
            for line in pinned([ctx.programs["wgpeer"], "-measure", "aead"]):
                if line["size"] in sizes:
                    for batch in (1, 8, 64):  # it knows no batches
                        ctx.add(number, GO, label(dict(line, batch=batch)), line["ns"], "ns", "lower")
