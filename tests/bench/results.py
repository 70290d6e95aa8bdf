# SPDX-License-Identifier: MIT
"""From JSON lines: the table on the screen, table.md, plots, and tests/bench/RESULTS.md."""
import os

import goals
import plot
from benchmarks import NAMES
from record import load, number

PROFILES = {"passthrough": "super-packets pass the cable whole", "nic": "segmented before the cable, gathered behind it",
            "-": "no cable"}


def _ordered(results):
    return sorted(results, key=lambda r: (NAMES.index(r["bench"]) if r["bench"] in NAMES else len(NAMES),
                                          list(PROFILES).index(r["profile"])))


def _row(r):
    rounds, n_out = str(r["repeats"]), len(r["discarded_rounds"])
    if not r["repeats"]:
        rounds = "%d, none clean" % n_out
    elif n_out:
        rounds += ", %d left out" % n_out
    return [r["metric"], r["peer"], number(r["median"], 4), number(r["best"], 4), r["unit"], rounds]


HEAD = ["metric", "peer", "median", "best", "unit", "rounds"]


def _columns(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _markdown(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def tables(results):
    """(heading, rows) for each benchmark and profile."""
    groups = {}
    for r in _ordered(results):
        groups.setdefault((r["bench"], r["profile"]), []).append(r)
    for (bench, profile), group in groups.items():
        order = {metric: i for i, metric in reversed(list(enumerate(r["metric"] for r in group)))}
        group.sort(key=lambda r: order[r["metric"]])
        heading = bench if profile == "-" else "%s, %s" % (bench, profile)
        yield heading, [HEAD, *(_row(r) for r in group)]


def verdict_rows(verdicts):
    rows = [["goal", "profile", "wanted", "measured", "figures", ""]]
    for v in verdicts:
        rows.append([v.goal.text, v.profile, v.want(), v.measured(), v.detail, "met" if v.is_met else "NOT MET"])
    return rows


def verdict_summary(verdicts, missing):
    n_met = sum(v.is_met for v in verdicts)
    text = "%d of %d goals met" % (n_met, len(verdicts))
    if missing:
        text += "; not measured here: " + "; ".join(goal.text for goal in missing)
    return text + "."


def show(path, out_dir):
    """Prints everything, and writes table.md and the plots beside the results."""
    if not os.path.exists(path):
        print("no results in %s" % path)
        return
    results, notes = load(path)
    for heading, rows in tables(results):
        print("\n== %s\n%s" % (heading, "\n".join(_columns(rows))))
    for note in notes:
        print("\nnote: %s (%s): %s" % (note["bench"], note["profile"], note["note"]))
    verdicts, missing = goals.judge(results)
    if verdicts:
        print("\n== goals\n%s\n%s" % ("\n".join(_columns(verdict_rows(verdicts))),
                                      verdict_summary(verdicts, missing)))
    with open(os.path.join(out_dir, "table.md"), "w") as f:
        f.write("\n".join(markdown(results, notes)) + "\n")
    plot.draw_all(results, verdicts, out_dir)


def _machines(results):
    """What the lines say of the machine, once each."""
    seen = {}
    for r in results:
        seen.setdefault((r["cpu"], r["cpus"], " ".join(r["cpu_flags"]), r["kernel"]), []).append(r)
    for (cpu, cpus, flags, kernel), lines in seen.items():
        loads = [r["load_at_start"] for r in lines]
        yield "%s, %d CPUs (%s), Linux %s; runs begun %s to %s, load average at their start %g to %g." % (
            cpu, cpus, flags, kernel, min(r["started"] for r in lines), max(r["started"] for r in lines),
            min(loads), max(loads))


def markdown(results, notes):
    verdicts, missing = goals.judge(results)
    yield from ("## Goals", "", verdict_summary(verdicts, missing), "")
    yield from _markdown(verdict_rows(verdicts))
    for heading, rows in tables(results):
        yield from ("", "## " + heading, "")
        yield from _markdown(rows)
    if notes:
        yield from ("", "## Left out", "")
        for text in sorted({"- %s (%s): %s" % (n["bench"], n["profile"], n["note"]) for n in notes}):
            yield text


INTRO = """# Results

Written by `contrib/bench --results` from the JSON lines of `contrib/bench`. Absolute numbers do not travel between
machines; ratios taken side by side in one run do. All ends, the load and its receiver share the processors of one
machine, in network namespaces. Peers take turns within each round (A B A B); a round in which the control, the tunnel
without crypto, is more than 20 % below its best is left out. Medians and bests are of the rounds that are left; where
none is left they are of all, and the line says that none was clean.

Profiles: *passthrough*, super-packets cross the virtual cable whole; *nic*, they are segmented before it and gathered
behind it, as network cards do."""


def update_readme(text, results):
    """The README with a new table between its marks."""
    begin, end = README_MARKS
    head, found, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise ValueError("README.md has lost its marks")
    machine = next(_machines(results), "")
    table = "\n".join(comparison(results))
    return head + begin + "\n" + table + "\n\n" + machine + "\n\n" + end + tail


def write_results(path, folder, readme):
    """RESULTS.md in 'folder', its plots in 'folder'/plots, and the table in the README."""
    results, notes = load(path)
    verdicts, _ = goals.judge(results)
    plots = os.path.join(folder, "plots")
    os.makedirs(plots, exist_ok=True)
    drawn = plot.draw_all(results, verdicts, plots)
    with open(os.path.join(folder, "RESULTS.md"), "w") as f:
        f.write(INTRO + "\n\n" + "\n\n".join(_machines(results)) + "\n\n")
        f.write("\n".join("![%s](plots/%s)" % (title, name) for name, title in drawn) + "\n\n")
        f.write("\n".join(markdown(results, notes)) + "\n")
    with open(readme) as f:
        text = update_readme(f.read(), results)
    with open(readme, "w") as f:
        f.write(text)
    print("wrote %s, its plots, and the table in %s" % (
        os.path.relpath(os.path.join(folder, "RESULTS.md")), os.path.relpath(readme)))


# What the README shows: bench, metric, wording.
README_ROWS = [
    ("tunnel-tcp", "TCP, 1 stream", "TCP, one stream"),
    ("tunnel-tcp", "TCP, 1 stream: CPU", "processor time of both ends"),
    ("relay-pps", "TCP through a relay", "TCP through a peer relay, each its own"),
    ("derp", "TCP by its own server", "TCP by DERP, each its own server"),
    ("tunnel-udp", "UDP 1200 B, clean rate", "UDP 1200 B with less than 1 % lost"),
    ("rss", "private, connected", "private memory, connected"),
    ("rss", "private, after the transfer", "private memory after the transfer"),
    ("idle", "2 peers: context switches", "context switches, idle"),
    ("paths", "gap direct to relay", "silence when the direct path breaks"),
]
README_MARKS = ("<!-- contrib/bench --results writes what follows -->\n", "<!-- until here -->")
README_PEERS = ("meshd", "tailscaled", "wireguard-go")


def comparison(results, profile="passthrough"):
    """The short table of the README: medians, and the ratio to tailscaled."""
    found = {(r["bench"], r["metric"], r["peer"]): r for r in results if r["profile"] in (profile, "-")}
    rows = [["", *README_PEERS, "meshd / tailscaled"]]
    for bench, metric, words in README_ROWS:
        mine = found.get((bench, metric, "meshd"))
        if not mine:
            continue
        cells = [found.get((bench, metric, peer)) for peer in README_PEERS]
        other = found.get((bench, metric, "tailscaled"))
        ratio = "%.2f" % (mine["median"] / other["median"]) if other and other["median"] else ""
        rows.append(["%s, %s" % (words, mine["unit"]), *(number(c["median"]) if c else "" for c in cells), ratio])
    return _markdown(rows)


