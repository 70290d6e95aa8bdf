#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The coordinator as its administrator meets it: keys, nodes, policy, certificates; and how soon nodes learn of it.

    coord (coordinator, DERP, STUN), alice, bob, carl    all on the public network
"""
import json
import os
import shlex
import subprocess
import time

from lab import Host, Lab, expect, wait_until
from node import TIMED_OUT, Node

FAILED = 1
SOON_S = 1       # changes reach nodes within a second
NAME = "mesh.example.com"

CLOSED = '{\n  "tagOwners": {"tag:web": ["admin@"]},\n  "grants": [{"src": ["tag:web"], "dst": ["tag:web"], "ip": ["*"]}],\n}\n'
RANGE6 = "fd7a:115c:a1e0::/48"
OPEN = CLOSED.replace("tag:web\"], \"dst\": [\"tag:web", "*\"], \"dst\": [\"*")


def soon(what, probe):
    """The time counts from the return of the command before."""
    wait_until(what, SOON_S, probe, every_s=0.01)


def routes(node):
    """Where the node's host sends what is for the mesh."""
    return {row.split()[0] for family in ("-4", "-6") for row in node.host.run(
        "ip", family, "route", "show", "table", "52", check=False, quiet=True).stdout.splitlines()}


def keys(coord):
    """What `keys list` shows, and that the secret is never among it."""
    text = coord.key("--reusable", "--expiration", "10m", "--user", "eva@example.com")
    rows = coord.ctl("coordinator", "keys", "list").stdout.splitlines()
    expect(rows[0].split() == ["ID", "USER", "TAGS", "REUSABLE", "EPHEMERAL", "USED", "EXPIRES"], "the columns")
    expect(rows[-1].split()[1:6] == ["eva@example.com", "-", "yes", "no", "no"], "the row: " + rows[-1])
    listed = coord.ctl("coordinator", "keys", "list", "--json", quiet=True).stdout
    secret = text.split("-")[3]
    expect(len(secret) == 64 and secret not in listed and secret not in "\n".join(rows), "no secret in either form")
    with open(os.path.join(coord.dir, "coord.db"), "rb") as f, open(os.path.join(coord.dir, "coord.db-wal"), "rb") as g:
        expect(secret.encode() not in f.read() + g.read(), "nor in the database")
    coord.ctl("coordinator", "keys", "revoke", rows[-1].split()[0])
    coord.refuses(FAILED, "no key 99", "coordinator", "keys", "revoke", "99")
    coord.refuses(FAILED, "want a number", "coordinator", "keys", "revoke", "x")


def nodes(coord, alice, bob, url):
    """Every verb of `nodes`, seen by a peer within a second."""
    wait_until("alice and bob know each other", 20, lambda: alice.peer("bob") and bob.peer("alice"))
    coord.refuses(FAILED, "the closest: alice", "coordinator", "nodes", "rename", "alise", "x")
    coord.refuses(FAILED, "is taken", "coordinator", "nodes", "rename", "alice", "bob")
    coord.ctl("coordinator", "nodes", "rename", "alice", "alicia")
    soon("bob knows alice's new name", lambda: bob.peer("alicia") and not bob.peer("alice"))
    soon("and so does she", lambda: alice.status()["Self"]["DNSName"].startswith("alicia."))
    coord.ctl("coordinator", "nodes", "rename", "alicia", "alice")
    coord.ctl("coordinator", "policy", "set", "-", input=OPEN)
    coord.ctl("coordinator", "nodes", "tag", "alice", "tag:web")
    soon("bob sees the tag", lambda: (bob.peer("alice") or {}).get("Tags") == ["tag:web"])
    before = bob.status()["Self"]["PublicKey"]
    coord.ctl("coordinator", "nodes", "expire", "bob")
    soon("bob has to log in again", lambda: bob.state() == "NeedsLogin")
    soon("alice sees bob's key expired", lambda: (alice.peer("bob") or {}).get("Expired"))
    address = next(r for r in coord.ctl("coordinator", "nodes", quiet=True).stdout.splitlines() if " bob " in r).split()[2]
    bob.ctl("up", "--force-reauth", "--login-server", url, "--hostname", "bob", "--auth-key", coord.key(), "--timeout", "40s")
    expect(bob.addr() in address and bob.status()["Self"]["PublicKey"] != before, "bob is back: new key, old address")
    wait_until("and reaches alice", 20, lambda: bob.host.pings(alice.addr()))


