# SPDX-License-Identifier: MIT
"""A whole fresh machine for tests of installation: a Debian root in a host of the lab.

The root comes from debootstrap and the mirror that this machine's own apt uses; machines share it
as the lower layer of an overlay. Each has its own processes, mounts and network. Packages come through
a small forwarder in the lab's process, as the lab's network leads nowhere.
"""
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

from lab import Failure, die_with_parent, expect, say, skip, wait_until

PROXY_PORT = 3142


def mirror():
    """(URI, release, components) of the archive that MESHD_ARCHIVE names, e.g. "http://archive.example/debian trixie
    main", else of the Debian or Ubuntu archive that apt is configured with."""
    if "MESHD_ARCHIVE" in os.environ:
        uri, release, components = os.environ["MESHD_ARCHIVE"].split()
        return uri, release, components
    if not shutil.which("apt-get") or not shutil.which("debootstrap"):
        skip("no apt or no debootstrap here")
    text = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(ORIGIN)",
                           "Created-By: Packages", "Component: main"], stdout=subprocess.PIPE, text=True).stdout
    for line in text.splitlines():
        uri, release, origin = (line + " ").split(" ")[:3]
        if origin in ("Debian", "Ubuntu") and "-" not in release:
            return uri, release, "main,universe" if origin == "Ubuntu" else "main"
    skip("apt has no archive configured")


def make_root(lab):
    """The tree that all machines of the lab share; read-only from then on."""
    uri, release, components = mirror()
    root = os.path.join(lab.dir, "root")
    say("+ debootstrap --variant=minbase %s" % release)
    done = subprocess.run(["debootstrap", "--variant=minbase", "--components=" + components, "--include=systemd-sysv,dbus",
                           release, root, uri], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200)
    if done.returncode != 0:
        skip("debootstrap failed: " + done.stdout.strip().splitlines()[-1])
    for name in ("resolv.conf", "hosts"):
        shutil.copy("/etc/" + name, os.path.join(root, "etc", name))
    with open(os.path.join(root, "etc/apt/apt.conf.d/00lab"), "w") as f:
        f.write('Acquire::http::Proxy "http://127.0.0.1:%d";\nAcquire::Languages "none";\n' % PROXY_PORT)
    return root


class Forwarder:
    """An HTTP proxy inside a host that connects from outside the lab. One thread a connection."""

    def __init__(self, host):
        self.listener = host.socket(kind=socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", PROXY_PORT))
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client):
        """All requests of a connection go to the place that the first one names: apt keeps them apart."""
        with client:
            first = client.recv(65536)
            try:
                method, target = first.split(None, 2)[:2]
                url = urllib.parse.urlsplit(target.decode() if method != b"CONNECT" else "//" + target.decode())
                server = socket.create_connection((url.hostname, url.port or 80), timeout=30)
            except (OSError, ValueError):
                client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            with server:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    server.sendall(first)
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()

    def close(self):
        self.listener.close()


def _copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


# Both run in a mount namespace of their own, so every mount vanishes with them.
OVERLAY = """set -e
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=%(low)s,upperdir=%(base)s/upper,workdir=%(base)s/work %(root)s
"""
PLAIN = OVERLAY + """
mount -t proc proc %(root)s/proc
mount -t sysfs sysfs %(root)s/sys
mount -t tmpfs tmpfs %(root)s/run
mount --rbind /dev %(root)s/dev
exec chroot %(root)s sleep infinity
"""
SYSTEMD = OVERLAY + """
exec systemd-nspawn --quiet --boot --register=no --keep-unit --directory=%(root)s \\
    --network-namespace-path=/run/netns/%(ns)s --capability=CAP_NET_ADMIN --bind=/dev/net/tun
"""


def _child(pid):
    with open("/proc/%s/task/%s/children" % (pid, pid)) as f:
        pids = f.read().split()
    return pids[0] if pids else None


