#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the policy forbids does not happen, and nobody in between reads along.

    alice -- nata (hard) --.                  alice and bob: tag:in, may talk and may use the relay
    bob   -- natb (hard) --+- wan -- coord    (coordinator, DERP, STUN)
    carl  -- natc (hard) --+      -- relay    (peer relay, tag:relay)
    dave  -- natd (hard) --'                  carl and dave: tag:out, may talk, also to the relay,
                                              but have no relay grant
"""
import time

from flow import Capture, TcpFlow, UdpFlow, record
from lab import Lab, expect, never, wait_until
from node import Node

RELAY_PORT = 40000

OPEN = """{
  "tagOwners": {"tag:in": ["admin@"], "tag:out": ["admin@"], "tag:relay": ["admin@"]},
  "grants": [
    {"src": ["tag:in"], "dst": ["tag:in"], "ip": ["*"]},
    {"src": ["tag:out"], "dst": ["tag:out", "tag:relay"], "ip": ["*"]},
    {"src": ["tag:out"], "dst": ["tag:in"], "ip": ["udp:7701"]},
    {"src": ["tag:in"], "dst": ["tag:relay"], "app": {"tailscale.com/cap/relay": []}},
  ],
}
"""
# The same without the line that lets carl in.
CLOSED = OPEN.replace('{"src": ["tag:out"], "dst": ["tag:in"], "ip": ["udp:7701"]},', "")


class Scene:
    def __init__(self, lab):
        self.coord, self.relay = Node(lab.public("coord")), Node(lab.public("relay"))
        self.alice, self.bob, self.carl, self.dave = (
            Node(lab.host(name, lab.nat("nat" + name[0], "hard"))) for name in ("alice", "bob", "carl", "dave"))
        for node in (self.coord, self.relay, self.alice, self.bob, self.carl, self.dave):
            node.start()
        url = self.coord.enable_coordinator()
        self.coord.policy(OPEN)
        self.relay.up(url, self.coord.key("--tags", "tag:relay"))
        self.relay.ctl("set", "--relay-server-port=%d" % RELAY_PORT)
        for node in (self.alice, self.bob):
            node.up(url, self.coord.key("--tags", "tag:in"))
        for node in (self.carl, self.dave):
            node.up(url, self.coord.key("--tags", "tag:out"))

    def n_sessions(self):
        text = self.relay.ctl("debug", "peer-relay-sessions", quiet=True).stdout
        return int(next(row.split(":")[1] for row in text.splitlines() if row.startswith("Sessions count")))


def hears(src, dst, src_addr, dst_addr, port, duration_s=3, enough=None):
    """How many of a stream of datagrams reach 'dst' in the time, or until it is 'enough'; no answer is sent."""
    receiver, sender = dst.socket(), src.socket()
    receiver.bind((dst_addr, port))
    receiver.setblocking(False)
    n = 0
    end = time.monotonic() + duration_s
    while time.monotonic() < end and n != enough:
        try:
            sender.sendto(b"forbidden?", (dst_addr, port))
        except OSError:
            pass  # no route: nothing arrives that way either
        time.sleep(0.05)
        try:
            receiver.recv(64)
            n += 1
        except BlockingIOError:
            pass
    receiver.close()
    sender.close()
    return n


def nobody_reads_along(scene):
    """The pair talks over DERP and then over the relay; both wires are recorded."""
    ears = [Capture(scene.coord.host, "eth0"), Capture(scene.relay.host, "eth0"),
            Capture(scene.alice.host, "eth0")]
    inside = Capture(scene.bob.host, "mesh0")
    tcp = TcpFlow(scene.alice.host, scene.bob.host, scene.bob.addr())
    wait_until("alice and bob are on the relay", 30, lambda: scene.alice.path("bob") == "peer-relay")
    scene.relay.ctl("set", "--relay-server-port=")
    wait_until("alice and bob are on DERP", 30, lambda: scene.alice.path("bob") == "derp")
    time.sleep(1)
    scene.relay.ctl("set", "--relay-server-port=%d" % RELAY_PORT)
    wait_until("alice and bob are on the relay again", 30, lambda: scene.alice.path("bob") == "peer-relay")
    time.sleep(1)
    n_bytes = tcp.finish()
    # The constant tail of a record and its digest: both are on the wire if plaintext is.
    needles = [record(n)[8:40] for n in range(0, tcp.n_sent, 10)]
    inside.stop()
    n_inside = sum(any(n in frame for n in needles) for frame in inside.frames)
    expect(n_inside >= len(needles) // 2, "the needle is found where plaintext is: %d frames" % n_inside)
    for ear in ears:
        ear.stop()
        expect(len(ear.frames) > 50, "%s: %d frames recorded of a stream of %d bytes" % (ear.name, len(ear.frames), n_bytes))
        found = sum(any(n in frame for n in needles) for frame in ear.frames)
        expect(found == 0, "%s: no frame holds plaintext" % ear.name)


def no_grant_no_allocation(scene):
    """carl and dave may talk to each other and to the relay, but it may not relay for them."""
    wait_until("carl and the relay are peers", 20, lambda: scene.carl.peer("relay") and scene.relay.peer("carl"))
    relay = scene.relay.addr()
    wait_until("alice knows of one", 20, lambda: relay in
               scene.alice.ctl("debug", "peer-relay-servers", quiet=True).stdout)
    servers = scene.carl.ctl("debug", "peer-relay-servers").stdout.strip()
    expect(servers == "[]", "carl knows of no relay: %s" % servers)
    udp = UdpFlow(scene.carl.host, scene.dave.host, scene.carl.addr(), scene.dave.addr())
    wait_until("carl reaches dave", 20, lambda: udp.arrivals)
    never("carl and dave leave DERP", 8, lambda: scene.carl.path("dave") != "derp")
    udp.finish()
    expect(scene.n_sessions() == 0, "the relay never gave them a session")


def forbidden_never_arrives(scene):
    a, b, c = (node.addr() for node in (scene.alice, scene.bob, scene.carl))
    expect(hears(scene.carl.host, scene.bob.host, c, b, 7701, 20, 11) == 11, "carl to bob on the granted port arrives")
    expect(hears(scene.carl.host, scene.bob.host, c, b, 7702) == 0, "carl to bob on another port never arrives")
    expect(hears(scene.alice.host, scene.carl.host, a, c, 7701) == 0, "alice to carl, granted one way only, never arrives")
    expect(hears(scene.relay.host, scene.bob.host, scene.relay.addr(), b, 7701) == 0,
           "the relay reaches nobody it serves")
    expect(hears(scene.alice.host, scene.bob.host, a, b, 7702, 20, 11) == 11, "alice to bob arrives")
    scene.coord.policy(CLOSED)
    changed = time.monotonic()
    wait_until("carl vanished from bob's peers", 2, lambda: scene.bob.peer("carl") is None, since=changed)
    expect(hears(scene.carl.host, scene.bob.host, c, b, 7701) == 0, "without the grant nothing of carl arrives")


def main():
    with Lab("grants") as lab:
        scene = Scene(lab)
        wait_until("everybody sees whom the policy shows", 20,
                   lambda: scene.alice.peer("bob") and scene.carl.peer("alice"))
        no_grant_no_allocation(scene)
        nobody_reads_along(scene)
        forbidden_never_arrives(scene)


if __name__ == "__main__":
    main()
