#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The data plane alone: every AEAD backend and every fallback that old kernels need carries TCP, UDP and ICMP
without a wrong drop, and super-packets pay.

    a -- wan -- b      static keys, no handshake (dptest.c)
"""
import time

from data import Datagrams
from dp import ADDR4, Tunnel, expect_clean, expect_share
from flow import Echoes
from lab import Failure, Lab, expect, say

AEADS = ("openssl", "ipsec-mb", "libsodium")
FALLBACKS = (
    ("no virtio-net header", ("--force", "no-vnet-hdr")),
    ("no UDP super-packets on TUN", ("--force", "no-uso")),
    ("no UDP GSO", ("--force", "no-gso")),
    ("no UDP GRO", ("--force", "no-gro")),
    ("neither GSO nor GRO", ("--force", "no-gso,no-gro")),
    ("nothing at all", ("--force", "no-vnet-hdr,no-gso,no-gro")),
)


def carry(hosts, what, *args, underlay=4, seconds=2):
    """One tunnel, all kinds of traffic; returns Gb/s of one TCP stream."""
    say("# %s" % what)
    with Tunnel(hosts, *args, underlay=underlay) as t:
        t.pings()
        expect(Echoes(hosts["a"], ADDR4["b"], 3, 0.2, 4000).result() == (0, 0), "%s: fragmented pings arrive" % what)
        rate = t.tcp(seconds)
        back = t.tcp(1, reverse=True)
        d = Datagrams(hosts["a"], hosts["b"], ADDR4["b"])
        d.send([1200] * 4000)
        sent, *faults = d.result()
        expect(not any(faults), "%s: of %d UDP datagrams %d lost, %d doubled, %d overtaken, %d damaged" % (
            what, sent, *faults))
    expect_clean(t.counters, what)
    b = t.counters["b"]
    came, told = b["in_bytes"][underlay == 6], b["rx_activity"][0]
    expect(0.9 * came < told <= came, "%s: control was told of %d of %d bytes" % (what, told, came))
    say("# %s: TCP %.2f Gb/s, reverse %.2f" % (what, rate, back))
    return rate


def rate_of(hosts, *args):
    """Gb/s of one TCP stream."""
    with Tunnel(hosts, *args) as t:
        t.pings()
        return t.tcp(2)


def over_narrow_link(hosts):
    """A link too narrow for full packets: GSO is refused, every packet still arrives."""
    say("# a link with an MTU of 1320")

    def narrow():
        for h in hosts.values():
            h.ip("link set eth0 mtu 1320")
        with Tunnel(hosts) as t:
            t.pings()
            rate = t.tcp(2)
        for h in hosts.values():
            h.ip("link set eth0 mtu 1500")
        expect_clean(t.counters, "narrow link")
        c = t.counters["a"]
        expect(c["gso_fallbacks"] >= 1 and c["events"][10] == c["gso_fallbacks"] and c["out_dropped"][8] == 0,
               "GSO was refused %d times, told as often, nothing was lost for it" % c["gso_fallbacks"])
        expect(c["gso_fallbacks"] < 10, "and not tried again and again")
        return rate
    # Every packet is two fragments there.
    expect_share("narrow link", 0.2, narrow, lambda: rate_of(hosts, "--force", "no-gso"))


def without_session(hosts):
    """A flood to a peer without keys: control gets a few packets of it, in order, and no more."""
    with Tunnel(hosts, "--keyless") as t:
        expect(not hosts["a"].pings("100.64.0.2"), "no ping without keys")
        sock = hosts["a"].socket()
        sent = 0
        end = time.monotonic() + 0.5
        while time.monotonic() < end or sent < 3000:
            sock.sendto(bytes(500), ("100.64.0.2", 9))
            sent += 1
        sock.close()
        time.sleep(0.3)
    c = t.counters["a"]
    expect(100 <= c["events"][4] <= 128 * 15, "control saw %d packets of %d" % (c["events"][4], sent))
    expect(c["out_dropped"][6] > 1000, "what else came through TUN was dropped and counted: %d" % c["out_dropped"][6])
    expect(sum(c["out_pkts"]) == 0, "nothing went out")


def under_churn(hosts):
    """Views, paths and keys change all the time: no packet notices."""
    say("# views and paths change every 20 ms, keys every 200 ms")

    def churning():
        with Tunnel(hosts, "--churn") as t:
            t.pings()
            expect(Echoes(hosts["a"], ADDR4["b"], 200, 0.01).result() == (0, 0), "churn: no ping of 200 is lost")
            rate = t.tcp(3)
        expect_clean(t.counters, "churn")
        for c in t.counters.values():
            expect(c["churns"] > 50 and c["events"][4] == 0 and c["in_dropped"][1] == 0,
                   "%d views, no packet without a session, none with an unknown key" % c["churns"])
        return rate
    expect_share("churn", 0.3, churning, lambda: rate_of(hosts))


def super_packets_pay(hosts):
    expect_share("super-packets against none", 2, lambda: rate_of(hosts), lambda: rate_of(hosts, *FALLBACKS[-1][1]))


def main():
    with Lab("data plane: backends and fallbacks") as lab:
        hosts = {"a": lab.public("a"), "b": lab.public("b")}
        for aead in AEADS:
            try:
                carry(hosts, aead, "--aead", aead)
            except Failure as e:
                # Only this backend may be absent from a build.
                if aead != "ipsec-mb" or "does not start" not in str(e):
                    raise
                say("# no ipsec-mb in this build")
        carry(hosts, "over IPv6", underlay=6)
        over_narrow_link(hosts)
        without_session(hosts)
        under_churn(hosts)
        for what, args in FALLBACKS:
            carry(hosts, what, *args)
        super_packets_pay(hosts)


main()
