# SPDX-License-Identifier: MIT
"""Two ends of a tunnel of each implementation, all in one layout and all with the same verbs.

    X1 -- wan bridge -- X2        and for meshd and tailscaled a coordinator (meshd) beside them:  Xc -- wan

The hosts have public addresses; what a path may use is decided by packet filters in the hosts (only_by()).
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "netns"))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))

from dp import Tunnel  # noqa: E402
from lab import wait_until  # noqa: E402
from node import Node  # noqa: E402
from peers import KERNEL  # noqa: E402
from real import Real  # noqa: E402
from stock import Stock  # noqa: E402

# With one offload left on, veth gathers nothing and the result means nothing.
NIC = ("tso off tx-tcp-mangleid-segmentation off tx-tcp-ecn-segmentation off tx-tcp-accecn-segmentation off "
       "tx-udp-segmentation off gro on").split()
MTU = 1280
RELAY_PORT = 40000
RUNG = {"direct": "direct", "relay": "peer-relay", "derp": "derp"}


def like_a_nic(host):
    """Makes both ends of the host's cable segment before it and gather behind it, as network cards do."""
    for where, dev in ((host, "eth0"), (host.lab.wan, host.port)):
        for flag, value in zip(NIC[0::2], NIC[1::2]):
            where.run("ethtool", "-K", dev, flag, value, check=False, quiet=True)


def public(lab, name, profile):
    host = lab.public(name)
    if profile == "nic":
        like_a_nic(host)
    return host


class Pair:
    """Both ends: 'left' and 'right' are hosts, 'addr' is the right one's address in the tunnel."""

    name = None

    def __init__(self, lab, profile, prefix):
        self.lab, self.profile, self.prefix = lab, profile, prefix
        self.left, self.right = (public(lab, prefix + side, profile) for side in "12")
        self.addr = None

    def pids(self):
        """The processes that carry the tunnel, both ends."""
        raise NotImplementedError

    def ready(self):
        wait_until("%s reaches the other end" % self.name, 20, lambda: self.left.pings(self.addr))
        return self

    def close(self):
        pass


class NullPair(Pair):
    """The control: our data plane with static keys and without crypto (dptest --aead null)."""

    name = "tunnel-null"
    tunnel = None

    def start(self):
        self.tunnel = Tunnel({"a": self.left, "b": self.right}, "--aead", "null")
        self.addr = "100.64.0.2"
        return self.ready()

    def pids(self):
        return [end.proc.pid for end in self.tunnel.ends.values()]

    def close(self):
        for end in self.tunnel.ends.values() if self.tunnel else ():
            if end.proc.poll() is None:
                end.stop()


class WireguardPair(Pair):
    """Any program that makes an interface and is configured by wg(8)."""

    def __init__(self, lab, profile, prefix, name, program, flags):
        super().__init__(lab, profile, prefix)
        self.name, self.program, self.flags = name, program, flags

    def start(self):
        self.processes, ends = [], []
        for number, host in enumerate((self.left, self.right), 1):
            dev = "wg%s%d" % (self.prefix, number)
            self.make_interface(host, dev)
            wait_until("%s is there" % dev, 10, lambda: host.run(
                "ip", "link", "show", dev, check=False, quiet=True).returncode == 0)
            wait_until("%s listens" % self.name, 10, lambda: host.run(
                "wg", "show", dev, check=False, quiet=True).returncode == 0)
            ends.append((host, dev, *self._keys(host, dev), "100.127.0.%d" % number))
        for here, there in (ends, ends[::-1]):
            host, dev, key, _, addr = here
            host.run("wg", "set", dev, "private-key", key, "listen-port", "51820", "peer", there[3], "allowed-ips",
                     there[4] + "/32", "endpoint", "%s:51820" % there[0].addr)
            host.ip("addr add %s/24 dev %s" % (addr, dev))
            host.ip("link set %s mtu %d up" % (dev, MTU))
        self.addr = ends[1][4]
        return self.ready()

    def make_interface(self, host, dev):
        self.processes.append(host.spawn(self.program, *self.flags, dev, log=dev + ".log"))

    def _keys(self, host, dev):
        private = host.run("wg", "genkey", quiet=True).stdout
        path = os.path.join(self.lab.dir, dev + ".key")
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:
            f.write(private)
        return path, host.run("wg", "pubkey", input=private, quiet=True).stdout.strip()

    def pids(self):
        return [p.pid for p in self.processes]


