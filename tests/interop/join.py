#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A stock client in our mesh: under our coordinator, over our DERP, through our relay, and as a relay.

    ours  -- nato --.
                    wan -- coord (ours: coordinator, DERP, STUN), relay (ours), stockrelay (stock)
    stock -- nats --'
"""
import time

import stock
from flow import TcpFlow
from lab import Lab, expect, wait_until
from node import Node

PORT = 40000


def on(one, other, rung):
    return one.path(other.name) == rung and other.path(one.name) == rung


def main():
    with Lab("a stock client in our mesh") as lab:
        tools = stock.programs()
        coord, relay = Node(lab.public("coord")).start(), Node(lab.public("relay")).start()
        url = coord.enable_coordinator()
        key = coord.key("--reusable")
        relay.up(url, key)
        nato, nats = lab.nat("nato", "hard"), lab.nat("nats", "hard")
        ours = Node(lab.host("ours", nato)).start()
        ours.up(url, key)
        theirs = stock.Stock(lab.host("stock", nats), tools).start()
        theirs.up(url, key)
        joined = time.monotonic()
        wait_until("ours reaches stock", 5, lambda: ours.host.pings(theirs.addr()), since=joined)
        wait_until("stock reaches ours", 5, lambda: theirs.host.pings(ours.addr()))
        tcp = TcpFlow(ours.host, theirs.host, theirs.addr())
        expect(on(ours, theirs, "derp"), "by our DERP, as there is no relay yet")
        relay.ctl("set", "--relay-server-port=%d" % PORT)
        wait_until("both on our relay", 20, lambda: on(ours, theirs, "peer-relay"))
        relay.ctl("set", "--relay-server-port=")
        wait_until("both back on DERP", 30, lambda: on(ours, theirs, "derp"))

        stock_relay = stock.Stock(lab.public("stockrelay"), tools).start()
        stock_relay.up(url, key)
        stock_relay.ctl("set", "--relay-server-port=%d" % PORT)
        wait_until("both on the stock relay", 40, lambda: on(ours, theirs, "peer-relay"))

        nato.become("easy")
        nats.become("easy")
        wait_until("direct when both NATs are easy", 60, lambda: on(ours, theirs, "direct"))
        since = time.monotonic()
        coord.kill9()
        coord.start()
        wait_until("the stock client comes back to the restarted coordinator", 60,
                   lambda: (coord.peer("stock") or {}).get("Online") and theirs.state() == "Running")
        expect(tcp.silence(since) < 2, "and the direct stream never noticed")
        # Three minutes hold at least one new handshake in each direction's turn.
        time.sleep(150)
        expect(tcp.silence(since) < 2, "rekeys are silent")
        expect(tcp.finish() > 0, "one stream lived through all of it")


if __name__ == "__main__":
    main()
