# SPDX-License-Identifier: MIT
"""What meshd means to be, as lines of the report: goal, measured, met or not. A claim needs the ratio of medians and
the ratio of bests; a figure of its own needs the median."""
import collections

from record import number

# 'theirs' None: 'limit' is in the metric's own unit; "peer|metric" names another metric of that peer.
# 'floor': the peer that does nothing but what cannot be left out; its figure stands beside the others.
Goal = collections.namedtuple("Goal", "text bench metric theirs op limit floor", defaults=(None,))

TS, WG, NULL = "tailscaled", "wireguard-go", "tunnel-null"
MESHD = "meshd"
UDPRELAY, CALLS = "tailscale's relay", "system calls alone"

GOALS = [
    Goal("TCP direct, 1 stream, beside tailscaled", "tunnel-tcp", "TCP, 1 stream", TS, ">=", 1.5),
    Goal("TCP direct, 4 streams, beside tailscaled", "tunnel-tcp", "TCP, 4 streams", TS, ">=", 1.5),
    Goal("TCP direct, 1 stream, beside wireguard-go", "tunnel-tcp", "TCP, 1 stream", WG, ">=", 1.4),
    Goal("TCP direct, 4 streams, beside wireguard-go", "tunnel-tcp", "TCP, 4 streams", WG, ">=", 1.4),
    Goal("TCP direct, 1 stream, beside boringtun", "tunnel-tcp", "TCP, 1 stream", "boringtun", ">=", 8),
    Goal("TCP direct, 1 stream, beside gotatun", "tunnel-tcp", "TCP, 1 stream", "gotatun", ">=", 4),
    Goal("TCP direct of the ceiling without crypto", "tunnel-tcp", "TCP, 1 stream", NULL, ">=", 0.40),
    Goal("CPU a GB, both ends, beside tailscaled", "tunnel-tcp", "TCP, 1 stream: CPU", TS, "<=", 0.6),
    Goal("TCP through a peer relay, each its own", "relay-pps", "TCP through a relay", TS, ">=", 1.5),
    Goal("relay CPU a packet, TCP, beside tailscaled", "relay-pps", "TCP through a relay: relay CPU", TS, "<=", 0.6),
    Goal("relay CPU a packet, bulk, beside tailscale's", "relay-pps", "1 flow: relay CPU", UDPRELAY, "<=", 0.6, CALLS),
    Goal("relay CPU a packet, 100 flows, beside tailscale's", "relay-pps", "100 flows: relay CPU", UDPRELAY, "<=", 0.6, CALLS),
    Goal("relay CPU a packet, 100 flows of little, beside tailscale's", "relay-pps", "100 flows, 20000/s: relay CPU", UDPRELAY,
         "<=", 0.6, CALLS),
    Goal("relay CPU a packet, 10,000 flows, beside tailscale's", "relay-pps", "10000 flows: relay CPU", UDPRELAY, "<=", 0.6,
         CALLS),
    Goal("relay CPU a packet, 100 flows of little, beside coturn", "relay-pps", "100 flows, 20000/s: relay CPU", "coturn",
         "<=", 0.4, CALLS),
    Goal("relay CPU a packet, bulk, beside coturn", "relay-pps", "1 flow: relay CPU", "coturn", "<=", 0.4, CALLS),
    Goal("relay CPU a packet, 10,000 flows, of that for 100", "relay-pps", "10000 flows: relay CPU", "meshd|100 flows: relay CPU",
         "<=", 2.0),
    Goal("TCP by DERP, client and server ours, beside theirs", "derp", "TCP by its own server", TS, ">=", 2.0),
    Goal("TCP by DERP, the same derper", "derp", "TCP by derper", TS, ">=", 1.0),
    Goal("UDP 1200 B clean rate beside tailscaled", "tunnel-udp", "UDP 1200 B, clean rate", TS, ">=", 1.8),
    Goal("UDP 1200 B goodput at 2.5x overload of the clean rate", "tunnel-udp", "UDP 1200 B, goodput at 2.5x / clean",
         None, ">=", 0.8),
    Goal("private memory, connected", "rss", "private, connected", None, "<=", 5),
    Goal("private memory after the transfer", "rss", "private, after the transfer", None, "<=", 10),
    Goal("private memory after the rest, of the figure before", "rss", "private, after the rest",
         "meshd|private, connected", "<=", 1.1),
    Goal("resident memory, connected", "rss", "resident, connected", None, "<=", 20),
    Goal("private memory, connected, beside tailscaled", "rss", "private, connected", TS, "<=", 0.35),
    Goal("resident memory, connected, beside tailscaled", "rss", "resident, connected", TS, "<=", 0.5),
    Goal("private memory after the transfer, beside tailscaled", "rss", "private, after the transfer", TS, "<=", 0.2),
    Goal("stripped binary beside tailscaled", "rss", "binary, stripped", TS, "<=", 0.07),
    Goal("join to Running", "rss", "join to Running", None, "<=", 0.5),
    Goal("context switches idle, 2 peers", "idle", "2 peers: context switches", None, "<=", 7),
    Goal("context switches idle, 2 peers, beside tailscaled", "idle", "2 peers: context switches", TS, "<=", 0.1),
    Goal("gap when the direct path breaks, beside tailscaled", "paths", "gap direct to relay", TS, "<=", 0.5),
    Goal("back on direct when it opens, beside tailscaled", "paths", "relay to direct", TS, "<=", 1.0),
    Goal("10,000 peers to Running beside tailscaled", "netmap", "10000 peers: to Running", TS, "<=", 0.4),
    Goal("private memory with 10,000 peers", "netmap", "10000 peers: private, peak", None, "<=", 25),
    Goal("AEAD, 1280 B in batches, beside Go x/crypto", "aead", "seal 1280 B, batch of 64", "Go x/crypto", "<=", 1.4),
    Goal("handshakes/s/core, of what the scalar multiplications alone allow", "handshake", "handshakes",
         "meshd|8 scalar multiplications", ">=", 0.7),
]


