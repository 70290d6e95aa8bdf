#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a node does to its host: addresses, table 52, rules; restored when removed; no loop through the tunnel;
nothing left behind.

    a -- wan -- b
"""
import os
import signal
import subprocess
import time

from dp import ADDR4, DPTEST, PORT, End, Tunnel
from lab import Failure, Lab, expect, wait_until


def rules(host, family="-4"):
    return host.run("ip", family, "rule", "show", quiet=True).stdout


def routes(host, family="-4"):
    return host.run("ip", family, "route", "show", "table", "52", quiet=True, check=False).stdout


OURS = ("5210:\tfrom all fwmark 0x80000/0xff0000 lookup main", "5230:\tfrom all fwmark 0x80000/0xff0000 lookup default",
        "5250:\tfrom all fwmark 0x80000/0xff0000 unreachable", "5270:\tfrom all lookup 52")


def has_rules(host):
    return all(r in rules(host, f) for r in OURS for f in ("-4", "-6"))


def main():
    with Lab("host configuration") as lab:
        hosts = {"a": lab.public("a"), "b": lab.public("b")}
        a = hosts["a"]
        a.settle("eth0")
        before = (rules(a), rules(a, "-6"), a.run("ip", "addr", quiet=True).stdout)
        with Tunnel(hosts) as t:
            expect(has_rules(a), "the four rules are there in both families")
            expect("100.64.0.2 dev dp0" in routes(a) and "fd7a:115c:a1e0::2 dev dp0" in routes(a, "-6"),
                   "table 52 leads to the peer")
            t.pings()
            link = a.run("ip", "-d", "link", "show", "dp0", quiet=True).stdout
            expect("mtu 1280" in link and "qlen 2500" in link, "MTU 1280 and queue length 2500")
            expect("fe80" not in a.run("ip", "addr", "show", "dp0", quiet=True).stdout, "no link-local address")

            # Held meanwhile, or it might have put the rule back before anybody looks.
            t.ends["a"].proc.send_signal(signal.SIGSTOP)
            a.ip("rule del priority 5270")
            expect("dp0" not in a.run("ip", "route", "get", ADDR4["b"], quiet=True).stdout,
                   "without its rule the tunnel is not used")
            t.ends["a"].proc.send_signal(signal.SIGCONT)
            wait_until("the rule is back", 10, lambda: has_rules(a))
            a.ip("route flush table 52")
            wait_until("the routes are back", 10, lambda: "100.64.0.2 dev dp0" in routes(a))
            a.ip("addr del %s/32 dev dp0" % ADDR4["a"])
            wait_until("the address is back", 10,
                       lambda: ADDR4["a"] in a.run("ip", "addr", "show", "dp0", quiet=True).stdout)
            t.pings()

            a.ip("addr add 198.51.100.77/24 dev eth0")
            wait_until("a new address is noticed", 5, lambda: "change 1" in t.ends["a"].log())
            a.ip("route replace default via 198.51.100.254 src 198.51.100.77")
            wait_until("a new default source is noticed", 5, lambda: "change 2" in t.ends["a"].log())
            a.ip("route add 203.0.113.0/24 via 198.51.100.254")
            time.sleep(1)  # what it takes for news is a quarter of it
        expect(t.counters["a"]["changes"] == [0, 1, 1], "each once, and a route to elsewhere is no change")
        a.ip("addr del 198.51.100.77/24 dev eth0")
        expect((rules(a), rules(a, "-6"), a.run("ip", "addr", quiet=True).stdout) == before,
               "after its end the host is as before")

        with Tunnel(hosts, args_a=("--route", "198.51.100.0/24")) as t:
            t.pings()
            expect(hosts["b"].addr in a.run("ip", "route", "get", hosts["b"].addr, quiet=True).stdout and
                   "dp0" in a.run("ip", "route", "get", hosts["b"].addr, quiet=True).stdout,
                   "others' packets to the peer's network go into the tunnel; its own do not, or it would not work")

        with Tunnel(hosts) as t:
            t.pings()
            a.ip("link del dp0")
            expect(not a.pings(ADDR4["b"]), "the interface is gone")
            busy = t.ends["a"].cpu_s()
            time.sleep(0.5)
            expect(t.ends["a"].cpu_s() - busy < 0.1, "no thread spins on it")
        expect(t.counters["a"]["events"][11] == 1, "control was told so once")

        end = End(a, "--side", "a", "--peer", "%s:%d" % (hosts["b"].addr, PORT))
        try:
            End(a, "--side", "a", "--peer", "%s:%d" % (hosts["b"].addr, PORT))
            raise SystemExit("a second one took the same interface")
        except Failure as e:
            expect("tun: dp0: already in use" in str(e), "an interface in use is refused by name")
        children = subprocess.run(["ip", "netns", "pids", a.ns], stdout=subprocess.PIPE, text=True).stdout.split()
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
        end.proc.wait()
        expect("5270" in rules(a), "a killed one leaves its rules")
        a.run(DPTEST, "--cleanup", "dp0")
        expect((rules(a), rules(a, "-6")) == before[:2] and not routes(a), "cleanup removes them")


main()
