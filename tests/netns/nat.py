# SPDX-License-Identifier: MIT
"""The NAT recipes in nftables: w0 is the outside, a1 the inside. RFC 4787 gives the words.

All of them drop what comes unasked to the box itself: otherwise conntrack takes the sender's port as
used and Linux gives the next flow another one, which makes an easy NAT look hard.
nft 1.0.6 wants each closing brace on its own line.
"""

# Only what belongs to a flow from the inside comes in; the 'extra' line opens more.
_FILTER = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    ct state established,related accept
    iifname "w0" meta l4proto udp drop
  }
  chain fw {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "a1" accept
    %(extra)s
  }
}
"""

_LEARN = """
  map eim {
    type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 60s;
  }
  set seen {
    type inet_service . ipv4_addr; flags dynamic,timeout; timeout 60s;
  }
  chain learn {
    type filter hook postrouting priority 50
    oifname "w0" meta l4proto udp update @eim { udp sport : ip saddr . udp sport } update @seen { udp sport . ip daddr }
  }
"""

_POST = """
  chain post {
    type nat hook postrouting priority 100
    %(first)s
    oifname "w0" masquerade
  }
"""


def _masquerade(body="", first="", extra=""):
    return _FILTER % {"extra": extra} + "table ip nat {\n%s%s}\n" % (body, _POST % {"first": first})


def _pre(line):
    return "  chain pre {\n    type nat hook prerouting priority -100\n    %s\n  }\n" % line


_DNATTED = "ct status dnat accept"

RECIPES = {
    # Mapping and filtering of plain Linux: one port for all destinations, only the very address and
    # port that was written to may answer.
    "easy": _masquerade(),
    # The same, as the carrier's level of two.
    "carrier": _masquerade(),
    # A new random port for each destination.
    "hard": _masquerade(first='oifname "w0" meta l4proto udp masquerade to :1024-65535 fully-random'),
    # Full cone: one port for all destinations, and everybody may use it.
    "cone": _masquerade(body=_LEARN + _pre('iifname "w0" meta l4proto udp dnat ip to udp dport map @eim'),
                        extra=_DNATTED),
    # As cone, and the inside may use the outside address too.
    "hairpin": _masquerade(body=_LEARN + _pre('ip daddr @OUTSIDE@ meta l4proto udp dnat ip to udp dport map @eim'),
                           first='iifname "a1" oifname "a1" ct status dnat snat to @OUTSIDE@', extra=_DNATTED),
    # Address filtering: as cone, but only from addresses that were written to.
    "address": _masquerade(body=_LEARN + _pre('iifname "w0" meta l4proto udp udp dport . ip saddr @seen '
                                              'dnat ip to udp dport map @eim'), extra=_DNATTED),
    # Nothing but TCP gets through (and DNS).
    "no-udp": _FILTER.replace("ct state established,related accept\n    iifname \"a1\"",
                              "meta l4proto udp udp dport != 53 drop\n    ct state established,related accept\n"
                              "    iifname \"a1\"") % {"extra": ""}
              + "table ip nat {\n%s}\n" % (_POST % {"first": ""}),
    # Every port of the outside address is the inside host's; from inside that address leads nowhere.
    "one-to-one": """
table ip nat {
  chain pre {
    type nat hook prerouting priority -100
    iifname "w0" dnat to @INSIDE@
  }
  chain post {
    type nat hook postrouting priority 100
    oifname "w0" snat to @OUTSIDE@
  }
}
""",
}


def recipe(kind, outside, inside_host):
    """The whole ruleset of one box; loading it replaces what was there, faults included."""
    text = RECIPES[kind].replace("@OUTSIDE@", outside).replace("@INSIDE@", inside_host)
    return "flush ruleset\n" + text


def fault(name, rules):
    """A table of its own before the filter, so that faults come and go alone."""
    # Adding first makes the deletion succeed when nothing is there.
    clear = "add table inet fault_%s\ndelete table inet fault_%s\n" % (name, name)
    if not rules:
        return clear
    return clear + """table inet fault_%s {
  chain fw {
    type filter hook forward priority -10; policy accept;
    %s
  }
}
""" % (name, rules)
