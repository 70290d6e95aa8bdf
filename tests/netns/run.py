#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs namespace tests one after the other: run.py [--limit SECONDS] TEST...

Prints PASS, FAIL or SKIP (exit 77) with the seconds each took, the end of the log of what failed, and
automake's totals. Logs lie in tests/netns/ of the build directory. A test that exceeds its limit is
ended and has failed; what it left in the machine is swept.
"""
import argparse
import os
import subprocess
import sys
import time

SKIP = 77
TAIL = 60


def run_one(test, log_path, limit_s):
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
    with open(log_path, "wb") as log:
        child = subprocess.Popen([sys.executable, test], stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=subprocess.STDOUT, env=env)
        try:
            return child.wait(limit_s)
        except subprocess.TimeoutExpired:
            log.write(b"\nended: over its limit of %d s\n" % limit_s)
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        return 1


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--limit", type=int, default=150)
    options.add_argument("tests", nargs="+")
    options = options.parse_args()
    log_dir = os.path.join(os.environ.get("top_builddir", "."), "tests", "netns")
    os.makedirs(log_dir, exist_ok=True)
    counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
    for test in options.tests:
        name = os.path.basename(test)
        log_path = os.path.join(log_dir, name.replace(".py", ".log"))
        begin = time.monotonic()
        code = run_one(test, log_path, options.limit)
        result = {0: "PASS", SKIP: "SKIP"}.get(code, "FAIL")
        counts[result] += 1
        print("%s: tests/netns/%s (%.0f s)" % (result, name, time.monotonic() - begin), flush=True)
        if result != "PASS":
            with open(log_path, errors="replace") as log:
                lines = log.read().splitlines()
            print("\n".join(lines[-1 if result == "SKIP" else -TAIL:]), flush=True)
    if counts["FAIL"]:
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        import lab
        lab.sweep()
    print("# TOTAL: %d\n# PASS: %d\n# SKIP: %d\n# FAIL: %d" % (len(options.tests), counts["PASS"],
                                                            counts["SKIP"], counts["FAIL"]))
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
