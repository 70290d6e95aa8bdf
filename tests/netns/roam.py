#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The ground moves under a running stream: another network, another mapping, another address.

    alice == eth0 == nata (easy) --.
          == eth1 == natb (easy) --+- wan -- coord (coordinator, DERP, STUN, peer relay)
    bob   --------- natc (easy) --'      `-- pub (public address)
"""
import time

from flow import TcpFlow, UdpFlow, Witness
from lab import Lab, expect, wait_until
from node import Node

ANNOUNCED_S = 1
LEARNED_S = 45  # an address learned from a Ping is forgotten so long after the last one
SILENCE_S = 2


class Scene:
    def __init__(self, lab):
        self.nata, self.natb = lab.nat("nata", "easy"), lab.nat("natb", "easy")
        alice = lab.host("alice", self.nata)
        self.natb.attach(alice, "eth1", metric=200)
        self.coord, self.pub = Node(lab.public("coord")).start(), Node(lab.public("pub")).start()
        self.alice, self.bob = Node(alice).start(), Node(lab.host("bob", lab.nat("natc", "easy"))).start()
        url = self.coord.enable_coordinator()
        self.coord.ctl("set", "--relay-server-port=40000")
        key = self.coord.key("--reusable")
        for node in (self.pub, self.bob, self.alice):
            node.up(url, key)
        self.witness = Witness(self.coord.host)

    def addrs(self, name):
        return (self.coord.peer(name) or {}).get("Addrs") or []


def moves(scene, what, change, settled):
    """One change under load: silence of both flows, then the path that must follow."""
    udp = UdpFlow(scene.alice.host, scene.bob.host, scene.alice.addr(), scene.bob.addr())
    tcp = TcpFlow(scene.alice.host, scene.bob.host, scene.bob.addr())
    wait_until("both flows run", 20, lambda: len(udp.arrivals) > 20 and len(tcp.arrivals) > 20)
    since, rto_s = time.monotonic(), tcp.rto_s()
    change()
    wait_until("%s: datagrams again" % what, 20, lambda: udp.arrived_since(since + 0.5) and
               udp.silence(udp.arrivals[-5]) < 0.5)
    scene.witness.wait("%s: direct again" % what, 10, settled, since)
    time.sleep(1)
    scene.witness.holds("%s: silence of the datagrams" % what, udp.silence(since), SILENCE_S, since)
    scene.witness.stream_holds("%s: silence of the stream" % what, tcp, SILENCE_S, since, rto_s)
    sent, lost, duplicated = udp.finish()
    expect(duplicated == 0, "%s: of %d datagrams %d were lost, %d came twice" % (what, sent, lost, duplicated))
    expect(tcp.finish() > 0, "%s: stream whole" % what)


def address_change(scene):
    """A public host gets another address: its peers hear of it within a second."""
    host = scene.pub.host
    old, new = host.addr, "198.51.100.200"
    wait_until("coord knows pub's address", 20, lambda: any(a.startswith(old + ":") for a in scene.addrs("pub")))
    since = time.monotonic()
    host.ip("addr add %s/24 dev eth0" % new)
    scene.witness.wait("the new address is announced", ANNOUNCED_S + 0.3,
                       lambda: any(a.startswith(new + ":") for a in scene.addrs("pub")), since)
    host.sysctl("net.ipv4.conf.all.promote_secondaries", 1)
    since = time.monotonic()
    host.ip("addr del %s/24 dev eth0" % old)
    host.ip("route replace default via 198.51.100.254")
    wait_until("alice reaches pub there", 30, lambda: scene.alice.host.pings(scene.pub.addr()))
    wait_until("and the lost one is withdrawn", LEARNED_S + 15,
               lambda: not any(a.startswith(old + ":") for a in scene.addrs("pub")), since=since)


def main():
    with Lab("roaming") as lab:
        scene = Scene(lab)

        def direct_by(box):
            peer = scene.bob.peer("alice")
            return peer and peer["CurAddr"].startswith(box.addr + ":")
        wait_until("alice and bob are direct", 30, lambda: scene.alice.host.pings(scene.bob.addr()) and
                   direct_by(scene.nata))
        moves(scene, "eth0 goes down", lambda: scene.alice.host.ip("link set eth0 down"),
              lambda: direct_by(scene.natb))
        scene.alice.host.ip("link set eth0 up")
        scene.alice.host.ip("route add default via %s metric 100" % scene.nata.inside)
        wait_until("eth0 is back and preferred", 40, lambda: scene.alice.host.pings(scene.bob.addr()) and
                   direct_by(scene.nata))
        moves(scene, "the NAT forgets its mappings", scene.nata.forget, lambda: direct_by(scene.nata))
        address_change(scene)


if __name__ == "__main__":
    main()
