#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bad input against live daemons: a clear sentence, the documented exit code, the earlier state intact.

    alice, coord (coordinator, DERP, STUN), other (another coordinator), web (an ordinary web server)
    all on the public network
"""
import json
import os
import random
import socket
import sys
import threading
import time

from lab import Lab, expect, say, wait_until
from node import NOT_BUILT, TIMED_OUT, USAGE, Node

FAILED = 1
PORT = 41641
LONG = "x" * 65536

POLICY_ERRORS = [
    ('{"acls": [}', "1:"),
    ('{\n  "grants": [{"src": ["*"], "dst": ["*"]}],\n}', "2:"),
    ('{\n\n  "no_such_section": [],\n}', "3:"),
    ('{"grants": [{"src": ["tag:none"], "dst": ["*"], "ip": ["*"]}]}', "tag:none"),
    ('{"acls": [], "acls": []}', 'is there twice: first in line 1'),
    ('{"acls": [{"action": "deny", "src": ["*"], "dst": ["*:*"]}]}', '1:22: action "deny" is not supported'),
    ("[" * 20000, "nested too deeply"),
    ('{"grants": [{"src": ["*"], "dst": ["*"], "app": {"tailscale.com/cap/relay": {}}}]}', "1:"),
]


def unchanged(node, before):
    now = node.ctl("get", "--json", quiet=True).stdout
    expect(now == before, "settings are as before")


def settings(node):
    """Everything 'set' must refuse; nothing of it may stick, not even the good half of a command."""
    before = node.ctl("get", "--json").stdout
    relay = "failed to set relay server port"
    ends = "failed to set relay server static endpoints"
    for code, words, *args in [
        (FAILED, relay, "--relay-server-port=70000"),
        (FAILED, relay, "--relay-server-port=-1"),
        (FAILED, relay, "--relay-server-port=abc"),
        (FAILED, relay, "--relay-server-port=40000x"),
        (FAILED, relay, "--relay-server-port=" + LONG),
        (FAILED, ends, "--relay-server-static-endpoints=203.0.113.10"),
        (FAILED, ends, "--relay-server-static-endpoints=203.0.113.10:70000"),
        (FAILED, ends, "--relay-server-static-endpoints=203.0.113.10:0"),
        (FAILED, ends, "--relay-server-static-endpoints=2001:db8::1:40000"),
        (FAILED, ends, "--relay-server-static-endpoints=relay.example.com:40000"),
        (FAILED, ends, "--relay-server-static-endpoints=127.0.0.1:40000"),
        (FAILED, ends, "--relay-server-static-endpoints=224.0.0.1:40000"),
        (FAILED, ends, "--relay-server-static-endpoints=0.0.0.0:40000"),
        (FAILED, ends, "--relay-server-static-endpoints=100.64.0.9:40000"),
        (FAILED, ends, "--relay-server-static-endpoints=203.0.113.10:40000,garbage"),
        (FAILED, "not a valid IP address or CIDR prefix", "--advertise-routes=10.0.0.0/33"),
        (FAILED, "not a valid IP address or CIDR prefix", "--advertise-routes=nonsense"),
        (FAILED, "has non-address bits set", "--advertise-routes=10.0.0.1/8"),
        (FAILED, "", "--hostname=under_score or space"),
        (FAILED, "", "--hostname=" + LONG),
        (USAGE, "flag provided but not defined", "--no-such-flag"),
        (USAGE, "invalid boolean value", "--accept-dns=maybe"),
        (USAGE, "flag provided multiple times", "--hostname=a", "--hostname=b"),
        (FAILED, "contradicts", "--advertise-relay-server=false", "--relay-server-port=40000"),
        (NOT_BUILT, "not in this build: --ssh", "--ssh"),
        (NOT_BUILT, "not in this build: --exit-node", "--hostname=other-name", "--exit-node=100.64.0.2"),
        (FAILED, relay, "--hostname=other-name", "--relay-server-port=99999"),
    ]:
        node.refuses(code, words, "set", *args, quiet=True)
    unchanged(node, before)
    taken = node.host.socket()
    taken.bind(("0.0.0.0", 40001))
    node.refuses(FAILED, "failed to start relay server on UDP port 40001:", "set", "--relay-server-port=40001")
    taken.close()
    unchanged(node, before)
    node.refuses(FAILED, "unknown subcommand", "no-such-command")
    node.refuses(FAILED, 'error looking up IP of "nobody"', "ping", "-c", "1", "nobody")


def policies(coord):
    before = coord.ctl("coordinator", "policy", "get").stdout
    for text, words in POLICY_ERRORS:
        coord.refuses(FAILED, words, "coordinator", "policy", "set", "-", input=text, quiet=True)
        expect(coord.ctl("coordinator", "policy", "get", quiet=True).stdout == before, "the old policy is in force")
    coord.refuses(FAILED, "No such file", "coordinator", "policy", "set", "/nowhere/policy.hujson")
    coord.refuses(FAILED, "tagOwners", "coordinator", "keys", "create", "--tags", "tag:undefined")
    coord.refuses(FAILED, "no node \"no-such-node\"", "coordinator", "nodes", "delete", "no-such-node")
    coord.refuses(FAILED, "want http://HOST", "coordinator", "enable", "--url", "ftp://198.51.100.1")
    coord.refuses(FAILED, "needs --cert and --key", "coordinator", "enable", "--url", "https://mesh.example.com")


def auth_keys(coord, alice, other, url):
    """Keys that may not be used; after each failure the node is as before: not joined."""
    def refused(words, key, to=url):
        alice.refuses(FAILED, words, "up", "--login-server", to, "--auth-key", key, "--timeout", "40s", quiet=True)
        time.sleep(0.3)
        expect(alice.state() != "Running", "alice has not joined: %s" % alice.state())
    short = coord.key("--expiration", "1s")
    created = time.monotonic()
    good = coord.key()
    refused("key", "nonsense")
    refused("key", good[:-4] + "0000")
    refused("key", LONG)
    wait_until("a key of one second is old", 5, lambda: time.monotonic() > created + 1.5)
    refused("expired", short)
    revoked = coord.key()
    rows = coord.ctl("coordinator", "keys", "list").stdout.splitlines()
    coord.ctl("coordinator", "keys", "revoke", rows[-1].split()[0])
    refused("revoked", revoked)
    refused("key", good, other.url)
    once = coord.key()
    alice.up(url, once)
    return once


def other_servers(alice, url, web):
    """A joined node stays where it is; a fresh one gets a sentence."""
    before = alice.status()["Self"]["PublicKey"]
    alice.refuses(FAILED, "can't change --login-server without --force-reauth", "up", "--login-server",
                  "http://198.51.100.200:443")
    expect(alice.state() == "Running" and alice.status()["Self"]["PublicKey"] == before, "alice stays joined")
    fresh = Node(alice.lab.public("fresh")).start()
    fresh.refuses(FAILED, "login-server", "up")
    for code, words, to in [(TIMED_OUT, "cannot reach http://198.51.100.200:443", "http://198.51.100.200:443"),
                            (TIMED_OUT, "is no control server", "http://%s:8080" % web.addr),
                            (TIMED_OUT, "http://%s:8081" % web.addr, "http://%s:8081" % web.addr),
                            (FAILED, "invalid server URL", "gopher://198.51.100.1"),
                            (FAILED, "invalid server URL", "http://"),
                            (FAILED, "the port is out of range", "http://198.51.100.1:99999")]:
        fresh.refuses(code, words, "up", "--login-server", to, "--auth-key", "hskey-auth-x", "--timeout", "12s")
    return fresh


def garbage_datagrams(lab, target, port, seed):
    """Nothing comes back for what nobody signed."""
    random.seed(seed)
    sender = lab.wan.socket()
    sender.setblocking(False)
    n = 0
    for number in range(3000):
        head = random.choice([b"", b"TS\xf0\x9f\x92\xac", b"\1\0\0\0", b"\2\0\0\0", b"\4\0\0\0", b"\3\0\0\0",
                              b"\0\1\0\0\x21\x12\xa4\x42", b"\0\0\x7a\x12"])
        sender.sendto(head + random.randbytes(random.choice([0, 1, 30, 60, 92, 140, 148, 1200])), (target.addr, port))
        if number % 100 == 0:
            time.sleep(0.005)
        try:
            sender.recv(2048)
            n += 1
        except BlockingIOError:
            pass
    time.sleep(0.3)
    try:
        while True:
            sender.recv(2048)
            n += 1
    except BlockingIOError:
        pass
    expect(n == 0, "udp port %d: 3000 datagrams of garbage, no answer" % port)


def garbage_streams(make, what):
    """Opens streams, sends rubbish, sees each one ended by the server or left idle; never a crash."""
    big = b"GET / HTTP/1.1\r\nX: " + LONG.encode()
    for data in [random.randbytes(5000), big, b"\x16\x03\x01" + random.randbytes(600), b"\r\n" * 20000,
                 b"POST /ts2021 HTTP/1.1\r\nHost: a\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n"
                 b"X-Tailscale-Handshake: " + b"A" * 136 + b"\r\nContent-Length: 0\r\n\r\n",
                 b"POST /localapi/v0/prefs HTTP/1.1\r\nHost: local-tailscaled.sock\r\nContent-Length: 100000\r\n\r\n"
                 + b"[" * 100000,
                 b"GET /derp HTTP/1.1\r\nHost: a\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n" + b"\xff" * 3000,
                 b""]:
        s = make()
        s.settimeout(0.5)
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError:
            pass
        s.close()
    idle = [make() for _ in range(40)]
    say("ok: %s: garbage and %d idle connections" % (what, len(idle)))
    return idle


def noise_server(host, port):
    """A server that answers everybody with random bytes."""
    listener = host.socket(kind=socket.SOCK_STREAM)
    listener.bind((host.addr, port))
    listener.listen()

    def serve():
        while True:
            client = listener.accept()[0]
            with client:
                try:
                    client.sendall(os.urandom(3000))
                except OSError:
                    pass  # who asked has gone: the next one is served all the same
    threading.Thread(target=serve, daemon=True).start()


def garbage(lab, coord):
    coord.ctl("set", "--relay-server-port=40000")
    for port in (PORT, 40000, 3478):
        garbage_datagrams(lab, coord.host, port, seed=port)

    def tcp():
        s = lab.wan.socket(kind=socket.SOCK_STREAM)
        s.settimeout(20)
        s.connect((coord.host.addr, 443))
        return s

    def unix():
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(coord.socket)
        return s
    idle = garbage_streams(tcp, "tcp port 443")
    for s in garbage_streams(unix, "the local socket"):
        s.close()  # their number is limited by user, and this user wants to ask something
    expect(coord.process.poll() is None, "the daemon lives")
    wait_until("and answers", 20, lambda: coord.state() == "Running")
    for s in idle:
        s.close()


def main():
    with Lab("bad input") as lab:
        coord, other = Node(lab.public("coord")).start("--port", str(PORT)), Node(lab.public("other")).start()
        web = lab.public("web")
        folder = os.path.join(lab.dir, "www")
        os.mkdir(folder)
        web.spawn(sys.executable, "-m", "http.server", "8080", "--directory", folder)
        noise_server(web, 8081)
        url = coord.enable_coordinator()
        other.enable_coordinator()
        alice = Node(lab.public("alice")).start()
        settings(coord)
        policies(coord)
        once = auth_keys(coord, alice, other, url)
        fresh = other_servers(alice, url, web)
        fresh.refuses(FAILED, "used", "up", "--login-server", url, "--auth-key", once, "--timeout", "40s")
        garbage(lab, coord)
        fresh.up(url, coord.key())
        wait_until("after all that a new node joins and reaches alice", 20,
                   lambda: fresh.host.pings(alice.addr()))
        expect(json.loads(coord.ctl("status", "--json").stdout)["BackendState"] == "Running", "all is well")
        fresh.ctl("down", "--reason=lunch\x1b[2J")
        with open(os.path.join(lab.dir, fresh.log), encoding="utf-8", errors="replace") as log:
            expect('PATCH prefs: "lunch\\x1b[2J"' in log.read(), "why somebody went offline is in the daemon's log")


if __name__ == "__main__":
    main()
