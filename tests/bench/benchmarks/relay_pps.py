# SPDX-License-Identifier: MIT
"""A relay's work: TCP between two nodes through a peer relay of their own kind, and datagrams of 1, 100 and 10,000 flows
through our relay, through that of tailscale, through coturn, and through nothing but the system calls (relayfloor.c):
what they take is the least that a relay on sockets can take, and is nearly all of it where nothing gathers the packets.

    left -- wan -- right       no UDP between them; relay on wan; generator (relayload.c) at left, counter at right

One flow comes in bulk as a client sends it; many flows take turns with single datagrams that nothing can gather.
"""
import json
import os
import subprocess

import pairs
import traffic
from dp import End
from lab import Failure, wait_until
from proc import CpuClock, cpu_fine_s

TCP = "TCP through a relay"
TCP_PAYLOAD = 1228  # of a packet in a tunnel of MTU 1280, with timestamps
# Flows, and packets a second (0: as many as the generator can).
LOADS = ((1, 0), (100, 0), (10000, 0), (100, 20000))
FLOWS_MAX = 10000
SIZE, BASE_PORT, VNI, TURN_PORT = 1280, 20000, 1000, 3478
GENEVE = 8
BOUND_VNI = 1  # of tailscale's relay, which counts by itself
CALLS, TAILSCALE = "system calls alone", "tailscale's relay"


# --- TCP ---

def tcp(ctx, number, running):
    for pair in running:
        clock = CpuClock([pair.relay.process.pid])
        rate, n_bytes = traffic.iperf(pair.left, pair.right, pair.addr, ctx.seconds)
        ctx.add(number, pair.name, TCP, rate, "Gbit/s")
        ctx.add(number, pair.name, TCP + ": relay CPU", clock.used_s() * 1e9 / (n_bytes / TCP_PAYLOAD), "ns/packet", "lower")


def run_tcp(ctx):
    with ctx.lab() as lab, ctx.started(lab, "tunnel-null", "meshd", "tailscaled") as (null, *running):
        for pair in running:
            pair.start_relay()
            pair.only_by("relay")
        for number in ctx.rounds(control=null):
            tcp(ctx, number, running)


# --- many flows ---

class Counter:
    """Counts the datagrams that reach a host's generator ports, and drops them before any socket."""

    def __init__(self, host):
        self.host = host
        host.nft("table ip relayload {\ncounter got { }\nchain in {\ntype filter hook input priority -300;\n"
                 "udp dport %d-%d udp length >= %d counter name got drop\n}\n}\n" % (
                     BASE_PORT, BASE_PORT + FLOWS_MAX, SIZE))  # shorter: handshakes with the relay

    def read(self, datagram):
        """Datagrams of this size so far: a gathered one has one header."""
        text = self.host.run("nft", "-j", "list", "counter", "ip", "relayload", "got", quiet=True).stdout
        got = next(o["counter"] for o in json.loads(text)["nftables"] if "counter" in o)
        return (got["bytes"] - 28 * got["packets"]) / datagram


def meshd_relay(hosts, n_flows):
    """Our relay with its sessions bound by hand; returns its process."""
    end = End(hosts["relay"], "--relay", str(pairs.RELAY_PORT), "--vni", str(VNI), "--flows", str(n_flows),
              "--bound", "%s:%d" % (hosts["left"].addr, BASE_PORT), "--bound", "%s:%d" % (hosts["right"].addr, BASE_PORT))
    return end.proc


def system_calls(hosts):
    """relayfloor.c; returns its process."""
    return started(hosts["relay"], traffic.program("relayfloor"), str(pairs.RELAY_PORT), hosts["right"].addr, str(BASE_PORT),
                   str(VNI))[0]


def tailscale_relay(hosts, program, n_flows):
    """The relay server of a tailscale node by itself, its sessions bound by handshakes from both sides."""
    addr = "%s:%d" % (hosts["relay"].addr, pairs.RELAY_PORT)
    process, key = started(hosts["relay"], program, "relay", "--addr", addr, "--sessions", str(n_flows))
    try:
        for side in ("left", "right"):
            hosts[side].run(program, "relay-bind", "--addr", addr, "--key", key, "--side", side, "--sessions", str(n_flows),
                            "--port", str(BASE_PORT), quiet=True, timeout=60)
    except BaseException:
        end(process)
        raise
    return process


