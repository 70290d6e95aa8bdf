# SPDX-License-Identifier: MIT
"""What /proc tells of a process: processor time, context switches, memory."""
import os
import threading

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid):
    """Seconds of processor time so far, of all threads."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_fine_s(pid):
    """The same to the nanosecond, from the scheduler; threads that ended are not counted."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
                total += int(f.read().split()[0])
        except (OSError, IndexError):
            continue
    return total / 1e9


def switches(pid):
    """Context switches of all threads that live, voluntary and not."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/status" % (pid, task)) as f:
                total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
        except OSError:
            continue
    return total


def memory_mib(pid):
    """(private, resident) in MiB: RssAnon and VmRSS."""
    with open("/proc/%d/status" % pid) as f:
        lines = dict(line.split(":", 1) for line in f if ":" in line)
    return int(lines["RssAnon"].split()[0]) / 1024, int(lines["VmRSS"].split()[0]) / 1024


class PrivatePeak:
    """The most private memory of a process, in MiB, looked at every few milliseconds: the kernel keeps no such mark, and
    its mark of the resident set counts pages of files, which come and go."""

    EVERY_S = 0.005

    def __init__(self, pid):
        self.pid, self.mib = pid, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while not self.done.wait(self.EVERY_S):
            try:
                self.mib = max(self.mib, memory_mib(self.pid)[0])
            except (OSError, KeyError):  # it ended
                return

    def stop(self):
        self.done.set()
        self.thread.join()
        return self.mib


class CpuClock:
    """Processor seconds that the processes used since it was made; 'read' is cpu_s, or cpu_fine_s for what is short or
    mostly sleeps (a tick is 4 or 10 ms) and ends no threads meanwhile."""

    def __init__(self, pids, read=cpu_s):
        self.pids, self.read = list(pids), read
        self.start = self._sum()

    def _sum(self):
        return sum(self.read(p) for p in self.pids)

    def used_s(self):
        return self._sum() - self.start
