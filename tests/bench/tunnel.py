#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TCP through the tunnel: meshd and a current wireguard-go, by turns, in the same run.

    left -- wan -- right        no NAT, both ends on this machine, one iperf3 stream

usage: tunnel.py [--seconds N] [--rounds N] [--wireguard-go PROGRAM]
Fails when the median of meshd is below that of wireguard-go. Both ends and iperf3 share the machine's
cores, so the figures compare the two and say nothing about other machines.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))

from lab import Lab, expect, say, skip, wait_until  # noqa: E402
from node import Node  # noqa: E402

MODULE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wgpeer")


def wireguard_go(folder):
    """Builds the peer of tests/bench/wgpeer: the packaged wireguard-go of Debian 12 has no offloads."""
    if not shutil.which("go"):
        skip("no Go here to build tests/bench/wgpeer")
    program = os.path.join(folder, "wgpeer")
    done = subprocess.run(["go", "build", "-o", program, "."], cwd=MODULE, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        skip("tests/bench/wgpeer cannot be built: %s" % done.stdout.strip())
    return program


def start_wireguard(lab, left, right, program, flags):
    """A tunnel between the hosts; returns the address to send to."""
    ends = {}
    for number, host in enumerate((left, right), 1):
        dev = "wgb%d" % number
        host.spawn(program, *flags, dev, log=dev + ".log")
        wait_until("%s is there" % dev, 5, lambda: host.run("ip", "link", "show", dev, check=False, quiet=True).returncode == 0)
        private = host.run("wg", "genkey", quiet=True).stdout
        public = host.run("wg", "pubkey", input=private, quiet=True).stdout.strip()
        path = os.path.join(lab.dir, dev + ".key")
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:
            f.write(private)
        ends[host] = (dev, public, path, "100.127.0.%d" % number)
    for host, other in ((left, right), (right, left)):
        dev, _, key, addr = ends[host]
        _, peer, _, peer_addr = ends[other]
        host.run("wg", "set", dev, "private-key", key, "listen-port", "51820", "peer", peer, "allowed-ips",
                 peer_addr + "/32", "endpoint", "%s:51820" % other.addr)
        host.ip("addr add %s/24 dev %s" % (addr, dev))
        host.ip("link set %s mtu 1280 up" % dev)
    return ends[right][3]


def start_meshd(left, right):
    a, b = Node(left).start(), Node(right).start()
    url = a.enable_coordinator()
    b.up(url, a.key())
    wait_until("meshd is direct", 10, lambda: left.pings(b.addr()) and a.path(b.name) == "direct")
    return b.addr()


def gbits(left, right, addr, seconds):
    server = right.spawn("iperf3", "-s", "-1", "-B", addr)
    try:
        wait_until("iperf3 listens", 5, lambda: ":5201" in right.run("ss", "-ltnH", quiet=True).stdout)
        done = left.run("iperf3", "-J", "-c", addr, "-t", str(seconds), quiet=True, timeout=seconds + 30)
    finally:
        server.kill()
        server.wait()
    return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--wireguard-go")
    options = options.parse_args()
    with Lab("TCP through the tunnel") as lab:
        for tool in ("iperf3", "wg"):
            if not shutil.which(tool):
                skip("no %s here" % tool)
        left, right = lab.public("left"), lab.public("right")
        addrs = {"wireguard-go": start_wireguard(
            lab, left, right, options.wireguard_go or wireguard_go(lab.dir), ["-f"] if options.wireguard_go else []),
                 "meshd": start_meshd(left, right)}
        rounds = {name: [] for name in addrs}
        for number in range(options.rounds):
            for name, addr in addrs.items():
                rounds[name].append(gbits(left, right, addr, options.seconds))
                say("# round %d: %-12s %.2f Gbit/s" % (number + 1, name, rounds[name][-1]))
        median = {name: statistics.median(values) for name, values in rounds.items()}
        for name, values in rounds.items():
            say("%-12s median %.2f Gbit/s of %s" % (name, median[name], " ".join("%.2f" % v for v in values)))
        expect(median["meshd"] >= median["wireguard-go"], "meshd is at least as fast: %.2f times"
               % (median["meshd"] / median["wireguard-go"]))


if __name__ == "__main__":
    main()
