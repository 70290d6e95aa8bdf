#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A coordinator behind one-to-one NAT without hairpin, as in most clouds, serves the outside.

    coord -- [ one-to-one: every port of 198.51.100.x, nothing from inside ] -- wan
    alice -- nata (hard) -- wan        bob -- natb (hard) -- wan

Its own node cannot reach the public address of its own coordinator; it must do everything else.
"""
import re
import socket
import time

from flow import TcpFlow
from lab import Lab, expect, wait_until
from node import Node

RELAY_PORT = 40000


def tcp_connects(host, addr, port, wait_s=1):
    s = host.socket(kind=socket.SOCK_STREAM)
    s.settimeout(wait_s)
    try:
        s.connect((addr, port))
        return True
    except OSError:
        return False
    finally:
        s.close()


def main():
    with Lab("coordinator behind one-to-one NAT") as lab:
        cloud = lab.nat("cloud", "one-to-one")
        coord = Node(lab.host("coord", cloud)).start()
        url = coord.enable_coordinator("http://%s:443" % cloud.addr)
        expect(not tcp_connects(coord.host, cloud.addr, 443), "the coordinator's host cannot reach its own URL")
        alice = Node(lab.host("alice", lab.nat("nata", "hard"))).start()
        bob = Node(lab.host("bob", lab.nat("natb", "hard"))).start()
        expect(tcp_connects(alice.host, cloud.addr, 443, 10), "the outside can")
        key = coord.key("--reusable")
        alice.up(url, key)
        bob.up(url, key)
        wait_until("alice reaches bob by DERP", 20, lambda: alice.host.pings(bob.addr()))
        coord.ctl("set", "--relay-server-port=%d" % RELAY_PORT)
        since = time.monotonic()
        tcp = TcpFlow(alice.host, bob.host, bob.addr())
        wait_until("the coordinator's node relays", 5, lambda: alice.path("bob") == "peer-relay", since=since)
        line, _ = wait_until("status names the relay", 10, lambda: [
            row for row in alice.ctl("status", quiet=True).stdout.splitlines() if "peer-relay" in row][:1])
        line = line[0]
        expect(re.search(r"peer-relay %s:%d:vni:\d+" % (re.escape(cloud.addr), RELAY_PORT), line),
               "under its public address: %s" % line)
        wait_until("alice reaches the coordinator's node directly", 20,
                   lambda: alice.host.pings(coord.addr()) and alice.path("coord") == "direct")
        expect(tcp.finish() > 0, "the stream is whole")


if __name__ == "__main__":
    main()
