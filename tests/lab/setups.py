"""How the sender is set up, and how a policy reaches it: Sendmail's own FEATURE(`sts'), or ours in two stages.

A scenario that takes a setup calls setup.start(lab, ...) once, and setup.enforce(lab, domain, ...) for each policy that shall
rule from now on; the same scenario then runs with each of them.
"""

import glob
import os
import shutil
import socket
import threading

import boot
import package
import steps
import wait
from sender import TRUST

MAP = "/var/lib/mtasts/map/policy"
NEVER = 9999999999


class Setup:
    name = ""
    layers = None  # of the sender's root, where it is not the lab's own

    def start(self, lab, mc=(), after=(), submit=(), **tables):
        """Configure and start Sendmail. mc, after, submit: more .mc lines; tables: access={...}, mailertable={...}."""
        for table, entries in tables.items():
            lab.sender.table(table, entries)
        lines, after_lines, submit_lines = self.prepare(lab)
        lab.sender.configure(list(lines) + list(mc), list(after_lines) + list(after), list(submit_lines) + list(submit))
        lab.sender.start()

    def prepare(self, lab):
        """Put in place what Sendmail will look at; returns (mc, after, submit) lines."""
        raise NotImplementedError

    def enforce(self, lab, *domains, patterns=None):
        """From now on these domains (of lab.domain) have an enforce policy that lists patterns, or their own."""
        raise NotImplementedError

    def close(self):
        """After the scenario, when all its processes have ended."""


class Plain(Setup):
    """No MTA-STS at all."""
    name = "plain"

    def prepare(self, lab):
        return TRUST, [], []

    def enforce(self, lab, *domains, patterns=None):
        raise AssertionError("a plain Sendmail enforces nothing")


class Stock(Setup):
    """FEATURE(`sts') as shipped, over a hash map made by makemap."""
    name = "stock"

    def __init__(self):
        self.entries = {}

    def prepare(self, lab):
        lab.sender.makemap("/etc/mail/sts", self.entries)
        return TRUST + ["FEATURE(`sts', `hash -T<TMPF> /etc/mail/sts')dnl"], [], []

    def enforce(self, lab, *domains, patterns=None):
        for domain in domains:
            match = ":".join(p[1:] if p.startswith("*.") else p for p in patterns or domain.patterns)
            self.entries[domain.name] = "secure match=%s servername=hostname" % match
            lab.forbid_bad(domain)
        lab.sender.makemap("/etc/mail/sts", self.entries)


class Mapped(Setup):
    """FEATURE(`mtasts') from the source tree, its map made by makemap; the live lookup knows no policy of any domain."""
    name = "mapped"

    def __init__(self, tree=None):
        self.tree = tree or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
        self.entries = {":ready:": "yes", ":alive:": str(NEVER)}

    def prepare(self, lab):
        machine = lab.sender_machine
        with open(os.path.join(self.tree, "sendmail/feature/mtasts.m4")) as f:
            machine.put("/usr/share/sendmail/cf/feature/mtasts.m4", f.read())
        os.makedirs(machine.file("/run/mtasts"), exist_ok=True)
        os.makedirs(machine.file(os.path.dirname(MAP)), mode=0o750, exist_ok=True)
        self.lookup = SocketMap(machine.file("/run/mtasts/socketmap.sock"))
        self._push(lab)
        return ["FEATURE(`mtasts', `milter=none')dnl"], [], ["FEATURE(`mtasts', `msp')dnl"]

    def _push(self, lab):
        lab.sender.makemap(MAP, self.entries)
        os.chmod(lab.sender_machine.file(MAP + ".db"), 0o640)

    def enforce(self, lab, *domains, patterns=None):
        for domain in domains:
            self.entries[domain.name] = "enforce %d" % NEVER
            for pattern in patterns or domain.patterns:
                self.entries["%s:%s" % (domain.name, pattern.lower().removeprefix("*"))] = "mx"
            lab.forbid_bad(domain)
        self._push(lab)


