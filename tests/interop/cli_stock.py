#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The real command line on our socket says what it says on its own.

    c1 -- hard NAT --.
                     wan -- coord (ours: coordinator, DERP, STUN), relay
    c2 -- hard NAT --'

One session of commands is typed with the real command line in two such networks: in one c1, c2 and relay are real
nodes, in the other ours. What varies from run to run (ports, keys, times, counts) is masked. Both must give
cli_stock.golden: the first shows that the file is what the real pair says, the second that ours says the same.

usage: cli_stock.py [--write | ours | real]      --write: makes the file anew from the real pair
"""
import difflib
import json
import os
import re
import shlex
import subprocess
import sys

import real
from lab import Failure, Lab, die_with_parent, expect, say, wait_until
from node import Node

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cli_stock.golden")
PORT = 40000
SETTLE_S = 75
MASKS = [(re.compile(pattern), text) for pattern, text in [
    (r"(?m)^peer cli: ", ""),
    (r"\n*# Health check:\n#     - %s[^\n]*" % "Tailscale could not establish an encrypted connection", ""),
    # Ours lets the caller dial.
    (r"unexpected HTTP response: 502 Bad Gateway, dial failure: ", ""),
    (r'(?<!\w)%s(?!\w)' % re.escape(os.uname().nodename.split(".")[0]), "HOST"),
    (r"hskey-auth-[0-9a-z-]+", "KEY"),
    (r"nodekey:[0-9a-f]{64}", "nodekey:KEY"),
    (r"discokey:[0-9a-f]{64}", "discokey:KEY"),
    (r"sha256-raw:[0-9a-f]{64}", "sha256-raw:PIN"),
    (r"\bd:[0-9a-f]{16}", "d:DISCO"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "TIME"),
    (r"((?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+|\[2001:db8:[0-9a-f:]*\]):\d+", r"\1:PORT"),
    (r"(100\.64\.0\.\d+|\[fd7a:115c:a1e0::[0-9a-f]+\]):[1-9]\d{4}\b", r"\1:PORT"),
    (r"vni:\d+", "vni:N"),
    (r"VNI: \d+", "VNI: N"),
    (r"tx \d+ rx \d+", "tx N rx N"),
    (r"Packets: \d+ Bytes: \d+", "Packets: N Bytes: N"),
    (r"\bin \d[0-9.]*(µs|ms|s)", "in T"),
    (r"\((100\.64\.0\.\d+), \d+\) via TSMP", r"(\1) via TSMP"),  # the port of the peer API, which ours has not
    (r": +\d[0-9.]*(µs|ms|s) +\(", ": T ("),
    (r"(?m)^(Client|Daemon): .*", r"\1: VERSION"),
    (r"(?m)^  (long version|go version): .*", r"  \1: VERSION"),
    (r"(?m)^[0-9a-f]{4}  ", "ID    "),
]]
# Not compared: what a node has of its own (the peer API, candidates), and counts.
VOLATILE = {"Addrs", "PeerAPIURL", "RxBytes", "TxBytes", "LastWrite", "LastHandshake", "LastSeen", "Created", "Version",
            "IPNVersion", "Endpoints", "Hostinfo", "Cap", "ComputedName", "ComputedNameWithHost", "InEngine", "Active",
            "Now", "RegionLatency", "RegionV4Latency", "GlobalV4Counters", "TaildropTarget", "CapMap", "Capabilities",
            "DiscoKey", "NoFileSharingReason"}


# What ours always writes as empty, and the real daemon's word about a certificate that it pins.
EMPTY = {"Health": [], "User": {}}
CERTIFICATE = "Tailscale could not establish an encrypted connection"


def without_volatile(value):
    if isinstance(value, dict):
        value = {key: EMPTY.get(key) if v is None and key in EMPTY else v for key, v in value.items()}
        if isinstance(value.get("Health"), list):
            value["Health"] = [text for text in value["Health"] if not text.startswith(CERTIFICATE)]
        return {key: without_volatile(v) for key, v in value.items() if key not in VOLATILE}
    return [without_volatile(v) for v in value] if isinstance(value, list) else value


def masked(text):
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return text


def normal(text):
    """Masked; a JSON document without what is not compared, in order of its keys."""
    if text.lstrip().startswith(("{", "[")):
        try:
            doc = json.loads(text)
        except ValueError:
            return masked(text)
        text = json.dumps(without_volatile(doc), indent=2, sort_keys=True)
        # Keys of peers are masked, so they are sorted by name instead.
        if isinstance(doc, dict) and "Peer" in doc:
            small = without_volatile(doc)
            small["Peer"] = sorted((small["Peer"] or {}).values(), key=lambda p: p["HostName"])
            text = json.dumps(small, indent=2, sort_keys=True)
    # A row is as wide as its widest neighbour, whose numbers are masked.
    return "\n".join(line.rstrip() for line in masked(text).splitlines())


class Session:
    """Types commands and keeps the record."""

    def __init__(self, program):
        self.program, self.record = program, []

    def type(self, node, *args, timeout=40):
        """One command on a node's socket; its masked record is kept."""
        done = node.host.run(self.program, "cli", "--socket=" + node.socket, *args, check=False, quiet=True,
                             timeout=timeout)
        say("[%s] tailscale %s: exit %d" % (node.name, shlex.join(args)[:100], done.returncode))
        lines = ["[%s] tailscale %s" % (node.name, masked(shlex.join(args))), "exit %d" % done.returncode]
        out = normal(done.stdout).splitlines()
        if "peer-relay-sessions" in args:  # which client is the first depends on their keys
            out = [line for line in out if "-->" not in line] + sorted(line for line in out if "-->" in line)
        lines += ["| " + line for line in out]
        lines += ["! " + line for line in normal(done.stderr).splitlines()]
        self.record += [line.rstrip() for line in lines] + [""]
        return done

    def names(self, node, prefix):
        """The metrics whose name begins with 'prefix': names and labels."""
        rows = node.host.run(self.program, "cli", "--socket=" + node.socket, "metrics", quiet=True).stdout.splitlines()
        # A real node shows a reason for drops once there was one.
        names = sorted({row.rpartition(" ")[0] for row in rows if row.startswith(prefix) and "dropped" not in row})
        self.record += ["[%s] tailscale metrics: names %s*" % (node.name, prefix)] + ["| " + n for n in names] + [""]


