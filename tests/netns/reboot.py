#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Daemons end in every way and come back by themselves: same name, same addresses, no command typed.

    alice -- nata (easy) -- wan -- coord (coordinator, DERP, STUN, peer relay)
    bob   -- natb (easy) -- wan
"""
import subprocess

from flow import TcpFlow
from lab import Lab, expect, say, wait_until
from node import Node

BACK_S = 10


def network(host):
    """What the kernel holds for a host: links, addresses, routes, rules, firewall."""
    texts = []
    for words in ("ip -o link show", "ip -o addr show", "ip route show table all", "ip -6 route show table all",
                  "ip rule show", "ip -6 rule show", "nft list ruleset"):
        texts.append(subprocess.run(["ip", "netns", "exec", host.ns, *words.split()], check=True,
                                    stdout=subprocess.PIPE, text=True).stdout)
    return texts


def is_same(node, before):
    """Running again under the same key and addresses."""
    status = node.status(check=False)
    return status.get("BackendState") == "Running" and \
        (status["Self"]["PublicKey"], status["TailscaleIPs"]) == before


def identity(node):
    status = node.status()
    return status["Self"]["PublicKey"], status["TailscaleIPs"]


def comes_back(alice, how, end):
    before = identity(alice)
    end(alice)
    alice.start()
    wait_until("%s: alice runs again as herself" % how, BACK_S, lambda: is_same(alice, before))


def comes_back_and_reaches(alice, bob, how, end):
    comes_back(alice, how, end)
    wait_until("%s: and reaches bob" % how, BACK_S, lambda: alice.host.pings(bob.addr()))


def survives(alice, bob, how, end, deadline_s=30):
    """A stream through alice goes on after her daemon came back."""
    tcp = TcpFlow(alice.host, bob.host, bob.addr())
    wait_until("a stream runs", 20, lambda: len(tcp.arrivals) > 20)
    end(alice)
    alice.start()
    n_before = len(tcp.arrivals)
    wait_until("%s: the stream goes on" % how, deadline_s, lambda: len(tcp.arrivals) > n_before + 20)
    say("ok: %s: stream whole, %d bytes" % (how, tcp.finish()))


def main():
    with Lab("reboot") as lab:
        coord = Node(lab.public("coord")).start()
        url = coord.enable_coordinator()
        coord.ctl("set", "--relay-server-port=40000")
        key = coord.key("--reusable")
        alice = Node(lab.host("alice", lab.nat("nata", "easy")))
        bob = Node(lab.host("bob", lab.nat("natb", "easy"))).start()
        bob.up(url, key)
        alice.host.settle("eth0")
        before = network(alice.host)
        alice.start()
        alice.up(url, key)
        wait_until("alice reaches bob", 20, lambda: alice.host.pings(bob.addr()))
        expect(network(alice.host) != before, "meshd set up its link, routes and rules")

        comes_back_and_reaches(alice, bob, "stop and start", lambda node: node.stop())
        for _ in range(4):  # at moments of their own: control tells bob of it while she already speaks to him
            comes_back_and_reaches(alice, bob, "kill -9", lambda node: node.kill9())
        survives(alice, bob, "restart under load", lambda node: node.stop())

        # The coordinator alone goes away: the others go on, a restart changes nothing, it comes back itself.
        mesh, policy = identity(coord), coord.ctl("coordinator", "policy", "get").stdout
        tcp = TcpFlow(alice.host, bob.host, bob.addr())
        coord.kill9()
        expect(alice.host.pings(bob.addr(), 3), "alice and bob talk while the coordinator is gone")
        # Her disco key is new and nobody can be told of it: that she reaches bob now is not promised.
        comes_back(alice, "without a coordinator", lambda node: node.kill9())
        coord.start()
        wait_until("the coordinator's node runs again", BACK_S, lambda: is_same(coord, mesh))
        expect(coord.ctl("coordinator", "policy", "get").stdout == policy, "its policy is the old one")
        expect(coord.ctl("get", "relay-server-port").stdout.strip() == "40000", "its relay port too")
        wait_until("alice sees it online", 60, lambda: (alice.peer("coord") or {}).get("Online"))
        wait_until("and reaches it", 20, lambda: alice.host.pings(coord.addr()))
        expect(tcp.finish() > 0, "one stream lived through all of it")

        # Whatever meshd did to the host is undone, by down, by a stop, and after a kill by --cleanup.
        alice.ctl("down")
        expect(alice.state() == "Stopped", "down stops")
        expect(not alice.host.pings(bob.addr()), "and nothing gets through")
        alice.ctl("up")
        wait_until("up again", 20, lambda: alice.host.pings(bob.addr()))
        expect(alice.stop() == 0, "meshd ends with 0")
        expect(network(alice.host) == before, "after its end the host's network is as before")
        alice.start()
        wait_until("alice runs", BACK_S, lambda: alice.state() == "Running")
        alice.kill9()
        alice.host.run(alice.meshd, "--cleanup", "--tun", "mesh0")
        expect(network(alice.host) == before, "after kill -9 and --cleanup too")


if __name__ == "__main__":
    main()
