#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs namespace tests: run.py [--limit SECONDS] [--jobs N] TEST...

Prints PASS, FAIL or SKIP (exit 77) with the seconds each took, the end of the log of what failed, and
automake's totals. Logs lie in the test's own folder of the build directory. A test that exceeds its limit
is ended and has failed; what it left in the machine is swept. Tests that mostly wait can run N at a time.
"""
import argparse
import concurrent.futures
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


def log_of(test):
    """tests/FOLDER/NAME.log in the build directory, for tests/FOLDER/NAME.py."""
    folder = os.path.basename(os.path.dirname(os.path.abspath(test)))
    folder = os.path.join(os.environ.get("top_builddir", "."), "tests", folder)
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, os.path.basename(test).replace(".py", ".log"))


def run_and_say(test, limit_s):
    log_path = log_of(test)
    begin = time.monotonic()
    code = run_one(test, log_path, limit_s)
    result = {0: "PASS", SKIP: "SKIP"}.get(code, "FAIL")
    folder = os.path.basename(os.path.dirname(log_path))
    text = "%s: tests/%s/%s (%.0f s)" % (result, folder, os.path.basename(test), time.monotonic() - begin)
    if result != "PASS":
        with open(log_path, errors="replace") as log:
            lines = log.read().splitlines()
        text += "\n" + "\n".join(lines[-1 if result == "SKIP" else -TAIL:])
    print(text, flush=True)
    return result


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--limit", type=int, default=600)
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("tests", nargs="+")
    options = options.parse_args()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda test: run_and_say(test, options.limit), options.tests))
    counts = {word: results.count(word) for word in ("PASS", "FAIL", "SKIP")}
    if counts["FAIL"]:
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        import lab
        lab.sweep()
    print("# TOTAL: %d\n# PASS: %d\n# SKIP: %d\n# FAIL: %d" % (len(options.tests), counts["PASS"],
                                                            counts["SKIP"], counts["FAIL"]))
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