class Ours(Setup):
    """The whole of ours: programs from make install, FEATURE(`mtasts'), policies found by discovery."""
    name = "ours"
    # set before start():
    settings = ""  # more lines of mtasts.conf
    feature, milter_socket = "FEATURE(`mtasts')dnl", "/run/mtasts/milter.sock"
    prefix = []  # a command that starts the programs

    def prepare(self, lab):
        tree = os.environ.get("MTASTS_LAB_TREE")
        if not tree:
            raise AssertionError("no installed tree: use tests/lab/run --build DIR or --deb FILE")
        lab.install(tree, is_build=False)
        lab.ours.prefix = self.prefix
        lab.ours.mtastsd(self.settings)
        lab.ours.mtasts_milter(socket=self.milter_socket)
        return [self.feature], [], ["FEATURE(`mtasts', `msp')dnl"]

    def enforce(self, lab, *domains, patterns=None):
        for domain in domains:
            lab.policy(domain, mx=patterns)
        steps.in_parallel(lambda name: lab.ours.ctl("refresh", name, check=False), [domain.name for domain in domains])
        for domain in domains:
            lab.ours.wait_verdict(domain.name, "enforce")
            lab.forbid_bad(domain)


class Package(Setup):
    """A machine with Sendmail as Debian installs it, which has our package at hand and not installed. The scenario does the rest."""
    name = "package"

    def __init__(self):
        self.layers, self.cgroup = package.layers("fresh"), boot.Cgroup()

    def close(self):
        self.cgroup.remove()

    def bring(self, machine):
        """Put the package and the one of the next version on the machine; returns both paths there."""
        first = os.environ["MTASTS_LAB_TREE"]
        for path in (first, *glob.glob(os.path.dirname(first) + "/next/*.deb")):
            shutil.copy(path, machine.file("/var/tmp"))
        return sorted(("/var/tmp/" + name for name in os.listdir(machine.file("/var/tmp")) if name.endswith(".deb")), key=len)

    def boot(self, machine):
        """Start it by systemd, or, where that cannot run, as a host of sysv-rc. Returns how."""
        try:
            boot.systemd(machine, self.cgroup)
            machine.run(["systemctl", "start", "sendmail"])
            return "systemd"
        except OSError as error:
            self.sysv(machine)
            return "sysv-rc's scripts (no systemd here: %s)" % error

    @staticmethod
    def sysv(machine):
        """As sysv-rc's init would: it is in runlevel 2, and Sendmail's script has started Sendmail."""
        os.remove(machine.file("/sbin/runlevel"))
        machine.put("/sbin/runlevel", "#!/bin/sh\necho N 2\n", 0o755)
        machine.run(["service", "sendmail", "start"])


class SocketMap:
    """A live lookup for tests of the rules: answers from a dict, "OK none" for all others; notes every request."""

    def __init__(self, path):
        self.answers, self.requests, self.default = {}, [], "OK none"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(64)
        os.chmod(path, 0o666)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client = self._socket.accept()[0]
            threading.Thread(target=self._serve, args=(client.makefile("rwb"),), daemon=True).start()

    def _serve(self, stream):
        while True:
            length = b""
            while not length.endswith(b":"):
                byte = stream.read(1)
                if not byte:
                    return
                length += byte
            text = stream.read(int(length[:-1]) + 1)[:-1].decode()
            self.requests.append(text)
            key = text.split(" ", 1)[1].split(",")[0].removeprefix(":hop:")
            answer = self.answers.get(key, "OK noted" if key.startswith(":failed:") else self.default).encode()
            stream.write(b"%d:%s," % (len(answer), answer))
            stream.flush()

    def wait_request(self, text, seconds=10):
        return wait.until("live lookup %s" % text, lambda: text in self.requests, seconds)


SETUPS = {setup.name: setup for setup in (Plain, Stock, Mapped, Ours, Package)}
