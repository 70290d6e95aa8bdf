# SPDX-License-Identifier: MIT
"""Plots as SVG, drawn with nothing but text: horizontal bars grouped by metric, with their values and the range from the
worst round to the best, and the ratio of each to meshd's."""
import os
from xml.sax.saxutils import escape

from record import number

WIDTH, LABEL, RIGHT, BAR, GAP, GROUP_GAP, TOP = 900, 190, 210, 20, 5, 34, 58
COLOURS = {"meshd": "#1b6ca8", "tailscaled": "#c8553d", "wireguard-go": "#588157", "wireguard in the kernel": "#a3b18a", "tunnel-null": "#9aa0a6",
           "coturn": "#8e6c8a", "tailscale's relay": "#c8553d", "system calls alone": "#9aa0a6", "Go x/crypto": "#588157"}
OTHERS = ("#b08968", "#6d6875", "#457b9d", "#7f5539", "#606c38")
FONT = "font-family='DejaVu Sans, Helvetica, Arial, sans-serif'"

# File, title, benchmark, metrics.
PLOTS = [
    ("tunnel-tcp", "TCP through the tunnel", "tunnel-tcp", ("TCP, 1 stream", "TCP, 4 streams")),
    ("tunnel-cpu", "Processor time of both ends for a GB", "tunnel-tcp", ("TCP, 1 stream: CPU", "TCP, 4 streams: CPU")),
    ("tunnel-udp", "UDP 1200 B through the tunnel", "tunnel-udp", ("UDP 1200 B, clean rate", "UDP 1200 B, goodput at 2.5x")),
    ("relay", "TCP through a peer relay", "relay-pps", ("TCP through a relay", "TCP through a relay: relay CPU")),
    ("relay-flows", "A relay's processor time for a packet", "relay-pps",
     ("1 flow: relay CPU", "100 flows: relay CPU", "10000 flows: relay CPU", "100 flows, 20000/s: relay CPU")),
    ("derp", "TCP by DERP", "derp", ("TCP by its own server", "TCP by derper", "TCP by meshd's server")),
    ("rss", "Private memory", "rss", ("private, connected", "private, after the transfer", "private, after the rest")),
    ("idle", "Idle", "idle", ("2 peers: context switches", "2 peers: CPU", "2 peers: packets")),
    ("rtt", "Round trip", "tunnel-rtt", ("ping p50, idle", "ping p99, idle", "ping p50, under load", "ping p99, under load")),
    ("paths", "Changing paths", "paths", ("gap direct to relay", "relay to direct")),
    ("netmap", "10,000 peers", "netmap", ("10000 peers: to Running", "10000 peers: private, peak")),
    ("aead", "ChaCha20-Poly1305, 1280 B", "aead", ("seal 1280 B, batch of 64", "open 1280 B, batch of 64")),
]


def colour(peer, others):
    if peer in COLOURS:
        return COLOURS[peer]
    return OTHERS[others.setdefault(peer, len(others)) % len(OTHERS)]


def text(x, y, words, size=13, anchor="start", weight="normal", fill="#222"):
    return "<text x='%.1f' y='%.1f' font-size='%d' text-anchor='%s' font-weight='%s' fill='%s' %s>%s</text>" % (
        x, y, size, anchor, weight, fill, FONT, escape(words))


def _bar(r, y, scale, mine, others):
    """One bar: the median's length, a thin line from the worst to the best round, the value, the ratio."""
    length = r["median"] * scale
    low, high = min(r["values"]) * scale, max(r["values"]) * scale
    middle = y + BAR / 2
    yield text(LABEL - 8, middle + 4, r["peer"], anchor="end")
    yield "<rect x='%d' y='%.1f' width='%.1f' height='%d' rx='2' fill='%s'/>" % (
        LABEL, y, max(length, 1), BAR, colour(r["peer"], others))
    if len(r["values"]) > 1:
        yield "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='#222' stroke-width='1.5'/>" % (
            LABEL + low, LABEL + high, middle, middle)
    words = "%s %s" % (number(r["median"]), r["unit"])
    if mine and mine is not r and mine["median"]:
        words += "   (%.2gx meshd)" % (r["median"] / mine["median"])
    yield text(LABEL + max(length, high) + 8, middle + 4, words)


