#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the guides show, typed literally in a shell (protocol page cli, section 1).

    alice -- hard NAT --.
                        wan -- coord (coordinator, DERP, STUN), relay
    bob   -- hard NAT --'
"""
import json
import os
import re

from lab import Lab, expect, wait_until
from node import Node

TRANSPORTS = [(a, b) for a in ("udp4", "udp6") for b in ("udp4", "udp6")]


def shell(node, line, code=0, out="", err=""):
    """One line as it stands in the guide; its whole output and exit code are what is given here."""
    tools = os.path.dirname(node.meshctl) + ":" + os.environ["PATH"]
    done = node.host.run("env", "MESHD_SOCKET=" + node.socket, "PATH=" + tools, "sh", "-c", line, check=False)
    expect((done.returncode, done.stdout, done.stderr) == (code, out, err),
           "%s: exit %d, %r, %r" % (line, done.returncode, done.stdout, done.stderr))


def says(node, line, pattern):
    tools = os.path.dirname(node.meshctl) + ":" + os.environ["PATH"]
    done = node.host.run("env", "MESHD_SOCKET=" + node.socket, "PATH=" + tools, "sh", "-c", line, check=False)
    expect(re.search(pattern, done.stdout), "%s: %s" % (line, done.stdout.strip()))
    return done.stdout


def listens(node, port):
    """The families on which something of the host waits for datagrams to 'port'."""
    rows = node.host.run("ss", "-Hunl", quiet=True).stdout.splitlines()
    return sorted({6 if "[::]" in row else 4 for row in rows if re.search(r"[\]0]:%d\s" % port, row)})


def switched(relay):
    """The port: on, off, kept over a restart; and the flag that blog posts copy."""
    shell(relay, "meshctl set --relay-server-port=40000")
    expect(listens(relay, 40000) == [4, 6], "UDP 40000 is open on IPv4 and IPv6")
    relay.stop()
    relay.start()
    wait_until("it is open again after a restart", 20, lambda: listens(relay, 40000) == [4, 6])
    shell(relay, 'meshctl set --relay-server-port=""')
    expect(listens(relay, 40000) == [], "and closed")
    shell(relay, "meshctl get relay-server-port", out="\n")
    shell(relay, "meshctl set --advertise-relay-server --relay-server-static-endpoints=203.0.113.10:41641")
    expect(listens(relay, 40000) == [4, 6], "the stored port comes before that of the endpoints")
    shell(relay, "meshctl set --advertise-relay-server=false")
    expect(listens(relay, 40000) == [], "off by the same flag")
    shell(relay, "meshctl set --relay-server-port=")
    says(relay, "meshctl set --help", "  --advertise-relay-server, --advertise-relay-server=false\n")


def fresh_ports(lab, url, key):
    """Without a stored port: that of the endpoints, else 40000."""
    node = Node(lab.public("fresh")).start()
    node.up(url, key)
    shell(node, "meshctl set --advertise-relay-server --relay-server-static-endpoints=203.0.113.10:41641")
    expect(listens(node, 41641) == [4, 6], "the port of the endpoint")
    other = Node(lab.public("other")).start()
    other.up(url, key)
    shell(other, "meshctl set --advertise-relay-server")
    expect(listens(other, 40000) == [4, 6], "40000 where nothing says otherwise")
    shell(other, "meshctl set --advertise-relay-server=false")
    shell(node, "meshctl set --relay-server-port=")


def endpoints(relay):
    shell(relay, 'meshctl set --relay-server-port=40000 --relay-server-static-endpoints="203.0.113.10:40000"')
    shell(relay, "meshctl get relay-server-static-endpoints", out="203.0.113.10:40000\n")
    shell(relay, 'meshctl set --relay-server-port=40000 '
                 '--relay-server-static-endpoints="[2001:db8::1]:40000,203.0.113.10:40000"')
    shell(relay, "meshctl get relay-server-static-endpoints", out="203.0.113.10:40000,[2001:db8::1]:40000\n")
    says(relay, "meshctl relay status", r"203\.0\.113\.10:40000 \(static\)")
    shell(relay, 'meshctl set --relay-server-static-endpoints=""')


def metric(node, name):
    return float(says(node, "meshctl metrics | grep '^%s'" % name, name).splitlines()[0].rpartition(" ")[2])


def relayed(relay, alice, bob):
    """What shows that a relay is used, reachable, how fast and by whom."""
    wait_until("alice and bob on the relay", 40, lambda: alice.host.pings(bob.addr()) and alice.path("bob") == "peer-relay")
    line = says(alice, "meshctl status | grep peer-relay", r"active; peer-relay 198\.51\.100\.2:40000:vni:\d+, tx \d+ rx \d+")
    expect(len(line.splitlines()) == 1, "one line")
    says(alice, "meshctl ping -c 1 bob", r"^pong from bob \(%s\) via peer-relay\(198\.51\.100\.2:40000:vni:\d+\) in (\d+ms|\d+(\.\d+)?s)\n$"
         % re.escape(bob.addr()))
    wait_until("the round trip through the relay is measured", 30, lambda: alice.host.pings(bob.addr()) and
               re.search(r" yes +\d", alice.ctl("relay", "servers", quiet=True).stdout), 0.3)
    says(alice, "meshctl relay servers", r"relay +100\.64\.0\.2 +yes +\d[0-9.]*ms +1 ")
    expect(metric(alice, "meshd_peer_relay_latency_seconds") > 0, "the latency through the relay is told")
    names = says(relay, "meshctl metrics", "tailscaled_peer_relay_endpoints")
    for kind in ("packets", "bytes"):
        for pair in TRANSPORTS:
            name = 'tailscaled_peer_relay_forwarded_%s_total{transport_in="%s",transport_out="%s"}' % ((kind,) + pair)
            expect(name in names, name)
    name = 'tailscaled_peer_relay_forwarded_packets_total{transport_in="udp4",transport_out="udp4"}'
    before = metric(relay, name.split("{")[0] + ".*udp4.*udp4")
    alice.host.run("ping", "-n", "-q", "-c", "10", "-i", "0.05", bob.addr(), quiet=True)
    wait_until("it counts 20 more packets", 20, lambda: metric(relay, name.split("{")[0] + ".*udp4.*udp4") >= before + 20)


def said(node, words):
    """How often the daemon's log has these words."""
    with open(os.path.join(node.lab.dir, node.log), errors="replace") as log:
        return log.read().count(words)


