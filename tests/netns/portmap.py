#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Behind two hard NATs a pair goes direct as soon as one gateway maps ports (RELIABILITY 9, "+pm").

    alice -- nata (hard, maps ports) --.
                                       wan -- coord (coordinator, DERP, STUN)
    bob   -- natb (hard) --------------'

Once with each of NAT-PMP, PCP and UPnP; then what must not be believed, and what ends a mapping.
"""
import time

from flow import UdpFlow
from gateway import Gateway
from lab import Lab, expect, never, wait_until
from node import Node

PORT = 41641
NAMES = {"pmp": "NAT-PMP", "pcp": "PCP", "upnp": "UPnP"}


def netcheck_line(node):
    rows = node.ctl("netcheck", quiet=True).stdout.splitlines()
    return next(row.partition(":")[2].strip() for row in rows if "PortMapping" in row)


class Pair:
    def __init__(self, lab, *flags):
        self.nata, self.natb = lab.nat("nata", "hard"), lab.nat("natb", "hard")
        self.coord = Node(lab.public("coord")).start()
        self.alice, self.bob = Node(lab.host("alice", self.nata)), Node(lab.host("bob", self.natb))
        self.flags = flags

    def join(self):
        url = self.coord.enable_coordinator()
        key = self.coord.key("--reusable")
        self.alice.start("--port", str(PORT), *self.flags)
        self.bob.start()
        self.alice.up(url, key)
        self.bob.up(url, key)
        wait_until("alice reaches bob", 20, lambda: self.alice.host.pings(self.bob.addr()))
        return self

    def is_direct(self):
        return self.alice.path("bob") == self.bob.path("alice") == "direct"


def goes_direct(kind):
    with Lab("a gateway with %s" % NAMES[kind]) as lab:
        pair = Pair(lab)
        gateway = Gateway(pair.nata, {kind})
        pair.join()
        udp = UdpFlow(pair.alice.host, pair.bob.host, pair.alice.addr(), pair.bob.addr())
        wait_until("both ends direct", 30, pair.is_direct)
        port, to = next(iter(gateway.mapped.items()))
        expect(to == (pair.alice.host.addr, PORT), "the gateway maps %d to %s:%d" % (port, *to))
        expect(pair.bob.peer("alice")["CurAddr"] == "%s:%d" % (pair.nata.addr, port),
               "bob reaches alice at the mapped address")
        expect(not any("down" in word for word in gateway.asked), "nothing is asked of a line that is down")
        expect(kind != "upnp" or "upnp conflict" in gateway.asked, "and a port that was taken is no obstacle")
        expect(netcheck_line(pair.alice) == NAMES[kind], "netcheck names " + NAMES[kind])
        expect(netcheck_line(pair.bob) == "", "and none at bob's")
        if kind == "pmp":
            # A gateway that restarted knows nothing any more: noticed by its age, mapped again.
            gateway.reboot()
            since = time.monotonic()
            wait_until("mapped again after a restart of the gateway", 60, lambda: gateway.mapped, since=since)
            wait_until("both ends direct again", 30, pair.is_direct)
        udp.finish()
        pair.alice.stop()
        wait_until("a daemon that ends releases its mapping", 10, lambda: not gateway.mapped)


def switched_off():
    with Lab("port mapping switched off") as lab:
        pair = Pair(lab, "--portmap", "off")
        gateway = Gateway(pair.nata, NAMES)
        pair.join()
        never("a question to the gateway", 3, lambda: gateway.asked)
        expect(netcheck_line(pair.alice) == "not checked", "netcheck: not checked")
        expect(pair.alice.path("bob") == "derp", "the pair stays on DERP")


def useless_addresses():
    with Lab("a gateway behind another NAT") as lab:
        pair = Pair(lab)
        gateway = Gateway(pair.nata, {"pmp"}, outside="10.1.2.3")
        pair.join()
        wait_until("the gateway was asked", 20, lambda: "pmp map" in gateway.asked)
        never("a private outside address is used", 3,
              lambda: "10.1.2.3" in str(pair.bob.status()["Peer"]) or pair.is_direct())


def foreign_control_point(lab_title="a UPnP device that points at another host"):
    with Lab(lab_title) as lab:
        pair = Pair(lab)
        gateway = Gateway(pair.nata, {"upnp"}, control="http://%s:5000/ctl" % lab.wan.addr if lab.wan.addr
                          else "http://198.51.100.254:5000/ctl")
        pair.join()
        wait_until("the gateway was found", 30, lambda: "upnp search" in gateway.asked)
        never("somebody else is asked to map", 4, lambda: gateway.mapped or gateway.soap_from)


def relay_port():
    with Lab("the relay's port is mapped too") as lab:
        pair = Pair(lab)
        gateway = Gateway(pair.nata, {"pmp"})
        pair.join()
        pair.alice.ctl("set", "--relay-server-port=40000")
        wait_until("two mappings", 20, lambda: len(gateway.mapped) == 2)
        port = next(p for p, to in gateway.mapped.items() if to[1] == 40000)
        wait_until("the relay announces it", 20, lambda: "%s:%d" % (pair.nata.addr, port) in
                   pair.alice.ctl("relay", "status", quiet=True).stdout)
        pair.alice.ctl("set", "--relay-server-port=")
        wait_until("released with the relay", 20, lambda: len(gateway.mapped) == 1)
        pair.alice.ctl("set", "--relay-server-port=40000")
        wait_until("two mappings again", 20, lambda: len(gateway.mapped) == 2)
        pair.alice.stop()
        wait_until("both are released at the end", 10, lambda: not gateway.mapped)


def main():
    for kind in NAMES:
        goes_direct(kind)
    switched_off()
    useless_addresses()
    foreign_control_point()
    relay_port()


if __name__ == "__main__":
    main()
