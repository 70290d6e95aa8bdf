#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our node under the reference test control server, beside a real node: every kind of message it sends.

    control (reference control server and DERP), ours, real     all on the public network
"""
import json
import os
import subprocess

import real
from lab import Failure, Lab, die_with_parent, expect, wait_until
from node import Node

KEY = "the-only-key"
PORT = 8080


class Control:
    """The reference server, driven by lines (peer/controllines.go)."""

    def __init__(self, host, *flags):
        self.host = host
        derp = self.spawn("derp", "--addr", host.addr, "--port", "443", log="derp")
        region = json.loads(derp.stdout.readline())
        regions = os.path.join(host.lab.dir, host.name + ".derpmap")
        with open(regions, "w") as f:
            json.dump({"Regions": {str(region["RegionID"]): region}}, f)
        self.process = self.spawn("control", "--addr", "%s:%d" % (host.addr, PORT), "--derp-map", regions, *flags,
                                  log="control")
        self.url = self.process.stdout.readline().strip()
        expect(self.url.startswith("http://"), "the reference server listens: " + self.url)

    def spawn(self, *argv, log):
        with open(os.path.join(self.host.lab.dir, self.host.name + "." + log + ".log"), "ab") as err:
            return subprocess.Popen(["ip", "netns", "exec", self.host.ns, real.program(), *argv], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, stderr=err, text=True, preexec_fn=die_with_parent)

    def ask(self, *words):
        self.host.lab.echo("+ [%s] %s" % (self.host.name, " ".join(words)[:200]))
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise Failure("the reference server answers: " + answer)
        return json.loads(answer)

    def node(self, name):
        """What the server knows of the node with this host name."""
        rows = [n for n in self.ask("nodes") or [] if n.get("Hostinfo", {}).get("Hostname") == name]
        return rows[-1] if rows else None


def join(control, ours, theirs):
    ours.refuses(1, "", "up", "--login-server", control.url, "--hostname", "ours", "--auth-key", "another", "--timeout", "10s")
    expect(ours.state() != "Running", "the wrong key does not join")
    for node in (ours, theirs):
        node.up(control.url, KEY)
    wait_until("each sees the other", 10, lambda: ours.peer("real") and theirs.peer("ours"))
    wait_until("and reaches it", 15, lambda: ours.host.pings(theirs.addr()) and theirs.host.pings(ours.addr()))
    known = control.node("ours")
    expect(known["DiscoKey"].startswith("discokey:") and not known["DiscoKey"].endswith("0" * 64), "the server knows its disco key")
    expect(any(e.startswith(ours.host.addr + ":") for e in known["Endpoints"]), "its endpoint")
    expect(known["Cap"] >= 121 and known["Hostinfo"]["NetInfo"]["PreferredDERP"] > 0, "its version and its home")
    answer = control.ask("ask", known["Key"], "/echo")
    expect(answer["status"] == 200, "and may ask it: %s" % answer["status"])
    ours.ctl("set", "--relay-server-port=40000")
    wait_until("it is told that ours relays", 10, lambda: control.node("ours")["Hostinfo"].get("PeerRelay"))
    ours.ctl("set", "--relay-server-port=")
    wait_until("and that it does not", 10, lambda: not control.node("ours")["Hostinfo"].get("PeerRelay"))


def automatic(control, ours, theirs):
    """What the server makes up by itself: peers come, change, lose their keys."""
    n_peers = len(ours.status()["Peer"])
    control.ask("fake")  # it tells nobody before the next change
    control.ask("rename", control.node("real")["Key"], "renamed.real.example.com.")
    wait_until("a peer has another name", 10, lambda: ours.peer("renamed") and not ours.peer("real"))
    wait_until("and there is a new one", 10, lambda: len(ours.status()["Peer"]) == n_peers + 1)
    expect(ours.host.pings(theirs.addr(), 3), "and is the same")
    control.ask("expire", control.node("real")["Key"])
    wait_until("a peer's key expires", 10, lambda: ours.peer("renamed").get("Expired"))
    control.ask("expire", control.node("ours")["Key"])
    wait_until("ours has to log in again when its own does", 10, lambda: ours.state() == "NeedsLogin")
    for name in ("real", "ours"):
        control.ask("extend", control.node(name)["Key"])
    wait_until("extended, ours runs again", 10, lambda: ours.state() == "Running")
    wait_until("and reaches the other", 10, lambda: ours.host.pings(theirs.addr()))


def messages(control, ours):
    """Single messages, as deltas: only what they name changes."""
    key = control.node("ours")["Key"]
    peer = next(n for n in control.ask("nodes") if n.get("Hostinfo", {}).get("Hostname") == "real")

    def send(what, probe, **message):
        control.ask("message", key, json.dumps(message))
        wait_until(what, 5, probe)

    def real():
        return next((p for p in ours.status().get("Peer", {}).values() if p["PublicKey"] == peer["Key"]), None)
    send("a patch takes the peer offline", lambda: not real()["Online"], PeersChangedPatch=[{"NodeID": peer["ID"], "Online": False}])
    send("OnlineChange brings it back", lambda: real()["Online"], OnlineChange={str(peer["ID"]): True})
    send("a patch expires its key", lambda: real().get("Expired"),
         PeersChangedPatch=[{"NodeID": peer["ID"], "KeyExpiry": "2020-01-02T03:04:05Z"}])
    send("PeersChanged replaces it whole", lambda: not real().get("Expired") and real()["DNSName"] == "whole.real.example.com.",
         PeersChanged=[dict(peer, Name="whole.real.example.com.", KeyExpiry="0001-01-01T00:00:00Z", Online=True)])
    # A 64-bit number that no double holds, a field that nobody knows, a peer that is not there: no reason to stop.
    send("the unknown is passed over", lambda: real()["DNSName"] == "big.real.example.com.",
         PeersChanged=[dict(peer, Name="big.real.example.com.")], NoSuchField={"a": [1]},
         PeersChangedPatch=[{"NodeID": 9007199254740993, "Online": True}], PeersRemoved=[9223372036854775807])
    send("PeersRemoved takes it away", lambda: real() is None, PeersRemoved=[peer["ID"]])
    expect(ours.state() == "Running", "ours runs")


def leave(control, ours):
    before = ours.status()["Self"]["PublicKey"]
    # This server wants the key with a logout, too, and a key serves one login: we say that it was not told.
    ours.refuses(1, "logged out locally; the control server could not be told (it refused: invalid authkey)", "logout")
    expect(ours.state() == "NeedsLogin", "logged out")
    ours.up(control.url, KEY)
    expect(ours.status()["Self"]["PublicKey"] != before, "a new login is a new key")


def interactive(lab):
    """Without a key: the URL is shown and the login goes on when somebody has visited it."""
    control = Control(lab.public("control2"), "--require-auth")
    ours = Node(lab.public("visitor")).start()
    ours.ctl("up", "--login-server", control.url, "--timeout", "2s", check=False)
    url, _ = wait_until("there is a URL to visit", 20, lambda: ours.status()["AuthURL"])
    expect(url.startswith(control.url + "/auth/"), "the URL: " + url)
    expect(control.ask("approve", url) is True, "it is a login of the server")
    wait_until("approved, it runs", 10, lambda: ours.state() == "Running")


def main():
    real.program()
    with Lab("our node under the reference control server") as lab:
        control = Control(lab.public("control"), "--auth-key", KEY)
        ours, theirs = Node(lab.public("ours")).start(), real.Real(lab.public("real")).start()
        join(control, ours, theirs)
        automatic(control, ours, theirs)
        leave(control, ours)
        messages(control, ours)
        interactive(lab)


if __name__ == "__main__":
    main()