def disturbed(alice, bob):
    """What support asks for does what it says, and the tunnel outlives it."""
    def known():
        return json.loads(bob.ctl("whois", "--json", alice.addr(), quiet=True).stdout)["Node"]["DiscoKey"]
    before = known()
    shell(alice, "meshctl debug rotate-disco-key")
    wait_until("bob knows the new disco key", 20, lambda: known() != before)
    wait_until("and reaches alice", 20, lambda: bob.host.pings(alice.addr()))
    ends, begins = said(alice, "disconnected: ended on request"), said(alice, ": connected")
    shell(alice, "meshctl debug break-derp-conns")
    wait_until("the DERP connection ended and came back", 30, lambda: said(alice, "disconnected: ended on request") > ends and
               said(alice, ": connected") > begins)
    shell(alice, "meshctl debug break-tcp-conns")
    wait_until("again, and the control connection with it", 30, lambda: said(alice, "disconnected: ended on request") > ends + 1
               and metric(alice, "meshd_control_connected") == 1)
    shell(alice, "meshctl debug force-netmap-update")
    shell(alice, "meshctl debug pick-new-derp", 1, err="too few regions\n")
    wait_until("bob still reaches alice", 20, lambda: bob.host.pings(alice.addr()))


def firewalls(relay):
    """Nothing is opened; the exact line is printed for what drops, and a rule that misses the point is named."""
    says(relay, "meshctl relay status | grep -c -i firewall", "^0$")
    relay.host.nft("table inet own {\n chain in {\n type filter hook input priority 0; policy drop;\n"
                   "ip saddr 100.64.0.0/10 udp dport 40000 accept\n }\n}\n")
    wait_until("the line appears", 20, lambda: "sudo nft insert rule inet own in udp dport 40000 accept" in
               relay.ctl("relay", "status", quiet=True).stdout, 0.5)
    says(relay, "meshctl relay status", "Warning: a firewall rule opens UDP 40000 for 100.64.0.0/10 only")
    hint = re.search("sudo (nft insert .*)", relay.ctl("relay", "status").stdout).group(1)
    relay.host.run(*hint.split())
    relay.host.nft("flush ruleset")


def main():
    with Lab("what the guides show, typed literally") as lab:
        coord, relay = Node(lab.public("coord")).start(), Node(lab.public("relay")).start()
        url = coord.enable_coordinator()
        key = coord.key("--reusable")
        relay.up(url, key)
        alice = Node(lab.host("alice", lab.nat("nata", "hard"))).start()
        bob = Node(lab.host("bob", lab.nat("natb", "hard"))).start()
        alice.up(url, key)
        bob.up(url, key)
        switched(relay)
        fresh_ports(lab, url, key)
        endpoints(relay)
        relayed(relay, alice, bob)
        disturbed(alice, bob)
        firewalls(relay)


if __name__ == "__main__":
    main()
