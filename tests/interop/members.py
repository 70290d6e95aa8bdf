#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real nodes are members of our coordinator: keys, names, expiry, logout, deltas, and the grant of a relay.

    ada  -- nata (hard) --.
                          wan -- coord (ours: coordinator, DERP, STUN), relay (ours)
    bert -- natb (hard) --'            ada, bert, guest: real
"""
import json
import time

import real
from flow import TcpFlow
from lab import Lab, expect, never, wait_until
from node import Node

PORT = 40000
# A change is on its way at once; the real command line takes a while to start on a busy machine.
SOON_S = 3
# As long as a real node may take to find a relay, or to give up a dead one; see mixes.py.
SETTLE_S = 75

TALK = """{
  "tagOwners": {"tag:relay": ["admin@"]},
  "grants": [
    {"src": ["*"], "dst": ["*"], "ip": ["*"]},
  ],
}
"""
RELAY = TALK.replace('"ip": ["*"]},', '"ip": ["*"]},\n    {"src": ["*"], "dst": ["tag:relay"], "app": {"tailscale.com/cap/relay": []}},')
SILENT = TALK.replace('{"src": ["*"], "dst": ["*"], "ip": ["*"]},', "")


def soon(what, probe):
    wait_until(what, SOON_S, probe)


def listed(coord, name):
    """The coordinator's row of a node, or None."""
    rows = json.loads(coord.ctl("coordinator", "nodes", "--json", quiet=True).stdout)["Nodes"]
    return next((n for n in rows if n["Name"] == name), None)


def keys(coord, ada, guest, url):
    """What a real node is told of a key that does not let it in."""
    used = coord.key()
    ada.up(url, used)
    revoked = coord.key()
    coord.ctl("coordinator", "keys", "revoke", coord.ctl("coordinator", "keys", "list").stdout.splitlines()[-1].split()[0])
    for words, key in (("already used", used), ("revoked", revoked), ("auth key", used[:-4] + "0000"), ("auth key", "nonsense")):
        done = guest.ctl("up", "--login-server=" + url, "--auth-key=" + key, "--accept-dns=false", "--netfilter-mode=off",
                         "--hostname=guest", "--timeout=8s", check=False)
        said = (done.stderr + " ".join(guest.status(check=False).get("Health") or [])).lower()
        expect(done.returncode != 0 and guest.state() != "Running", "a key that is no good: %s" % words)
        expect(words in said, "and it is told why: " + said.strip().replace("\n", " ")[:200])
        guest.ctl("logout", check=False)
        # It tries the refused key once more even after this, and the next command would be told of that one.
        guest.stop()
        guest.start()


def members(coord, ada, bert):
    """Every verb of `nodes`, as real nodes see it."""
    wait_until("ada and bert see each other", 10, lambda: ada.peer("bert") and bert.peer("ada"))
    wait_until("and reach each other", 10, lambda: ada.host.pings(bert.addr()))
    coord.ctl("coordinator", "nodes", "rename", "bert", "bertha")
    soon("ada knows bert's new name", lambda: ada.peer("bertha") and not ada.peer("bert"))
    soon("and he does", lambda: bert.status()["Self"]["DNSName"].startswith("bertha."))
    coord.ctl("coordinator", "nodes", "rename", "bertha", "bert")
    soon("and back", lambda: ada.peer("bert"))
    bert.process.terminate()
    bert.process.wait(20)
    wait_until("ada sees bert go offline", 20, lambda: not ada.peer("bert")["Online"])
    bert.start()
    wait_until("and come back", 20, lambda: ada.peer("bert")["Online"])


def expiry(coord, ada, bert, url):
    before, address = bert.status()["Self"]["PublicKey"], bert.addr()
    coord.ctl("coordinator", "nodes", "expire", "bert")
    soon("bert has to log in again", lambda: bert.state() == "NeedsLogin")
    soon("ada sees his key expired", lambda: (ada.peer("bert") or {}).get("Expired"))
    bert.up(url, coord.key(), "--force-reauth")
    expect(bert.addr() == address and bert.status()["Self"]["PublicKey"] != before, "a new key, the old address")
    wait_until("ada reaches him again", 10, lambda: ada.host.pings(address))


