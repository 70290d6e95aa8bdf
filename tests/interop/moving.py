#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A host moves from a real node to meshd: same node, same address, same settings, no new login.

    mover (real, then ours), friend (real), coord (ours: coordinator, DERP, STUN); all public
"""
import os

import real
from lab import Lab, expect, wait_until
from node import Node


def take_over(node, state, code, words):
    """Runs meshd --import-state; it must end with 'code' and say 'words'."""
    done = node.host.run(node.meshd, "--state", os.path.join(node.dir, "meshd.db"), "--import-state", state, check=False)
    said = (done.stdout + done.stderr).strip()
    expect(done.returncode == code and words in said, "exit %d: %s" % (done.returncode, said))


def main():
    with Lab("a host moves from a real node to meshd") as lab:
        coord = Node(lab.public("coord")).start()
        url = coord.enable_coordinator()
        key = coord.key("--reusable")
        friend, old = real.Real(lab.public("friend")).start(), real.Real(lab.public("mover")).start()
        friend.up(url, key)
        old.up(url, key, "--shields-up", "--advertise-tags=")
        before = old.status()["Self"]
        wait_until("the real node reaches its friend", 20, lambda: old.host.pings(friend.addr()))
        n_nodes = coord.ctl("coordinator", "status", "--json", quiet=True).stdout
        old.stop()
        state = os.path.join(old.dir, "state")

        new = Node(old.host, "mover-ours")
        take_over(new, old.dir, 1, "not a regular file")
        take_over(new, os.path.join(lab.dir, "nothing"), 1, "No such file")
        take_over(new, new.meshctl, 1, "not a tailscaled state")
        expect(not os.path.exists(os.path.join(new.dir, "meshd.db")), "a refusal leaves nothing behind")
        take_over(new, state, 0, "Took over node")
        take_over(new, state, 1, "has a login already")
        new.start()
        wait_until("meshd runs without a login", 15, lambda: new.state() == "Running")
        after = new.status()["Self"]
        for field in ("PublicKey", "TailscaleIPs", "DNSName", "ID"):
            expect(after[field] == before[field], "%s is the same: %s" % (field, after[field]))
        wait_until("it reaches its friend", 20, lambda: new.host.pings(friend.addr()))
        expect(not friend.host.pings(new.addr()), "and lets nobody in, as it was set")
        new.ctl("set", "--shields-up=false")
        wait_until("until that is changed", 20, lambda: friend.host.pings(new.addr()))
        expect(coord.ctl("coordinator", "status", "--json", quiet=True).stdout.count('"Nodes": 3') == 1 and
               '"Nodes": 3' in n_nodes, "the coordinator knows the same three nodes")
        take_over(new, state, 1, "another meshd uses this state")


if __name__ == "__main__":
    main()