def before_login(s, c1):
    s.type(c1, "status")
    s.type(c1, "status", "--json")
    s.type(c1, "ip")
    s.type(c1, "switch", "--list")
    s.type(c1, "ping", "-c", "1", "100.64.0.1")
    s.type(c1, "debug", "peer-relay-sessions")
    s.type(c1, "get", "relay-server-port")


def running(s, c1, url):
    for args in (["status"], ["status", "--json"], ["status", "--peers=false"], ["status", "--active"], ["ip"], ["ip", "-4"],
                 ["ip", "-1"], ["ip", "-6", "c2"], ["ip", "nobody"], ["ip", "-4", "-6"], ["get"], ["get", "--json"],
                 ["get", "hostname"], ["get", "nothing"], ["whois", "100.64.0.4"], ["whois", "--json", "100.64.0.4"],
                 ["whois", "100.64.0.99"], ["whois", "9.9.9.9:1"], ["whoami"], ["wait", "--timeout=5s"],
                 ["exit-node", "list"], ["exit-node", "suggest"], ["switch", "--list"], ["version", "--daemon"],
                 ["serve", "status"], ["debug", "peer-relay-servers"], ["debug", "peer-relay-sessions"], ["debug", "prefs"],
                 ["debug", "derp-map"], ["netcheck", "--format=json"], ["netcheck"], ["nc", "c2", "9"],
                 ["appc-routes"]):
        s.type(c1, *args)
    s.type(c1, "up", "--shields-up", "--login-server=" + url)


def settings(s, c1):
    for args in (["--relay-server-port=70000"], ["--relay-server-static-endpoints=203.0.113.10"], ["--ssh=false"],
                 ["--advertise-routes=10.0.0.1/8"], ["--advertise-routes=0.0.0.0/0"], ["--exit-node=nobody"],
                 ["--relay-server-port=0"], ["--relay-server-port="], ["--shields-up"], ["--shields-up=false"],
                 ["--accept-routes"], ["--accept-routes=false"], ["--hostname=c1"], ["--nope"],
                 ["--relay-server-static-endpoints=[2001:db8::9]:40000,203.0.113.10:40000"]):
        done = s.type(c1, "set", *args)
        if done.returncode == 2:  # the usage behind a wrong flag is the program's own
            s.record = s.record[:-1][:next(i for i, line in enumerate(s.record) if line.startswith("! flag provided")) + 1] + [""]
    s.type(c1, "get", "relay-server-static-endpoints")
    s.type(c1, "set", "--relay-server-static-endpoints=")


def pings(s, c1):
    for args in (["-c", "1", "c2"], ["--tsmp", "c2"], ["--icmp", "c2"], ["--icmp", "fd7a:115c:a1e0::4"], ["c1"],
                 ["100.64.0.99"], ["-c", "1", "--size=99999", "c2"], []):
        s.type(c1, "ping", *args)


