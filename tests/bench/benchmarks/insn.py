# SPDX-License-Identifier: MIT
"""Instructions a packet, counted exactly by callgrind: the gate of make check (tests/check-insn), shown here as figures."""
import json
import os
import subprocess
import sys

USES_CABLES = False
GATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "check-insn")


def run(ctx):
    done = subprocess.run([sys.executable, "-B", GATE, "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        ctx.note("not counted: %s" % done.stdout.strip()[-200:])
        return
    for line in map(json.loads, lines):
        ctx.add(0, "meshd", line["name"] + ", our code", line["own"], "instructions", "lower")
        ctx.add(0, "meshd", line["name"] + ", with libraries", line["all"], "instructions", "lower")
