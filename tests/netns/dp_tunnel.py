#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The data plane alone: every AEAD backend and every fallback that old kernels need carries TCP, UDP and ICMP
without a wrong drop, and super-packets pay.

    a -- wan -- b      static keys, no handshake (dptest.c)
"""
from dp import Tunnel, expect_clean
from lab import Failure, Lab, expect, say

AEADS = ("openssl", "ipsec-mb", "libsodium")
FALLBACKS = (
    ("no virtio-net header", ("--no-vnet-hdr",)),
    ("no UDP super-packets on TUN", ("--no-uso",)),
    ("no UDP GSO", ("--no-gso",)),
    ("no UDP GRO", ("--no-gro",)),
    ("neither GSO nor GRO", ("--no-gso", "--no-gro")),
    ("nothing at all", ("--no-vnet-hdr", "--no-gso", "--no-gro")),
)


def carry(hosts, what, *args, underlay=4, seconds=2):
    """One tunnel, all kinds of traffic; returns Gb/s of one TCP stream."""
    say("# %s" % what)
    with Tunnel(hosts, *args, underlay=underlay) as t:
        t.pings()
        big = hosts["a"].run("ping", "-n", "-q", "-c", "3", "-i", "0.2", "-s", "4000", "100.64.0.2", quiet=True)
        expect(" 0% packet loss" in big.stdout, "%s: fragmented pings arrive" % what)
        rate = t.tcp(seconds)
        back = t.tcp(1, reverse=True)
        got, lost = t.udp("50M", 1)
        expect(lost < 5, "%s: UDP at 50 Mb/s loses %.2f %%" % (what, lost))
    expect_clean(t.counters, what)
    say("# %s: TCP %.2f Gb/s, reverse %.2f, UDP %.3f" % (what, rate, back, got))
    return rate


def main():
    with Lab("data plane: backends and fallbacks") as lab:
        hosts = {"a": lab.public("a"), "b": lab.public("b")}
        full = {}
        for aead in AEADS:
            try:
                full[aead] = carry(hosts, aead, "--aead", aead)
            except Failure as e:
                # Only this backend may be absent from a build.
                if aead != "ipsec-mb" or "does not start" not in str(e):
                    raise
                say("# no ipsec-mb in this build")
        carry(hosts, "over IPv6", underlay=6)
        rates = {args: carry(hosts, what, *args) for what, args in FALLBACKS}
        best, plain = max(full.values()), rates[("--no-vnet-hdr", "--no-gso", "--no-gro")]
        expect(best > 2 * plain, "super-packets: %.2f Gb/s are more than twice the plain path's %.2f" % (best, plain))


main()
