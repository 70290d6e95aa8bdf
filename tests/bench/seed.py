# SPDX-License-Identifier: MIT
"""A coordinator with many members that are never online: copies of its first node's row, each with keys, addresses and a
name of its own, put into its database while it is stopped."""
import json
import os
import sqlite3

# Addresses and ids far from those that the coordinator gives out next.
FIRST_ID, V4, V6 = 1000000, "100.%d.%d.%d", "fd7a:115c:a1e0::%x:%x"


def row(template, number):
    """The row of member 'number'."""
    node = json.loads(template)
    low, high = number & 0xffff, number >> 16
    for field, prefix in (("Key", "nodekey:"), ("Machine", "mkey:"), ("Disco", "discokey:")):
        node[field] = prefix + os.urandom(32).hex()
    node.update(ID=FIRST_ID + number, Name="seed-%d" % number, Own=False,
                IPv4=V4 % (96 + high, low >> 8, low & 0xff), IPv6=V6 % (0xbe00 + high, low))
    return node


def fill(coord, n_members):
    """Stops the coordinator (a Node), adds the members, starts it again."""
    coord.stop()
    path = os.path.join(coord.dir, "coord.db")
    db = sqlite3.connect(path)
    template, = db.execute("SELECT data FROM nodes ORDER BY id LIMIT 1").fetchone()
    with db:
        for number in range(n_members):
            node = row(template, number)
            db.execute("INSERT INTO nodes (id, data, name, node_key, ipv4, ipv6, user_id) VALUES (?, ?, ?, ?, ?, ?, ?)", (
                node["ID"], json.dumps(node), node["Name"], node["Key"], node["IPv4"], node["IPv6"], node["User"]))
    db.close()
    coord.start()
