# SPDX-License-Identifier: MIT
"""The benchmarks of contrib/bench, one a file. Each has run(ctx); those that send packets through the lab's cables run
once in each veth profile, the others once (PROFILES = None)."""
import importlib

NAMES = ("aead", "handshake", "udpio", "tunnel-null", "tunnel-tcp", "tunnel-udp", "tunnel-rtt", "relay-pps", "derp",
         "paths", "idle", "rss", "netmap", "insn")


def find(name):
    return importlib.import_module("benchmarks." + name.replace("-", "_"))
