# SPDX-License-Identifier: MIT
"""One meshd in a host of the lab. Commands go through meshctl; what is polled is read from the socket itself, as a
process for each look would be most of the load of a busy machine."""
import http.client
import json
import os
import signal
import socket
import subprocess
import time

from lab import Failure, expect, say, skip, wait_until

TUN = "mesh0"
# Exit codes of protocol/cli.md.
USAGE, NO_DAEMON, TIMED_OUT, DENIED, NOT_BUILT = 2, 3, 4, 5, 77
# How long a daemon may take to answer and to end: built with sanitizers, on a machine with other things to do.
START_S = STOP_S = 30


def program(name):
    """The program to test: $MESHD or $MESHCTL, else what the build directory holds."""
    path = os.environ.get(name.upper())
    if path:
        return path
    for folder in ("", "daemon", "cli"):
        path = os.path.join(os.environ.get("top_builddir", "."), folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return os.path.abspath(path)
    skip("%s is not built" % name)


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("local-tailscaled.sock", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def local_api(node, path):
    """The body of GET /localapi/v0/PATH of a node, ours or real; "" when nobody answers. For polling: it starts no
    process."""
    try:
        status, body = _request(node, "GET", path)
        return body if status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""


def local_post(node, path, body=""):
    """The status code of POST /localapi/v0/PATH, as a program asks that is not meshctl."""
    status, text = _request(node, "POST", path, body)
    say("+ [%s] POST %s: %d %s" % (node.name, path, status, text[:200]))
    return status


def _request(node, method, path, body=None):
    connection = _Unix(node.socket)
    try:
        connection.request(method, "/localapi/v0/" + path, body=body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Node:
    """A daemon with its own state directory and socket. 'host' is its namespace; names are equal."""

    def __init__(self, host, name=None):
        self.host, self.lab, self.name = host, host.lab, name or host.name
        self.dir = os.path.join(self.lab.dir, self.name)
        self.socket = os.path.join(self.dir, "meshd.sock")
        self.log = self.name + ".log"
        self.flags = []
        self.process = None
        os.makedirs(self.dir, mode=0o700, exist_ok=True)
        self.meshd, self.meshctl = program("meshd"), program("meshctl")

    def start(self, *flags):
        """Starts meshd and waits until it answers. The flags are kept for the next start."""
        if flags:
            self.flags = list(flags)
        self.process = self.host.spawn(self.meshd, "--state", os.path.join(self.dir, "meshd.db"),
                                       "--socket", self.socket, "--tun", TUN, *self.flags, log=self.log)

        def answers():
            if self.process.poll() is not None:
                raise Failure("meshd on %s ended with %d" % (self.name, self.process.returncode))
            return self.ctl("status", "--json", check=False, quiet=True).stdout.startswith("{")
        wait_until("meshd on %s answers" % self.name, START_S, answers)
        return self

    def stop(self, sig=signal.SIGTERM, deadline_s=STOP_S):
        """Ends meshd and returns its exit code (negative: the signal)."""
        say("+ [%s] kill -%s meshd" % (self.name, sig.name))
        self.process.send_signal(sig)
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure("meshd on %s did not end within %d s" % (self.name, deadline_s)) from None

    def kill9(self):
        return self.stop(signal.SIGKILL)

    def ctl(self, *args, **kw):
        """meshctl with these arguments: the finished process."""
        return self.host.run(self.meshctl, "--socket", self.socket, *args, **kw)

    def refuses(self, code, words, *args, **kw):
        """The command must end with 'code' and say 'words' on stderr."""
        done = self.ctl(*args, check=False, **kw)
        said = done.stderr.strip()
        expect(done.returncode == code and words.lower() in said.lower(),
               "exit %d: %s" % (done.returncode, said[:300] or "(silence)"))
        return done

    def status(self, check=True):
        body = local_api(self, "status")
        if body:
            return json.loads(body)
        if check:
            raise Failure("%s: no status" % self.name)
        return {}

    def state(self):
        return self.status(check=False).get("BackendState")

    def addr(self):
        """The node's IPv4 address in the mesh."""
        return next(a for a in self.status()["TailscaleIPs"] if ":" not in a)

    def peer(self, name):
        """The status object of the peer, or None."""
        for peer in (self.status(check=False).get("Peer") or {}).values():
            if peer["DNSName"].split(".")[0] == name:
                return peer
        return None

    def path(self, name):
        """How this node reaches 'name' now: "direct", "peer-relay", "derp"; None: not at all."""
        peer = self.peer(name)
        if peer is None:
            return None
        if peer["CurAddr"]:
            return "direct"
        return "peer-relay" if peer["PeerRelay"] else "derp"

    # The coordinator's side.

    def enable_coordinator(self, url=None, *flags):
        """Makes this node the coordinator and joins it. Returns the URL."""
        url = url or "http://%s:443" % self.host.addr
        self.ctl("coordinator", "enable", "--url", url, *flags)
        self.url = url
        self.up()
        return url

    def key(self, *flags):
        return self.ctl("coordinator", "keys", "create", *flags).stdout.strip()

    def up(self, url=None, key=None, *flags, quiet=False):
        """Joins under the node's name; comes back when the daemon says it runs."""
        args = ["up", "--hostname", self.name, "--timeout", "40s"]
        if url:
            args += ["--login-server", url]
        if key:
            args += ["--auth-key", key]
        self.ctl(*args, *flags, quiet=quiet)
        self.joined = time.monotonic()
        return self

    def policy(self, text):
        self.ctl("coordinator", "policy", "set", "-", input=text)

    # Memory and CPU of the process.

    def memory_kib(self):
        """(RssAnon, VmRSS) of the daemon in KiB."""
        with open("/proc/%d/status" % self.process.pid) as f:
            lines = dict(line.split(":", 1) for line in f if ":" in line)
        return int(lines["RssAnon"].split()[0]), int(lines["VmRSS"].split()[0])
