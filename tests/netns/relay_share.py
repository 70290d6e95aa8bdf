#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A relay with a limit shares it: the session that floods leaves the other its half (RELIABILITY 5).

    alice, carol -- nata (hard) --.
                                  wan -- coord (coordinator, DERP), relay (10 Mbit/s)
    bob, dave ---- natb (hard) ---'

alice floods bob with three times the limit; carol sends dave a little less than the limit. The relay has
its own port first, then shares the main one.
"""
import os
import socket
import threading
import time

from lab import Lab, expect, say, wait_until
from node import Node

LIMIT_MBPS = 10
FLOOD_MBPS, MODEST_MBPS = 30, 8
MEASURE_S = 5
TRIES = 4  # the senders must get their turns: a busy moment passes, a fault stays
SIZE = 1200
PORT = 7800


class Stream:
    """Datagrams at a steady rate; mbps() tells what arrived since the last call."""

    def __init__(self, a, b, b_addr, rate_mbps):
        self.server, self.client = b.socket(), a.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.server.bind((b_addr, PORT))
        self.client.connect((b_addr, PORT))
        self.every_s = SIZE * 8 / (rate_mbps * 1e6)
        self.n_bytes, self.stopping = 0, False
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()
        self.mark()

    def _send(self):
        due, data = time.monotonic(), bytes(SIZE)
        while not self.stopping:
            now = time.monotonic()
            due = max(due, now - 0.2)  # behind: no more than so much is made up for
            while due <= now:
                due += self.every_s
                try:
                    self.client.send(data)
                except OSError:
                    pass  # a full queue is a loss like another
            time.sleep(0.01)

    def _receive(self):
        while not self.stopping and (data := self.server.recv(2048)):
            self.n_bytes += len(data)

    def mark(self):
        self.marked, self.seen = time.monotonic(), self.n_bytes

    def mbps(self):
        return (self.n_bytes - self.seen) * 8e-6 / (time.monotonic() - self.marked)

    def stop(self):
        self.stopping = True
        self.threads[0].join()
        try:
            self.server.shutdown(socket.SHUT_RDWR)  # wakes its reader, or the port stays taken
        except OSError:
            pass
        self.threads[1].join()
        self.server.close()
        self.client.close()


def share(alice, bob, carol, dave, relay, what):
    flood = Stream(alice.host, bob.host, bob.addr(), FLOOD_MBPS)
    wait_until("%s: alice and carol use the relay" % what, 30,
               lambda: alice.path("bob") == "peer-relay" and carol.path("dave") == "peer-relay")
    for _ in range(TRIES):
        time.sleep(1)
        flood.mark()
        time.sleep(2)
        alone = flood.mbps()
        modest = Stream(carol.host, dave.host, dave.addr(), MODEST_MBPS)
        time.sleep(1)
        flood.mark()
        modest.mark()
        time.sleep(MEASURE_S)
        got, rest = modest.mbps(), flood.mbps()
        modest.stop()
        say("# %s: alone the flood gets %.1f Mbit/s, with another session %.1f, which has %.1f" % (what, alone, rest, got))
        if 0.6 * LIMIT_MBPS < alone < 1.2 * LIMIT_MBPS and got >= 0.45 * alone and got + rest < 1.2 * LIMIT_MBPS:
            break
    flood.stop()
    expect(0.6 * LIMIT_MBPS < alone < 1.2 * LIMIT_MBPS, "%s: alone the flood gets %.1f Mbit/s" % (what, alone))
    expect(got >= 0.45 * alone, "%s: the other session keeps %.1f Mbit/s, the flood %.1f" % (what, got, rest))
    expect(got + rest < 1.2 * LIMIT_MBPS, "%s: the limit holds" % what)
    dropped = [row for row in relay.ctl("metrics", quiet=True).stdout.splitlines()
               if row.startswith('meshd_peer_relay_dropped_packets_total{reason="rate_limit"}')]
    expect(dropped and float(dropped[0].split()[-1]) > 0, "%s: drops are counted: %s" % (what, dropped))


def main():
    with Lab("a limited relay is shared") as lab:
        nata, natb = lab.nat("nata", "hard"), lab.nat("natb", "hard")
        coord, relay = Node(lab.public("coord")).start(), Node(lab.public("relay"))
        conf = os.path.join(relay.dir, "meshd.conf")
        with open(conf, "w") as f:
            f.write('{"version": "alpha0", "relayServerMbps": %d}' % LIMIT_MBPS)
        os.chmod(conf, 0o600)
        relay.start("--config", conf, "--port", "41641")
        names = {"alice": nata, "carol": nata, "bob": natb, "dave": natb}
        alice, carol, bob, dave = (Node(lab.host(name, box)).start() for name, box in names.items())
        url = coord.enable_coordinator()
        key = coord.key("--reusable")
        for node in (relay, alice, carol, bob, dave):
            node.up(url, key)
        relay.ctl("set", "--relay-server-port=40000")
        for a, b in ((alice, bob), (carol, dave)):
            wait_until("%s reaches %s" % (a.name, b.name), 20, lambda: a.host.pings(b.addr()))
        pinger = carol.host.spawn("ping", "-i", "0.2", dave.addr())
        share(alice, bob, carol, dave, relay, "own port")
        relay.ctl("set", "--relay-server-port=41641")
        wait_until("they left the old port", 30, lambda: ":41641:" in ((alice.peer("bob") or {}).get("PeerRelay") or ""))
        share(alice, bob, carol, dave, relay, "shared port")
        pinger.kill()


if __name__ == "__main__":
    main()
