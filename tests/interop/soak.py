#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A long time of mixed traffic between ours and real nodes: no stream is lost, nothing grows.

    a (ours) -- nata (hard) --.
    b (real) -- natb (hard) --+- wan -- coord (ours: coordinator, DERP, STUN), relay (ours), pub (real)
    c (ours) -- natc (easy) --'

Each of ours has a stream and a flow of datagrams to each real node, both checksummed and alive from the first
minute to the last, and one short stream after the other. Every EVENT_S something happens below: the relay goes
and comes, a NAT forgets, UDP is blocked, a link is lost. Memory, descriptors and sockets of every daemon of
ours are sampled; behind the first third of the time they may not grow.

usage: soak.py [--minutes N]
"""
import argparse
import itertools
import os
import statistics
import sys
import threading
import time

import real
from flow import TcpFlow, UdpFlow
from lab import Failure, Lab, expect, say, wait_until

PORT = 40000
EVENT_S = 40
SAMPLE_S = 15
SHORT_S = 3
STUCK_S = 60  # a stream that brought nothing for so long is lost
# Growth that is none: pools that were first needed late, the grain of the allocator; a connection in flight.
GROWTH_KIB = 1024
GROWTH_FDS = 4


class Shorts:
    """One short stream after the other between two hosts."""

    def __init__(self, a, b, addr, port):
        self.args = (a, b, addr, 0.01, port)
        self.n_done, self.error = 0, None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def _loop(self):
        while not self.stopping.is_set():
            try:
                # What happens below may cost a connection its first packets.
                flow = TcpFlow(*self.args, connect_s=STUCK_S)
                self.stopping.wait(SHORT_S)
                flow.finish(STUCK_S)
                flow.close()
            except (Failure, OSError) as e:
                self.error = str(e)
                return
            self.n_done += 1

    def finish(self):
        self.stopping.set()
        self.thread.join(3 * STUCK_S)
        if self.error or self.thread.is_alive():
            raise Failure("a short stream was lost after %d: %s" % (self.n_done, self.error or "stuck"))
        return self.n_done


def sample(node):
    """(KiB of memory of its own, descriptors, sockets) of a daemon."""
    folder = "/proc/%d/fd" % node.process.pid
    links = []
    for name in os.listdir(folder):
        try:
            links.append(os.readlink(os.path.join(folder, name)))
        except FileNotFoundError:
            pass
    return node.memory_kib()[0], len(links), sum(link.startswith("socket:") for link in links)


class Soak:
    def __init__(self, lab):
        self.boxes = {name: lab.nat("nat" + name, kind) for name, kind in (("a", "hard"), ("b", "hard"), ("c", "easy"))}
        self.coord, self.relay = real.Ours(lab.public("coord")).start(), real.Ours(lab.public("relay")).start()
        self.a, self.c = (real.Ours(lab.host(name, self.boxes[name])).start() for name in "ac")
        self.b, self.pub = real.Real(lab.host("b", self.boxes["b"])).start(), real.Real(lab.public("pub")).start()
        url = self.coord.enable_coordinator()
        key = self.coord.key("--reusable")
        for node in (self.relay, self.a, self.b, self.c, self.pub):
            node.up(url, key)
        self.relay.ctl("set", "--relay-server-port=%d" % PORT)
        self.ours = [self.coord, self.relay, self.a, self.c]
        self.samples = {node.name: [] for node in self.ours}
        pairs = list(itertools.product((self.a, self.c), (self.b, self.pub)))
        for x, y in pairs:
            wait_until("%s reaches %s" % (x.name, y.name), 30, lambda x=x, y=y: x.host.pings(y.addr()))
        self.streams, self.datagrams, self.shorts = [], [], []
        for number, (x, y) in enumerate(pairs):
            port = 7800 + 10 * number
            self.streams.append(TcpFlow(x.host, y.host, y.addr(), 0.02, port))
            self.streams.append(TcpFlow(y.host, x.host, x.addr(), 0.02, port + 1))
            self.datagrams.append(UdpFlow(x.host, y.host, x.addr(), y.addr(), 0.02, port + 2))
            self.shorts.append(Shorts(x.host, y.host, y.addr(), port + 3))

    def events(self):
        """What happens below, without end: (name, begin, end); the end comes ten seconds later."""
        nothing = lambda: None
        link = lambda state: lambda: self._link(state)
        relay = lambda port: lambda: self.relay.ctl("set", "--relay-server-port=%s" % port, quiet=True)
        return itertools.cycle([
            ("relay off", relay(""), relay(PORT)),
            ("nata forgets", self.boxes["a"].forget, nothing),
            ("UDP blocked for b", self.boxes["b"].block_udp, lambda: self.boxes["b"].block_udp(False)),
            ("natc forgets", self.boxes["c"].forget, nothing),
            ("UDP blocked for a", self.boxes["a"].block_udp, lambda: self.boxes["a"].block_udp(False)),
            ("link of c down", link("down"), link("up")),
            ("natb forgets", self.boxes["b"].forget, nothing),
        ])

    def _link(self, state):
        self.c.host.ip("link set eth0 " + state)
        if state == "up":
            self.c.host.ip("route add default via %s metric 100" % self.boxes["c"].inside)

    def check(self):
        for flow in self.streams:
            flow.check()
            expect_silently(flow.arrived_since(time.monotonic() - STUCK_S), "a stream brings nothing for %d s" % STUCK_S)
        for short in self.shorts:
            expect_silently(not short.error, "a short stream was lost: %s" % short.error)

    def run(self, minutes):
        end = time.monotonic() + 60 * minutes
        next_sample, next_event, over = time.monotonic() + 20, time.monotonic() + EVENT_S, None
        events = self.events()
        while time.monotonic() < end:
            now = time.monotonic()
            if over and now >= over[0]:
                over[1]()
                over = None
            if now >= next_event:
                name, begin, finish = next(events)
                say("# %s" % name)
                begin()
                over, next_event = (now + 10, finish), now + EVENT_S
            if now >= next_sample:
                for node in self.ours:
                    self.samples[node.name].append(sample(node))
                say("# " + "  ".join("%s %d KiB %d fds %d sockets" % (name, *rows[-1]) for name, rows in self.samples.items()))
                next_sample = now + SAMPLE_S
            self.check()
            time.sleep(1)
        if over:
            over[1]()

    def finish(self):
        time.sleep(20)  # what an event at the very end broke heals first
        shorts = sum(short.finish() for short in self.shorts)
        n_bytes = sum(flow.finish(STUCK_S) for flow in self.streams)
        say("ok: %d long and %d short streams, none lost: %d bytes in each direction, checksums equal" % (
            len(self.streams), shorts, n_bytes))
        results = [flow.finish() for flow in self.datagrams]
        expect(not any(row[2] for row in results), "of %d datagrams %d were lost, none came twice" % (
            sum(row[0] for row in results), sum(row[1] for row in results)))
        for name, rows in self.samples.items():
            self.grown(name, rows)

    def grown(self, name, rows):
        """Compares the last third of the samples with the one before it."""
        third = len(rows) // 3
        if third == 0:
            raise Failure("too short a time to see growth: 3 minutes at least")
        before = [statistics.median(column) for column in zip(*rows[third:2 * third])]
        after = [statistics.median(column) for column in zip(*rows[-third:])]
        text = "%s: %d -> %d KiB, %d -> %d descriptors, %d -> %d sockets" % (
            name, before[0], after[0], before[1], after[1], before[2], after[2])
        expect(after[0] <= before[0] + GROWTH_KIB and after[1] <= before[1] + GROWTH_FDS and
               after[2] <= before[2] + GROWTH_FDS, "no growth: " + text)


def expect_silently(truth, text):
    if not truth:
        raise Failure(text)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=4)
    options = options.parse_args()
    with Lab("%g minutes of mixed traffic" % options.minutes) as lab:
        soak = Soak(lab)
        soak.run(options.minutes)
        soak.finish()


if __name__ == "__main__":
    sys.exit(main())