def started(host, *argv):
    """A process on the host and the line that it says when it is ready."""
    process = subprocess.Popen(["ip", "netns", "exec", host.ns, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               text=True)
    line = process.stdout.readline().strip()
    if not line:
        end(process)
        raise Failure("%s does not start" % argv[0])
    return process, line


def end(process):
    process.terminate()
    process.communicate(timeout=20)


def coturn(host, program):
    folder = os.path.join(host.lab.dir, host.name)
    os.makedirs(folder, exist_ok=True)
    process = host.spawn(
        program, "-n", "--listening-ip", host.addr, "--relay-ip", host.addr, "--listening-port", str(TURN_PORT),
        "--no-auth", "--no-tls", "--no-dtls", "--no-cli", "--no-tcp", "--log-file", os.path.join(folder, "turn.log"),
        "--pidfile", os.path.join(folder, "turn.pid"), "--userdb", os.path.join(folder, "turn.db"), "--relay-threads", "1",
        "--min-port", "21000", "--max-port", "65000", log="coturn.log")
    wait_until("coturn listens", 10, lambda: host.run(
        "ss", "-Hlun", "sport = :%d" % TURN_PORT, quiet=True).stdout.strip())
    return process


def generate(ctx, number, name, relay, hosts, load, args, datagram):
    """Sends through the running relay, which has one core, from another if there is one; records its cost and rate."""
    n_flows, per_s = load
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(relay.pid, {cores[0]})
    for task in os.listdir("/proc/%d/task" % relay.pid):
        os.sched_setaffinity(int(task), {cores[0]})
    sender = subprocess.Popen(
        ["ip", "netns", "exec", hosts["left"].ns, traffic.program("relayload"), *args[:3], str(n_flows), str(SIZE),
         str(ctx.seconds), str(per_s), args[3]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: os.sched_setaffinity(0, {cores[-1]}))
    if sender.stdout.readline().strip() != "ready":
        raise Failure("relayload %s: %s" % (name, sender.communicate()[1].strip()))
    before, clock = hosts["counter"].read(datagram), CpuClock([relay.pid], cpu_fine_s)
    _, err = sender.communicate("go\n", timeout=60 + ctx.seconds)
    if sender.returncode:
        raise Failure("relayload %s: %s" % (name, err.strip()))
    came, used = hosts["counter"].read(datagram) - before, clock.used_s()
    if came < 1:
        raise Failure("nothing came through the relay %s" % name)
    label = "%d flow%s%s" % (n_flows, "" if n_flows == 1 else "s", ", %d/s" % per_s if per_s else "")
    ctx.add(number, name, label + ": relay CPU", used * 1e9 / came, "ns/packet", "lower")
    ctx.add(number, name, label + ": forwarded", came / ctx.seconds, "packets/s")


def relays(programs, hosts, n_flows):
    """(name, what starts it, relayload's arguments, size of a forwarded datagram) of all that are here."""
    relay = hosts["relay"]
    geneve = ("geneve", relay.addr, str(pairs.RELAY_PORT))
    yield "meshd", lambda: meshd_relay(hosts, n_flows), (*geneve, str(VNI)), SIZE + GENEVE
    yield CALLS, lambda: system_calls(hosts), (*geneve, str(VNI)), SIZE + GENEVE
    if "udprelay" in programs:
        yield (TAILSCALE, lambda: tailscale_relay(hosts, programs["udprelay"], n_flows), (*geneve, str(BOUND_VNI)),
               SIZE + GENEVE)
    if "turnserver" in programs:
        yield ("coturn", lambda: coturn(relay, programs["turnserver"]),
               ("turn", relay.addr, str(TURN_PORT), hosts["right"].addr), SIZE)


def flows(ctx, number, hosts, load):
    for name, start, args, datagram in relays(ctx.programs, hosts, load[0]):
        process = start()
        try:
            generate(ctx, number, name, process, hosts, load, args, datagram)
        finally:
            end(process)


def run_flows(ctx):
    for name in ("turnserver", "udprelay"):
        ctx.absent(name)
    with ctx.lab() as lab:
        hosts = {name: pairs.public(lab, "f" + name, ctx.profile) for name in ("left", "right", "relay")}
        hosts["counter"] = Counter(hosts["right"])
        for number in ctx.rounds():
            for load in LOADS[:3:2] if ctx.options.quick else LOADS:
                flows(ctx, number, hosts, load)


def run(ctx):
    run_tcp(ctx)
    ctx.rec.flush()  # the rounds that follow have no control
    run_flows(ctx)
