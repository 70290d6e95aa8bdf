# SPDX-License-Identifier: MIT
"""A laboratory of network namespaces: hosts, NAT boxes and one public network.

    host --veth-- [ a1  NAT box  w0 ] --veth-- [ wan: br0 ] --veth-- public host
    192.0.2.0/24 in /28 slices                 198.51.100.0/24, 2001:db8::/64

Every interface is made inside its namespace, so the machine's own network is never touched. Namespace
names carry the process id; RUN_DIR remembers which process owns which, and the next run of any lab
sweeps what a killed one left behind. Only the standard library and iproute2, nftables, conntrack.
The NAT recipes are those of nat.py; nat_recipes.py proves each of them with probes.
"""
import atexit
import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import nat

RUN_DIR = "/run/meshd-lab"
SKIP = 77
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """What the lab was asked to show is not so."""


def say(text):
    print(text, flush=True)


def skip(reason):
    say("SKIP: " + reason)
    sys.exit(SKIP)


def expect(truth, text):
    """Asserts one fact and says it aloud, so that the log reads as the list of what was shown."""
    if not truth:
        raise Failure(text)
    say("ok: " + text)


def wait_until(what, deadline_s, probe, every_s=0.05, since=None):
    """Polls 'probe' until it returns something true; returns that and the seconds it took, counted
    like the deadline from 'since', or else from now."""
    begin = since or time.monotonic()
    while True:
        got = probe()
        took = time.monotonic() - begin
        if got:
            say("ok: %s after %.2f s" % (what, took))
            return got, took
        if took > deadline_s:
            raise Failure("%s: not within %g s" % (what, deadline_s))
        time.sleep(every_s)


def never(what, duration_s, probe, every_s=0.1):
    """Polls 'probe' for 'duration_s' and fails at the first true answer."""
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        got = probe()
        if got:
            raise Failure("%s: but it was: %r" % (what, got))
        time.sleep(every_s)
    say("ok: %s for %g s" % (what, duration_s))


def die_with_parent():
    """For preexec_fn: no child outlives a lab that was killed."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _start_time(pid):
    """The start time of a process in clock ticks, which with the id names it for good; None: gone."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _run(argv, check=True, **kw):
    kw.setdefault("stdin", subprocess.DEVNULL)
    if kw.get("input") is not None:
        del kw["stdin"]
    kw.setdefault("timeout", 60)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    if check and done.returncode != 0:
        raise Failure("%s: exit %d: %s" % (shlex.join(argv), done.returncode,
                                           (done.stderr or done.stdout).strip()))
    return done


def _drop_namespaces(names):
    """Ends what runs in the namespaces, then removes them. Never raises: it runs on every way out."""
    for name in names:
        pids = subprocess.run(["ip", "netns", "pids", name], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True).stdout.split()
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def sweep():
    """Removes what labs of dead processes left behind."""
    try:
        owners = os.listdir(RUN_DIR)
    except FileNotFoundError:
        return
    for owner in owners:
        path = os.path.join(RUN_DIR, owner)
        try:
            with open(os.path.join(path, "start")) as f:
                started = f.read()
        except OSError:
            started = ""
        if owner.isdigit() and _start_time(int(owner)) == started:
            continue
        prefix = "mesh%s-" % owner
        _drop_namespaces(n for n in os.listdir("/run/netns") if n.startswith(prefix))
        shutil.rmtree(path, ignore_errors=True)


def _make_run_dir(path):
    """It appears with its owner's start time in it: the sweep of another lab must not take it for an orphan."""
    unnamed = tempfile.mkdtemp(prefix="meshd-lab-new-", dir=os.path.dirname(RUN_DIR))
    with open(os.path.join(unnamed, "start"), "w") as f:
        f.write(_start_time(os.getpid()))
    while True:
        os.makedirs(RUN_DIR, mode=0o700, exist_ok=True)
        try:
            os.rename(unnamed, path)
            return
        except FileNotFoundError:
            continue  # the last other lab took RUN_DIR with it