class KernelWireguardPair(WireguardPair):
    """Its work is nobody's processor time: only rates are measured."""

    def make_interface(self, host, dev):
        host.ip("link add %s type wireguard" % dev)


class MeshPair(Pair):
    """Two nodes under a coordinator of their own, which is always meshd: it is what both can join."""

    def __init__(self, lab, profile, prefix):
        super().__init__(lab, profile, prefix)
        self.coord = Node(public(lab, prefix + "c", profile))
        self.relay = None

    def new_node(self, host):
        raise NotImplementedError

    def start_coordinator(self):
        self.coord.start()
        self.url = self.coord.enable_coordinator()
        self.key = self.coord.key("--reusable")
        return self

    def start_nodes(self):
        self.nodes = [self.new_node(host).start() for host in (self.left, self.right)]
        for node in self.nodes:
            node.up(self.url, self.key, quiet=True)
        self.addr = self.nodes[1].addr()
        return self.ready()

    def start(self):
        self.start_coordinator().start_nodes()
        self.wait_path("direct")
        return self

    def pids(self):
        return [node.process.pid for node in self.nodes]

    def start_relay(self, make=None):
        """A third machine that relays, of the same kind unless 'make' says otherwise."""
        self.relay = (make or self.new_node)(public(self.lab, self.prefix + "r", self.profile)).start()
        self.relay.up(self.url, self.key, quiet=True)
        self.relay.ctl("set", "--relay-server-port=%d" % RELAY_PORT)
        return self.relay

    def only_by(self, path, wait=True):
        """Leaves only this way: 'direct', 'relay' or 'derp'."""
        for here, there in ((self.left, self.right), (self.right, self.left)):
            rules = "table inet bench {}\ndelete table inet bench\n"
            if path != "direct":
                rules += ("table inet bench {\nchain in {\ntype filter hook input priority -200;\n"
                          "ip saddr %s meta l4proto udp drop\nip6 saddr %s meta l4proto udp drop\n}\n}\n" % (
                              there.addr, there.addr6))
            here.nft(rules)
        return self.wait_path(path) if wait else None

    def path_is(self, path):
        one, other = self.nodes
        return one.path(other.name) == RUNG[path] and other.path(one.name) == RUNG[path]

    def wait_path(self, path, limit_s=60):
        def arrived():
            self.left.pings(self.addr)
            return self.path_is(path)
        return wait_until("%s is on %s" % (self.name, path), limit_s, arrived, every_s=0.2)

    def close(self):
        for node in [*getattr(self, "nodes", []), *([self.relay] if self.relay else []), self.coord]:
            if node.process and node.process.poll() is None:
                node.process.terminate()
                node.process.wait(20)


class MeshdPair(MeshPair):
    name = "meshd"

    def new_node(self, host):
        return Node(host)


class TailscalePair(MeshPair):
    name = "tailscaled"

    def __init__(self, lab, profile, prefix, programs):
        super().__init__(lab, profile, prefix)
        self.programs = programs

    def new_node(self, host):
        if self.programs.is_real:
            return Real(host)
        return Stock(host, (self.programs["tailscaled"], self.programs["tailscale"]))


def make(name, lab, profile, programs, prefix=""):
    """A pair by the name of its implementation, not started. The program must be here."""
    if name == "tunnel-null":
        return NullPair(lab, profile, prefix + "n")
    if name == "meshd":
        return MeshdPair(lab, profile, prefix + "m")
    if name == "tailscaled":
        return TailscalePair(lab, profile, prefix + "t", programs)
    if name == "wireguard-go":
        is_ours = programs[name] == programs.paths.get("wgpeer")
        return WireguardPair(lab, profile, prefix + "w", name, programs[name], [] if is_ours else ["-f"])
    if name == KERNEL:
        return KernelWireguardPair(lab, profile, prefix + "k", name, None, [])
    number = programs.more_wireguard.index(name)
    return WireguardPair(lab, profile, "%sx%d" % (prefix, number), name, programs[name], ["-f"])
