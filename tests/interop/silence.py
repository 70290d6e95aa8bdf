#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long a flow is silent when its path dies: ours with ours, ours with real, real with real, in one run.

    a -- nata (easy or hard) --.
                               wan -- coord (ours: coordinator, DERP, STUN, peer relay)
    b -- natb (easy or hard) --'

A round: both ends are direct (easy NATs) or on the relay (hard ones), then nata drops all UDP at a moment of
its own choosing, until the flow runs on DERP; then it may pass again. The pairs take their rounds at the same
time, each in a laboratory and a process of its own. Judged is the echo, both ways together: with a real node
on one end the silence after a direct path is never longer than between two real nodes, and at the median at
most MEDIAN_S; after a relay path, which only a real node's own trust of 6.5 s ends, never longer, and what
ours sends comes through as soon as after a direct one.

usage: silence.py [--rounds N]
"""
import argparse
import concurrent.futures
import os
import random
import re
import statistics
import subprocess
import sys
import time

import mixes
import real
from flow import UdpFlow, longest_gap
from lab import Failure, Lab, expect, say, wait_until

PAIRS = ("oo", "or", "ro", "rr")
PATHS = {"direct": "easy", "peer-relay": "hard"}
MEDIAN_S = 2
# What a real node trusts a path after its last Pong: the worst of two real nodes, if a run has luck.
TRUST_S = 6.5
# A round's silence has the grain of the flow and of a slow machine's turns.
GRAIN_S = 0.25


class Pair:
    def __init__(self, lab, kinds, rung):
        self.rung = rung
        self.nata, natb = lab.nat("nata", PATHS[rung]), lab.nat("natb", PATHS[rung])
        self.coord = real.Ours(lab.public("coord"))
        self.a, self.b = (mixes.KINDS[kind](lab.host(name, box)) for kind, name, box in
                          zip(kinds, "ab", (self.nata, natb)))

    def join(self):
        for node in (self.coord, self.a, self.b):
            node.start()
        url = self.coord.enable_coordinator()
        key = self.coord.key("--reusable")
        if self.rung == "peer-relay":
            self.coord.ctl("set", "--relay-server-port=%d" % mixes.PORT)
        for node in (self.a, self.b):
            node.up(url, key)
        wait_until("a reaches b", 20, lambda: self.a.host.pings(self.b.addr()))
        self.flow = UdpFlow(self.a.host, self.b.host, self.a.addr(), self.b.addr())

    def round(self, number, phase_s):
        """One death of the path: (echo, a to b) in seconds of silence."""
        self.nata.block_udp(False)
        wait_until("both on %s" % self.rung, mixes.SETTLE_S,
                   lambda: self.a.path("b") == self.b.path("a") == self.rung, 0.2)
        # Long enough that both ends trust the path and ping it by the clock of their own.
        time.sleep(7 + phase_s)
        since = time.monotonic()
        self.nata.block_udp()
        wait_until("both on DERP", mixes.SETTLE_S, lambda: self.a.path("b") == self.b.path("a") == "derp" and
                   self.flow.arrived_since(time.monotonic() - 0.2), 0.1)
        time.sleep(1)
        self.flow.check()
        until = time.monotonic()
        echo, there = self.flow.silence(since, until), longest_gap(self.flow.heard_at, since, until)
        say("# round %d: echo %.3f there %.3f" % (number, echo, there))


def one(kinds, rung, rounds):
    with Lab("silence of %s on %s" % (kinds, rung)) as lab:
        pair = Pair(lab, kinds, rung)
        pair.join()
        # The same phases for all pairs: real nodes ping every 3 s.
        phases = random.Random(rung)
        for number in range(rounds):
            pair.round(number + 1, phases.uniform(0, 3))
        sent, lost, duplicated = pair.flow.finish()
        expect(duplicated == 0, "of %d datagrams %d were lost, %d came twice" % (sent, lost, duplicated))


def measure(kinds, rung, rounds):
    """The echoes' silences of one pair, measured in a process of its own."""
    done = subprocess.run([sys.executable, "-B", os.path.abspath(__file__), "--one", kinds, rung, "--rounds", str(rounds)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = re.findall(r"# round \d+: echo ([\d.]+) there ([\d.]+)", done.stdout)
    if done.returncode != 0 or len(found) != rounds:
        say(done.stdout)
        raise Failure("%s on %s: exit %d after %d rounds" % (kinds, rung, done.returncode, len(found)))
    return [[float(value) for value in column] for column in zip(*found)]


def judge(rung, silences):
    for kinds in PAIRS:
        echo, there = silences[kinds]
        say("# %-10s %s  echo: median %.2f worst %.2f   a to b: median %.2f worst %.2f" % (
            rung, kinds, statistics.median(echo), max(echo), statistics.median(there), max(there)))
    stock = max(silences["rr"][0])
    if rung == "peer-relay":
        stock = max(stock, TRUST_S)
    for kinds in PAIRS[:3]:
        worst, median = max(silences[kinds][0]), statistics.median(silences[kinds][0])
        expect(worst <= stock + GRAIN_S, "%s on %s: never longer than two real nodes: %.2f of %.2f s" % (
            kinds, rung, worst, stock))
        if rung == "direct" or kinds == "oo":
            expect(median <= MEDIAN_S, "%s on %s: median %.2f s" % (kinds, rung, median))
        if kinds[0] == "o":
            median = statistics.median(silences[kinds][1])
            expect(median <= MEDIAN_S, "%s on %s: what ours sends, median %.2f s" % (kinds, rung, median))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=6)
    options.add_argument("--one", nargs=2)
    options = options.parse_args()
    if options.one:
        one(*options.one, options.rounds)
        return 0
    real.program()
    jobs = [(kinds, rung, options.rounds) for rung in PATHS for kinds in PAIRS]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        results = dict(zip(jobs, pool.map(lambda job: measure(*job), jobs)))
    for rung in PATHS:
        judge(rung, {kinds: results[kinds, rung, options.rounds] for kinds in PAIRS})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as e:
        say("FAILED: %s" % e)
        sys.exit(1)
