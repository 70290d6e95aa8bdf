# SPDX-License-Identifier: MIT
"""The stock client (tailscaled and tailscale) as a node of the lab, with the verbs of node.Node."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))

from lab import say, skip, wait_until  # noqa: E402
from node import Node  # noqa: E402

MODULE, VERSION = "tailscale.com", "v1.102.5"


def programs(lab):
    """Paths of tailscaled and tailscale: $STOCK_DIR, else built from the Go module."""
    folder = os.environ.get("STOCK_DIR")
    if not folder:
        if not shutil.which("go"):
            skip("no Go here to build the stock client, and $STOCK_DIR is not set")
        folder = os.path.join(lab.dir, "stock")
        say("+ go install %s/cmd/tailscale{,d}@%s" % (MODULE, VERSION))
        done = subprocess.run(["go", "install", *("%s/cmd/%s@%s" % (MODULE, name, VERSION)
                                                  for name in ("tailscaled", "tailscale"))],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=dict(os.environ, GOBIN=folder, GOFLAGS="-mod=mod"))
        if done.returncode != 0:
            skip("the stock client cannot be built: " + done.stdout.strip()[-300:])
    return os.path.join(folder, "tailscaled"), os.path.join(folder, "tailscale")


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
