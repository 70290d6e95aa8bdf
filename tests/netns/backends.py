#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same as fallbacks.py, every byte at the far end as it was and once, with each AEAD backend, on CPUs without the
instruction sets that they like best, and with the daemon itself under its hidden switch.

    a -- wan -- b          static keys (dptest.c)
    a -- shim -- b         the bad line (shim.c)
    x -- wan -- y          two nodes with a coordinator
"""
import os
import re
import sys

from data import Datagrams, Stream, sizes_of_all_kinds
from fallbacks import SHIM, run
from lab import Lab, expect, skip, wait_until
from node import Node

VARIANTS = (
    ("openssl", ("--aead", "openssl")),
    ("libsodium", ("--aead", "libsodium")),
    ("ipsec-mb", ("--aead", "ipsec-mb")),
    ("ipsec-mb without AVX-512", ("--aead", "ipsec-mb/avx2")),
    ("a CPU with nothing", ("--aead", "/none")),
)


def real_nodes(lab):
    """The daemon itself with its hidden switch."""
    hosts = [lab.public("x"), lab.public("y")]
    for words, mode in (("", "vnet_hdr"), ("no-uso", "vnet_hdr,"), ("no-vnet-hdr,no-gso,no-gro", "single"),
                        ("no-gro", "vnet_hdr"),
                        ("helpers-1", "vnet_hdr")):
        os.environ["MESHD_FORCE"] = words
        nodes = [Node(h, h.name + re.sub(r"\W", "", words)).start() for h in hosts]
        os.environ.pop("MESHD_FORCE")
        url = nodes[0].enable_coordinator()
        nodes[1].up(url, nodes[0].key())
        addr = nodes[1].addr()
        wait_until("the nodes are direct", 15, lambda: hosts[0].pings(addr) and nodes[0].path(nodes[1].name) == "direct")
        s = Stream(hosts[0], hosts[1], addr, 20 << 20, 9)
        s.finish("meshd with %r" % words)
        d = Datagrams(hosts[0], hosts[1], addr)
        d.send(sizes_of_all_kinds(500, 9))
        got = d.result()
        expect(sum(got[1:]) == 0, "meshd with MESHD_FORCE=%r: TCP whole, %d datagrams whole" % (words, got[0]))
        for node in nodes:
            with open(os.path.join(lab.dir, node.log)) as f:
                expect("%s: %s" % ("mesh0", mode) in f.read(), "its log says %r" % mode)
            node.stop()
    done = hosts[0].run("env", "MESHD_FORCE=no-such-thing", nodes[0].meshd, "--state", "mem:", "--socket",
                        os.path.join(lab.dir, "no.sock"), "--tun", "mesh9", check=False)
    expect(done.returncode == 1 and "MESHD_FORCE" in done.stderr, "an unknown word is refused: %s" % done.stderr.strip())


def main():
    if not os.access(SHIM, os.X_OK):
        skip("%s is not built" % SHIM)
    with Lab("AEAD backends: data whole with all of them") as lab:
        run(lab, VARIANTS)
        if not sys.argv[1:]:
            real_nodes(lab)


main()