def policy(coord, alice, bob):
    """check changes nothing, set reports, both name line and column; grants come and go within a second."""
    wait_until("alice and bob are peers", 20, lambda: alice.peer("bob") and bob.peer("alice"))
    before = coord.ctl("coordinator", "policy", "get").stdout
    bad = '{\n  // one line\n  "grants": [{"src": ["*"], "dst": ["tag:nobody"], "ip": ["*"]}],\n}\n'
    for verb in ("check", "set"):
        coord.refuses(FAILED, '3:37: tag "tag:nobody" is not defined; add to tagOwners: "tag:nobody"',
                      "coordinator", "policy", verb, "-", input=bad)
    said = coord.ctl("coordinator", "policy", "check", "-", input=CLOSED).stdout
    expect("valid" in said and coord.ctl("coordinator", "policy", "get").stdout == before, "check changed nothing")
    said = coord.ctl("coordinator", "policy", "set", "-", input=CLOSED).stdout
    expect("can no longer talk" in said, "set says what it cuts: " + said.strip())
    soon("alice has lost bob", lambda: not alice.peer("bob"))
    soon("bob has lost alice", lambda: not bob.peer("alice"))
    soon("no route of her host's is left", lambda: not routes(alice))
    expect(coord.ctl("coordinator", "policy", "get").stdout == CLOSED, "get gives the text as it was set")
    coord.ctl("coordinator", "policy", "set", "-", input=OPEN)
    soon("alice has bob again", lambda: alice.peer("bob"))
    wait_until("and reaches him", 20, lambda: alice.host.pings(bob.addr()))
    expect({r for r in routes(alice) if ":" in r} == {RANGE6} and bob.addr() in routes(alice),
           "by IPv6 one route leads to all, by IPv4 one to each: %s" % sorted(routes(alice)))
    expect(alice.host.pings(bob.status()["TailscaleIPs"][1]), "by IPv6 too")
    tests = OPEN.rstrip()[:-1] + '  "tests": [{"src": "admin@", "deny": ["100.64.0.1:443"]}],\n}\n'
    coord.refuses(FAILED, "4:13: test failed", "coordinator", "policy", "set", "-", input=tests)
    expect(coord.ctl("coordinator", "policy", "get").stdout == OPEN, "a failing test of the file keeps the old policy")


def subnet(coord, alice, bob):
    """Routes of bob to a host behind him, under a policy that lets everybody go everywhere: what he announces counts when
    it is approved, for those who accept it."""
    behind, lan = Host(coord.lab, "behind"), "192.0.2.0/24"
    bob.host.ip("link add lan0 type veth peer name eth0 netns " + behind.ns)
    for host, dev, addr in ((bob.host, "lan0", "192.0.2.1"), (behind, "eth0", "192.0.2.7")):
        host.ip("addr add %s/24 dev %s" % (addr, dev))
        host.ip("link set %s up" % dev)
    behind.ip("route add default via 192.0.2.1")
    bob.host.sysctl("net.ipv4.ip_forward", 1)
    wait_until("bob reaches the host behind him", 20, lambda: bob.host.pings("192.0.2.7"))

    def routed():
        return lan in alice.host.run("ip", "route", "show", "table", "52", quiet=True).stdout
    bob.ctl("set", "--advertise-routes=" + lan)
    alice.ctl("set", "--accept-routes")
    time.sleep(SOON_S)
    expect(not routed(), "a route that nobody approved is not used")
    alice.ctl("set", "--accept-routes=false")
    coord.ctl("coordinator", "nodes", "routes", "bob", lan)
    soon("alice is told that she does not use it", lambda: any(
        "--accept-routes is false" in text for text in alice.status()["Health"] or []))
    expect(not routed(), "nor one that she does not accept")
    alice.ctl("set", "--accept-routes")
    wait_until("alice reaches the host behind bob", 20, lambda: alice.host.pings("192.0.2.7"))
    wait_until("and it reaches her", 20, lambda: behind.pings(alice.addr()))
    coord.ctl("coordinator", "nodes", "routes", "bob", "")
    soon("withdrawn, it is gone", lambda: not routed())
    expect(not alice.host.pings("192.0.2.7"), "and what is behind him is out of reach")


