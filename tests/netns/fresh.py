#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Both commands of the README on machines without leftovers: a minimal Debian, nothing of ours.

    one -- wan -- two      quickstart on one, the line it prints on two

one has no systemd; two boots one, so meshd is its service, and a power cut does not end its membership.
"""
import re

from flow import TcpFlow
from lab import Lab, expect, say, wait_until
from machine import Machine, make_root

QUICKSTART = "contrib/quickstart"


def address(machine):
    return machine.run("meshctl", "ip", "-4", quiet=True).stdout.strip()


def identity(machine):
    text = machine.run("meshctl", "status", "--json", quiet=True).stdout
    return re.findall(r'"PublicKey": "(nodekey:[0-9a-f]+)"', text)[0], address(machine)


def refusals(one):
    """Before anything is installed: each of these says why and leaves the machine alone."""
    one.refuses("tcp port 443", "sh", "-c", "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, "
                "LocalPort => 443) or die; open F, q(>), q(/tmp/held); sleep 600' & "
                "until [ -e /tmp/held ] || ! [ -d /proc/$! ]; do sleep 0.1; done; %s --url http://198.51.100.1:443; "
                "code=$?; kill $!; wait; exit $code" % QUICKSTART)
    said = one.refuses("tailscaled runs here", "sh", "-c", "cp /bin/sleep /tmp/tailscaled; /tmp/tailscaled 600 & "
                       "until grep -qx tailscaled /proc/$!/comm; do sleep 0.1; done; %s --lan; "
                       "code=$?; kill $!; wait; exit $code" % QUICKSTART)
    expect("tailscale down" in said, "it says how to move over")
    one.refuses("is not http", QUICKSTART, "--url", "ftp://198.51.100.1")
    one.refuses("out of range", QUICKSTART, "--url", "http://198.51.100.1:70000")
    one.refuses("give only one", QUICKSTART, "--join", "http://198.51.100.1", "--url", "http://198.51.100.1")
    one.refuses("unknown argument", QUICKSTART, "--no-such-flag")


def private(machine):
    """Only a private address and nobody to ask: the choices, and no guess."""
    machine.run("sh", "-c", "apt-get update -qq && apt-get install -y -q --no-install-recommends iproute2")
    said = machine.refuses("has only the private address %s" % machine.host.addr, QUICKSTART)
    expect("--lan" in said and "--url http://PUBLIC:443" in said, "it says how to choose")


def first(one):
    done = one.run(QUICKSTART)
    say(done.stdout)
    expect("will NOT start by itself" in done.stdout, "it says that nothing starts meshd at boot")
    expect("tcp/443 udp/3478 udp/41641" in done.stdout, "it names the ports")
    line = re.search(r"sudo (contrib/quickstart --join http://\S+ --auth-key \S+)", done.stdout)
    expect(line, "it prints the line for the next machine")
    expect(re.search(r"tailscale up --login-server http://\S+ --auth-key \S+", done.stdout), "and the stock client's")
    return line.group(1).split()


def repeat(one, two):
    """Again on both: same node, addresses, key, policy; a stream stays open."""
    before = identity(one), identity(two)
    policy = one.run("meshctl", "coordinator", "policy", "get").stdout
    tcp = TcpFlow(two.host, one.host, before[0][1])
    wait_until("a stream runs", 30, lambda: len(tcp.arrivals) > 20)
    one.run(QUICKSTART)
    two.run(QUICKSTART, "--join", "http://%s:443" % one.host.addr)
    expect((identity(one), identity(two)) == before, "repeated: the same nodes and addresses")
    expect(one.run("meshctl", "coordinator", "policy", "get").stdout == policy, "and the same policy")
    seen = len(tcp.arrivals)
    wait_until("and the stream goes on", 30, lambda: len(tcp.arrivals) > seen + 20)
    say("ok: stream of %d bytes whole" % tcp.finish())
    return before


def firewall(one):
    """A firewall that drops: the exact line is printed, and it works."""
    one.host.nft("table inet guard {\n chain in {\n type filter hook input priority 0; policy drop;\n"
                 " ct state established,related accept\n iif lo accept\n }\n }\n")
    out = one.run(QUICKSTART).stdout
    lines = re.findall(r"sudo (nft insert rule .*)", out)
    expect(len(lines) == 3 and all("inet guard in" in row for row in lines), "the firewall lines: %s" % lines)
    for line in lines:
        one.run(*line.split())
    one.host.nft("delete table inet guard\n")


def second(one, join, two):
    out = two.run(*join).stdout
    say(out)
    expect("udp/41641" in out and "will NOT start" not in out, "the second machine names its port and no caveat")
    unit = two.run("systemctl", "show", "meshd", "-p", "ActiveState,UnitFileState,MainPID,NRestarts").stdout
    expect("ActiveState=active" in unit and "UnitFileState=enabled" in unit, "meshd is a service: %s" % unit.split())
    pid = re.search(r"MainPID=(\d+)", unit).group(1)
    caps = two.run("grep", "-E", "CapEff|CapBnd|NoNewPrivs|Seccomp:", "/proc/%s/status" % pid).stdout
    expect("CapEff:\t0000000000001400" in caps and "NoNewPrivs:\t1" in caps and "Seccomp:\t2" in caps,
           "it holds two capabilities: %s" % caps.split())
    wait_until("two reaches one through the mesh", 30, lambda: two.host.pings(address(one)))


def power_cut(one, two):
    before = identity(two)
    two.power_off()
    expect(not one.host.pings(before[1]), "without power two is not there")
    two.boot()
    wait_until("after its boot two is back by itself", 60, lambda: one.host.pings(before[1]))
    expect(identity(two) == before, "as the same node")


def undo(one, two, before):
    two.run(QUICKSTART, "--uninstall")
    left = two.run("sh", "-c", "ls /usr/local/sbin /usr/local/bin /run/meshd 2>/dev/null | grep -v :; pidof meshd", check=False)
    expect("mesh" not in left.stdout and not re.search(r"\d", left.stdout), "uninstalled: programs and daemon are gone")
    expect("mesh" not in two.run("cat", "/proc/net/dev").stdout, "and so is the interface")
    two.run(QUICKSTART, "--join", "http://%s:443" % one.host.addr)
    expect(identity(two) == before[1], "installed again: the same node")
    two.run(QUICKSTART, "--purge")
    expect("db" not in two.run("sh", "-c", "ls /var/lib/meshd /etc/default/meshd 2>/dev/null", check=False).stdout,
           "purged: state and settings are gone")


def main():
    with Lab("fresh machines") as lab:
        root = make_root(lab)
        one = Machine(lab.public("one"), root)
        refusals(one)
        private(Machine(lab.host("home", lab.nat("router", "carrier")), root))
        join = first(one)
        two = Machine(lab.public("two"), root, systemd=True)
        second(one, join, two)
        one.refuses("is a coordinator itself", QUICKSTART, "--join", "http://198.51.100.9", "--auth-key", "x")
        two.refuses("belongs to the mesh of http://%s:443" % one.host.addr, QUICKSTART)
        before = repeat(one, two)
        power_cut(one, two)
        firewall(one)
        undo(one, two, before)


if __name__ == "__main__":
    main()
