#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What others say wrong or in a later language: nothing changes but a counter.

    ours, them (real), relay (ours), coord (ours: coordinator, DERP, STUN), probe0, probe1; all public

Frames of every fuzz corpus, and captured ones with bits turned, go to ours from the address of a real peer, by UDP and
to the coordinator by TCP; peer/probe.go joins as a node of our own writing and says odd things under the seal of its own key.
"""
import glob
import json
import os
import random
import socket
import struct
import time

import real
from flow import Capture, TcpFlow
from lab import Lab, expect, say, wait_until
from node import Node

CORPORA = os.path.join(real.HERE, "..", "fuzz", "corpus")
RELAY_PORT = 40000
LARGEST = 1400
PACE = 50  # datagrams between two short rests


def corpora():
    """Every file of every fuzz corpus, cut to a datagram, as it is and turned."""
    frames = []
    for path in sorted(glob.glob(os.path.join(CORPORA, "*", "*"))):
        with open(path, "rb") as f:
            frames.append(f.read(LARGEST))
    expect(len(frames) > 200, "%d files in the fuzz corpora" % len(frames))
    return frames


def turned(frames, dice):
    """The same frames with a few bits turned, or cut."""
    for frame in frames:
        if not frame:
            continue
        data = bytearray(frame)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        yield bytes(data) if dice.random() < 0.7 else frame[:dice.randrange(len(frame))]


class Spoofer:
    """Sends datagrams with any source port of a host, past the socket that owns it."""

    def __init__(self, host):
        self.addr = socket.inet_aton(host.addr)
        self.raw = host.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.n = 0

    def send(self, sport, to, port, data):
        # Identification, length and header checksum are the kernel's; no UDP checksum.
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0, self.addr, socket.inet_aton(to))
        self.raw.sendto(header + struct.pack("!HHHH", sport, port, 8 + len(data), 0) + data, (to, 0))
        self.n += 1
        if self.n % PACE == 0:
            time.sleep(0.01)


def udp_of(frame):
    """(source port, destination port, payload) of a captured IPv4 UDP frame, or None."""
    if len(frame) < 42 or frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return None
    at = 14 + 4 * (frame[14] & 15)
    sport, dport, size = struct.unpack("!HHH", frame[at:at + 6])
    return sport, dport, frame[at + 8:at + size]


def drops(node):
    """All that a daemon counts as dropped or refused."""
    rows = [row.split() for row in node.ctl("debug", "metrics", quiet=True).stdout.splitlines() if not row.startswith("#")]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and ("_drop_" in row[0] or "_bad_" in row[0])}


def view(node):
    """What must not change: state, own addresses, and who the peers are, where and by which path."""
    status = node.status()
    peers = {key: [peer[field] for field in ("DNSName", "TailscaleIPs", "CurAddr", "PeerRelay", "Relay")]
             for key, peer in status["Peer"].items()}
    return status["BackendState"], status["Self"]["TailscaleIPs"], peers


def address(node, name):
    host, port = node.peer(name)["CurAddr"].rsplit(":", 1)
    return host, int(port)


def malformed(ours, them, relay, flow):
    """Thousands of frames from the real peer's own address and port, to the node's and to the relay's port."""
    wait_until("both are direct", 60, lambda: ours.path("them") == "direct" and them.path("ours") == "direct")
    listen = Capture(them.host, "eth0")
    time.sleep(3)
    captured = [udp for udp in map(udp_of, listen.stop()) if udp]
    to, port = address(them, "ours")
    sport = address(ours, "them")[1]
    said = [data for _, dport, data in captured if dport == port]
    expect(len(said) > 20, "%d frames of the real peer, captured" % len(said))
    dice = random.Random(4)
    plain = corpora()
    frames = plain + [f for _ in range(6) for f in turned(plain, dice)] + said + [f for _ in range(4) for f in turned(said, dice)]
    dice.shuffle(frames)
    before, counted, memory = view(ours), drops(ours), ours.memory_kib()[0]
    relay_counted, relay_before = drops(relay), view(relay)
    spoofer, since = Spoofer(them.host), time.monotonic()
    for frame in frames:
        spoofer.send(sport, to, port, frame)
        spoofer.send(sport, relay.host.addr, RELAY_PORT, frame)
    wait_until("%d frames went out" % spoofer.n, 30, lambda: flow.arrived_since(time.monotonic() - 0.1))
    time.sleep(1)
    for node, then in ((ours, counted), (relay, relay_counted)):
        now = drops(node)
        grown = {name: now[name] - then[name] for name in now if now[name] > then[name]}
        expect(sum(grown.values()) > len(frames) // 2, "%s counts them: %s" % (node.name, grown))
    expect(view(ours) == before and view(relay) == relay_before, "nothing else has changed")
    gap = flow.silence(since)
    expect(gap < 2, "the stream's longest silence was %.2f s" % gap)
    grown = ours.memory_kib()[0] - memory
    expect(grown < 4096, "memory: %+d KiB" % grown)


def streams(coord, them, flow):
    """The same files as bytes of a connection, and as the first words of a DERP client, to the coordinator's port."""
    upgrade = b"GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
    before, memory, since = view(coord), coord.memory_kib()[0], time.monotonic()
    frames = corpora()
    for data in [head + frame for frame in frames for head in (b"", upgrade)]:
        with them.host.socket(kind=socket.SOCK_STREAM) as s:
            s.settimeout(10)
            s.connect((coord.host.addr, 443))
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused before it was all said
    time.sleep(1)
    expect(view(coord) == before, "%d connections have changed nothing" % (2 * len(frames)))
    grown = coord.memory_kib()[0] - memory
    expect(grown < 4096, "memory of the coordinator: %+d KiB" % grown)
    gap = flow.silence(since)
    expect(gap < 2, "the stream's longest silence was %.2f s" % gap)


def ask(lab, index, url, key, name):
    """What the node answered to peer/probe.go, question by question."""
    host = lab.public("probe%d" % index)
    done = host.run(real.program(), "probe", "--url", url, "--auth-key", key, "--target", name, "--addr", host.addr)
    answers = {row["question"]: row["answer"] for row in map(json.loads, done.stdout.splitlines())}
    for question, answer in answers.items():
        say("  %s: %s: %s" % (name, question, answer))
    return answers


def probes(lab, url, key, ours):
    """Ours and a real node answer a node of another version alike: MTU probes, odd pings, unknown types."""
    before = drops(ours)
    answers = [ask(lab, index, url, key, name) for index, name in enumerate(("ours", "them"))]
    expect(answers[0] == answers[1], "ours answers %d questions as the real node does" % len(answers[0]))
    mtu = [answer for question, answer in answers[0].items() if "MTU" in question]
    expect(len(mtu) == 6 and set(mtu) == {"pong of 110 bytes"}, "a probe of each MTU is answered, and never padded")
    expect(drops(ours)["magicsock_disco_recv_bad_parse"] > before["magicsock_disco_recv_bad_parse"],
           "what no version says is counted")


def main():
    with Lab("malformed frames and later versions") as lab:
        coord, relay = Node(lab.public("coord")).start(), Node(lab.public("relay")).start()
        url = coord.enable_coordinator()
        key = coord.key("--reusable")
        relay.up(url, key)
        relay.ctl("set", "--relay-server-port=%d" % RELAY_PORT)
        ours, them = Node(lab.public("ours")), real.Real(lab.public("them"))
        them.host.sysctl("net.ipv6.conf.eth0.disable_ipv6", 1)  # spoofing by IPv4 alone
        ours.start()
        them.start()
        ours.up(url, key)
        them.up(url, key)
        flow = TcpFlow(ours.host, them.host, them.addr())
        malformed(ours, them, relay, flow)
        streams(coord, them, flow)
        probes(lab, url, key, ours)
        expect(flow.finish() > 0, "one stream lived through all of it")


if __name__ == "__main__":
    main()
