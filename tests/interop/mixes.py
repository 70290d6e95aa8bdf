#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every mix of ours and real: client A, client B and the relay, each a meshd or a real node.

    a == eth0 == nata --.
      == eth1 == natc --+- wan -- coord (coordinator, DERP, STUN), relay (ours or real)
    b   -------- natb --'

A stream in each direction, checksummed, lives from the first packet to the end; so does a flow of
datagrams that times the silences. "oro" is A ours, B real, relay ours, under our coordinator and DERP; "oro/r"
the same under the reference control and DERP server. Each mix has a laboratory and a process of its own, as
they mostly wait.

usage: mixes.py [--repeat N] [--jobs N] [--figures] [MIX...]
"""
import argparse
import calendar
import concurrent.futures
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time

import real
from flow import TcpFlow, UdpFlow
from lab import Failure, Lab, expect, say, wait_until

ALL = ["".join(letters) for letters in itertools.product("or", repeat=3)] + ["ooo/r", "oro/r", "roo/r", "orr/r"]
KINDS = {"o": real.Ours, "r": real.Real}
PORT = 40000
# A real node trusts a path for 6.5 s after its last Pong and looks for relays every 30 s at most; twice
# that, and the machine may be slow.
SETTLE_S = 75
# Where ours on one end spares both those 30 s: a second or two, and the 8 s that roaming waits before it looks.
SOON_S = {"UDP back": 20, "roaming, direct": 28}
# TCP doubles its patience at each loss, so after a real pair's 6.5 s it may take as long again.
SILENCE_S = 20
REKEY_S = 190
STAGGER_S = 2  # between the first starts: joining is the busy part
PATHS = {"derp": ("derp",), "peer-relay": ("peer_relay_ipv4", "peer_relay_ipv6"), "direct": ("direct_ipv4", "direct_ipv6")}


def metric(node, name, **labels):
    """The sum of one metric over the rows that carry these labels."""
    total = 0.0
    for row in real.local_api(node, "usermetrics").splitlines():
        if row.startswith((name + "{", name + " ")) and all('%s="%s"' % item in row for item in labels.items()):
            total += float(row.rsplit(" ", 1)[1])
    return total


def carried(node, rung):
    """Packets that a client sent and received by one rung."""
    return [sum(metric(node, "tailscaled_%s_packets_total" % way, path=path) for path in PATHS[rung])
            for way in ("outbound", "inbound")]


def handshake_at(node, name):
    """When the last handshake with the peer was, as wall time in whole seconds; 0: never."""
    text = re.sub(r"(\.\d+)?(Z|[+-]\d\d:\d\d)$", "", node.peer(name)["LastHandshake"])
    if text.startswith("0001"):
        return 0
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


class Mix:
    def __init__(self, lab, kinds):
        self.lab, self.kinds = lab, kinds
        self.figures = {}
        self.nata, self.natb, self.natc = (lab.nat("nat" + name, "hard") for name in "abc")
        host = lab.host("a", self.nata)
        self.natc.attach(host, "eth1", metric=200)
        self.coord = (real.Infra if kinds.endswith("/r") else real.Ours)(lab.public("coord"))
        self.a, self.b, self.relay = (KINDS[kind](place) for kind, place in
                                      zip(kinds, (host, lab.host("b", self.natb), lab.public("relay"))))

    def join(self):
        for node in (self.coord, self.relay, self.a, self.b):
            node.start()
        url = self.coord.enable_coordinator()
        key = self.coord.key("--reusable")
        for node in (self.relay, self.b, self.a):
            node.up(url, key)
        self.joined = time.monotonic()
        # The first ping of each side must come through, whoever is asked first.
        wait_until("a reaches b", 20, lambda: self.a.host.pings(self.b.addr()), since=self.joined)
        wait_until("b reaches a", 20, lambda: self.b.host.pings(self.a.addr()))
        self.first_handshake = max(handshake_at(self.a, "b"), handshake_at(self.b, "a"))
        self.streams = [TcpFlow(self.a.host, self.b.host, self.b.addr(), 0.05, 7700),
                        TcpFlow(self.b.host, self.a.host, self.a.addr(), 0.05, 7702)]
        self.udp = UdpFlow(self.a.host, self.b.host, self.a.addr(), self.b.addr(), 0.05)

    def on(self, rung):
        return self.a.path("b") == rung and self.b.path("a") == rung

    def rebinds(self):
        return sum(node.rebinds() for node in (self.a, self.b) if isinstance(node, real.Real))

    def flows(self):
        return all(flow.arrived_since(time.monotonic() - 0.3) for flow in (*self.streams, self.udp))

    def settles(self, name, rung, since=None):
        """Both ends come to a rung, everything flows there and the counters say so."""
        since = since or time.monotonic()
        within_s = SOON_S.get(name, SETTLE_S) if "o" in self.kinds[:2] else SETTLE_S
        begin, rebinds = since, self.rebinds()
        while True:
            # A path that died a moment ago still has its name: only what is counted on it is proof.
            try:
                wait_until("%s: both on %s" % (name, rung), within_s, lambda: self.on(rung) and self.flows(), 0.2, begin)
                self.counters(name, rung)
            except Failure:
                self.explain()
                raise
            if self.on(rung) or self.rebinds() == rebinds:
                break
            say("# a real node dropped all its paths meanwhile (Real.rebinds)")
            begin, rebinds = time.monotonic(), self.rebinds()
        expect(self.on(rung), "%s: still both on %s" % (name, rung))
        for flow in (*self.streams, self.udp):
            flow.check()
        gap = self.udp.silence(since)
        self.figures[name] = (time.monotonic() - since, gap)
        expect(gap <= SILENCE_S, "%s: datagrams silent for %.2f s, stream for %.2f s" % (
            name, gap, max(flow.silence(since) for flow in self.streams)))

    def explain(self):
        """Where everybody is, for the log of a failure."""
        for node, other in ((self.a, "b"), (self.b, "a")):
            peer = node.peer(other) or {}
            say("%s: path %s, %s" % (node.name, node.path(other), {key: peer.get(key) for key in (
                "CurAddr", "PeerRelay", "Addrs", "LastHandshake")}))
            if isinstance(node, real.Ours):
                say(node.ctl("path", other, check=False).stdout)
        for box in (self.nata, self.natb, self.natc):
            say("%s:\n%s" % (box.name, box.run("conntrack", "-L", "-p", "udp", check=False, quiet=True).stdout))

    def forwarded(self):
        return metric(self.relay, "tailscaled_peer_relay_forwarded_packets_total")

    def counters(self, name, rung):
        """Both clients count what they send and receive on this rung; the relay forwards it, or comes to rest."""
        before = [carried(node, rung) for node in (self.a, self.b)]
        forwarded = self.forwarded()

        def counted():
            after = [carried(node, rung) for node in (self.a, self.b)]
            return all(now[way] - then[way] > 25 for now, then in zip(after, before) for way in (0, 1))
        wait_until("%s: both clients count packets both ways on %s" % (name, rung), SETTLE_S, counted, 0.2)
        if rung == "peer-relay":
            # A relay that restarted counts from zero.
            wait_until("%s: the relay counts" % name, SETTLE_S, lambda: self.forwarded() - forwarded > 50 or
                       50 < self.forwarded() < forwarded, 0.2)
            return

        def rests():
            forwarded, sent = self.forwarded(), self.udp.n_sent
            wait_until("%s: the flows move" % name, 10, lambda: self.udp.n_sent >= sent + 25)
            return self.forwarded() < forwarded + 15
        # Who is not sure yet sends by both paths for a moment.
        wait_until("%s: the relay carries no data" % name, 30, rests)

    def change(self, name, rung, *changes):
        """Changes something under load; both ends must come to (or back to) a rung."""
        since = time.monotonic()
        for change in changes:
            change()
        self.settles(name, rung, since)

    def set_relay(self, on):
        self.relay.ctl("set", "--relay-server-port=" + (str(PORT) if on else ""))

    def restart_relay(self):
        self.relay.kill9()
        time.sleep(0.5)
        self.relay.start()

    def link(self, node, box, on):
        """The first link of a client; its default route goes and comes with it."""
        node.host.ip("link set eth0 " + ("up" if on else "down"))
        if on:
            node.host.ip("route add default via %s metric 100" % box.inside)

    def on_the_relay(self):
        self.change("relay on", "peer-relay", lambda: self.set_relay(True))
        self.change("NAT forgets, on the relay", "peer-relay", self.nata.forget, lambda: time.sleep(8))
        self.change("roaming, on the relay", "peer-relay", lambda: self.link(self.a, self.nata, False),
                    lambda: time.sleep(8))
        self.change("and back", "peer-relay", lambda: self.link(self.a, self.nata, True), lambda: time.sleep(8))
        self.change("relay restarts", "peer-relay", self.restart_relay)
        self.change("relay off", "derp", lambda: self.set_relay(False))
        self.change("relay on again", "peer-relay", lambda: self.set_relay(True))
        self.change("UDP blocked", "derp", self.nata.block_udp)
        self.change("UDP back", "peer-relay", lambda: self.nata.block_udp(False))

    def direct(self):
        self.change("easy NATs", "direct", *(lambda box=box: box.become("easy") for box in
                                             (self.nata, self.natb, self.natc)))
        self.change("NAT forgets, direct", "direct", self.natb.forget, lambda: time.sleep(8))
        self.change("link of b down and up, direct", "direct", lambda: self.link(self.b, self.natb, False),
                    lambda: time.sleep(3), lambda: self.link(self.b, self.natb, True), lambda: time.sleep(8))
        self.change("roaming, direct", "direct", lambda: self.link(self.a, self.nata, False), lambda: time.sleep(8))

    def rekey(self):
        """Session keys live 180 s at most: the streams have seen a new handshake, and it was silent."""
        left_s = REKEY_S - (time.monotonic() - self.joined)
        if left_s > 0:
            time.sleep(left_s)
        newest = max(handshake_at(self.a, "b"), handshake_at(self.b, "a"))
        expect(newest >= self.first_handshake + 100, "rekeyed %d s after the first handshake" % (
            newest - self.first_handshake))
        wait_until("everything flows after it", SILENCE_S, self.flows)

    def run(self):
        self.join()
        self.settles("joined", "derp", self.joined)
        self.on_the_relay()
        self.direct()
        self.rekey()
        for flow in self.streams:
            say("ok: a stream survived: %d bytes, checksums equal" % flow.finish())
        sent, lost, duplicated = self.udp.finish()
        expect(duplicated == 0, "of %d datagrams %d were lost, %d came twice" % (sent, lost, duplicated))


def one(kinds):
    """One mix in this process."""
    words = {"o": "ours", "r": "real"}
    coord = words["r" if kinds.endswith("/r") else "o"]
    with Lab("A %s, B %s, relay %s, coordinator %s" % (*(words[kind] for kind in kinds[:3]), coord)) as lab:
        mix = Mix(lab, kinds)
        mix.run()
    for name, (took, gap) in mix.figures.items():
        say("# figure: %s: settled %.2f silent %.2f" % (name, took, gap))


def attempt(kinds, number, folder, wait_s):
    """One mix in a process of its own: (passed, path of its log, seconds)."""
    time.sleep(wait_s)
    path = os.path.join(folder, "%s-%d.log" % (kinds.replace("/", "-"), number))
    begin = time.monotonic()
    with open(path, "wb") as log:
        done = subprocess.run([sys.executable, "-B", os.path.abspath(__file__), "--one", kinds], stdin=subprocess.DEVNULL,
                              stdout=log, stderr=subprocess.STDOUT)
    return done.returncode == 0, path, time.monotonic() - begin


def figures(paths):
    """Prints the worst and the median of each stage over all logs of one mix."""
    stages = {}
    for path in paths:
        with open(path, errors="replace") as log:
            for name, took, gap in re.findall(r"# figure: (.+): settled ([\d.]+) silent ([\d.]+)", log.read()):
                stages.setdefault(name, []).append((float(took), float(gap)))
    for name, values in stages.items():
        tooks, gaps = (sorted(column) for column in zip(*values))
        say("    %-32s settled %5.1f (worst %5.1f)  silent %5.2f (worst %5.2f)" % (
            name, tooks[len(tooks) // 2], tooks[-1], gaps[len(gaps) // 2], gaps[-1]))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--repeat", type=int, default=1)
    options.add_argument("--jobs", type=int, default=len(ALL))
    options.add_argument("--one", choices=ALL)
    options.add_argument("--figures", action="store_true", help="print the figures of each stage")
    options.add_argument("mixes", nargs="*", metavar="MIX")
    options = options.parse_args()
    if options.one:
        one(options.one)
        return 0
    if unknown := set(options.mixes) - set(ALL):
        raise SystemExit("no such mix: %s" % " ".join(sorted(unknown)))
    real.program()
    folder = tempfile.mkdtemp(prefix="mixes-")
    todo = [(kinds, number) for number in range(options.repeat) for kinds in options.mixes or ALL]
    waits_s = [STAGGER_S * turn if turn < options.jobs else 0 for turn in range(len(todo))]
    failed, logs = 0, {}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda job, wait_s: attempt(*job, folder, wait_s), todo, waits_s)
        for (kinds, number), (passed, path, took_s) in zip(todo, results):
            say("%s: %s, run %d (%.0f s)" % ("ok" if passed else "FAILED", kinds, number + 1, took_s))
            logs.setdefault(kinds, []).append(path)
            if not passed:
                failed += 1
                with open(path, errors="replace") as log:
                    say("".join("    " + line for line in log.readlines()[-30:]))
    for kinds in logs if options.figures or options.repeat > 1 else ():
        say("# %s" % kinds)
        figures(logs[kinds])
    say("# %d runs, %d failed; logs in %s" % (len(todo), failed, folder))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