def ephemeral(coord, bob, carl, url):
    carl.up(url, coord.key("--ephemeral"))
    wait_until("bob sees carl", 20, lambda: bob.peer("carl"))
    carl.ctl("logout")
    soon("an ephemeral node that logs out is gone", lambda: not bob.peer("carl"))
    expect("carl" not in coord.ctl("coordinator", "nodes").stdout, "for the coordinator too")
    bob.ctl("logout")
    soon("bob is logged out", lambda: bob.state() == "NeedsLogin")
    bob.up(url, coord.key())


def switch(coord, alice, bob, url):
    """Off and on: the tunnels stay, the state is kept."""
    wait_until("alice reaches bob directly", 30, lambda: alice.host.pings(bob.addr()) and alice.path("bob") == "direct")
    table = [row.split()[:3] for row in coord.ctl("coordinator", "nodes").stdout.splitlines()]
    coord.ctl("coordinator", "disable")
    expect("off" in coord.ctl("coordinator", "status").stdout, "status says so")
    coord.refuses(FAILED, "the coordinator is off", "coordinator", "nodes")
    expect(alice.host.pings(bob.addr(), 3), "alice and bob go on without it")
    coord.ctl("coordinator", "enable", "--url", url)
    expect([row.split()[:3] for row in coord.ctl("coordinator", "nodes").stdout.splitlines()] == table,
           "the same nodes are back with it")
    wait_until("and connected", 40, lambda: all(n["Online"] for n in json.loads(
        coord.ctl("coordinator", "nodes", "--json", quiet=True).stdout)["Nodes"] if n["Name"] in ("alice", "bob", "coord")))


def refusals(coord, url):
    """A wrong setting changes nothing."""
    cert, key = certificate(coord.lab, "wrong.example.com")
    other = certificate(coord.lab, "another.example.com")[1]
    def state():
        return {k: v for k, v in json.loads(coord.ctl("coordinator", "status", "--json").stdout).items()
                if k not in ("DatabaseBytes", "Connections")}
    def ends():
        with open(os.path.join(coord.lab.dir, coord.log)) as f:
            text = f.read()
        return [text.count(word) for word in ("coordinator: off", "server was lost", "disconnected")]
    # Nodes come back to control and to DERP on their own time.
    wait_until("three nodes hold control and DERP connections", 40,
               lambda: state()["Online"] == 3 and state()["DERPClients"] == 3)
    before, ended = state(), ends()
    busy = coord.host.socket(kind=1)
    busy.bind(("0.0.0.0", 8443))
    busy.listen()
    for words, *flags in [
            ("not a DNS name", "--url", url, "--domain", "not a name"),
            ("not a DNS name", "--url", url, "--domain", "a..b"),
            ("names no host", "--url", "http://0.0.0.0"),
            ("gives out itself", "--url", "http://100.64.0.1"),
            ("in use", "--url", "http://%s:8443" % coord.host.addr),
            ("more than a host", "--url", url + "/path"),
            ("needs --cert", "--url", "https://" + NAME),
            ("do not belong together", "--url", "https://" + NAME, "--cert", cert, "--key", other),
            ("no such file", "--url", "https://" + NAME, "--cert", "/nowhere", "--key", "/nowhere"),
            ("--stun-port", "--url", url, "--stun-port", "70000"),
            ("--pool4", "--url", url, "--pool4", "10.0.0.0/8"),
            ("--node-expiry", "--url", url, "--node-expiry", "-1h")]:
        coord.refuses(FAILED, words, "coordinator", "enable", *flags, quiet=True)
    busy.close()
    after = state()
    expect(after == before, "all is as it was: %s, %s" % (before, after))
    expect(ends() == ended, "and no connection was cut: %s, %s" % (ended, ends()))


