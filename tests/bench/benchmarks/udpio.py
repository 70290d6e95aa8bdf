# SPDX-License-Identifier: MIT
"""What the kernel takes for a datagram of 1280 B, by each way to send and to receive: the floor under everything else."""
import json
import subprocess

import pairs
import traffic
from lab import Failure

SIZE = 1280
# The receivers are fed by the way that feeds them best.
WAYS = (("send", "plain", "plain"), ("send", "mmsg", "plain"), ("send", "gso", "gro"),
        ("recv", "plain", "mmsg"), ("recv", "mmsg", "mmsg"), ("recv", "gro", "gso"))


def spawn(host, *argv):
    return subprocess.Popen(["ip", "netns", "exec", host.ns, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def measure(ctx, left, right, way):
    """Nanoseconds of processor time a datagram of the end that 'way' is about."""
    side, mine, other = way
    program, port, seconds = traffic.program("udpio"), str(traffic.UDP_PORT), str(min(ctx.seconds, 2))
    receive, send = (mine, other) if side == "recv" else (other, mine)
    receiver = spawn(right, program, "recv", right.addr, port, seconds, receive)
    receiver.stdout.readline()
    sender = spawn(left, program, "send", right.addr, port, str(SIZE), seconds, send)
    out = {"send": sender.communicate(timeout=60), "recv": receiver.communicate(timeout=60)}
    if sender.returncode or receiver.returncode:
        raise Failure("udpio: %s%s" % (out["send"][1], out["recv"][1]))
    got = json.loads(out[side][0].splitlines()[-1])
    return got["cpu_ns"] / max(1, got["pkts"])


def run(ctx):
    with ctx.lab() as lab:
        left, right = (pairs.public(lab, name, ctx.profile) for name in ("u1", "u2"))
        for number in ctx.rounds():
            for way in WAYS:
                ctx.add(number, "kernel", "%s, %s" % way[:2], measure(ctx, left, right, way), "ns", "lower")
