#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""meshd beside its peers and beside the bare ceiling, on this machine. contrib/bench builds and calls this.

usage: contrib/bench [options] [BENCHMARK...]

Results are JSON lines in --out, printed as a table and drawn as plots at the end. Absolute numbers do not travel
between machines; ratios taken side by side in one run do. Namespaces need root.
"""
import argparse
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "netns"))

import benchmarks  # noqa: E402
import peers  # noqa: E402
import results  # noqa: E402
from context import Context  # noqa: E402
from lab import Failure, say  # noqa: E402
from record import Recorder, environment  # noqa: E402

WHOLE = {"rounds": 5, "extra": 2, "seconds": 3, "idle_seconds": 60, "gigabytes": 10}
QUICK = {"rounds": 1, "extra": 0, "seconds": 1, "idle_seconds": 10, "gigabytes": 0.5}
EXIT_SKIP = 77


def parse(argv):
    o = argparse.ArgumentParser(prog="contrib/bench", usage="contrib/bench [options] [BENCHMARK...]",
                                description="Measures meshd beside its peers on this machine.",
                                epilog="Benchmarks: %s. Without a name: all." % ", ".join(benchmarks.NAMES))
    o.add_argument("benchmarks", nargs="*", metavar="BENCHMARK")
    o.add_argument("--rounds", type=int, help="interleaved rounds (default 5)")
    o.add_argument("--extra", type=int, help="more rounds at most, for those the control rejects (default 2)")
    o.add_argument("--seconds", type=int, help="length of one transfer (default 3)")
    o.add_argument("--idle-seconds", type=int, help="length of idle's and rss's rests (default 60)")
    o.add_argument("--gigabytes", type=float, help="what rss sends through each tunnel (default 10)")
    o.add_argument("--quick", action="store_true", help="one short round: shows that it works, not more")
    o.add_argument("--profile", choices=("passthrough", "nic", "both"), default="both")
    o.add_argument("--tailscaled", metavar="PATH", help="tailscale, and derper if it is to be measured, lie beside it")
    o.add_argument("--wireguard-go", metavar="PATH", help="else the Go module's newest version is built")
    o.add_argument("--wireguard", metavar="NAME=PATH", action="append", default=[],
                   help="one more WireGuard program, started as 'PATH -f INTERFACE' (boringtun-cli, gotatun)")
    o.add_argument("--out", metavar="DIR", default="bench-results", help="for results.jsonl, tables and plots")
    o.add_argument("--results", action="store_true", help="measure nothing: write tests/bench/RESULTS.md, its plots and the README's table")
    o.add_argument("--report", action="store_true", help="measure nothing: print what --out holds")
    options = o.parse_args(argv)
    unknown = set(options.benchmarks) - set(benchmarks.NAMES)
    if unknown:
        o.error("no such benchmark: %s" % ", ".join(sorted(unknown)))
    for name, value in (QUICK if options.quick else WHOLE).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in WHOLE:
        if getattr(options, name) < (0 if name == "extra" else 1e-3):
            o.error("--%s is too small" % name.replace("_", "-"))
    if any("=" not in w for w in options.wireguard):
        o.error("--wireguard wants NAME=PATH")
    return options


def profiles(module, chosen):
    """The veth profiles that a benchmark runs in; "-": it uses no cable."""
    if not getattr(module, "USES_CABLES", True):
        return ["-"]
    return ["passthrough", "nic"] if chosen == "both" else [chosen]


def run_one(name, profile, options, programs, out, env):
    """Returns 0, 1 when the benchmark failed, or EXIT_SKIP; what it had measured by then is kept."""
    recorder = Recorder(out, name, profile, env)
    try:
        benchmarks.find(name).run(Context(options, programs, recorder))
        return 0
    except Failure as e:
        recorder.note("failed: %s" % e)
    except Exception as e:  # one benchmark's defect is not the end of the others; it is shown and the run fails
        traceback.print_exc()
        recorder.note("failed: %s: %s" % (type(e).__name__, e))
    except SystemExit as e:  # the lab's way to end: it has said why
        recorder.note("skipped: no namespaces here" if e.code == EXIT_SKIP else "failed: see the log")
        return EXIT_SKIP if e.code == EXIT_SKIP else 1
    finally:
        recorder.flush()
    return 1


def measure(options, out):
    build_dir = os.path.join(os.environ.get("top_builddir", "."), "tests", "bench")
    os.makedirs(build_dir, exist_ok=True)
    programs = peers.find_all(options, build_dir)
    for name, reason in sorted(programs.absent.items()):
        say("# left out: %s: %s" % (name, reason))
    env, ended = environment(), {0: [], 1: [], EXIT_SKIP: []}
    for name in options.benchmarks or benchmarks.NAMES:
        for profile in profiles(benchmarks.find(name), options.profile):
            begin = time.monotonic()
            ended[run_one(name, profile, options, programs, out, env)].append("%s (%s)" % (name, profile))
            say("# %s (%s) took %.0f s" % (name, profile, time.monotonic() - begin))
    return ended[1], ended[EXIT_SKIP]


def main():
    options = parse(sys.argv[1:])
    out, failed, skipped = os.path.join(options.out, "results.jsonl"), [], []
    os.makedirs(options.out, exist_ok=True)
    if not options.report and not options.results:
        failed, skipped = measure(options, out)
    results.show(out, options.out)
    if options.results:
        results.write_results(out, HERE, os.path.join(HERE, "..", "..", "README.md"))
    if failed:
        say("FAILED: " + ", ".join(failed))
    if skipped:
        say("skipped: " + ", ".join(skipped))
    return 1 if failed else EXIT_SKIP if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
