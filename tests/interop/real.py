# SPDX-License-Identifier: MIT
"""A real node (peer/node.go) in a host of the lab, with the verbs of node.Node, and how it is built.

The Go command caches what it compiled, so only the first build of a machine takes minutes. Where Go is
missing or older than peer/go.mod asks, every test that needs a real node is skipped.
"""
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "netns"))

from lab import Failure, skip, wait_until  # noqa: E402
from node import TUN, Node, local_api  # noqa: E402,F401

MODULE = os.path.join(HERE, "peer")
# Where the installation of go.dev puts it; a service's PATH rarely has it.
GO_FOLDERS = "/usr/local/go/bin"
BUILD_S = 1200


def go():
    """The go command, or None."""
    return shutil.which("go") or shutil.which("go", path=GO_FOLDERS)


def go_problem():
    """Why peer/ cannot be built here: no go, or one that is too old. None: it can."""
    if not go():
        return "no Go here to build tests/interop/peer"
    # Reading the main module's go.mod is enough for go to refuse a version newer than itself.
    done = subprocess.run([go(), "list", "-m"], cwd=MODULE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    return "Go: " + done.stderr.strip() if done.returncode else None


def build():
    """Builds peer/ into the build directory; returns the program. Raises Failure when it does not compile."""
    folder = os.path.abspath(os.path.join(os.environ.get("top_builddir", "."), "tests", "interop"))
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "peer")
    # As its own releases do: else the nodes call themselves a development version.
    stamp = " ".join("-X tailscale.com/version.%sStamp=%s" % (kind, version()) for kind in ("long", "short"))
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Written aside and renamed: a test that runs already keeps the old one.
        done = subprocess.run([go(), "build", "-buildvcs=false", "-ldflags", "-s -w " + stamp, "-o", path + ".new", "."],
                              cwd=MODULE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=BUILD_S)
        if done.returncode != 0:
            raise Failure("tests/interop/peer: %s" % done.stdout.strip()[-2000:])
        os.rename(path + ".new", path)
    return path


def version():
    """The version of tailscale.com that go.mod names, without the v."""
    with open(os.path.join(MODULE, "go.mod")) as f:
        return re.search(r"tailscale\.com v([0-9.]+)", f.read()).group(1)


def program():
    """The program of peer/: $PEER when it is given, else a build; the first call of a process sets $PEER."""
    if os.environ.get("PEER"):
        return os.environ["PEER"]
    problem = go_problem()
    if problem:
        skip(problem)
    os.environ["PEER"] = build()
    return os.environ["PEER"]


class Ours(Node):
    """A meshd."""


class Real(Node):
    """Spoken to by the real command line, whose status JSON has the same fields as ours."""

    def __init__(self, host, name=None):
        self.host, self.lab, self.name = host, host.lab, name or host.name
        self.dir = os.path.join(self.lab.dir, self.name)
        self.socket = os.path.join(self.dir, "node.sock")
        self.log = self.name + ".log"
        self.flags = []
        self.process = None
        self.program = program()
        os.makedirs(self.dir, mode=0o700, exist_ok=True)

    def start(self, *flags):
        """Starts the node and waits until it answers. The flags are kept for the next start."""
        if flags:
            self.flags = list(flags)
        # Its logs stay here, and it asks nobody for newer versions.
        env = dict(os.environ, TS_NO_LOGS_NO_SUPPORT="true", HOME=self.dir)
        self.process = self.host.spawn(self.program, "node", "--dir", self.dir, "--socket", self.socket, "--tun", TUN,
                                       *self.flags, log=self.log, env=env)

        def answers():
            if self.process.poll() is not None:
                raise Failure("the real node on %s ended with %d" % (self.name, self.process.returncode))
            return self.ctl("status", "--json", check=False, quiet=True).stdout.startswith("{")
        wait_until("the real node on %s answers" % self.name, 20, answers)
        return self

    def rebinds(self):
        """How often it took its sockets anew because it believed that it could not send, which costs it all paths.
        It notes that a STUN request has left behind the answer's arrival, if that takes no time, as here."""
        with open(os.path.join(self.lab.dir, self.log), errors="replace") as log:
            return log.read().count("last netcheck reported send error. Rebinding")

    def ctl(self, *args, **kw):
        return self.host.run(self.program, "cli", "--socket=" + self.socket, *args, **kw)

    def up(self, url=None, key=None, *flags, quiet=False):
        args = ["up", "--hostname=" + self.name, "--accept-dns=false", "--netfilter-mode=off", "--timeout=30s"]
        if url:
            args.append("--login-server=" + url)
        if key:
            args.append("--auth-key=" + key)
        self.ctl(*args, *flags, quiet=quiet)
        return self


class Infra:
    """The reference control server with its DERP and STUN server on one public host: what Node.enable_coordinator()
    and key() give for ours. It grants everybody everything, relays included, and takes any key."""

    def __init__(self, host):
        self.host, self.program = host, program()

    def start(self):
        region = self._first_line("derp", "--addr", self.host.addr, "--region", "901")
        path = os.path.join(self.host.lab.dir, "derpmap.json")
        with open(path, "w") as f:
            json.dump({"OmitDefaultRegions": True, "Regions": {"901": json.loads(region)}}, f)
        self.url = self._first_line("control", "--addr", self.host.addr + ":80", "--derp-map", path)
        return self

    def _first_line(self, *args):
        """Starts a server and returns what it prints when it listens."""
        out = os.path.join(self.host.lab.dir, args[0] + ".out")
        with open(out, "wb") as f:
            self.host.spawn("sh", "-c", 'exec "$@" >"$0"', out, self.program, *args, log=args[0] + ".log")

        def line():
            with open(out) as f:
                return f.readline()
        found, _ = wait_until("the real %s server listens" % args[0], 10, lambda: line().endswith("\n") and line())
        return found.strip()

    def enable_coordinator(self):
        return self.url

    def key(self, *_):
        return "tskey-auth-any"


def main():
    """real.py --problem: exit 1 with the reason when peer/ cannot be built here; real.py --build: builds it."""
    if sys.argv[1:] == ["--problem"]:
        problem = go_problem()
        if problem:
            print(problem)
        return 1 if problem else 0
    if sys.argv[1:] != ["--build"]:
        print(main.__doc__, file=sys.stderr)
        return 2
    try:
        print(build())
    except Failure as e:
        print(e)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
