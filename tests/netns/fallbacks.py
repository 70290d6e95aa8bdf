#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every byte arrives, as it was and once: with the fast path and with each fallback that old kernels need, on a clean line
and on one that loses, reorders, doubles and damages. backends.py does the same with each AEAD backend.

    a -- wan -- b          static keys (dptest.c)
    a -- shim -- b         the bad line (shim.c)

RELIABILITY 8 (F34) and 11: checksum, reorder and loss tests. On a clean line nothing may be lost, doubled or overtaken,
not even when the line becomes narrow in mid-flow; on a bad one TCP stays whole, no datagram comes twice or damaged, and
each damaged one is counted by who dropped it.
"""
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

from data import Datagrams, Stream, sizes_of_all_kinds
from dp import ADDR4, ADDR6, PORT, Tunnel
from lab import Failure, Lab, die_with_parent, expect, say, skip, wait_until

SHIM = os.environ.get("SHIM") or os.path.join(os.environ.get("top_builddir", "."), "tests/netns/shim")
SHIM_PORT = 41000
AUTH, REPLAY, MALFORMED, OUT_SEND = 3, 4, 6, 8
VARIANTS = (
    ("fast path", ()),
    ("no virtio-net header", ("--force", "no-vnet-hdr")),
    ("no UDP super-packets on TUN", ("--force", "no-uso")),
    ("no UDP GSO", ("--force", "no-gso")),
    ("no UDP GRO", ("--force", "no-gro")),
    ("nothing at all", ("--force", "no-vnet-hdr,no-gso,no-gro")),
    ("helpers", ("--force", "helpers-2")),
    ("helpers and nothing else", ("--aead", "openssl", "--force", "no-vnet-hdr,no-gso,no-gro,helpers-3")),
)


class Shim:
    """The bad line on 'host' between the ends."""

    def __init__(self, host, a, b, **faults):
        args = ["--port", str(SHIM_PORT), "--a", "%s:%d" % (a.addr, PORT), "--b", "%s:%d" % (b.addr, PORT)]
        for name, value in faults.items():
            args += ["--" + name.replace("_", "-"), str(value)]
        host.lab.echo("+ [%s] shim %s" % (host.name, " ".join(args)))
        self.proc = subprocess.Popen(["ip", "netns", "exec", host.ns, SHIM, *args], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        if self.proc.stdout.readline() != "ready\n":
            raise Failure("shim does not start")
        self.way = ("--peer", "%s:%d" % (host.addr, SHIM_PORT))

    def mend(self):
        """From now on it is a good line; what it holds back goes out."""
        self.proc.send_signal(signal.SIGUSR1)
        time.sleep(0.2)

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        return json.loads(self.proc.communicate(timeout=10)[0])


def losses(counters):
    """What the ends counted as dropped, apart from packets nobody is meant to get (multicast and the like)."""
    return {side: (c["in_dropped"], c["out_dropped"][4:], c["overflow"]) for side, c in counters.items()
            if sum(c["in_dropped"]) or sum(c["out_dropped"][4:]) or c["overflow"]}


def datagrams(hosts, what, addr, n, seed):
    d = Datagrams(hosts["a"], hosts["b"], addr)
    # 4,000 bytes are fragments of the inner packet; over IPv6 some sizes that fit IPv4 are, too.
    d.send(sizes_of_all_kinds(n, seed, 4000))
    try:
        d.send_super(1200, 50, 77, 10)
        d.send_super(100, 60, 100, 10)
    except OSError as e:
        say("# no UDP super-packets from programs here: %s" % e)
    sent, lost, doubled, late, wrong = d.result()
    expect(lost == doubled == late == wrong == 0,
           "%s: %d datagrams to %s: %d lost, %d doubled, %d overtaken, %d damaged" % (
               what, sent, addr, lost, doubled, late, wrong))


def narrowed(hosts, what):
    """GSO is refused in mid-flow: the line becomes too narrow for full packets, and wide again."""
    s = Stream(hosts["a"], hosts["b"], ADDR4["b"], 64 << 20, 5)
    for mtu, at in ((1330, 6 << 20), (1290, 26 << 20), (1500, 46 << 20)):
        wait_until("%d MiB arrived" % (at >> 20), 30, lambda: s.n_heard > at, every_s=0.005)
        for h in hosts.values():
            h.run("ip", "link", "set", "eth0", "mtu", str(mtu), quiet=True)
    s.finish(what)


def clean_line(hosts, what, args):
    with Tunnel(hosts, *args) as t:
        t.pings()
        streams = [Stream(hosts["a"], hosts["b"], ADDR4["b"], 12 << 20, 1),
                   Stream(hosts["a"], hosts["b"], ADDR6["b"], 12 << 20, 2, port=7810),
                   Stream(hosts["a"], hosts["b"], ADDR4["b"], 12 << 20, 3, reverse=True, port=7820)]
        for s in streams:
            s.finish(what)
        datagrams(hosts, what, ADDR4["b"], 1500, 1)
        datagrams(hosts, what, ADDR6["b"], 1000, 2)
        narrowed(hosts, what)
        told = t.ends["b"].aead, t.ends["b"].mode
    expect(not losses(t.counters), "%s: TCP whole, nothing dropped (%s, %s): %r" % (what, *told, losses(t.counters)))
    return t.counters


def bad_line(hosts, shim_host, what, args):
    shim = Shim(shim_host, hosts["a"], hosts["b"], seed=34, loss=10, reorder=250, delay_ms=20, duplicate=100, corrupt=10)
    with Tunnel(hosts, *args, args_a=shim.way, args_b=shim.way) as t:
        # Some of the few first packets may be lost.
        wait_until("%s: a ping gets through" % what, 20, lambda: hosts["a"].pings(ADDR4["b"]))
        streams = [Stream(hosts["a"], hosts["b"], ADDR4["b"], 2 << 20, 4),
                   Stream(hosts["a"], hosts["b"], ADDR6["b"], 1 << 20, 5, reverse=True, port=7810)]
        for s in streams:
            s.finish(what)
        d = Datagrams(hosts["a"], hosts["b"], ADDR4["b"])
        d.send(sizes_of_all_kinds(3000, 3), patience_s=0.2)
        sent, lost, doubled, late, wrong = d.result()
        # What was damaged is counted at its end, so all of it must be there before the ends stop: a good line has no
        # more of it, and a ping comes behind what went before.
        shim.mend()
        for a, b in (("a", "b"), ("b", "a")):
            wait_until("%s: the line is good" % what, 20, lambda a=a, b=b: hosts[a].pings(ADDR4[b]))
    line = shim.stop()
    expect(doubled == 0 and wrong == 0, "%s: bad line: of %d datagrams %d lost, %d overtaken; none doubled or damaged" % (
        what, sent, lost, late))
    # 1 % lost and 1 % damaged, within five standard deviations; and what the kernel says it dropped, for want of a turn.
    overflow = sum(c["overflow"] for c in t.counters.values())
    expect(lost < sent * 0.02 + 5 * (sent * 0.02) ** 0.5 + overflow, "%s: no more is lost than the line loses" % what)
    damaged = sum(c["in_dropped"][AUTH] for c in t.counters.values())
    replayed = sum(c["in_dropped"][REPLAY] for c in t.counters.values())
    expect(line["corrupted"] > 20 and line["duplicated"] > 200 and line["reordered"] > 500 and not line["failed"],
           "%s: the line did its worst: %r" % (what, line))
    expect(line["corrupted"] - overflow <= damaged <= line["corrupted"],
           "%s: each of %d damaged packets was dropped for it" % (what, damaged))
    # A copy of a damaged packet is the first one that counts.
    expect(line["duplicated"] * 0.9 - overflow <= replayed <= line["duplicated"],
           "%s: %d second copies of %d were dropped as replays" % (what, replayed, line["duplicated"]))
    others = {s: [n for i, n in enumerate(c["in_dropped"]) if i not in (AUTH, REPLAY)] for s, c in t.counters.items()}
    expect(not any(sum(o) for o in others.values()), "%s: nothing was dropped for another reason: %r" % (what, others))


def csum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data)) if len(data) % 2 == 0 else csum(data + b"\0") ^ 0xffff
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def udp_packet(seq, size, is_bad):
    """A whole inner packet from a to b with don't-fragment, its checksum wrong on request."""
    src, dst = (socket.inet_aton(ADDR4[s]) for s in "ab")
    body = (b"%08d" % seq) * (size // 8)
    udp = struct.pack("!HHHH", 7900, 7901, 8 + len(body), 0)
    right = csum(src + dst + struct.pack("!HH", 17, 8 + len(body)) + udp + body) or 0xffff
    udp = udp[:6] + struct.pack("!H", right ^ 0x0100 if is_bad else right)
    return struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(body), 0, 0x4000, 64, 17, 0) + src + dst + udp + body