# A new namespace copies some settings of the machine and finds others as they were compiled in; hosts of a lab have
# these, whatever the machine has: no forwarding, no filter by reverse path, bridges that only bridge, and addresses
# of IPv6 that are usable at once instead of after duplicate address detection. Who has no such file has no such feature.
SETTINGS = (
    ("net.ipv4.ip_forward", 0),
    *(("net.ipv4.conf.%s.rp_filter" % key, 0) for key in ("all", "default")),
    *(("net.ipv4.conf.%s.promote_secondaries" % key, 0) for key in ("all", "default")),
    *(("net.ipv6.conf.%s.disable_ipv6" % key, 0) for key in ("all", "default")),
    *(("net.ipv6.conf.%s.accept_dad" % key, 0) for key in ("all", "default")),
    *(("net.bridge.bridge-nf-call-%stables" % kind, 0) for kind in ("ip", "ip6", "arp")),
)


class Host:
    """One namespace."""

    def __init__(self, lab, name):
        self.lab, self.name, self.ns = lab, name, "%s%s" % (lab.prefix, name)
        self.addr = None
        lab.namespaces.append(self.ns)
        _run(["ip", "netns", "add", self.ns])
        for key, value in SETTINGS:
            self.sysctl(key, value, must_exist=False)
        self.ip("link set lo up")

    def run(self, *argv, quiet=False, **kw):
        """Runs a command to its end; raises on a bad exit unless check=False."""
        if not quiet:
            self.lab.echo("+ [%s] %s" % (self.name, shlex.join(argv)))
        return _run(["ip", "netns", "exec", self.ns, *argv], **kw)

    def spawn(self, *argv, log=None, **kw):
        """Starts a command that dies with the lab; 'log' is a file name in the lab's directory."""
        self.lab.echo("+ [%s] %s &" % (self.name, shlex.join(argv)))
        out = open(os.path.join(self.lab.dir, log), "ab") if log else subprocess.DEVNULL
        try:
            return subprocess.Popen(["ip", "netns", "exec", self.ns, *argv], stdin=subprocess.DEVNULL,
                                    stdout=out, stderr=subprocess.STDOUT, preexec_fn=die_with_parent, **kw)
        finally:
            if log:
                out.close()

    def ip(self, words):
        return self.run("ip", *words.split())

    def nft(self, rules):
        return _run(["ip", "netns", "exec", self.ns, "nft", "-f", "-"], input=rules)

    def sysctl(self, key, value, must_exist=True):
        path = "/proc/sys/" + key.replace(".", "/")

        def write():
            if must_exist or os.path.exists(path):
                with open(path, "w") as f:
                    f.write("%s\n" % value)
        try:
            self._inside(write)
        except OSError as e:
            raise Failure("%s: %s" % (self.name, e)) from None

    def _inside(self, function):
        """Calls 'function' with this thread in the namespace."""
        there = os.open("/run/netns/" + self.ns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
            try:
                return function()
            finally:
                _setns(self.lab.home_fd)
        finally:
            os.close(there)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, proto=0):
        """A socket that lives in this namespace, made by this process."""
        return self._inside(lambda: socket.socket(family, kind, proto))

    def settle(self, dev):
        """Waits until the kernel has told itself that an interface is up: it does so some time after the fact."""
        wait_until("%s's %s is up" % (self.name, dev), 10, lambda: "state UP" in self.run(
            "ip", "-o", "link", "show", dev, quiet=True).stdout and "fe80:" in self.run(
                "ip", "-o", "-6", "addr", "show", dev, quiet=True).stdout)

    def pings(self, addr, count=1, wait_s=1):
        """True when one echo came back."""
        return self.run("ping", "-n", "-q", "-c", str(count), "-i", "0.2", "-W", str(wait_s), addr,
                        check=False, quiet=True).returncode == 0


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Nat(Host):
    """A NAT box: w0 outside, the bridge a1 inside. 'kind' is a key of nat.RECIPES."""

    def __init__(self, lab, name, kind, slice_index, carrier=None, has_v6=False):
        super().__init__(lab, name)
        # A carrier's inside is the shared range; a home's is a slice of one of two test networks.
        self.is_carrier = kind == "carrier"
        if self.is_carrier:
            self.net, self.bits = "100.65.%d." % slice_index, 24
            self.first = 0
        else:
            self.net, self.bits = ("192.0.2.", "203.0.113.")[slice_index // 16], 28
            self.first = 16 * (slice_index % 16)
        self.inside = "%s%d" % (self.net, self.first + 1)
        self.n_hosts = 0
        self.net6 = "2001:db8:0:%x::" % slice_index if has_v6 else None
        self.sysctl("net.ipv4.ip_forward", 1)
        self.ip("link add a1 type bridge")
        self.ip("addr add %s/%d dev a1" % (self.inside, self.bits))
        self.ip("link set a1 up")
        if carrier:
            carrier.attach(self, "w0")
        else:
            lab.attach_public(self, "w0")
        if has_v6:
            self.sysctl("net.ipv6.conf.all.forwarding", 1)
            self.ip("addr add %s1/64 dev a1" % self.net6)
            lab.wan.ip("route add %s/64 via %s" % (self.net6, self.addr6))
        self.become(kind)

    def attach(self, host, dev, metric=100):
        """Gives 'host' an interface 'dev', an address on the inside and a default route."""
        self.n_hosts += 1
        port = "p%d" % self.n_hosts
        self.ip("link add %s type veth peer name %s netns %s" % (port, dev, host.ns))
        self.ip("link set %s master a1 up" % port)
        host.addr = "%s%d" % (self.net, self.first + 1 + self.n_hosts)
        host.ip("addr add %s/%d dev %s" % (host.addr, self.bits, dev))
        host.ip("link set %s up" % dev)
        host.ip("route add default via %s metric %d" % (self.inside, metric))
        if self.net6:
            host.addr6 = "%s%x" % (self.net6, 1 + self.n_hosts)
            host.ip("addr add %s/64 dev %s" % (host.addr6, dev))
            host.ip("route add default via %s1 metric %d" % (self.net6, metric))

    def become(self, kind):
        """Turns the box into another kind of NAT: old mappings are forgotten."""
        self.lab.echo("# %s is now: %s" % (self.name, kind))
        self.kind = kind
        self.nft(nat.recipe(kind, outside=self.addr, inside_host="%s%d" % (self.net, self.first + 2)))
        self.forget()

    def forget(self, proto="udp"):
        """Loses the mappings of one protocol, as a reboot of the box or a timeout would."""
        self.run("conntrack", "-D", "-p", proto, check=False, quiet=True)

    def fault(self, name, rules=None):
        """Adds (or, without rules, removes) the fault 'name': rules for forwarded packets."""
        self.lab.echo("# %s: %s: %s" % (self.name, name, rules or "over"))
        self.nft(nat.fault(name, rules))

    def block_udp(self, on=True):
        self.fault("no_udp", "meta l4proto udp udp dport != 53 drop" if on else None)

    def mtu_blackhole(self, size):
        """Silently drops what is longer than 'size' bytes (IP header counted); 0 ends it."""
        self.fault("mtu", "meta length > %d drop" % size if size else None)

    def loss(self, percent):
        self.fault("loss", "meta l4proto udp numgen random mod 1000 < %d drop" % (10 * percent)
                   if percent else None)


class Lab:
    """Use as 'with Lab("name") as lab:'. Everything is gone at the end, whatever happened."""

    def __init__(self, title, echo=say):
        """'echo' gets one line for each command and change: a demonstration may want silence."""
        if os.geteuid() != 0:
            skip("namespaces need root")
        for tool in ("ip", "nft", "conntrack"):
            if not shutil.which(tool):
                skip("no %s here" % tool)
        sweep()
        self.title, self.echo = title, echo
        self.prefix = "mesh%d-" % os.getpid()
        self.dir = os.path.join(RUN_DIR, str(os.getpid()))
        self.namespaces, self.cleanups = [], []
        self.n_public, self.n_nats = 0, 0
        _make_run_dir(self.dir)
        self.home_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        atexit.register(self.close)
        for sig in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, lambda *_: sys.exit(1))
        try:
            self.wan = Host(self, "wan")
        except Failure as e:
            self.close()
            skip("no network namespaces here: %s" % e)
        self.wan.ip("link add br0 type bridge")
        self.wan.ip("addr add 198.51.100.254/24 dev br0")
        self.wan.ip("addr add 2001:db8::ffff/64 dev br0")
        self.wan.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.wan.ip("link set br0 up")

    def __enter__(self):
        say("# %s" % self.title)
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Failure):
            self.show_logs()
            say("FAILED: %s" % error)
            self.close()
            sys.exit(1)
        if error is not None and not isinstance(error, (SystemExit, KeyboardInterrupt)):
            self.show_logs()
        reports = self.sanitizer_reports() if error is None else []
        self.close()
        if reports:
            say("FAILED: sanitizer reports:\n" + "\n".join(reports))
            sys.exit(1)
        return False

    def sanitizer_reports(self):
        """The lines by which a daemon built with sanitizers complained in its log."""
        found = []
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".log"):
                with open(os.path.join(self.dir, name), errors="replace") as f:
                    lines = f.read().splitlines()
                for number, line in enumerate(lines):
                    if "Sanitizer: " in line or ": runtime error: " in line:
                        found += ["%s: %s" % (name, row) for row in lines[number:number + 25]]
                        break
        return found

    def show_logs(self):
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".log"):
                with open(os.path.join(self.dir, name), errors="replace") as f:
                    tail = f.read().splitlines()[-60:]
                say("--- %s\n%s" % (name, "\n".join(tail)))

    def close(self):
        if self.home_fd < 0:
            return
        for cleanup in reversed(self.cleanups):
            try:
                cleanup()
            except OSError:
                pass
        _drop_namespaces(self.namespaces)
        os.close(self.home_fd)
        self.home_fd = -1
        shutil.rmtree(self.dir, ignore_errors=True)
        try:
            os.rmdir(RUN_DIR)
        except OSError:
            pass

    def attach_public(self, host, dev):
        """Gives 'host' an interface 'dev' with a public address on the wan bridge."""
        self.n_public += 1
        port = "p%d" % self.n_public
        self.wan.ip("link add %s type veth peer name %s netns %s" % (port, dev, host.ns))
        self.wan.ip("link set %s master br0 up" % port)
        host.addr = "198.51.100.%d" % self.n_public
        host.addr6 = "2001:db8::%x" % self.n_public
        host.port = port
        host.ip("addr add %s/24 dev %s" % (host.addr, dev))
        host.ip("addr add %s/64 dev %s" % (host.addr6, dev))
        host.ip("link set %s up" % dev)
        host.ip("route add default via 198.51.100.254")
        host.ip("route add default via 2001:db8::ffff")

    def public(self, name):
        """A host with public addresses and nothing in front of it."""
        host = Host(self, name)
        self.attach_public(host, "eth0")
        return host

    def nat(self, name, kind, carrier=None, has_v6=False):
        """A NAT box; 'has_v6': the inside has IPv6 addresses of its own behind the same stateful filter."""
        self.n_nats += 1
        return Nat(self, name, kind, self.n_nats, carrier, has_v6)

    def host(self, name, box):
        """A host behind a NAT box."""
        host = Host(self, name)
        box.attach(host, "eth0")
        return host
