#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Logins as programs ask for them over the local API: a URL to visit, the stock command line's two requests.

    coord (coordinator, DERP, STUN), alice    both on the public network
"""
import json
import time

from lab import Lab, expect, wait_until
from node import Node, local_post

SOON_S = 20


def identity(node):
    status = node.status()
    return status["Self"]["PublicKey"], status["TailscaleIPs"]


def login_url(node):
    wait_until("%s is given a URL to visit" % node.name, SOON_S, lambda: node.status(check=False).get("AuthURL"))
    return node.status()["AuthURL"]


def in_memory(node, text):
    """How often the daemon's memory holds the text."""
    pid, wanted, n = node.process.pid, text.encode(), 0
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            words = line.split()
            if not words[1].startswith("rw") or words[-1] in ("[vvar]", "[vvar_vclock]"):
                continue
            begin, end = (int(x, 16) for x in words[0].split("-"))
            try:
                mem.seek(begin)
                n += mem.read(end - begin).count(wanted)
            except (OSError, ValueError):
                continue
    return n


def main():
    with Lab("login") as lab:
        coord = Node(lab.public("coord")).start()
        url = coord.enable_coordinator()
        alice = Node(lab.public("alice")).start()
        first = coord.key()
        alice.up(url, first)
        key, addrs = identity(alice)

        # Somebody else asks for a login of a member, as the stock daemon would be asked: a new key, a URL to visit.
        expect(local_post(alice, "login-interactive") == 204, "a later login is begun")
        page = login_url(alice)
        expect(page.startswith(url + "/register/"), "it is the coordinator's: " + page)
        expect(local_post(alice, "login-interactive") == 204 and login_url(alice) == page, "asked again: the same URL")
        coord.ctl("coordinator", "nodes", "approve", page.rsplit("/", 1)[1])
        wait_until("alice runs under a new key", SOON_S,
                   lambda: alice.state() == "Running" and identity(alice)[0] != key)
        expect(identity(alice)[1] == addrs, "with her old addresses")

        # The stock command line: one process gives the key, then asks for the login that is done already.
        alice.ctl("logout")
        secret = coord.key()
        prefs = {"WantRunning": True, "ControlURL": url, "Hostname": "alice", "CorpDNS": True, "NetfilterMode": 2}
        expect(local_post(alice, "start", json.dumps({"AuthKey": secret, "UpdatePrefs": prefs})) == 204, "start with a key")
        wait_until("alice has joined", SOON_S, lambda: alice.state() == "Running")
        key = identity(alice)[0]
        expect(local_post(alice, "login-interactive") == 204, "the second request")
        time.sleep(2)  # nothing may come of it
        expect(not alice.status()["AuthURL"] and identity(alice)[0] == key, "and nothing more happens")
        expect(in_memory(alice, url) > 0, "her memory can be looked through")
        for text in (first, secret):
            n = in_memory(alice, text.split("-")[3])
            expect(n == 0, "a key that was used is not in it: %d times" % n)
        expect(local_post(alice, "login-interactive") == 204, "a third one is one of its own")
        expect(login_url(alice).startswith(url + "/register/"), "with its URL")


if __name__ == "__main__":
    main()