def wrong_checksums(hosts, what, args, is_gathering):
    """A program sends damaged packets among good ones: the far end gets both as they were, and its kernel tells them apart."""
    ear = hosts["b"].socket()
    ear.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    with Tunnel(hosts, *args) as t:
        t.pings()
        ear.bind((ADDR4["b"], 7901))
        wire = hosts["b"].socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        wire.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)
        wire.bind(("dp0", 0x0800))
        raw = hosts["a"].socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        bad, n = set(), 600
        for seq in range(n):
            if seq % 7 == 3:
                bad.add(seq)
            raw.sendto(udp_packet(seq, 800, seq in bad), (ADDR4["b"], 0))
        heard = []
        while select.select([ear], [], [], 1)[0]:
            heard.append(int(ear.recv(2048)[:8]))
        seen = {}
        wire.settimeout(0.2)
        try:
            while True:
                packet = wire.recv(65536)
                if packet[9] == 17 and packet[22:24] == struct.pack("!H", 7901) and len(packet) == 828:
                    seen[int(packet[28:36])] = packet
        except socket.timeout:
            pass
        for s in (ear, wire, raw):
            s.close()
    expect(heard == [s for s in range(n) if s not in bad],
           "%s: the %d good packets arrive in order, and none of the %d damaged" % (what, n - len(bad), len(bad)))
    expect(all(seen.get(s, b"")[20:] == udp_packet(s, 800, True)[20:] for s in bad),
           "%s: the damaged ones go through TUN alone, as they were" % what)
    n_told = t.counters["b"]["bad_csums"][0]
    expect(n_told > 0 if is_gathering else n_told == 0, "%s: %d were seen and not gathered" % (what, n_told))


