# SPDX-License-Identifier: MIT
"""Data whose every byte is checked at the far end: TCP streams cut into pieces of all sizes, and numbered datagrams of
all sizes, alone or as super-packets of the sending program.

Senders of datagrams never have more under way than every queue between the ends holds, however busy the machine is.
So what is missing was lost by a fault, and not because somebody had no core for a while.
"""
import collections
import hashlib
import os
import random
import select
import socket
import struct
import threading
import time

from lab import Failure

SOL_UDP, UDP_SEGMENT = 17, 103
SO_RCVBUFFORCE = 33
PLAIN_MAX = 1252  # fits an IPv4 packet of 1,280 bytes with its headers
WINDOW = 200      # datagrams under way


class Stream:
    """One TCP connection that carries 'size' random bytes from host 'a' to address 'addr' of host 'b', or back."""

    def __init__(self, a, b, addr, size, seed, reverse=False, port=7800, deadline_s=60):
        family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        listener = b.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((addr, port))
        listener.listen(1)
        listener.settimeout(deadline_s)
        self.client = a.socket(family, socket.SOCK_STREAM)
        self.client.settimeout(deadline_s)
        self.client.connect((addr, port))
        self.server = listener.accept()[0]
        listener.close()
        self.server.settimeout(deadline_s)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.size, self.random, self.deadline_s = size, random.Random(seed), deadline_s
        self.sent, self.heard, self.n_heard, self.error = hashlib.sha256(), hashlib.sha256(), 0, None
        ends = (self.server, self.client) if reverse else (self.client, self.server)
        self.threads = [threading.Thread(target=self._guard, args=(loop, end), daemon=True)
                        for loop, end in zip((self._send, self._receive), ends)]
        for thread in self.threads:
            thread.start()

    def _guard(self, loop, end):
        try:
            loop(end)
        except OSError as e:
            self.error = "%s: %s" % (loop.__name__, e)

    def _send(self, end):
        block = self.random.randbytes(1 << 20)
        left = self.size
        while left:
            # Mostly large pieces, some of a few bytes: super-packets, full packets and small ones.
            n = min(left, self.random.choice((1, 7, 100, 1228, 1229, 5000, 65536, 300000, 1 << 20)))
            at = self.random.randrange(len(block))
            data = (block[at:] + block[:at])[:n]
            end.sendall(data)
            self.sent.update(data)
            left -= n
        end.shutdown(socket.SHUT_WR)

    def _receive(self, end):
        while data := end.recv(1 << 20):
            self.heard.update(data)
            self.n_heard += len(data)

    def finish(self, what):
        """Waits for its end; raises unless every byte arrived in order."""
        for thread in self.threads:
            thread.join(self.deadline_s)
        if self.error or any(t.is_alive() for t in self.threads):
            raise Failure("%s: TCP: %s after %d of %d bytes" % (what, self.error or "stuck", self.n_heard, self.size))
        # Without a farewell: the kernel would repeat it into the next tunnel, before that has its keys.
        for end in (self.client, self.server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
        if self.sent.digest() != self.heard.digest():
            raise Failure("%s: TCP: other bytes arrived than were sent (%d of %d)" % (what, self.n_heard, self.size))


def payload(seed, seq, size):
    """A datagram: its number, its size, and bytes that only this one has."""
    head = struct.pack("!QI", seq, size)
    body = hashlib.shake_128(b"%d %d" % (seed, seq)).digest(max(0, size - len(head)))
    return (head + body)[:size]


class Datagrams:
    """Numbered datagrams from host 'a' to 'addr' of host 'b'. send() may be called several times; result() ends it."""

    def __init__(self, a, b, addr, port=7801):
        family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        self.seed = random.Random(os.urandom(8)).getrandbits(32)
        self.to = (addr, port)
        self.client, self.server = a.socket(family), b.socket(family)
        self.server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.client.setsockopt(socket.SOL_SOCKET, 32, 16 << 20)  # SO_SNDBUFFORCE
        self.server.bind(self.to)
        self.sizes = []  # by number
        self.heard = collections.Counter()
        self.n_late, self.newest, self.wrong = 0, -1, 0

    def _take(self, wait_s):
        if not select.select([self.server], [], [], wait_s)[0]:
            return False
        data = self.server.recv(65536, socket.MSG_DONTWAIT)
        seq = struct.unpack("!Q", data[:8])[0] if len(data) >= 12 else -1
        if not 0 <= seq < len(self.sizes) or data != payload(self.seed, seq, self.sizes[seq]):
            self.wrong += 1
            return True
        self.heard[seq] += 1
        self.n_late += seq < self.newest
        self.newest = max(self.newest, seq)
        return True

    def _settle(self, under_way, patience_s):
        """Receives until no more than 'under_way' are missing, or nothing has come for 'patience_s'."""
        while len(self.sizes) - len(self.heard) - self.n_given_up > under_way:
            if not self._take(patience_s):
                self.n_given_up = len(self.sizes) - len(self.heard)
                return

    n_given_up = 0

    def send(self, sizes, patience_s=2.0):
        """One datagram of each size (at least 12 bytes)."""
        for size in sizes:
            seq = len(self.sizes)
            self.sizes.append(size)
            self.client.sendto(payload(self.seed, seq, size), self.to)
            if seq % 16 == 0:
                self._settle(WINDOW, patience_s)
        self._settle(0, patience_s)

    def send_super(self, size, n_segs, last_size, times, patience_s=2.0):
        """Super-packets: 'n_segs' datagrams of 'size' bytes, the last of 'last_size', in one call."""
        for _ in range(times):
            first = len(self.sizes)
            self.sizes += [size] * (n_segs - 1) + [last_size]
            data = b"".join(payload(self.seed, first + i, self.sizes[first + i]) for i in range(n_segs))
            self.client.sendmsg([data], [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0, self.to)
            self._settle(WINDOW, patience_s)
        self._settle(0, patience_s)

    def result(self):
        """(sent, lost, doubled, out of order, damaged)."""
        while self._take(0.5):
            pass
        self.client.close()
        self.server.close()
        n = len(self.heard)
        return len(self.sizes), len(self.sizes) - n, sum(self.heard.values()) - n, self.n_late, self.wrong


def sizes_of_all_kinds(n, seed, largest=PLAIN_MAX):
    """Runs of equal sizes, as bulk has them, between single sizes of all kinds."""
    rng = random.Random(seed)
    sizes = []
    while len(sizes) < n:
        size = rng.choice((12, 13, 100, 512, 1199, 1200, PLAIN_MAX, rng.randint(12, largest), largest))
        sizes += [size] * rng.choice((1, 1, 2, 5, 60))
    return sizes[:n]
