#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The data plane alone against a current wireguard-go, by turns, in the same run: every AEAD backend, one and four TCP
streams, and the way through a peer relay.

    a -- wan -- b      static keys, no control server (tests/netns/dptest.c)

usage: dataplane.py [--seconds N] [--rounds N] [--nic] [--wireguard-go PROGRAM]
--nic: the veth ends segment before the wire and gather behind it, as a network card does; otherwise super-packets pass
whole. Prints medians; fails when the fastest backend's is below wireguard-go's.
"""
import argparse
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))

from dp import PORT, End, Tunnel, iperf  # noqa: E402
from lab import Failure, Lab, expect, say  # noqa: E402
from tunnel import start_wireguard, wireguard_go  # noqa: E402

AEADS = ("ipsec-mb", "openssl", "libsodium")
NIC = ("tso off tx-tcp-mangleid-segmentation off tx-tcp-ecn-segmentation off tx-udp-segmentation off gro on").split()
RELAY_PORT, VNI = 40000, 77


def like_a_nic(hosts):
    for host in hosts:
        host.run("ethtool", "-K", "eth0", *NIC, check=False)
        host.lab.wan.run("ethtool", "-K", host.port, *NIC, check=False)


def through_relay(hosts, relay_host, seconds):
    """Gb/s, and nanoseconds of the relay's processor time a packet."""
    bound = ["%s:%d" % (hosts[side].addr, PORT) for side in "ab"]
    relay = End(relay_host, "--relay", str(RELAY_PORT), "--vni", str(VNI), "--bound", bound[0], "--bound", bound[1])
    way = ("--peer", "%s:%d" % (relay_host.addr, RELAY_PORT), "--vni", str(VNI))
    with Tunnel(hosts, args_a=way, args_b=way) as t:
        t.pings()
        before = relay.cpu_s()
        rate = t.tcp(seconds)
        used = relay.cpu_s() - before
    pkts = sum(relay.stop()["relay_pkts"])
    return rate, used * 1e9 / pkts


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--nic", action="store_true")
    options.add_argument("--wireguard-go")
    options = options.parse_args()
    rates = {}

    def note(name, value):
        rates.setdefault(name, []).append(value)

    with Lab("data plane and wireguard-go") as lab:
        hosts = {"a": lab.public("a"), "b": lab.public("b")}
        relay_host = lab.public("r")
        if options.nic:
            like_a_nic([*hosts.values(), relay_host])
        there = start_wireguard(lab, hosts["a"], hosts["b"], options.wireguard_go or wireguard_go(lab.dir))
        for _ in range(options.rounds):
            for streams in (1, 4):
                note("wireguard-go %d" % streams,
                     iperf(hosts["a"], hosts["b"], there, options.seconds, "-P", str(streams)))
            for aead in AEADS:
                try:
                    with Tunnel(hosts, "--aead", aead) as t:
                        t.pings()
                        for streams in (1, 4):
                            note("%s %d" % (aead, streams), t.tcp(options.seconds, streams))
                except Failure as e:
                    if aead != "ipsec-mb" or "does not start" not in str(e):
                        raise
            rate, cost = through_relay(hosts, relay_host, options.seconds)
            note("relay 1", rate)
            note("relay ns/packet", cost)
        median = {name: statistics.median(values) for name, values in rates.items()}
        for name, values in sorted(rates.items()):
            say("%-16s median %7.2f of %s" % (name, median[name], " ".join("%.2f" % v for v in values)))
        for streams in (1, 4):
            best = max(median.get("%s %d" % (aead, streams), 0) for aead in AEADS)
            theirs = median["wireguard-go %d" % streams]
            expect(best >= theirs, "%d streams: %.2f times as fast as wireguard-go" % (streams, best / theirs))


if __name__ == "__main__":
    main()