class Machine:
    """A machine called 'name' on 'host', with a clone of the source in /src. With 'systemd' it boots."""

    def __init__(self, host, root, systemd=False):
        self.host, self.lab, self.name, self.systemd, self.low = host, host.lab, host.name, systemd, root
        self.base = os.path.join(self.lab.dir, "machine-" + self.name)
        self.root = os.path.join(self.base, "root")
        for folder in ("upper", "work", "root"):
            os.makedirs(os.path.join(self.base, folder))
        self._clone(os.path.join(self.base, "upper", "src"))
        os.makedirs(os.path.join(self.base, "upper", "etc"))
        with open(os.path.join(self.base, "upper", "etc", "hostname"), "w") as f:
            f.write(self.name + "\n")
        self.forwarder = Forwarder(host)
        self.boot()
        self.lab.cleanups.append(self.close)

    def boot(self):
        """Starts the machine; its disk is what it was."""
        names = {"low": self.low, "base": self.base, "root": self.root, "ns": self.host.ns}
        script = (SYSTEMD if self.systemd else PLAIN) % names
        unshare = ["unshare", "--mount"] if self.systemd else \
            ["ip", "netns", "exec", self.host.ns, "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
        with open(os.path.join(self.lab.dir, "machine-%s.log" % self.name), "ab") as log:
            self.init = subprocess.Popen([*unshare, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log,
                                         stderr=log, preexec_fn=die_with_parent)
        wait_until("machine %s is up" % self.name, 180, self._is_up)
        if not self.systemd:
            self.run("hostname", self.name, quiet=True)

    def _is_up(self):
        if self.init.poll() is not None:
            raise Failure("machine %s does not start" % self.name)
        self.pid = _child(self.init.pid)
        # Not before it has its own processes and mounts: commands must never reach this machine's.
        if not self.pid or any(os.readlink("/proc/%s/ns/%s" % (self.pid, kind)) == os.readlink("/proc/self/ns/" + kind)
                               for kind in ("pid", "mnt")):
            return False
        if not self.systemd:
            return os.readlink("/proc/%s/root" % self.pid) == self.root
        state = self.run("systemctl", "is-system-running", check=False, quiet=True).stdout.strip()
        return state in ("running", "degraded")

    def power_off(self):
        """Ends it without warning anybody, as a power cut does."""
        say("# %s loses power" % self.name)
        os.kill(int(self.pid), signal.SIGKILL)
        self.init.wait()

    def _clone(self, to):
        top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
        files = subprocess.run(["git", "-C", top, "ls-files", "-z"], stdout=subprocess.PIPE)
        if files.returncode != 0:
            skip("not a git checkout")
        os.makedirs(to)
        tar = subprocess.Popen(["tar", "-C", top, "--null", "-cf", "-", "-T", "-"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
        unpack = subprocess.Popen(["tar", "-C", to, "-xf", "-"], stdin=tar.stdout)
        tar.stdin.write(files.stdout)
        tar.stdin.close()
        if tar.wait() or unpack.wait():
            raise Failure("the source could not be copied")

    def run(self, *argv, check=True, quiet=False, timeout=1800, **kw):
        """Runs a command in the machine, in /src."""
        if not quiet:
            say("+ [%s] %s" % (self.name, " ".join(argv)))
        done = subprocess.run(["nsenter", "-t", self.pid, "--mount", "--pid", "--uts", "--net",
                               *([] if self.systemd else ["chroot", self.root]), "sh", "-c",
                               'cd /src && exec "$@"', "sh", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=timeout,
                              env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                   "HOME": "/root", "LANG": "C.UTF-8"}, **kw)
        if check and done.returncode != 0:
            raise Failure("[%s] %s: exit %d:\n%s" % (self.name, " ".join(argv), done.returncode,
                                                     (done.stdout + done.stderr)[-3000:]))
        return done

    def refuses(self, words, *argv):
        """The command must fail, say 'words' and change nothing; returns what it said."""
        before, latest = None, self.fingerprint()
        while latest != before:  # a process that the machine runs for itself for a moment
            time.sleep(1)
            before, latest = latest, self.fingerprint()
        done = self.run(*argv, check=False)
        said = done.stderr.strip()
        expect(done.returncode != 0 and words in said, "refused: " + said)
        wait_until("and nothing changed", 60, lambda: self.fingerprint() == before, 1)
        return said

    def fingerprint(self):
        """What a refused command must leave alone: installed files, state, processes, network."""
        return self.run("sh", "-c", "find /usr/local /etc /var/lib/meshd /lib/systemd -newer /proc/1 -type f 2>/dev/null"
                        " | sort | xargs -r sha256sum; cat /proc/[0-9]*/comm | sort | grep -v -e sh -e cat -e sort "
                        "-e grep; cat /proc/net/route; dpkg-query -W | sha256sum", quiet=True).stdout

    def close(self):
        self.forwarder.close()
        self.init.kill()
        self.init.wait()