def holds(value, op, limit):
    return value >= limit if op == ">=" else value <= limit


def _divide(ours, theirs):
    return ours / theirs if theirs else None


class Verdict:
    """One goal in one profile: 'values' are the ratios of medians and bests, or the one median."""

    def __init__(self, goal, profile, values, detail):
        self.goal, self.profile, self.values, self.detail = goal, profile, values, detail
        self.is_met = all(holds(v, goal.op, goal.limit) for v in values)

    def title(self):
        return self.goal.text if self.profile == "-" else "%s (%s)" % (self.goal.text, self.profile)

    def want(self):
        sign = "≥" if self.goal.op == ">=" else "≤"
        return "%s %g%s" % (sign, self.goal.limit, "x" if self.goal.theirs else "")

    def measured(self):
        if not self.goal.theirs:
            return number(self.values[0])
        return "%.2fx (bests %.2fx)" % tuple(self.values)


def judge(results):
    """A verdict for each goal in each profile in which both sides were measured, and the goals of these benchmarks that
    have none."""
    here = {r["bench"] for r in results}
    found = {(r["bench"], r["metric"], r["peer"], r["profile"]): r for r in results}
    verdicts, missing = [], []
    for goal in GOALS:
        mine = [r for r in results if (r["bench"], r["metric"], r["peer"]) == (goal.bench, goal.metric, MESHD)]
        any_here = False
        for r in mine:
            values, detail = [r["median"]], "%s %s" % (number(r["median"]), r["unit"])
            if goal.theirs:
                peer, _, metric = goal.theirs.partition("|")
                other = found.get((goal.bench, metric or goal.metric, peer, r["profile"]))
                values = other and [_divide(r[what], other[what]) for what in ("median", "best")]
                if not values or None in values:
                    continue
                detail = "%s against %s %s" % (number(r["median"]), number(other["median"]), r["unit"])
            floor = goal.floor and found.get((goal.bench, goal.metric, goal.floor, r["profile"]))
            if floor:
                detail += "; %s %s" % (goal.floor, number(floor["median"]))
            if not r["repeats"]:
                detail += "; no round was clean"
            verdicts.append(Verdict(goal, r["profile"], values, detail))
            any_here = True
        if not any_here and goal.bench in here:
            missing.append(goal)
    return verdicts, missing
