#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""DERP and STUN, ours and real, on both sides: two regions with mixed homes.

    ours -- natx (hard) --.
                         wan -- coord (ours: coordinator, DERP region 999, STUN), realderp (real: DERP 901, STUN)
    them -- naty (hard) --'     ('them' is a real node)

Home is the region whose STUN server answers fastest, so each NAT box decides by what it lets through.
"""
import json
import os
import time

import real
from flow import TcpFlow
from lab import Lab, expect, wait_until
from node import Node

OURS, REAL = 999, 901


class Derp:
    """A real DERP and STUN server (peer/derp.go)."""

    def __init__(self, host):
        self.host = host
        self.log = os.path.join(host.lab.dir, host.name + ".log")

    def start(self):
        """Returns the region as the server describes it."""
        self.process = self.host.spawn(real.program(), "derp", "--addr", self.host.addr, "--region", str(REAL),
                                       log=os.path.basename(self.log))
        return wait_until("the real DERP server listens", 10, self.region)[0]

    def region(self):
        with open(self.log) as f:
            lines = [line for line in f if line.startswith('{"RegionID"')]
        return json.loads(lines[-1]) if lines else None

    def counters(self):
        return json.loads(self.host.run("curl", "-sk", "https://%s/debug/counters" % self.host.addr, quiet=True).stdout)


def far(box, addr):
    """Hosts behind the box hear nothing from the STUN server at 'addr', so it is no home for them."""
    box.fault("stun", "ip daddr %s udp dport 3478 drop" % addr)


def home(node):
    return node.status()["Self"]["Relay"]


def add_region(coord, derp):
    """Tells the coordinator of the real server, which proves itself by the digest of its certificate."""
    node = derp.start()["Nodes"][0]
    coord.ctl("coordinator", "derp", "add", "--hostname", node["HostName"], "--pin", node["CertName"],
              "--region", str(REAL))


def settle(node, code):
    """Waits until the node's home is the region with this code. Asking again for a report saves half a minute."""
    def there():
        if home(node) == code:
            return True
        node.ctl("debug", "restun", quiet=True)
        return False
    # Who still hears the old home stays there: until the peers have nothing more to say.
    wait_until("%s has its home in region %s" % (node.name, code), 120, there, every_s=2)


def mixed_homes(ours, them, derp, boxes, addrs):
    """Each has its home where the other has not; data goes both ways, over both servers."""
    codes = {OURS: "mesh", REAL: "derp-%d" % REAL}
    for ours_home, their_home in ((OURS, REAL), (REAL, OURS)):
        far(boxes[ours], addrs[their_home])
        far(boxes[them], addrs[ours_home])
        settle(ours, codes[ours_home])
        settle(them, codes[their_home])
        before = derp.counters()
        flow = TcpFlow(ours.host, them.host, them.addr())
        time.sleep(2)
        expect(ours.path("them") == "derp" and them.path("ours") == "derp", "both by DERP, as there is no other way")
        expect(flow.finish() > 0, "a stream lived there and back")
        after = derp.counters()
        if their_home == REAL:
            expect(after["packets_received"] - before["packets_received"] > 100, "it went over the real server")
        expect(after["unknown_frames"] == 0, "which knows every frame that ours sends")


def report(node):
    return json.loads(node.ctl("netcheck", "--format=json", quiet=True).stdout)


def stun(boxes, addrs):
    """Each netcheck hears both STUN servers and learns the address that its NAT box gave it."""
    for node, box in boxes.items():
        box.fault("stun")
        # One that began before that may still run.
        wait_until("%s measures our and the real STUN server" % node.name, 30,
                   lambda n=node: sorted(report(n)["RegionV4Latency"]) == sorted(map(str, addrs)), 1)
        last = report(node)
        expect(last["UDP"] and last["GlobalV4"].split(":")[0] == box.addr, "and is %s outside" % last["GlobalV4"])


def main():
    with Lab("DERP and STUN against the real ones") as lab:
        coord, derp = Node(lab.public("coord")).start(), Derp(lab.public("realderp"))
        url = coord.enable_coordinator()
        add_region(coord, derp)
        key = coord.key("--reusable")
        natx, naty = lab.nat("natx", "hard"), lab.nat("naty", "hard")
        addrs = {OURS: coord.host.addr, REAL: derp.host.addr}
        far(natx, addrs[REAL])
        far(naty, addrs[OURS])
        ours, them = Node(lab.host("ours", natx)).start(), real.Real(lab.host("them", naty)).start()
        ours.up(url, key)
        them.up(url, key)
        boxes = {ours: natx, them: naty}
        mixed_homes(ours, them, derp, boxes, addrs)
        stun(boxes, addrs)


if __name__ == "__main__":
    main()
