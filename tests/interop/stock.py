# SPDX-License-Identifier: MIT
"""The stock client (tailscaled and tailscale, programs of a release) as a node of the lab, with the verbs of
node.Node; tests/bench measures it."""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))

from lab import wait_until  # noqa: E402
from node import Node  # noqa: E402


class Stock(Node):
    """Spoken to by its own command line, whose status JSON has the same fields."""

    def __init__(self, host, daemon_and_tool):
        self.host, self.lab, self.name = host, host.lab, host.name
        self.dir = os.path.join(self.lab.dir, self.name)
        self.socket = os.path.join(self.dir, "tailscaled.sock")
        self.log = self.name + ".log"
        self.meshd, self.meshctl = daemon_and_tool
        self.process = None
        # It may rewrite files of /etc (resolver): it gets a copy.
        shutil.copytree("/etc", os.path.join(self.dir, "etc"), symlinks=True, ignore_dangling_symlinks=True)

    def start(self, *flags):
        script = 'mount --make-rprivate / && mount --bind "$0" /etc && exec "$@"'
        self.process = self.host.spawn(
            "unshare", "--mount", "sh", "-c", script, os.path.join(self.dir, "etc"), self.meshd,
            "--no-logs-no-support", "--tun=mesh0", "--port=41641", "--statedir=" + self.dir,
            "--state=" + os.path.join(self.dir, "state"), "--socket=" + self.socket, *flags, log=self.log)
        wait_until("tailscaled on %s answers" % self.name, 15,
                   lambda: self.ctl("status", "--json", check=False, quiet=True).stdout.startswith("{"))
        return self

    def up(self, url=None, key=None, *flags, quiet=False):
        args = ["up", "--hostname=" + self.name, "--accept-dns=false", "--timeout=30s"]
        if url:
            args.append("--login-server=" + url)
        if key:
            args.append("--auth-key=" + key)
        self.ctl(*args, *flags, quiet=quiet)
        return self
