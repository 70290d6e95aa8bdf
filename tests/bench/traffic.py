# SPDX-License-Identifier: MIT
"""Loads between two hosts of the lab, and what they report: iperf3 for TCP, udpload.c for UDP, ping for latency."""
import json
import os
import re
import statistics
import subprocess

from lab import Failure, wait_until

UDP_PORT = 5300


class IperfError(Exception):
    """iperf3 says why it has no result."""


def parse_iperf(text):
    """(Gbit/s that arrived, bytes that arrived) of an iperf3 -J report of a TCP test."""
    try:
        report = json.loads(text)
    except ValueError:
        raise IperfError("no JSON: %r" % text[:200]) from None
    if "error" in report:
        raise IperfError(report["error"])
    got = report["end"]["sum_received"]
    return got["bits_per_second"] / 1e9, got["bytes"]


def iperf(client, server, addr, seconds, streams=1, n_bytes=0):
    """TCP from 'client' to 'server': (Gbit/s, bytes). 'n_bytes' ends it by amount instead of time."""
    srv = server.spawn("iperf3", "-s", "-1", "-B", addr, log="iperf.log")
    try:
        wait_until("iperf3 listens", 20,
                   lambda: server.run("ss", "-Hltn", "sport = :5201", quiet=True).stdout.strip(), every_s=0.02)
        amount = ("-n", str(n_bytes)) if n_bytes else ("-t", str(seconds))
        done = client.run("iperf3", "-J", "-c", addr, "-P", str(streams), *amount, check=False, quiet=True,
                          timeout=seconds + 120)
        return parse_iperf(done.stdout)
    except (IperfError, subprocess.TimeoutExpired) as e:
        raise Failure("iperf3 to %s: %s" % (addr, e)) from None
    finally:
        _end(srv)


def background_tcp(client, server, addr, seconds):
    """A TCP stream that runs beside something else; returns the processes to end()."""
    srv = server.spawn("iperf3", "-s", "-1", "-B", addr, log="iperf.log")
    wait_until("iperf3 listens", 20,
               lambda: server.run("ss", "-Hltn", "sport = :5201", quiet=True).stdout.strip(), every_s=0.02)
    return [client.spawn("iperf3", "-c", addr, "-t", str(seconds), log="iperf.log"), srv]


def end(processes):
    for p in processes:
        _end(p)


def _end(process):
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def parse_ping(text):
    """The round trips in ms of ping's lines, and the number sent."""
    times = [float(t) for t in re.findall(r" time=([0-9.]+) ms", text)]
    sent = re.search(r"(\d+) packets transmitted", text)
    return times, int(sent.group(1)) if sent else 0


def percentile(values, share):
    """Nearest rank: a value that occurred."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ping(client, addr, seconds, per_s=100):
    """(p50, p99) in ms at 'per_s' a second."""
    done = client.run("ping", "-n", "-i", "%g" % (1 / per_s), "-c", str(int(seconds * per_s)), "-W", "1", addr,
                      check=False, quiet=True, timeout=seconds * 3 + 20)
    times, _ = parse_ping(done.stdout)
    if not times:
        raise Failure("ping %s: no answer" % addr)
    return statistics.median(times), percentile(times, 0.99)


def udp_search(program, client, server, addr, size, step_ms):
    """The highest clean rate and the goodput at 2.5 times it: what udpload prints (see udpload.c)."""
    srv = server.spawn(program, "recv", addr, str(UDP_PORT), log="udpload.log")
    try:
        done = client.run(program, "search", addr, str(UDP_PORT), str(size), str(step_ms), check=False, quiet=True)
        if done.returncode != 0:
            raise Failure("udpload to %s: %s" % (addr, done.stderr.strip()))
        return json.loads(done.stdout)
    finally:
        srv.kill()
        srv.wait()


def program(name):
    """A program of tests/bench in the build directory."""
    path = os.path.join(os.environ.get("top_builddir", "."), "tests", "bench", name)
    if not os.access(path, os.X_OK):
        raise Failure("%s is not built" % path)
    return os.path.abspath(path)
