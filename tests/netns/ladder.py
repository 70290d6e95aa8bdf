#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The ladder under load: direct, peer relay, DERP, with one TCP stream over all of it.

    alice -- nata (hard) --.
                           wan -- coord (coordinator, DERP, STUN), relay (peer relay)
    bob   -- natb (hard) --'

The stream and a flow of datagrams run from the first packet to the end; every switch of rungs is
timed, and no switch may keep them silent for longer than SILENCE_S; a flow without meshd is the witness of what
the machine itself held up. "ladder.py RUNS" repeats it and
prints the figures of all runs.
"""
import re
import sys
import time

from flow import TcpFlow, UdpFlow, Witness
from lab import Lab, expect, never, say, wait_until
from node import Node

FIRST_PACKET_S = 2
RELAY_S = 5
DIRECT_S = 3
SILENCE_S = 2
RELAY_PORT = 40000


class Ladder:
    def __init__(self, lab):
        self.lab = lab
        self.figures = {}
        self.nata, self.natb = lab.nat("nata", "hard"), lab.nat("natb", "hard")
        self.coord, self.relay = Node(lab.public("coord")), Node(lab.public("relay"))
        self.alice = Node(lab.host("alice", self.nata))
        self.bob = Node(lab.host("bob", self.natb))

    def join(self):
        """Everybody joins; the datagrams start the moment both laptops did."""
        for node in (self.coord, self.relay, self.alice, self.bob):
            node.start()
        self.witness = Witness(self.coord.host)
        url = self.coord.enable_coordinator()
        key = self.coord.key("--reusable")
        self.relay.up(url, key)
        self.relay.ctl("set", "--relay-server-port=%d" % RELAY_PORT)
        self.bob.up(url, key)
        self.b_addr = self.bob.addr()
        expect(not self.alice.host.pings(self.b_addr), "alice does not reach bob before she joined")
        self.alice.up(url, key)
        self.joined = time.monotonic()
        self.udp = UdpFlow(self.alice.host, self.bob.host, self.alice.addr(), self.b_addr)
        self.witness.wait("first packet through", FIRST_PACKET_S, lambda: self.udp.arrivals, self.joined, 0.01)
        self.figures["first packet"] = self.udp.arrivals[0] - self.joined
        self.tcp = TcpFlow(self.alice.host, self.bob.host, self.b_addr)

    def on(self, rung):
        return self.alice.path("bob") == rung and self.bob.path("alice") == rung

    def reach(self, name, rung, deadline_s, since=None):
        _, took = self.witness.wait("%s: both ends on %s" % (name, rung), deadline_s, lambda: self.on(rung),
                                    since or time.monotonic())
        self.figures[name] = took

    def silences(self, name, since, rto_s):
        """The silence that a switch caused, for both flows; both must be flowing again."""
        wait_until("both flows move after: " + name, 10,
                   lambda: min(self.udp.arrivals[-1], self.tcp.arrivals[-1]) > time.monotonic() - 0.2)
        for kind, flow in (("datagrams", self.udp), ("stream", self.tcp)):
            flow.check()
            gap = flow.silence(since)
            self.figures["%s: silence of %s" % (name, kind)] = gap
        self.witness.holds("%s: silence of the datagrams" % name, self.udp.silence(since), SILENCE_S, since)
        self.witness.stream_holds("%s: silence of the stream" % name, self.tcp, SILENCE_S, since, rto_s)

    def switch(self, name, change, rung, deadline_s):
        """Makes one change under load and waits for the rung it must lead to."""
        since, rto_s = time.monotonic(), self.tcp.rto_s()
        change()
        self.reach(name, rung, deadline_s, since)
        time.sleep(1)  # the old path ages out while traffic already uses the new one
        self.silences(name, since, rto_s)

    def relay_line(self):
        pattern = r"active; peer-relay %s:%d:vni:\d+, tx \d+ rx \d+" % (re.escape(self.relay.host.addr), RELAY_PORT)

        def lines():
            rows = self.alice.ctl("status", quiet=True).stdout.splitlines()
            return [row for row in rows if re.search(pattern, row)]
        found, _ = wait_until("status shows the relay and what it carried", 10, lines)
        expect(len(found) == 1, "status | grep peer-relay: %s" % found[0])
        pong = self.alice.ctl("ping", "-c", "1", "--until-direct=false", "bob").stdout
        expect("via peer-relay(%s:%d:vni:" % (self.relay.host.addr, RELAY_PORT) in pong, "ping: " + pong.strip())

    def relay_counters(self):
        def forwarded():
            text = self.relay.ctl("metrics", quiet=True).stdout
            return sum(float(row.split()[-1]) for row in text.splitlines()
                       if row.startswith("tailscaled_peer_relay_forwarded_packets_total"))
        before = forwarded()
        wait_until("the relay counts what it forwards", 10, lambda: forwarded() > before + 20)
        sessions = self.relay.ctl("debug", "peer-relay-sessions").stdout
        expect("Server port: %d" % RELAY_PORT in sessions and "Packets: " in sessions, "the session is listed")

    def run(self):
        self.join()
        self.reach("relay after joining", "peer-relay", RELAY_S, self.joined)
        self.relay_line()
        self.relay_counters()
        self.switch("relay off", lambda: self.relay.ctl("set", "--relay-server-port="), "derp", 10)
        self.switch("relay on again", lambda: self.relay.ctl("set", "--relay-server-port=%d" % RELAY_PORT),
                    "peer-relay", RELAY_S)
        self.switch("UDP blocked", self.nata.block_udp, "derp", 10)
        self.switch("UDP back", lambda: self.nata.block_udp(False), "peer-relay", 10)
        self.switch("a NAT opens", lambda: self.nata.become("cone"), "direct", 10)
        self.switch("it closes again", lambda: self.nata.become("hard"), "peer-relay", 20)
        n_bytes = self.tcp.finish()
        say("ok: the TCP stream survived: %d bytes, checksums equal" % n_bytes)
        sent, lost, duplicated = self.udp.finish()
        expect(duplicated == 0, "of %d datagrams %d were lost, %d came twice" % (sent, lost, duplicated))


def join_pair(lab, names):
    """A coordinator, two nodes behind easy NATs that joined it, and a witness."""
    coord = Node(lab.public("coord")).start()
    url = coord.enable_coordinator()
    key = coord.key("--reusable")
    pair = [Node(lab.host(name, lab.nat("nat" + name[0], "easy"))).start() for name in names]
    witness = Witness(coord.host)
    for node in pair:
        node.up(url, key)
    return coord, *pair, witness


def easy_pair(lab, figures):
    """Two easy NATs: direct within DIRECT_S after both joined, and it stays direct."""
    _, carol, dave, witness = join_pair(lab, ("carol", "dave"))
    joined = time.monotonic()
    udp = UdpFlow(carol.host, dave.host, carol.addr(), dave.addr())
    witness.wait("easy: first packet through", FIRST_PACKET_S, lambda: udp.arrivals, joined, 0.01)
    figures["easy: first packet"] = udp.arrivals[0] - joined
    _, took = witness.wait("easy: direct", DIRECT_S,
                           lambda: carol.path("dave") == dave.path("carol") == "direct", joined)
    figures["easy: direct after joining"] = took
    never("easy: falls off the direct path", 3, lambda: carol.path("dave") != "direct")
    udp.finish()


NO_STREAMS = """table ip late {
  chain output {
    type filter hook output priority 0;
    ip daddr %s tcp flags & syn == syn reject with tcp reset
  }
}
"""


def late_peer(lab, figures):
    """The other end is not at DERP until after the first packet: this must not wait for WireGuard's next attempt."""
    coord, erin, frank, witness = join_pair(lab, ("erin", "frank"))
    addrs = erin.addr(), frank.addr()
    never("late: the two speak before they are asked to", 3, lambda: erin.path("frank") == "direct", 0.5)
    frank.host.nft(NO_STREAMS % coord.host.addr)
    ended = frank.host.run("ss", "-HK", "dst", coord.host.addr).stdout
    expect(ended.strip(), "late: frank's connections to the coordinator were ended")
    time.sleep(0.15)
    begin = time.monotonic()
    udp = UdpFlow(erin.host, frank.host, *addrs)
    time.sleep(0.3)
    expect(not udp.arrivals, "late: nothing comes through while frank is not at DERP")
    frank.host.nft("delete table ip late")
    witness.wait("late: first packet through", FIRST_PACKET_S, lambda: udp.arrivals, begin, 0.01)
    figures["late: first packet"] = udp.arrivals[0] - begin
    udp.finish()


def main():
    runs = []
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        with Lab("the ladder, run %d" % (number + 1)) as lab:
            ladder = Ladder(lab)
            ladder.run()
        with Lab("easy NATs, run %d" % (number + 1)) as lab:
            easy_pair(lab, ladder.figures)
        with Lab("a late peer, run %d" % (number + 1)) as lab:
            late_peer(lab, ladder.figures)
        runs.append(ladder.figures)
    say("# figures in seconds, %d run(s)" % len(runs))
    for name in runs[0]:
        say("%-45s %s" % (name, "  ".join("%.2f" % figures[name] for figures in runs)))


if __name__ == "__main__":
    main()