def run(lab, variants):
    hosts = {"a": lab.public("a"), "b": lab.public("b")}
    shim_host = lab.public("s")
    only = sys.argv[1:]
    for what, args in variants:
        if only and what not in only:
            continue
        say("# %s" % what)
        begin = time.monotonic()
        try:
            counters = clean_line(hosts, what, args)
        except Failure as e:
            # Only this backend may be absent from a build or a machine.
            if "ipsec-mb" not in " ".join(args) or "does not start" not in str(e):
                raise
            say("# %s: not here" % what)
            continue
        words = set(" ".join(args).replace(",", " ").split())
        refused = counters["a"]["gso_fallbacks"]
        expect(refused == 0 if "no-gso" in words else refused > 0,
               "%s: GSO was refused %d times when the line became narrow" % (what, refused))
        expect(counters["b"]["tun_fallbacks"] == [0], "%s: TUN refused no super-packet" % what)
        bad_line(hosts, shim_host, what, args)
        if "--aead" not in args:
            wrong_checksums(hosts, what, args, not {"no-vnet-hdr", "no-uso"} & words)
        say("# %s took %.1f s" % (what, time.monotonic() - begin))


def main():
    if not os.access(SHIM, os.X_OK):
        skip("%s is not built" % SHIM)
    with Lab("fast path and fallbacks: data whole in all of them") as lab:
        run(lab, VARIANTS)


if __name__ == "__main__":
    main()
