#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Disco keys that control cannot deliver arrive in the tunnel, as newer nodes announce them (TSMP).

    ours -- natx (hard) --.
                         wan -- coord (ours: coordinator, DERP region 999), realderp (real: DERP 901)
    them -- naty (hard) --'     ('them' is a real node)
"""
import calendar
import json
import time

import derp
import real
from flow import TcpFlow
from lab import Failure, Lab, expect, wait_until
from node import Node

# Nodes of 1.102 announce their disco key where the server lets them cache the map.
POLICY = """{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
             "nodeAttrs": [{"target": ["*"], "attr": ["cache-network-maps"]}]}"""


def metric(node, name):
    for line in node.ctl("debug", "metrics", quiet=True).stdout.splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    raise Failure("%s has no counter %s" % (node.name, name))


def disco_pong(node, name):
    return node.ctl("ping", "-c", "1", "--timeout=1s", "--until-direct=false", name, check=False,
                    quiet=True).returncode == 0


def handshake(node, name):
    """When the last handshake was, in seconds of the wall clock."""
    text = node.peer(name)["LastHandshake"]
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) + float("0" + text[19:26])


def told_disco(node, name):
    """The disco key of a peer, as control told it last."""
    netmap = json.loads(node.ctl("debug", "netmap", quiet=True).stdout)
    return next(peer["DiscoKey"] for peer in netmap["Peers"] if peer["Name"].split(".")[0] == name)


def theirs_changes(coord, ours, them, box):
    """The real node has a new key; ours takes it from the tunnel, and control's later word is no news."""
    box.fault("control", "ip daddr %s drop" % coord.host.addr)
    had = told_disco(ours, "them")
    them.ctl("debug", "rotate-disco-key")
    flow = TcpFlow(ours.host, them.host, them.addr())
    expect(metric(ours, "magicsock_disco_recv_pong") == 0, "ours knows an old key of the real node")
    wait_until("ours took the real node's new key from the tunnel", 40,
               lambda: metric(ours, "magicsock_tsmp_disco_key_advertisement_applied") == 1)
    wait_until("which answers now", 20, lambda: disco_pong(ours, "them"))
    before = handshake(ours, "them")
    since = time.monotonic()
    box.fault("control")
    wait_until("control tells the same key", 60, lambda: told_disco(ours, "them") != had, 0.5)
    time.sleep(2)
    after, gap = handshake(ours, "them"), flow.silence(since)
    expect(after - before < 0.1 and gap < 2, "which is no news: the session stays, silence %.2f s" % gap)
    expect(flow.finish() > 0, "a stream lived through it")


def ours_changes(coord, ours, them, box):
    """Ours starts anew with the map it has stored; the real node takes its new key."""
    box.fault("control", "ip daddr %s drop" % coord.host.addr)
    ours.stop()  # the map is stored at the latest then
    ours.start()
    flow = TcpFlow(ours.host, them.host, them.addr(), connect_s=30)
    wait_until("the real node took our new key from the tunnel and is answered", 40, lambda: disco_pong(them, "ours"))
    expect(flow.finish() > 0, "a stream lived there and back")
    box.fault("control")


def main():
    with Lab("disco keys in the tunnel") as lab:
        coord, server = Node(lab.public("coord")).start(), derp.Derp(lab.public("realderp"))
        url = coord.enable_coordinator()
        derp.add_region(coord, server)
        coord.policy(POLICY)
        key = coord.key("--reusable")
        natx, naty = lab.nat("natx", "hard"), lab.nat("naty", "hard")
        # Control and our DERP server are one host; homes are elsewhere, so that only control goes away.
        for box in (natx, naty):
            derp.far(box, coord.host.addr)
        ours, them = Node(lab.host("ours", natx)).start(), real.Real(lab.host("them", naty)).start()
        ours.up(url, key)
        them.up(url, key)
        for node in (ours, them):
            derp.settle(node, "derp-%d" % derp.REAL)
        wait_until("each knows that", 20, lambda: all(a.peer(b)["Relay"] == "derp-%d" % derp.REAL for a, b in (
            (ours, "them"), (them, "ours"))))
        theirs_changes(coord, ours, them, naty)
        ours_changes(coord, ours, them, natx)


if __name__ == "__main__":
    main()