def _group(metric, group, y, others):
    """The bars of one metric; yields SVG, and last its height as a number."""
    better = "more is better" if group[0]["better"] == "higher" else "less is better"
    yield text(LABEL, y + 12, metric, weight="bold")
    yield text(WIDTH - 20, y + 12, better, size=11, anchor="end", fill="#666")
    top = max(max(r["values"]) for r in group) or 1
    scale = (WIDTH - LABEL - RIGHT) / top
    mine = next((r for r in group if r["peer"] == "meshd"), None)
    bottom = y + 20
    for r in group:
        yield from _bar(r, bottom, scale, mine, others)
        bottom += BAR + GAP
    if mine and len(group) > 1:
        x = LABEL + mine["median"] * scale
        yield "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='%s' stroke-dasharray='3 3'/>" % (
            x, x, y + 18, bottom, COLOURS["meshd"])


def group_height(group):
    return 20 + len(group) * (BAR + GAP) + GROUP_GAP


def draw(title, subtitle, groups):
    """The whole picture. 'groups' is a list of (metric, lines)."""
    height = TOP + sum(group_height(g) for _, g in groups)
    parts, others, y = [], {}, TOP
    for metric, group in groups:
        parts += _group(metric, group, y, others)
        y += group_height(group)
    return "\n".join([
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' height='%d'>" % (
            WIDTH, height, WIDTH, height),
        "<rect width='100%' height='100%' fill='#fff'/>",
        text(20, 26, title, size=18, weight="bold"), text(20, 45, subtitle, size=11, fill="#666"), *parts, "</svg>\n"])


def subtitle(results, profile):
    r = results[0]
    words = "" if profile == "-" else "profile %s; " % profile
    return words + "medians of up to %d rounds, lines from the worst to the best; %s, %d CPUs, Linux %s" % (
        max(x["repeats"] for x in results), r["cpu"], r["cpus"], r["kernel"])


def _verdict_group(verdicts):
    """Ratios to the goal: bars that reach 1 have met it."""
    lines = []
    for v in verdicts:
        ratios = [value / v.goal.limit if v.goal.op == ">=" else v.goal.limit / value if value else 99
                  for value in v.values]
        lines.append((v, min(ratios)))
    return lines


def draw_goals(verdicts):
    """One line a goal: how far the measured figure is beyond (right of the line) or short of what was wanted."""
    rows = _verdict_group(verdicts)
    left, row, width = 430, 20, 1160
    height = TOP + row * len(rows) + 20
    span = (width - left - 260) / 3.0
    parts = ["<line x1='%d' x2='%d' y1='%d' y2='%d' stroke='#222'/>" % (left + span, left + span, TOP - 6, height - 12)]
    for i, (v, ratio) in enumerate(rows):
        y = TOP + i * row
        end = left + span * min(ratio, 3.0)
        good = "#588157" if v.is_met else "#c8553d"
        parts.append(text(left - 8, y + 11, v.title(), size=11, anchor="end"))
        parts.append("<rect x='%d' y='%d' width='%.1f' height='12' fill='%s'/>" % (left, y + 1, max(end - left, 1), good))
        parts.append(text(end + 6, y + 11, "%s, wanted %s" % (v.measured(), v.want()), size=11))
    return "\n".join([
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' height='%d'>" % (
            width, height, width, height),
        "<rect width='100%' height='100%' fill='#fff'/>", text(20, 26, "Goals", size=18, weight="bold"),
        text(20, 45, "a bar that reaches the line has met its goal; three times beyond it and more is cut", size=11,
             fill="#666"), *parts, "</svg>\n"])


def draw_all(results, verdicts, folder):
    """Writes every plot that has data; returns (file name, title) of each."""
    drawn = []

    def write(name, title, svg):
        with open(os.path.join(folder, name), "w") as f:
            f.write(svg)
        drawn.append((name, title))
    if verdicts:
        write("goals.svg", "Goals", draw_goals(verdicts))
    for name, title, bench, metrics in PLOTS:
        for profile in ("passthrough", "nic", "-"):
            here = [r for r in results if (r["bench"], r["profile"]) == (bench, profile)]
            groups = [(m, [r for r in here if r["metric"] == m]) for m in metrics]
            groups = [(m, g) for m, g in groups if g]
            if groups:
                suffix = "" if profile == "-" else "-" + profile
                full = title + ("" if profile == "-" else ", " + profile)
                write(name + suffix + ".svg", full, draw(full, subtitle(here, profile), groups))
    return drawn
