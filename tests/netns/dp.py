# SPDX-License-Identifier: MIT
"""What the dp_*.py tests share: two ends of a tunnel with static keys (dptest.c), addresses, iperf3.

    a -- wan -- b      100.64.0.1 and fd7a:115c:a1e0::1  <->  100.64.0.2 and fd7a:115c:a1e0::2
"""
import json
import os
import signal
import subprocess

from lab import Failure, expect, say, wait_until

DPTEST = os.environ.get("DPTEST") or os.path.join(os.environ.get("top_builddir", "."), "tests/netns/dptest")
PORT = 41641
ADDR4 = {"a": "100.64.0.1", "b": "100.64.0.2"}
ADDR6 = {"a": "fd7a:115c:a1e0::1", "b": "fd7a:115c:a1e0::2"}
OTHER = {"a": "b", "b": "a"}


class End:
    """One running dptest. 'args' are its options behind --side or --relay."""

    def __init__(self, host, *args, tun="dp0"):
        self.host, self.tun = host, tun
        log = self.log_path = os.path.join(host.lab.dir, "dptest-%s.log" % host.name)
        host.lab.echo("+ [%s] dptest %s" % (host.name, " ".join(args)))
        self.err = open(log, "ab")
        self.proc = subprocess.Popen(["ip", "netns", "exec", host.ns, DPTEST, "--tun", tun, *args],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.err, text=True)
        self.ready = self.proc.stdout.readline().split()
        if not self.ready:
            raise Failure("dptest %s does not start: %s" % (" ".join(args), open(log).read().strip()))
        self.aead, self.mode = self.ready[2], self.ready[3]

    def cpu_s(self):
        """Seconds of processor time so far, of all threads."""
        with open("/proc/%d/stat" % self.proc.pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def stop(self):
        """Ends it; returns its counters."""
        self.proc.send_signal(signal.SIGTERM)
        out = self.proc.communicate(timeout=20)[0]
        self.err.close()
        if self.proc.returncode != 0:
            raise Failure("dptest on %s ended with %d" % (self.host.name, self.proc.returncode))
        return json.loads(out)


class Tunnel:
    """Both ends; use as 'with Tunnel(...) as t'. 'args' go to both ends, 'args_a' and 'args_b' to one."""

    def __init__(self, hosts, *args, args_a=(), args_b=(), underlay=4):
        self.hosts, self.ends, self.counters = hosts, {}, {}
        for side, more in (("a", args_a), ("b", args_b)):
            peer = hosts[OTHER[side]]
            addr = peer.addr if underlay == 4 else "[%s]" % peer.addr6
            ways = list(more) if "--peer" in more else ["--peer", "%s:%d" % (addr, PORT), *more]
            self.ends[side] = End(hosts[side], "--side", side, *ways, *args)

    def __enter__(self):
        return self

    def __exit__(self, _, error, __):
        for side, end in self.ends.items():
            if end.proc.poll() is None:
                self.counters[side] = end.stop()
        if isinstance(error, Failure):
            say("# counters: %r" % self.counters)
        return False

    def pings(self):
        wait_until("ping over IPv4", 20, lambda: self.hosts["a"].pings(ADDR4["b"]))
        wait_until("ping over IPv6", 20, lambda: self.hosts["a"].pings(ADDR6["b"]))

    def tcp(self, seconds=3, streams=1, reverse=False, addr=ADDR4["b"], more=()):
        return iperf(self.hosts["a"], self.hosts["b"], addr, seconds, "-P", str(streams),
                     *(["-R"] if reverse else []), *more)

    def udp(self, rate, seconds=2, size=1200, addr=ADDR4["b"]):
        """Gb/s that arrived and the share that was lost."""
        report = iperf_json(self.hosts["a"], self.hosts["b"], addr, seconds, "-u", "-b", rate, "-l", str(size))
        end = report["end"]["sum"]
        return end["bits_per_second"] / 1e9 * (1 - end["lost_percent"] / 100), end["lost_percent"]


def iperf_json(client, server, addr, seconds, *more):
    srv = server.spawn("iperf3", "-s", "-1", "-B", addr, log="iperf.log")
    try:
        wait_until("iperf3 listens", 20, lambda: server.run(
            "ss", "-Hltn", "sport = :5201", quiet=True).stdout.strip())
        done = client.run("iperf3", "-c", addr, "-t", str(seconds), "-J", *more, check=False, timeout=seconds + 60)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            raise Failure("iperf3: %s" % (done.stderr or done.stdout)) from None
        if "error" in report:
            raise Failure("iperf3: %s" % report["error"])
        return report
    finally:
        try:
            srv.wait(10)
        except subprocess.TimeoutExpired:
            srv.kill()
            srv.wait()


def iperf(client, server, addr, seconds, *more):
    """Gb/s received by the far end over TCP."""
    return iperf_json(client, server, addr, seconds, *more)["end"]["sum_received"]["bits_per_second"] / 1e9


def expect_share(what, least, probe, control, rounds=6):
    """The best rate of 'probe' is more than 'least' times the best of 'control'. They take turns, so that what else the
    machine does falls on both alike, and go on while it is not so: a busy moment passes, a fault stays."""
    rates, controls = [], []
    for _ in range(rounds):
        controls.append(control())
        rates.append(probe())
        if max(rates) > least * max(controls):
            break
    expect(max(rates) > least * max(controls), "%s: %.2f Gb/s are more than %g times %.2f (%d rounds)" % (
        what, max(rates), least, max(controls), len(rates)))


def expect_clean(counters, what):
    """Nothing that an end may not lose was lost: authentication, replay, source, filter, TUN."""
    for side, c in counters.items():
        expect(sum(c["in_dropped"][3:9]) == 0 and c["out_dropped"][4] == 0,
               "%s: %s dropped nothing it should not: in %r out %r" % (
                   what, side, c["in_dropped"], c["out_dropped"]))