def ephemeral(coord, ada, guest, url):
    guest.up(url, coord.key("--ephemeral"))
    soon("ada sees the guest", lambda: ada.peer("guest"))
    guest.ctl("logout")
    soon("who logs out and is gone", lambda: not ada.peer("guest"))
    expect(listed(coord, "guest") is None, "for the coordinator too")


def logout(coord, ada, bert, url):
    address = bert.addr()
    bert.ctl("logout")
    soon("bert is logged out", lambda: bert.state() == "NeedsLogin")
    soon("the coordinator knows", lambda: listed(coord, "bert")["Expired"])
    bert.up(url, coord.key())
    expect(bert.addr() == address, "his machine gets its old address again")
    wait_until("ada reaches him", 10, lambda: ada.host.pings(address))


def policies(coord, ada, bert):
    coord.policy(SILENT)
    soon("ada and bert lose each other", lambda: not ada.peer("bert") and not bert.peer("ada"))
    coord.policy(TALK)
    soon("and have each other again", lambda: ada.peer("bert") and bert.peer("ada"))
    wait_until("and talk", 10, lambda: ada.host.pings(bert.addr()))


def grant(coord, relay, ada, bert):
    """The relay serves them when the policy says so, and not when it does not."""
    tcp = TcpFlow(ada.host, bert.host, bert.addr())
    relay.ctl("set", "--relay-server-port=%d" % PORT)

    def sessions():
        text = relay.ctl("debug", "peer-relay-sessions", quiet=True).stdout
        return int(next(row.split(":")[1] for row in text.splitlines() if row.startswith("Sessions count")))

    def servers(node):
        return relay.addr() in node.ctl("debug", "peer-relay-servers", quiet=True).stdout

    def rung():
        return ada.path("bert"), bert.path("ada")
    never("without the grant anybody leaves DERP", 12, lambda: rung() != ("derp", "derp"))
    expect(not servers(ada) and sessions() == 0, "and knows of a relay, or has a session there")
    coord.policy(RELAY)
    soon("with the grant they know of the relay", lambda: servers(ada) and servers(bert))
    wait_until("and use it", SETTLE_S, lambda: rung() == ("peer-relay", "peer-relay"))
    expect(sessions() == 1, "one session")
    coord.policy(TALK)
    soon("the grant is gone, and the relay with it", lambda: not servers(ada) and not servers(bert))
    # As with a real coordinator and relay, a session that is there serves until it breaks (coordinator 10.1).
    relay.kill9()
    relay.start()
    wait_until("when it breaks they are on DERP", SETTLE_S, lambda: rung() == ("derp", "derp"))
    since = time.monotonic()
    never("they come back to it", 12, lambda: sessions() > 0 or "peer-relay" in rung())
    expect(tcp.silence(since) < 10, "the stream goes on")
    coord.policy(RELAY)
    wait_until("granted again, used again", SETTLE_S, lambda: rung() == ("peer-relay", "peer-relay"))
    expect(tcp.finish() > 0, "one stream lived through all of it")


def main():
    real.program()
    with Lab("real nodes under our coordinator") as lab:
        coord, relay = Node(lab.public("coord")).start(), Node(lab.public("relay")).start()
        url = coord.enable_coordinator()
        coord.policy(TALK)
        relay.up(url, coord.key("--tags", "tag:relay"))
        ada, bert = (real.Real(lab.host(name, lab.nat("nat" + name[0], "hard"))).start() for name in ("ada", "bert"))
        guest = real.Real(lab.public("guest")).start()
        keys(coord, ada, guest, url)
        bert.up(url, coord.key())
        members(coord, ada, bert)
        expiry(coord, ada, bert, url)
        ephemeral(coord, ada, guest, url)
        logout(coord, ada, bert, url)
        policies(coord, ada, bert)
        grant(coord, relay, ada, bert)
        coord.ctl("coordinator", "nodes", "delete", "bert")
        soon("a deleted node is gone", lambda: not ada.peer("bert"))


if __name__ == "__main__":
    main()
