#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 in the middle of a command: afterwards the state is the old one or the new one, and the daemon starts.

    coord (coordinator, DERP, STUN), alice    both on the public network

$ROUNDS (default 10) is how often; the moments are drawn anew each time, from $SEED if it is set.
"""
import json
import os
import random
import subprocess
import time

from lab import Lab, expect, say, wait_until
from node import Node

BACK_S = 30
POLICY = '{\n  // number %d\n  "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],\n}\n'


def identity(node):
    status = node.status(check=False)
    return (status.get("Self") or {}).get("PublicKey")


class Killer:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.took_s = {}

    def strike(self, node, kind, words, text=None):
        """Runs meshctl, ends meshd in the middle of it, starts it again. Returns whether meshctl said that it was done."""
        usual_s = self.took_s.get(kind, 0.1)
        delay_s = self.random.uniform(0, 1.2 * usual_s)
        begin = time.monotonic()
        command = subprocess.Popen(
            ["ip", "netns", "exec", node.host.ns, node.meshctl, "--socket", node.socket, *words],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
        if text:
            command.stdin.write(text)
        command.stdin.close()
        try:
            command.wait(delay_s)
            self.took_s[kind] = time.monotonic() - begin
        except subprocess.TimeoutExpired:
            # Undisturbed it would have taken longer than was thought.
            self.took_s[kind] = max(usual_s, 1.1 * delay_s)
        node.kill9()
        command.wait(60)
        say("   %s: %s after %.0f ms" % (kind, "done" if command.returncode == 0 else "cut off", 1000 * delay_s))
        node.start()
        return command.returncode == 0


def check(what, was, old, new, is_done):
    """'was' is what is there now."""
    expect(was == new or (was == old and not is_done), "%s: %s" % (what, "new" if was == new else "old" if was == old else was))
    return was


def main():
    rounds, seed = int(os.environ.get("ROUNDS", "10")), int(os.environ.get("SEED", str(random.randrange(10**6))))
    say("SEED=%d ROUNDS=%d" % (seed, rounds))
    killer = Killer(seed)
    with Lab("killed") as lab:
        coord = Node(lab.public("coord")).start()
        url = coord.enable_coordinator()
        key = coord.key("--reusable", "--expiration", "24h")
        alice = Node(lab.public("alice")).start()
        alice.up(url, key)
        addr, mesh = alice.addr(), coord.addr()
        name, policy, is_on = "alice", coord.ctl("coordinator", "policy", "get", quiet=True).stdout, True

        def runs(node, want):
            wait_until("%s runs under its address" % node.name, BACK_S,
                       lambda: node.state() == "Running" and node.addr() == want)

        def set_hostname(n):
            nonlocal name
            new = "alice-%d" % n
            done = killer.strike(alice, "set", ["set", "--hostname", new])
            name = check("her host name", alice.ctl("get", "hostname", quiet=True).stdout.strip(), name, new, done)
            runs(alice, addr)

        def join_again(n):
            old = identity(alice)
            done = killer.strike(alice, "up", ["up", "--force-reauth", "--login-server", url, "--auth-key", key,
                                               "--hostname", name, "--timeout", "40s"])
            runs(alice, addr)
            expect(not done or identity(alice) != old, "her node key: %s" % ("old" if identity(alice) == old else "new"))

        def first_join(n):
            alice.ctl("logout", quiet=True)
            done = killer.strike(alice, "join", ["up", "--login-server", url, "--auth-key", key, "--hostname", name,
                                                 "--timeout", "40s"])
            if not done and alice.state() != "Running":
                time.sleep(1)
            expect(not done or alice.state() != "NeedsLogin", "no login is lost that was confirmed")
            alice.ctl("up", "--login-server", url, "--auth-key", key, "--hostname", name, "--timeout", "40s", quiet=True)
            runs(alice, addr)

        def set_policy(n):
            nonlocal policy
            new = POLICY % n
            done = killer.strike(coord, "policy", ["coordinator", "policy", "set", "-"], text=new)
            wait_until("the coordinator answers", BACK_S,
                       lambda: coord.ctl("coordinator", "policy", "get", check=False, quiet=True).returncode == 0)
            policy = check("the policy", coord.ctl("coordinator", "policy", "get", quiet=True).stdout, policy, new, done)
            runs(coord, mesh)

        def is_settled():
            status = json.loads(coord.ctl("coordinator", "status", "--json", quiet=True).stdout)
            return status["On"] == status["Serving"]

        def switch(n):
            nonlocal is_on
            words = ["coordinator", "disable"] if is_on else ["coordinator", "enable", "--url", url]
            done = killer.strike(coord, words[1], words)
            # The role starts some time after the daemon answers, if it is to be on.
            wait_until("the coordinator is what it is to be", BACK_S, is_settled)
            now = coord.ctl("coordinator", "keys", "list", check=False, quiet=True).returncode == 0
            is_on = check("the coordinator is on", now, is_on, not is_on, done)
            if is_on:
                text = coord.ctl("coordinator", "policy", "get", quiet=True).stdout
                expect(text == policy, "with its policy")
                runs(coord, mesh)

        kinds = [set_hostname, join_again, set_policy, switch, first_join]
        for n in range(rounds):
            say("--- round %d" % n)
            kind = kinds[n % len(kinds)]
            if not is_on and kind is not switch:
                coord.ctl("coordinator", "enable", "--url", url, quiet=True)
                is_on = True
            kind(n)
        if not is_on:
            coord.ctl("coordinator", "enable", "--url", url)
        wait_until("alice reaches coord after all of it", BACK_S, lambda: alice.host.pings(mesh))
        nodes = json.loads(coord.ctl("coordinator", "nodes", "list", "--json", quiet=True).stdout)["Nodes"]
        expect(sorted(n["Addresses"][0] for n in nodes) == sorted([addr, mesh]), "and there are two nodes")


if __name__ == "__main__":
    main()