def another_url(coord, url):
    """The coordinator's own node follows its URL, and DERP's certificate is for the new host."""
    def serves(what):
        wait_until("the coordinator's own node is connected " + what, 40, lambda: any(
            n["Own"] and n["Online"] for n in json.loads(
                coord.ctl("coordinator", "nodes", "--json", quiet=True).stdout)["Nodes"]) and coord.state() == "Running")
    warned = coord.ctl("coordinator", "enable", "--url", "http://%s:8443" % coord.host.addr).stderr
    expect("only on port 443" in warned and "old URL" in warned, "both warnings: " + warned.strip())
    serves("under the new URL")
    expect(coord.ctl("get", "--json").stdout.find(":8443") > 0 or ":8443" in json.dumps(coord.status()), "and knows it")
    # A provider's network may lie in the mesh's pool: an address that the host has is no mistake.
    coord.host.ip("addr add 100.65.1.2/24 dev eth0")
    warned = coord.ctl("coordinator", "enable", "--url", "http://100.65.1.2:443").stderr
    expect("overlaps the pool" in warned, "a warning: " + warned.strip())
    coord.host.ip("addr del 100.65.1.2/24 dev eth0")
    coord.ctl("coordinator", "enable", "--url", url)
    serves("again")


def certificate(lab, name):
    """A root, and a certificate of it for 'name'. The root goes into ca.pem."""
    cert, key = os.path.join(lab.dir, name + ".pem"), os.path.join(lab.dir, name + ".key")
    ca, ca_key = os.path.join(lab.dir, "ca.pem"), os.path.join(lab.dir, "ca.key")
    run = lambda *argv: subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not os.path.exists(ca):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=lab root", "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", ca_key, "-out", ca)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-CA", ca, "-CAkey", ca_key, "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:" + name,
        "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert)
    return cert, key


def trusting(node, coord, ca):
    """The node finds the coordinator by name, and believes the root 'ca' (None: only the system's)."""
    lab = node.lab
    hosts, script = os.path.join(lab.dir, "hosts"), os.path.join(node.dir, "meshd")
    with open(hosts, "w") as f:
        f.write("127.0.0.1 localhost\n%s %s\n" % (coord.host.addr, NAME))
    with open(script, "w") as f:
        f.write("#!/bin/sh -e\nmount --bind %s /etc/hosts\n" % shlex.quote(hosts))
        if ca:
            f.write("mount --bind %s /etc/ssl/certs/ca-certificates.crt\n" % shlex.quote(ca))
        f.write('exec %s "$@"\n' % shlex.quote(os.path.abspath(node.meshd)))
    os.chmod(script, 0o700)
    node.meshd = script
    return node


def tls(lab):
    """--cert and --key: https for control and DERP. Who has neither the root nor a key that names the server says so."""
    cert, key = certificate(lab, NAME)
    ca = os.path.join(lab.dir, "ca.pem")
    coord = Node(lab.public("tlscoord"))
    trusting(coord, coord, ca).start()
    url = coord.enable_coordinator("https://" + NAME, "--cert", cert, "--key", key)
    alice, bob = (trusting(Node(lab.public("tls" + n)), coord, ca).start().up(url, coord.key()) for n in ("alice", "bob"))
    wait_until("two nodes under https talk", 20, lambda: alice.host.pings(bob.addr()))
    stranger = trusting(Node(lab.public("tlsstranger")), coord, None).start()
    nameless = coord.key().rsplit("-", 1)[0]  # as other servers make them: it does not say whose it is
    stranger.refuses(TIMED_OUT, "certificate", "up", "--login-server", url, "--auth-key", nameless, "--timeout", "12s")
    certs = coord.host.run("openssl", "s_client", "-connect", coord.host.addr + ":443", "-showcerts", "-servername", NAME,
                           stdin=subprocess.DEVNULL, check=False).stdout
    expect("CN = derpkey" in certs or "CN=derpkey" in certs, "the DERP server's key is told inside the TLS handshake")


def main():
    with Lab("the coordinator as its administrator meets it") as lab:
        coord, alice, bob, carl = (Node(lab.public(name)).start() for name in ("coord", "alice", "bob", "carl"))
        url = coord.enable_coordinator()
        keys(coord)
        alice.up(url, coord.key())
        bob.up(url, coord.key())
        nodes(coord, alice, bob, url)
        policy(coord, alice, bob)
        subnet(coord, alice, bob)
        ephemeral(coord, bob, carl, url)
        switch(coord, alice, bob, url)
        refusals(coord, url)
        another_url(coord, url)
        tls(lab)


if __name__ == "__main__":
    main()
