# SPDX-License-Identifier: MIT
"""Which programs are here to be measured: ours from the build directory, the others from paths that the user names, from
packages, or built from the Go modules of this repository. One that is absent has a reason, which is printed and recorded."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "netns"))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))

import real  # noqa: E402
from lab import Failure  # noqa: E402

KERNEL = "wireguard in the kernel"
WGPEER = os.path.join(HERE, "wgpeer")


class Programs:
    """Paths by name ("tailscaled", "tailscale", "derper", "wireguard-go", "turnserver", ...), or reasons why not."""

    def __init__(self):
        self.paths, self.absent = {}, {}
        self.is_real = False  # tailscaled and derper are the one program of tests/interop/peer
        self.more_wireguard = []

    def have(self, name, path):
        self.paths[name] = os.path.abspath(path)

    def lack(self, name, reason):
        self.absent[name] = reason

    def __contains__(self, name):
        return name in self.paths

    def __getitem__(self, name):
        return self.paths[name]


def is_program(path):
    return bool(path) and os.path.isfile(path) and os.access(path, os.X_OK)


def build_go(folder, out, package="."):
    """Builds a Go module of this repository; returns the reason why not, or None."""
    if not real.go():
        return "no Go here to build %s" % os.path.relpath(folder, HERE)
    done = subprocess.run([real.go(), "build", "-o", out, package], cwd=folder, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        return "%s cannot be built: %s" % (os.path.relpath(folder, HERE), done.stdout.strip()[-300:])
    return None


def build_tailscale(found):
    """The node and the DERP server of tests/interop/peer, which are made of the same packages as the releases."""
    problem = real.go_problem()
    try:
        path = None if problem else real.program()
    except Failure as e:
        problem = str(e)
    for name in ("tailscaled", "derper"):
        if problem:
            found.lack(name, "not named (--tailscaled PATH), and " + problem)
        else:
            found.have(name, path)
    found.is_real = not problem


def find_udprelay(found):
    """tailscale's relay server, which a tailscaled has inside and only its own clients can fill with sessions: from the
    program of tests/interop/peer, whatever tailscaled is named."""
    problem = real.go_problem()
    try:
        path = None if problem else real.program()
    except Failure as e:
        problem = str(e)
    if problem:
        found.lack("udprelay", "tests/interop/peer is not here: " + problem)
    else:
        found.have("udprelay", path)


def find_tailscale(found, named):
    """tailscaled, tailscale and perhaps derper: beside the named program, in $STOCK_DIR, or built."""
    folder = os.environ.get("STOCK_DIR")
    daemon = named or (os.path.join(folder, "tailscaled") if folder else None)
    if not daemon:
        build_tailscale(found)
        return
    folder = os.path.dirname(os.path.abspath(daemon))
    if not is_program(daemon) or not is_program(os.path.join(folder, "tailscale")):
        found.lack("tailscaled", "no programs %s and tailscale beside it" % daemon)
        return
    found.have("tailscaled", daemon)
    found.have("tailscale", os.path.join(folder, "tailscale"))
    if is_program(os.path.join(folder, "derper")):
        found.have("derper", os.path.join(folder, "derper"))
    else:
        found.lack("derper", "not beside %s" % daemon)


def find_wireguard_go(found, named, build_dir):
    """The user's, or the module of tests/bench/wgpeer, which also measures Go's AEAD and handshake."""
    # Not by its folder's name: make dist would take the program for the folder.
    ours = os.path.join(build_dir, "wgpeer-go")
    reason = build_go(WGPEER, ours)
    if reason:
        found.lack("wgpeer", reason)
    else:
        found.have("wgpeer", ours)
    if named and is_program(named):
        found.have("wireguard-go", named)
    elif named:
        found.lack("wireguard-go", "%s is no program" % named)
    elif reason:
        found.lack("wireguard-go", reason)
    else:
        found.have("wireguard-go", ours)


def find_kernel(found):
    """The kernel's own WireGuard, tried in a namespace that ends with the command."""
    done = subprocess.run(["unshare", "-n", "ip", "link", "add", "wg0", "type", "wireguard"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode == 0:
        found.have(KERNEL, "/")
    else:
        found.lack(KERNEL, "this kernel has no module wireguard")


def find_all(options, build_dir):
    found = Programs()
    find_tailscale(found, options.tailscaled)
    find_udprelay(found)
    find_wireguard_go(found, options.wireguard_go, build_dir)
    find_kernel(found)
    if shutil.which("turnserver"):
        found.have("turnserver", shutil.which("turnserver"))
    else:
        found.lack("turnserver", "coturn is not installed")
    for name, _, path in (one.partition("=") for one in options.wireguard):
        if is_program(path):
            found.have(name, path)
        else:
            found.lack(name, "%s is no program" % path)
    found.more_wireguard = [one.partition("=")[0] for one in options.wireguard if one.partition("=")[0] in found]
    return found
