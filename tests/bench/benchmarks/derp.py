# SPDX-License-Identifier: MIT
"""TCP by DERP: each kind of client by its own server, and both by the same derper: Gbit/s, processor seconds a GB of both
clients and of the server.

    left, right: no UDP between them; the coordinator's own region cannot be measured where derper is to be home
"""
import os
import re

import pairs
import traffic
from lab import wait_until
from proc import CpuClock

OWN, DERPER, MESHDS = "TCP by its own server", "TCP by derper", "TCP by meshd's server"


class Derper:
    """A stock DERP server with a self-signed certificate that the map pins."""

    def __init__(self, lab, profile, name, programs):
        self.host = pairs.public(lab, name, profile)
        log = name + ".log"
        real = ("derp", "--addr", self.host.addr)
        stock = ("-a", ":443", "-certmode", "manual", "-hostname", self.host.addr, "-http-port", "-1", "-c",
                 os.path.join(lab.dir, name + ".key"), "-certdir", os.path.join(lab.dir, name))
        self.process = self.host.spawn(programs["derper"], *(real if programs.is_real else stock), log=log)

        def pin():
            with open(os.path.join(lab.dir, log), errors="replace") as f:
                found = re.search("sha256-raw:[0-9a-f]{64}", f.read())
            return found and found.group(0)
        self.pin, _ = wait_until("derper tells its certificate", 10, pin)


def by_derper(pair, derper):
    """Makes the nodes' home region derper's: the coordinator's own one gets no answer to STUN."""
    pair.start_coordinator()
    pair.coord.ctl("coordinator", "derp", "add", "--hostname", derper.host.addr, "--port", "443", "--pin", derper.pin)
    for host in (pair.left, pair.right):
        host.nft("table inet nostun {\nchain out {\ntype filter hook output priority -200;\n"
                 "ip daddr %s udp dport 3478 drop\nip6 daddr %s udp dport 3478 drop\n}\n}\n" % (
                     pair.coord.host.addr, pair.coord.host.addr6))
    pair.start_nodes()
    wait_until("%s is at home at derper" % pair.name, 30, lambda: all(
        (n.status(check=False).get("Self", {}).get("Relay") or "mesh") != "mesh" for n in pair.nodes), every_s=0.3)
    pair.server = derper.process
    return pair


def by_meshd(pair):
    pair.start_coordinator().start_nodes()
    pair.server = pair.coord.process
    return pair


def start_all(ctx, lab):
    """(metrics, pair) of each combination that can be made here, the control first."""
    null = pairs.NullPair(lab, ctx.profile, "n").start()
    started = [((OWN,), null), ((OWN, MESHDS), by_meshd(pairs.MeshdPair(lab, ctx.profile, "m")))]
    if not ctx.absent("tailscaled"):
        started.append(((MESHDS,), by_meshd(pairs.TailscalePair(lab, ctx.profile, "t", ctx.programs))))
        if not ctx.absent("derper"):
            derper = Derper(lab, ctx.profile, "derper", ctx.programs)
            started.append(((DERPER,), by_derper(pairs.MeshdPair(lab, ctx.profile, "d"), derper)))
            started.append(((OWN, DERPER),
                            by_derper(pairs.TailscalePair(lab, ctx.profile, "s", ctx.programs), derper)))
    for _, pair in started[1:]:
        pair.only_by("derp")
    return null, started[1:]


def measure(ctx, number, metrics, pair):
    clients, server = CpuClock(pair.pids()), CpuClock([pair.server.pid])
    rate, n_bytes = traffic.iperf(pair.left, pair.right, pair.addr, ctx.seconds)
    used, served = clients.used_s(), server.used_s()
    for metric in metrics:
        ctx.add(number, pair.name, metric, rate, "Gbit/s")
        ctx.add(number, pair.name, metric + ": client CPU", used / (n_bytes / 1e9), "s/GB", "lower")
        ctx.add(number, pair.name, metric + ": server CPU", served / (n_bytes / 1e9), "s/GB", "lower")


def run(ctx):
    with ctx.lab() as lab:
        null, started = start_all(ctx, lab)
        try:
            for number in ctx.rounds(control=null):
                for metrics, pair in started:
                    measure(ctx, number, metrics, pair)
        finally:
            for _, pair in started:
                pair.close()
            null.close()