def on(one, other, rung):
    return one.path(other.name) == rung and other.path(one.name) == rung


def session(kind):
    """The record of all commands in a network of nodes of one kind."""
    with Lab("the real command line on %s" % kind.__name__.lower()) as lab:
        s = Session(real.program())
        coord = Node(lab.public("coord")).start()
        relay = kind(lab.public("relay")).start()
        url = coord.enable_coordinator()
        key = coord.key("--reusable")
        relay.up(url, key)
        nats = [lab.nat("nat1", "hard"), lab.nat("nat2", "hard")]
        c1 = kind(lab.host("c1", nats[0])).start()
        c2 = kind(lab.host("c2", nats[1])).start()
        before_login(s, c1)
        login = ["--login-server=" + url, "--accept-dns=false", "--netfilter-mode=off", "--hostname=c1"]
        s.type(c1, "up", *login, "--timeout=30s", "--auth-key=" + coord.key())
        c2.up(url, key)
        wait_until("c1 and c2 know each other", 20, lambda: c1.peer("c2") and c2.peer("c1"))
        wait_until("all are online", 20, lambda: all(p["Online"] for p in c1.status()["Peer"].values()))
        running(s, c1, url)
        settings(s, c1)
        wait_until("c1 reaches c2", 20, lambda: c1.host.pings("100.64.0.4"))
        pings(s, c1)
        s.names(c1, "tailscaled_")

        relay.ctl("set", "--relay-server-port=%d" % PORT)
        wait_until("c1 and c2 on the relay", SETTLE_S, lambda: c1.host.pings("100.64.0.4") and on(c1, c2, "peer-relay"))
        s.type(c1, "status")
        s.type(c1, "ping", "-c", "1", "c2")
        s.type(c1, "debug", "peer-relay-servers")
        s.type(relay, "debug", "peer-relay-sessions")
        s.names(relay, "tailscaled_peer_relay")
        relay.ctl("set", "--relay-server-port=")

        for nat in nats:
            nat.become("easy")
        wait_until("c1 and c2 direct", SETTLE_S, lambda: c1.host.pings("100.64.0.4") and on(c1, c2, "direct"))
        s.type(c1, "status")
        s.type(c1, "ping", "c2")

        s.type(c1, "down")
        s.type(c1, "down")
        s.type(c1, "status")
        s.type(c1, "ip", "-4")
        s.type(c1, "ping", "-c", "1", "c2")
        s.type(c1, "up")
        wait_until("c1 runs", 20, lambda: c1.state() == "Running")
        old = c1.status()["Self"]["PublicKey"]
        s.type(c1, "up", *login, "--timeout=30s", "--force-reauth", "--auth-key=" + coord.key())
        expect(c1.status()["Self"]["PublicKey"] != old and c1.state() == "Running", "a new key after --force-reauth")
        s.type(c1, "ip", "-4")
        s.type(c1, "logout")
        s.type(c1, "status")
        s.type(c1, "switch", "--list")
        s.type(c1, "up", *login, "--timeout=30s", "--auth-key=" + coord.key())
        s.type(c1, "status", "--peers=false")
        return "\n".join(s.record)


def differs(what, got):
    with open(GOLDEN, encoding="utf-8") as f:
        want = f.read()
    if got == want:
        say("ok: %s: as in %s" % (what, os.path.basename(GOLDEN)))
        return False
    say("\n".join(difflib.unified_diff(want.splitlines(), got.splitlines(), "golden", what, lineterm="", n=4)))
    return True


def main():
    if sys.argv[1:] == ["--write"]:
        text = session(real.Real)
        with open(GOLDEN, "w", encoding="utf-8") as f:
            f.write(text)
        return 0
    if sys.argv[1:]:
        kind = sys.argv[1]
        return int(differs(kind, session({"real": real.Real, "ours": Node}[kind])))
    real.program()
    # Each in a laboratory of its own, as they mostly wait.
    children = {kind: subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__), kind], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent)
                for kind in ("real", "ours")}
    bad = []
    for kind, child in children.items():
        said = child.communicate()[0]
        if child.returncode:
            bad.append(kind)
            say("--- %s\n%s" % (kind, said))
    say("FAILED: differs: %s" % ", ".join(bad) if bad else "ok: the real pair and ours say what %s says" % os.path.basename(GOLDEN))
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as e:
        sys.exit("FAILED: %s" % e)
