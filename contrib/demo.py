#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demonstration of contrib/quickstart --demo: a mesh climbing up and down its ladder, live.

It runs in network namespaces that it makes and removes; the machine's own network is not touched.
$MESHD and $MESHCTL name the programs.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "netns"))

from flow import TcpFlow  # noqa: E402
from lab import Lab, say, wait_until  # noqa: E402
from node import Node  # noqa: E402

PICTURE = """
  laptop-a -- [ hard NAT a ] --.
                               the Internet -- coord   coordinator, DERP and STUN in one meshd
  laptop-b -- [ hard NAT b ] --'            `-- relay   a node that may relay for others

  A hard NAT gives every destination another port, so the laptops cannot find each other's address:
  no direct path. Everything below is real: real kernels' NAT, real meshd, one TCP stream throughout.
"""


class Demo:
    def __init__(self, lab):
        self.nata, natb = lab.nat("nat-a", "hard"), lab.nat("nat-b", "hard")
        self.coord, self.relay = Node(lab.public("coord")), Node(lab.public("relay"))
        self.a, self.b = Node(lab.host("laptop-a", self.nata)), Node(lab.host("laptop-b", natb))

    def type(self, node, *args, show=True):
        """Runs meshctl as a person would and shows both."""
        shown = ["'%s'" % a if " " in a or a == "" else a for a in args]
        say("%s# meshctl %s" % (node.name, " ".join(shown)))
        out = node.ctl(*args, check=False, quiet=True)
        if show and (text := (out.stdout + out.stderr).strip()):
            say("\n".join("  " + row for row in text.splitlines()))

    def join(self):
        for node in (self.coord, self.relay, self.a, self.b):
            node.start()
        url = "http://%s:443" % self.coord.host.addr
        self.type(self.coord, "coordinator", "enable", "--url", url)
        self.coord.up()
        key = self.coord.key("--reusable")
        say("coord# meshctl coordinator keys create --reusable\n  %s..." % key[:24])
        for node in (self.relay, self.a, self.b):
            say("%s# meshctl up --login-server %s --auth-key %s..." % (node.name, url, key[:24]))
            node.up(url, key, quiet=True)
        self.b_addr = self.b.addr()
        self.stream = TcpFlow(self.a.host, self.b.host, self.b_addr)

    def switch(self, title, change, rung):
        """One change and the rung it leads to, timed; then what a person sees."""
        say("\n== %s" % title)
        since = time.monotonic()
        change()
        names = {"derp": "DERP", "peer-relay": "the peer relay", "direct": "the direct path"}
        wait_until("laptop-a and laptop-b on " + names[rung], 60,
                   lambda: self.a.path("laptop-b") == self.b.path("laptop-a") == rung, since=since)
        time.sleep(1)
        self.type(self.a, "ping", "-c", "1", "--until-direct=false", "laptop-b")
        say("laptop-a# meshctl status | grep laptop-b")
        rows = self.a.ctl("status", quiet=True).stdout.splitlines()
        say("\n".join("  " + row.rstrip() for row in rows if "laptop-b" in row))
        say("the stream's longest silence: %.2f s" % self.stream.silence(since))

    def run(self):
        self.switch("No relay yet: the laptops meet through DERP", lambda: None, "derp")
        self.switch("The relay offers itself", lambda: self.type(self.relay, "set", "--relay-server-port=40000"),
                    "peer-relay")
        self.switch("NAT a opens (full cone)", lambda: self.nata.become("cone"), "direct")
        self.switch("NAT a closes again", lambda: self.nata.become("hard"), "peer-relay")
        self.switch("The relay goes", lambda: self.type(self.relay, "set", "--relay-server-port="), "derp")
        n_bytes = self.stream.finish()
        say("\nThe TCP stream lived through it all: %d bytes there and back, checksums equal." % n_bytes)


def main():
    began = time.monotonic()
    say(PICTURE)
    try:
        with Lab("Setting up", echo=lambda text: None) as lab:
            demo = Demo(lab)
            demo.join()
            demo.run()
    except KeyboardInterrupt:
        say("\nended; namespaces and daemons are gone")
        sys.exit(130)
    say("Everything is removed again. That took %d s." % (time.monotonic() - began))


if __name__ == "__main__":
    main()
