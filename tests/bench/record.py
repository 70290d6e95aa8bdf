# SPDX-License-Identifier: MIT
"""Samples, rounds, and the JSON lines they become.

A sample is one value of one metric of one peer in one round. A line of the output is one metric of one peer in one
profile: all values, their median and best, and the machine they were taken on. A round in which the control (the
tunnel without crypto) was more than 20 % below its best is left out of median and best, and named in the line. Where
that leaves none (a metric that was measured in such rounds only), all of them count and "repeats" is 0: reports say so.
"""
import json
import os
import platform
import statistics
import time

CONTROL_SLACK = 0.20
CONTROL = "control"
# Flags of /proc/cpuinfo that decide which code runs.
CPU_FLAGS = ("avx", "avx2", "avx512f", "avx512ifma", "avx512vl", "bmi2", "aes", "vaes", "sha_ni", "neon", "asimd")


def cpu():
    """The model and those of its flags that matter here."""
    model, flags = platform.machine(), set()
    with open("/proc/cpuinfo") as f:
        for line in f:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() in ("flags", "Features"):
                flags.update(value.split())
    return model, [flag for flag in CPU_FLAGS if flag in flags]


def environment():
    """What every line says of the machine; the load average is that of the start."""
    model, flags = cpu()
    return {"cpu": model, "cpus": os.cpu_count(), "cpu_flags": flags, "kernel": platform.release(),
            "load_at_start": round(os.getloadavg()[0], 2), "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def noisy_rounds(control):
    """The rounds to leave out, given the control's rate of each."""
    if not control:
        return []
    best = max(control.values())
    return sorted(r for r, value in control.items() if value < best * (1 - CONTROL_SLACK))


def summary(values, better):
    return statistics.median(values), (max if better == "higher" else min)(values)


class Recorder:
    """Collects the samples of one benchmark in one profile, and writes them as lines."""

    def __init__(self, out, bench, profile, env):
        self.out, self.bench, self.profile, self.env = out, bench, profile, env
        self.series, self.control = {}, {}

    def add(self, number, peer, metric, value, unit, better="higher"):
        """One value; 'number' is the round, 'better' is "higher" or "lower"."""
        key = (peer, metric)
        one = self.series.setdefault(key, {"unit": unit, "better": better, "values": {}})
        one["values"][number] = value

    def add_control(self, number, value):
        self.control[number] = value
        self.add(number, "tunnel-null", CONTROL, value, "Gbit/s")

    def n_clean(self, n_rounds):
        return n_rounds - len(noisy_rounds(self.control))

    def lines(self):
        noisy = noisy_rounds(self.control)
        for (peer, metric), one in self.series.items():
            kept = [v for r, v in sorted(one["values"].items()) if r not in noisy]
            median, best = summary(kept or list(one["values"].values()), one["better"])
            yield {"bench": self.bench, "profile": self.profile, "peer": peer, "metric": metric, "value": median,
                   "unit": one["unit"], "better": one["better"], "repeats": len(kept), "median": median, "best": best,
                   "values": [v for _, v in sorted(one["values"].items())],
                   "discarded_rounds": [r for r in noisy if r in one["values"]], **self.env}

    def note(self, text):
        """A line for what is missing or failed: {"note": ...}."""
        self._write({"bench": self.bench, "profile": self.profile, "note": text, **self.env})

    def flush(self):
        for line in self.lines():
            self._write(line)
        self.series, self.control = {}, {}

    def _write(self, line):
        with open(self.out, "a") as f:
            f.write(json.dumps(_rounded(line)) + "\n")


def number(value, digits=3):
    """For people: so many significant digits, no exponent."""
    rounded = float("%.*g" % (digits, value))
    return "{:,.0f}".format(rounded) if abs(rounded) >= 1000 else "%.*g" % (digits, rounded)


def _rounded(thing):
    """Five significant digits are more than any of this deserves."""
    if isinstance(thing, float):
        return float("%.5g" % thing)
    if isinstance(thing, list):
        return [_rounded(v) for v in thing]
    if isinstance(thing, dict):
        return {k: _rounded(v) for k, v in thing.items()}
    return thing


def load(path):
    """(result lines, note lines) of a file of JSON lines: of each benchmark and profile its latest run, as a ratio is of
    one run or none. Of two lines of one metric the later counts."""
    with open(path) as f:
        lines = [json.loads(text) for text in f]
    latest = {}
    for line in lines:
        part = (line["bench"], line["profile"])
        latest[part] = max(latest.get(part, ""), line["started"])
    results, notes = {}, {}
    for line in lines:
        part = (line["bench"], line["profile"])
        if line["started"] != latest[part]:
            continue
        if "note" in line:
            notes[(*part, line["note"])] = line
        else:
            results[(*part, line["peer"], line["metric"])] = line
    return list(results.values()), list(notes.values())
