#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves the NAT recipes and faults of the lab with probes, before anything is concluded from them.

    inside --- [ NAT ] --- wan --- one (ports 7001, 7002)
    second ------'            `--- two (port 7001)
"""
import socket

from lab import Lab, expect, say, wait_until

# For what must not arrive, and for what must: a busy machine may take its time.
WAIT_S, PATIENCE_S = 0.3, 5


def udp(host, port=0):
    s = host.socket()
    s.bind((host.addr, port))
    return s


def heard(sock, wait_s=PATIENCE_S):
    """The sender of the next datagram, or None."""
    sock.settimeout(wait_s)
    try:
        return sock.recvfrom(2048)[1]
    except socket.timeout:
        return None


def arrives(src, dst, to, is_hoped=True):
    """Does a datagram from 'src' sent to the address 'to' reach 'dst'? 'is_hoped': it should."""
    src.sendto(b"probe", to)
    return heard(dst, PATIENCE_S if is_hoped else WAIT_S) is not None


class Probe:
    """What one inside host looks like to the public."""

    def __init__(self, inside, one, two):
        self.servers = [udp(one, 7001), udp(one, 7002), udp(two, 7001)]
        self.inside = inside
        self.sock = udp(inside)

    def close(self):
        for s in [*self.servers, self.sock]:
            s.close()

    def mapping(self, server, is_hoped=True):
        """The address under which 'server' sees the inside socket; None: nothing arrives."""
        self.sock.sendto(b"probe", server.getsockname())
        return heard(server, PATIENCE_S if is_hoped else WAIT_S)

    def check(self, box, same_port, other_port_in, other_host_in):
        one, other_port, other_host = self.servers
        seen = self.mapping(one)
        expect(seen is not None and seen[0] == box.addr, "%s: outside address is %s" % (box.kind, seen))
        expect(arrives(one, self.sock, seen), "%s: the written-to address may answer" % box.kind)
        expect(arrives(other_port, self.sock, seen, other_port_in) == other_port_in,
               "%s: another port of a known address %s in" % (box.kind, "gets" if other_port_in else "does not get"))
        expect(arrives(other_host, self.sock, seen, other_host_in) == other_host_in,
               "%s: a stranger %s in" % (box.kind, "gets" if other_host_in else "does not get"))
        ports = {seen[1], self.mapping(other_port)[1], self.mapping(other_host)[1]}
        expect((len(ports) == 1) == same_port,
               "%s: ports for three destinations: %s" % (box.kind, sorted(ports)))
        self.hairpin(box, seen)

    def hairpin(self, box, seen):
        """Can a neighbour use the outside address?"""
        neighbour = udp(self.neighbour)
        got = arrives(neighbour, self.sock, seen, box.kind == "hairpin")
        neighbour.close()
        expect(got == (box.kind == "hairpin"), "%s: hairpin %s" % (box.kind, "works" if got else "does not work"))


def check_kinds(lab, one, two):
    box = lab.nat("nat", "easy")
    inside, second = lab.host("inside", box), lab.host("second", box)
    wait_until("the inside is connected", 10, lambda: inside.pings(one.addr) and inside.pings(two.addr) and
               second.pings(inside.addr))
    for kind, facts in {"easy": (True, False, False), "hard": (False, False, False),
                        "cone": (True, True, True), "address": (True, True, False),
                        "hairpin": (True, True, True), "one-to-one": (True, True, True)}.items():
        box.become(kind)
        probe = Probe(inside, one, two)
        probe.neighbour = second
        if kind == "one-to-one":
            expect(arrives(probe.servers[0], probe.sock, (box.addr, probe.sock.getsockname()[1])),
                   "one-to-one: unasked datagrams come in")
        probe.check(box, *facts)
        probe.close()
    box.become("no-udp")
    probe = Probe(inside, one, two)
    expect(probe.mapping(probe.servers[0], False) is None, "no-udp: nothing gets out")
    probe.close()
    expect(tcp_works(inside, one), "no-udp: TCP works")
    return box, inside


def tcp_works(inside, server):
    listener = server.socket(kind=socket.SOCK_STREAM)
    listener.bind((server.addr, 0))
    listener.listen()
    client = inside.socket(kind=socket.SOCK_STREAM)
    client.settimeout(PATIENCE_S)
    try:
        client.connect(listener.getsockname())
        return True
    except OSError:
        return False
    finally:
        client.close()
        listener.close()


def check_carrier(lab, one, two):
    carrier = lab.nat("carrier", "carrier")
    home = lab.nat("home", "easy", carrier)
    inside = lab.host("deep", home)
    expect(home.addr.startswith("100.65."), "carrier: the home's outside address is %s" % home.addr)
    neighbour = lab.host("deep2", home)
    wait_until("carrier: both are connected", 10, lambda: inside.pings(one.addr) and inside.pings(two.addr) and
               neighbour.pings(inside.addr))
    probe = Probe(inside, one, two)
    probe.neighbour = neighbour
    probe.check(carrier, True, False, False)
    carrier.become("hard")
    ports = {probe.mapping(s)[1] for s in probe.servers}
    expect(len(ports) == 3, "carrier, hard: ports for three destinations: %s" % sorted(ports))
    probe.close()


def check_v6(lab, one):
    """IPv6 inside has its own address; what nobody asked for stays out."""
    box = lab.nat("six", "hard", has_v6=True)
    inside = lab.host("inside6", box)
    sock, server = inside.socket(socket.AF_INET6), one.socket(socket.AF_INET6)
    sock.bind((inside.addr6, 0))
    server.bind((one.addr6, 7001))
    wait_until("IPv6 is routed", 20, lambda: inside.pings(one.addr6))
    expect(not arrives(server, sock, sock.getsockname(), False), "IPv6: unasked datagrams stay out")
    expect(arrives(sock, server, server.getsockname()), "IPv6: the inside gets out")
    expect(arrives(server, sock, sock.getsockname()), "IPv6: and is answered")
    sock.close()
    server.close()


def check_faults(box, inside, one, two):
    box.become("easy")
    probe = Probe(inside, one, two)
    server = probe.servers[0]
    box.block_udp()
    expect(probe.mapping(server, False) is None, "block_udp: nothing gets out")
    box.block_udp(False)
    before = probe.mapping(server)
    expect(before is not None, "block_udp: over")

    box.mtu_blackhole(1280)
    size = 1280 - 28
    probe.sock.sendto(bytes(size), server.getsockname())
    expect(heard(server) is not None, "mtu_blackhole: 1280 bytes pass")
    probe.sock.sendto(bytes(size + 1), server.getsockname())
    expect(heard(server, WAIT_S) is None, "mtu_blackhole: 1281 bytes vanish")
    box.mtu_blackhole(0)

    box.loss(20)
    server.setblocking(False)
    n_sent = 2000
    n_heard = 0
    for _ in range(n_sent):
        probe.sock.sendto(b"probe", server.getsockname())
        try:
            server.recv(64)
            n_heard += 1
        except BlockingIOError:
            pass
    while heard(server, 1):
        n_heard += 1
    lost = 100 * (n_sent - n_heard) / n_sent
    expect(15 < lost < 25, "loss: 20 %% asked, %.1f %% lost of %d" % (lost, n_sent))
    box.loss(0)

    box.become("hard")
    first = probe.mapping(server)
    expect(probe.mapping(server) == first, "hard: the mapping of one destination stays")
    box.forget()
    expect(probe.mapping(server) != first, "forget: the hard NAT chose another port")
    probe.close()


def check_cleanup(lab):
    """A killed lab leaves namespaces; the next one removes them and nothing else."""
    import os
    import subprocess
    import sys
    import lab as module
    # In a folder of its own: the sweep of a lab that another test begins would be faster.
    ours, module.RUN_DIR = module.RUN_DIR, "/run/meshd-lab-doomed%d" % os.getpid()
    code = "import lab, os, signal; lab.RUN_DIR = %r; l = lab.Lab('doomed'); l.public('x'); os.kill(os.getpid(), " \
        "signal.SIGKILL)" % module.RUN_DIR
    child = subprocess.Popen([sys.executable, "-c", code], cwd=os.path.dirname(os.path.abspath(__file__)),
                             stdout=subprocess.DEVNULL)
    child.wait()
    prefix = "mesh%d-" % child.pid

    def left():
        return [n for n in os.listdir("/run/netns") if n.startswith(prefix)]
    expect(left(), "kill -9 of a lab leaves %s" % left())
    module.sweep()
    os.rmdir(module.RUN_DIR)
    expect(not left(), "the next lab sweeps them")
    module.RUN_DIR = ours
    module.sweep()
    expect(lab.wan.ns in os.listdir("/run/netns"), "and leaves the living alone")


def main():
    with Lab("NAT recipes") as lab:
        one, two = lab.public("one"), lab.public("two")
        wait_until("the public network carries packets", 20, lambda: one.pings(two.addr))
        box, inside = check_kinds(lab, one, two)
        check_carrier(lab, one, two)
        check_v6(lab, one)
        check_faults(box, inside, one, two)
        check_cleanup(lab)
        say("all recipes behave as labelled")


if __name__ == "__main__":
    main()
