# SPDX-License-Identifier: MIT
"""What a benchmark is handed: the options, the programs found, a place for its samples, rounds and a lab."""
import contextlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))

import pairs  # noqa: E402
import traffic  # noqa: E402
from lab import Lab, say  # noqa: E402
from peers import KERNEL  # noqa: E402

CONTROL_SECONDS = 1


class Context:
    def __init__(self, options, programs, recorder):
        self.options, self.programs, self.rec = options, programs, recorder
        self.bench, self.profile = recorder.bench, recorder.profile
        self.seconds = options.seconds

    def note(self, text):
        say("# %s: %s" % (self.bench, text))
        self.rec.note(text)

    def lab(self):
        return Lab("%s (%s)" % (self.bench, self.profile), echo=lambda _: None)

    def absent(self, name):
        """True, and said so, when the program is not here."""
        if name in self.programs:
            return False
        self.note("%s is left out: %s" % (name, self.programs.absent.get(name, "absent")))
        return True

    @contextlib.contextmanager
    def made(self, lab, *names, prefix=""):
        """The pairs of these implementations that are here, not started; they end with the block. 'prefix' keeps the
        hosts of several sets apart."""
        here = []
        try:
            for name in names:
                if name in ("tunnel-null", "meshd") or not self.absent(name):
                    here.append(pairs.make(name, lab, self.profile, self.programs, prefix))
            yield here
        finally:
            for pair in here:
                pair.close()

    @contextlib.contextmanager
    def started(self, lab, *names):
        """The same, running."""
        with self.made(lab, *names) as here:
            for pair in here:
                pair.start()
            yield here

    def tunnels(self):
        """The names of all that carry TCP, the control first."""
        return ["tunnel-null", "meshd", "tailscaled", "wireguard-go", KERNEL, *self.programs.more_wireguard]

    def rounds(self, control=None):
        """Numbers of rounds, until enough were clean by the control pair's rate or too many were not."""
        want, number = self.options.rounds, 0
        while number < want + self.options.extra and self.rec.n_clean(number) < want:
            if control:
                rate, _ = traffic.iperf(control.left, control.right, control.addr, CONTROL_SECONDS)
                self.rec.add_control(number, rate)
            yield number
            number += 1
        if control and self.rec.n_clean(number) < want:
            self.note("only %d of %d rounds were clean by the control" % (self.rec.n_clean(number), number))

    def add(self, number, peer, metric, value, unit, better="higher"):
        self.rec.add(number, peer, metric, value, unit, better)
        say("%-12s %-11s round %d  %-12s %-24s %10.4g %s" % (
            self.bench, self.profile, number + 1, peer, metric, value, unit))
