#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""WireGuard on the wire: our handshake, keys and timers against wireguard-go.

    ours (wgpeer, 100.64.0.1) --- wan --- theirs (wireguard-go, 100.64.0.2)

For each AEAD backend: no ping before they know us; then both roles, a rekey under traffic, a cookie
under load, full-size packets and TCP. With MESHD_SLOW_TESTS=1 also 260 s of traffic in each direction,
over the rekeys at 120 and 240 s that both sides make by themselves.
"""
import hashlib
import os
import re
import shutil
import socket
import subprocess
import threading
import time

from flow import Echoes
from lab import Failure, Lab, die_with_parent, expect, never, skip, wait_until

BACKENDS = ("libsodium", "openssl", "ipsec-mb")
OURS, THEIRS = "100.64.0.1", "100.64.0.2"
PORT = 51820
TCP_BYTES = 8 << 20


def wg(*argv, text=None):
    return subprocess.run(["wg", *argv], input=text, stdout=subprocess.PIPE, check=True, text=True,
                          timeout=10).stdout.strip()


def hex_key(text):
    import base64
    return base64.b64decode(text).hex()


class Ours:
    """wgpeer as a child whose lines are read by a thread."""

    def __init__(self, lab, host, backend, key, peer_key, peer_addr):
        self.host = host
        program = os.path.join(os.environ.get("top_builddir", "build"), "tests/netns/wgpeer")
        if not os.path.exists(program):
            skip("no %s: build first" % program)
        argv = [program, backend, "wgours", str(PORT), hex_key(key), hex_key(peer_key),
                "%s:%d" % (peer_addr, PORT)]
        lab.echo("+ [ours] wgpeer %s &" % backend)
        self.lines = []
        self.child = subprocess.Popen(["ip", "netns", "exec", host.ns, *argv], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True, bufsize=1,
                                      preexec_fn=die_with_parent)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        wait_until("wgpeer is ready", 30, lambda: "ready" in self.lines or self.child.poll() is not None)

    def _read(self):
        for line in self.child.stdout:
            self.lines.append(line.strip())

    def missing(self):
        return self.child.poll() == 77

    def say(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def status(self):
        seen, end = len(self.lines), time.monotonic() + 20
        self.say("status")
        while not any(l.startswith("status") for l in self.lines[seen:]):
            if time.monotonic() > end:
                raise Failure("wgpeer does not answer")
            time.sleep(0.01)
        last = [l for l in self.lines[seen:] if l.startswith("status")][-1].split()[1:]
        return dict(zip(last[::2], map(int, last[1::2])))

    def ups(self, role):
        return self.lines.count("up " + role)

    def end(self):
        self.child.stdin.close()
        self.child.wait(10)


class Theirs:
    """wireguard-go; its configuration goes through its socket with wg(8)."""

    def __init__(self, lab, host):
        self.host = host
        self.dev = "wg%d" % (os.getpid() % 1000000)
        self.sock = "/var/run/wireguard/%s.sock" % self.dev
        lab.cleanups.append(self.clear)
        self.clear()  # a killed run may have had this process id
        self.child = host.spawn("wireguard-go", "-f", self.dev, log="wireguard-go.log")
        self.key = wg("genkey")
        wait_until("wireguard-go is ready", 30, lambda: os.path.exists(self.sock))
        # wg(8) finds the socket by the device's name; it must run where the device is.
        host.run("wg", "set", self.dev, "listen-port", str(PORT), "private-key", "/dev/stdin",
                 input=self.key + "\n")
        host.ip("addr add %s/10 dev %s" % (THEIRS, self.dev))
        host.ip("link set %s mtu 1280 up" % self.dev)

    def clear(self):
        if os.path.exists(self.sock):
            os.unlink(self.sock)

    def know(self, key, addr):
        self.host.run("wg", "set", self.dev, "peer", key, "allowed-ips", OURS + "/32",
                      "endpoint", "%s:%d" % (addr, PORT))

    def forget(self, key):
        self.host.run("wg", "set", self.dev, "peer", key, "remove")

    def handshake(self):
        """Time of the last handshake, 0: none."""
        out = self.host.run("wg", "show", self.dev, "latest-handshakes", quiet=True).stdout.split()
        return int(out[1]) if len(out) > 1 else 0


def ping(host, addr, *options, timeout=60):
    """(sent, received) of a ping."""
    out = host.run("ping", "-n", "-q", *options, addr, check=False, timeout=timeout).stdout
    m = re.search(r"(\d+) packets transmitted, (\d+) received", out)
    if not m:
        raise Failure("ping said %r" % out)
    return int(m.group(1)), int(m.group(2))


def transfer(src, dst, dst_addr):
    """Sends TCP_BYTES from 'src' to 'dst' through the tunnel; returns whether they arrived whole."""
    data = os.urandom(1 << 20) * (TCP_BYTES >> 20)
    listener = dst.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((dst_addr, 7000))
    listener.listen(1)
    listener.settimeout(20)
    got = hashlib.sha256()

    def receive():
        conn, _ = listener.accept()
        conn.settimeout(20)
        while True:
            chunk = conn.recv(1 << 16)
            if not chunk:
                break
            got.update(chunk)
        conn.close()

    reader = threading.Thread(target=receive, daemon=True)
    reader.start()
    sender = src.socket(socket.AF_INET, socket.SOCK_STREAM)
    sender.settimeout(20)
    begin = time.monotonic()
    sender.connect((dst_addr, 7000))
    sender.sendall(data)
    sender.close()
    reader.join(30)
    listener.close()
    took = time.monotonic() - begin
    return got.digest() == hashlib.sha256(data).digest(), TCP_BYTES * 8 / took / 1e6


def start_ours(lab, ours_host, theirs, backend):
    key = wg("genkey")
    ours = Ours(lab, ours_host, backend, key, wg("pubkey", text=theirs.key + "\n"), theirs.host.addr)
    if ours.missing():
        lab.echo("%s is not in this build" % backend)
        return None, None
    ours_host.ip("addr add %s/10 dev wgours" % OURS)
    ours_host.ip("link set wgours mtu 1280 up")
    return ours, wg("pubkey", text=key + "\n")


def both_roles(ours, theirs, pub):
    sent, got = ping(ours.host, THEIRS, "-c", "2", "-i", "0.2", "-W", "1")
    expect(got == 0, "no ping passes before they know our key")
    theirs.know(pub, ours.host.addr)
    # The unanswered handshake is repeated after 5 s.
    wait_until("we are up as initiator", 30,
               lambda: ping(ours.host, THEIRS, "-c", "1", "-W", "1")[1] == 1 and ours.ups("initiator"))
    expect(theirs.handshake() > 0, "they saw the handshake")
    expect(Echoes(ours.host, THEIRS, 20, 0.05, 1252).result() == (0, 0), "full-size packets pass, both ways")

    ours.say("reset")
    theirs.forget(pub)
    theirs.know(pub, ours.host.addr)
    before = ours.ups("responder")
    wait_until("we are up as responder", 30,
               lambda: ping(theirs.host, OURS, "-c", "1", "-W", "1")[1] == 1 and
               ours.ups("responder") > before)


def rekey_under_traffic(ours, theirs):
    before = ours.status()
    pinger = Echoes(ours.host, THEIRS, 220, 0.05)
    for _ in range(2):
        time.sleep(0.5)
        ours.say("rekey")
        time.sleep(5.2)  # no initiation sooner than 5 s after the last
    expect(pinger.result() == (0, 0), "no packet was lost over two rekeys")
    after = ours.status()
    expect(after["rx_resp"] >= before["rx_resp"] + 1, "they answered our new handshakes")


def cookie(ours, theirs, pub):
    ours.say("load on")
    ours.say("reset")
    theirs.forget(pub)
    theirs.know(pub, ours.host.addr)
    before = ours.status()
    wait_until("under load they come in with our cookie", 40,
               lambda: ping(theirs.host, OURS, "-c", "1", "-W", "1")[1] == 1)
    after = ours.status()
    expect(after["tx_cookie"] > before["tx_cookie"], "we sent a cookie reply")
    expect(after["rx_init"] > before["rx_init"], "and accepted an initiation with mac2")
    ours.say("load off")


def slow(ours, theirs):
    before = ours.status()
    pingers = [ours.host.spawn("ping", "-n", "-q", "-c", "1300", "-i", "0.2", THEIRS, log="slow-a.txt"),
               theirs.host.spawn("ping", "-n", "-q", "-c", "1300", "-i", "0.2", OURS, log="slow-b.txt")]
    for p in pingers:
        p.wait(300)
    after = ours.status()
    for name in ("slow-a.txt", "slow-b.txt"):
        with open(os.path.join(ours.host.lab.dir, name)) as f:
            m = re.search(r"1300 packets transmitted, (\d+) received", f.read())
        expect(m and m.group(1) == "1300", "no packet was lost in 260 s over the rekeys (%s)" % name)
    made = after["tx_init"] - before["tx_init"] + after["rx_init"] - before["rx_init"]
    expect(2 <= made <= 6, "there were %d handshakes in 260 s" % made)


def quiet(ours, theirs):
    """After a last packet nothing but the passive keepalive follows."""
    ping(ours.host, THEIRS, "-c", "1")
    before = ours.status()
    never("another handshake after the traffic ended", 17,
          lambda: ours.status()["tx_init"] + ours.status()["rx_init"] !=
          before["tx_init"] + before["rx_init"], every_s=1.0)


def main():
    for tool in ("wireguard-go", "wg", "ping"):
        if not shutil.which(tool):
            skip("no %s here" % tool)
    if not os.path.exists("/dev/net/tun"):
        skip("no /dev/net/tun here")
    with Lab("WireGuard against wireguard-go") as lab:
        ours_host, theirs_host = lab.public("ours"), lab.public("theirs")
        theirs = Theirs(lab, theirs_host)
        for backend in BACKENDS:
            ours, pub = start_ours(lab, ours_host, theirs, backend)
            if not ours:
                continue
            both_roles(ours, theirs, pub)
            rekey_under_traffic(ours, theirs)
            cookie(ours, theirs, pub)
            for src, dst, addr in ((ours_host, theirs_host, THEIRS), (theirs_host, ours_host, OURS)):
                whole, mbit = transfer(src, dst, addr)
                expect(whole, "%s: %d MiB of TCP arrived whole at %.0f Mbit/s" %
                       (backend, TCP_BYTES >> 20, mbit))
            if backend == BACKENDS[0]:
                quiet(ours, theirs)
            if backend == BACKENDS[1] and os.environ.get("MESHD_SLOW_TESTS") == "1":
                slow(ours, theirs)
            status = ours.status()
            expect(status["auth"] == 0, "nothing failed authentication")
            ours.end()
            theirs.forget(pub)


if __name__ == "__main__":
    main()
