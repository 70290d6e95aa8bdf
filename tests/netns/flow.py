# SPDX-License-Identifier: MIT
"""Traffic with a stopwatch, and ears on a wire.

A flow sends numbered records every 'every_s' from one host to another, which echoes them; the arrivals
of the echoes give the silences of the path, both directions counted.
"""
import collections
import hashlib
import os
import select
import socket
import struct
import threading
import time

from lab import Failure, expect, wait_until

RECORD = 256
WITNESS_GRAIN_S, WITNESS_GONE_S = 0.1, 20
RTO_S = 0.25


def record(seq):
    return struct.pack("!Q", seq) + hashlib.sha256(b"%d" % seq).digest() * 7 + bytes(24)


def longest_gap(moments, since, until):
    """The longest time without one of the moments between two others."""
    inside = [t for t in moments if since <= t <= until]
    return max(b - a for a, b in zip([since, *inside], [*inside, until]))


class _Flow:
    def __init__(self, every_s):
        self.every_s = every_s
        self.arrivals = []  # (monotonic seconds) of each echo; appended by one thread only
        self.n_sent = 0
        self.stopping = threading.Event()
        self.error = None
        self.threads = []

    def _start(self, *loops):
        for loop in loops:
            thread = threading.Thread(target=self._guard, args=(loop,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _guard(self, loop):
        try:
            loop()
        except OSError as e:
            if not self.stopping.is_set():
                self.error = "%s: %s" % (loop.__name__, e)

    def silence(self, since, until=None):
        """The longest time without an echo between two moments."""
        return longest_gap(self.arrivals, since, until or time.monotonic())

    def arrived_since(self, since):
        return bool(self.arrivals) and self.arrivals[-1] >= since

    def check(self):
        if self.error:
            raise Failure("%s: %s" % (type(self).__name__, self.error))


class TcpFlow(_Flow):
    """One TCP connection from host 'a' to 'b', living until finish(), which compares checksums."""

    def __init__(self, a, b, b_addr, every_s=0.02, port=7700, connect_s=10):
        super().__init__(every_s)
        self.sent, self.echoed = hashlib.sha256(), hashlib.sha256()
        self.heard = hashlib.sha256()
        listener = b.socket(kind=socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((b_addr, port))
        listener.listen(1)
        self.client = a.socket(kind=socket.SOCK_STREAM)
        self.client.settimeout(connect_s)
        self.client.connect((b_addr, port))
        listener.settimeout(connect_s)
        self.server = listener.accept()[0]
        listener.close()
        for s in (self.client, self.server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.settimeout(None)
        self._start(self._send, self._echo, self._receive)

    def _send(self):
        while not self.stopping.is_set():
            data = record(self.n_sent)
            self.client.sendall(data)
            self.sent.update(data)
            self.n_sent += 1
            self.stopping.wait(self.every_s)
        self.client.shutdown(socket.SHUT_WR)

    def _echo(self):
        while data := self.server.recv(65536):
            self.heard.update(data)
            self.server.sendall(data)
        self.server.shutdown(socket.SHUT_WR)

    def _receive(self):
        while data := self.client.recv(65536):
            self.echoed.update(data)
            self.arrivals.append(time.monotonic())

    def rto_s(self):
        """The longer of both ends' retransmission timers, as their measure of the path has set it."""
        infos = (s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 16) for s in (self.client, self.server))
        return max(struct.unpack("=8xI4x", info)[0] / 1e6 for info in infos)

    def finish(self, deadline_s=15):
        """Ends the stream; raises unless every byte arrived, in order, in both directions."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(deadline_s)
        self.check()
        if any(t.is_alive() for t in self.threads):
            raise Failure("the TCP stream does not end: it is stuck")
        if not self.sent.digest() == self.heard.digest() == self.echoed.digest():
            raise Failure("the TCP stream's checksums differ")
        return self.n_sent * RECORD

    def close(self):
        self.stopping.set()
        self.client.close()
        self.server.close()


class UdpFlow(_Flow):
    """Numbered datagrams from 'a' to 'b' and back."""

    def __init__(self, a, b, a_addr, b_addr, every_s=0.02, port=7701):
        super().__init__(every_s)
        self.n_heard = collections.Counter()
        self.heard_at = []  # (monotonic seconds) of each arrival at 'b', before it is echoed
        self.client, self.server = a.socket(), b.socket()
        self.client.bind((a_addr, port))
        self.server.bind((b_addr, port))
        self.to = (b_addr, port)
        self.tag = os.urandom(8)  # what an earlier flow left in some buffer is not ours
        self._start(self._send, self._echo, self._receive)

    def _send(self):
        while not self.stopping.is_set():
            try:
                self.client.sendto(self.tag + record(self.n_sent), self.to)
            except OSError:
                pass  # no route for a moment is a loss like another
            self.n_sent += 1
            self.stopping.wait(self.every_s)

    def _echo(self):
        while True:
            data, sender = self.server.recvfrom(2048)
            if not data:
                return  # shut down
            if data[:8] == self.tag:
                self.heard_at.append(time.monotonic())
            self.server.sendto(data, sender)

    def _receive(self):
        while True:
            data = self.client.recv(2048)
            if not data:
                return
            if data[:8] == self.tag:
                self.n_heard[struct.unpack("!Q", data[8:16])[0]] += 1
                self.arrivals.append(time.monotonic())

    def finish(self):
        """Ends the flow: (sent, lost, duplicated)."""
        self.stopping.set()
        time.sleep(0.2)
        for s in (self.client, self.server):
            try:
                s.shutdown(socket.SHUT_RDWR)  # wakes its reader, or the port stays taken
            except OSError:
                pass
        for thread in self.threads:
            thread.join(1)
        self.client.close()
        self.server.close()
        heard = len(self.n_heard)
        return self.n_sent, self.n_sent - heard, sum(self.n_heard.values()) - heard


class Witness(UdpFlow):
    """A flow between the public network and a host's own address, which no meshd touches: when it is silent it was the
    machine that stood still. A limit that is a promise holds for the rest of the time."""

    def __init__(self, host):
        super().__init__(host.lab.wan, host, "198.51.100.254", host.addr, port=7790)

    def stood_still(self, since, until=None):
        """Seconds of its longest silence, 0 when it had none worth the name. A machine that stood still goes on: a
        witness that is not heard any more has ended, and excuses nothing."""
        now = time.monotonic()
        gap = self.silence(since, until)
        self.check()
        while not self.arrived_since(now):
            if time.monotonic() > now + WITNESS_GONE_S:
                raise Failure("the witness is not heard any more: nothing tells how long the machine stood still")
            time.sleep(self.every_s)
        return gap if gap > WITNESS_GRAIN_S else 0

    def wait(self, what, limit_s, probe, since, every_s=0.05):
        """wait_until() with a limit that is a promise."""
        got, took = wait_until(what, 3 * limit_s + 10, probe, every_s, since)
        self.holds(what + ": in time", took, limit_s, since)
        return got, took

    def stream_holds(self, what, tcp, limit_s, since, rto_s):
        """holds() for the silence of a stream. TCP tries again when its timer says so: 1, 3 and 7 times 'rto_s' after
        the last answer. That is a fifth of a second and little more, but on a busy machine, where round trips vary,
        the timer is longer, and with it the limit: the third attempt shall always do."""
        self.holds("%s (its timer: %.2f s)" % (what, rto_s), tcp.silence(since),
                   limit_s * max(1, rto_s / RTO_S), since)

    def holds(self, what, value_s, limit_s, since):
        still = self.stood_still(since)
        expect(value_s <= limit_s + still, "%s: %.2f s, the limit is %g%s" % (
            what, value_s, limit_s, " and %.2f for a machine that stood still" % still if still else ""))


class Echoes:
    """ICMP echoes from host 'a' to an IPv4 address, one every 'every_s'. ping(8) takes an answer for lost that comes a
    few intervals after its last question, as one may on a busy machine; here each has 'patience_s'."""

    def __init__(self, a, addr, n, every_s, size=56):
        self.n, self.addr, self.every_s, self.body = n, addr, every_s, bytes(size)
        self.ident = int.from_bytes(os.urandom(2), "big")
        self.sock = a.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
        self.heard, self.error = collections.Counter(), None
        self.sender = threading.Thread(target=self._send, daemon=True)
        self.sender.start()

    def _send(self):
        due = time.monotonic()
        for seq in range(self.n):
            head = struct.pack("!HHH", 0x0800, self.ident, seq)
            total = sum(struct.unpack("!HHH", head))  # the body is zeros
            total = (total & 0xffff) + (total >> 16)
            try:
                self.sock.sendto(head[:2] + struct.pack("!HHH", ~total & 0xffff, self.ident, seq) + self.body, (self.addr, 0))
            except OSError as e:
                self.error = "echo %d: %s" % (seq, e)
            due += self.every_s
            time.sleep(max(0, due - time.monotonic()))

    def result(self, patience_s=3):
        """(lost, doubled) when all have come, or none for 'patience_s' after the last was sent."""
        last = time.monotonic()
        while self.sender.is_alive() or (len(self.heard) < self.n and time.monotonic() < last + patience_s):
            if self._take(0.1):
                last = time.monotonic()
            elif self.sender.is_alive():
                last = time.monotonic()
        while self._take(self.every_s):
            pass
        self.sock.close()
        if self.error:
            raise Failure(self.error)
        return self.n - len(self.heard), sum(self.heard.values()) - len(self.heard)

    def _take(self, wait_s):
        if not select.select([self.sock], [], [], wait_s)[0]:
            return False
        packet = self.sock.recv(65536)
        at = 4 * (packet[0] & 15)
        kind, ident, seq = struct.unpack("!H2xHH", packet[at:at + 8])
        if kind == 0 and ident == self.ident:  # an echo reply to us
            self.heard[seq] += 1
        return True


class Capture:
    """Everything that passes an interface of a host, whole frames, until stop()."""

    def __init__(self, host, dev):
        self.name = "%s/%s" % (host.name, dev)
        self.frames = []
        self.sock = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
        self.sock.bind((dev, 3))
        self.sock.settimeout(0.2)
        self.stopping = False
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while not self.stopping:
            try:
                self.frames.append(self.sock.recv(65536))
            except socket.timeout:
                continue

    def n_with(self, needle):
        """How many frames hold these bytes."""
        return sum(needle in frame for frame in self.frames)

    def stop(self):
        """Ends the capture; raises when the kernel dropped frames, as nothing is proved then."""
        self.stopping = True
        self.thread.join()
        _, n_dropped = struct.unpack("II", self.sock.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS
        self.sock.close()
        if n_dropped:
            raise Failure("%s: the capture lost %d frames" % (self.name, n_dropped))
        return self.frames
