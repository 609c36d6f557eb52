"""One instance of the lab's machines: a sender and a world, each an overlay over a cached root, each with a network.

Called inside isolate.run(): the current network namespace is the sender's; the world's is reached through a file.
Everything that an instance writes is on one tmpfs, mounted where every instance has it (in a mount namespace of
its own), so that paths are the same everywhere and several instances run at once.

    sender 10.98.0.1 --- veth --- 10.98.0.2 world: every address of 10.99.0.0/16 is local there
"""

import ctypes
import os
import subprocess
import threading

import isolate
import roots

SENDER, GATEWAY, WORLD_NET = "10.98.0.1", "10.98.0.2", "10.99.0.0/16"
DNS_ADDRESS, RESOLVER_ADDRESS, WEB_ADDRESS = "10.99.0.53", "10.99.0.54", "10.99.2.1"
NOBODY_ADDRESS, SILENT_ADDRESS = "10.99.2.9", "10.99.3.1"  # refuses every connection; drops every packet
MS_BIND = 0x1000
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "HOME": "/root"}


class Machine:
    """A root directory and the network namespace that its processes live in."""

    def __init__(self, instance, name, netns=None, layers=None):
        """layers: its lower directories; those of the root of this name by default."""
        self.name, self.path, self.netns = name, os.path.join(instance, name), netns
        self.enter = []  # the command that enters it once it has booted (boot.py)
        upper, work = (os.path.join(instance, name + suffix) for suffix in (".upper", ".work"))
        for directory in (self.path, upper, work):
            os.mkdir(directory)
        isolate.mount("overlay", self.path, "overlay", "lowerdir=%s,upperdir=%s,workdir=%s" % (":".join(layers or roots.layers(name)), upper, work))
        isolate.mount("proc", self.file("/proc"), "proc")
        self._devices()
        os.makedirs(self.file("/lab"), exist_ok=True)

    def _devices(self):
        isolate.mount("tmpfs", self.file("/dev"), "tmpfs", "mode=755")
        for node in ("null", "zero", "full", "random", "urandom"):
            open(self.file("/dev/" + node), "w").close()
            isolate.mount("/dev/" + node, self.file("/dev/" + node), "none", flags=MS_BIND)
        os.mkdir(self.file("/dev/shm"), 0o1777)
        os.symlink("/proc/self/fd", self.file("/dev/fd"))

    def file(self, name):
        """The path, seen from the test, of a file of this machine."""
        return self.path + name

    def put(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.file(name)), exist_ok=True)
        with open(self.file(name), "w") as f:
            f.write(text)
        os.chmod(self.file(name), mode)

    def read(self, name):
        with open(self.file(name), errors="replace") as f:
            return f.read()

    def listens(self, address, port):
        """True when a TCP socket of this machine's network listens on address:port (IPv4)."""
        wanted = "%s:%04X 00000000:0000 0A" % (
            "".join("%02X" % int(part) for part in reversed(address.split("."))), port)
        return wanted in self.run(["cat", "/proc/net/tcp"]).stdout

    def _command(self, args, user=None):
        enter = self.enter or (["nsenter", "--net=" + self.netns] if self.netns else [])
        return enter + ["chroot"] + (["--userspec=" + user] if user else []) + ["/" if self.enter else self.path] + args

    def popen(self, args, user=None, env=None, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self._command(args, user), env={**ENVIRONMENT, **(env or {})}, **options)

    def run(self, args, user=None, env=None, check=True, stdin=None, timeout=60):
        """Run to the end; returns CompletedProcess with text output; an unwanted failure raises with the output in it."""
        done = subprocess.run(self._command(args, user), env={**ENVIRONMENT, **(env or {})}, text=True, errors="replace",
                              input=stdin if stdin is not None else "", capture_output=True, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError("%s: %s: exit %d\n%s%s" % (self.name, " ".join(args), done.returncode, done.stdout, done.stderr))
        return done


def _instance():
    """Mount a tmpfs for all that an instance writes."""
    instance = os.path.join(roots.CACHE, "instance")
    isolate.mount("tmpfs", instance, "tmpfs", "mode=755")
    return instance


def build_machine(*directories, layers=None):
    """The machine that builds for the sender's suite; these directories of the host are the same there."""
    machine = Machine(_instance(), "build", layers=layers)
    for directory in directories:
        os.makedirs(machine.file(directory), exist_ok=True)
        isolate.mount(directory, machine.file(directory), "none", flags=MS_BIND)
    return machine


def make_instance(layers=None):
    """Make an instance and the world's network, join both; returns (sender, world). layers: other ones for the sender."""
    instance = _instance()
    netns = os.path.join(instance, "world.net")
    open(netns, "w").close()
    _in_new_network(lambda: isolate.mount("/proc/self/ns/net", netns, "none", flags=MS_BIND))
    libc_sethostname(b"mail.sender.test")
    _ip("", "link set lo up\n"
            "link add wan type veth peer name lan\n"
            "addr add %s/30 dev wan\nlink set wan up\n" % SENDER)
    with open(netns) as f:
        subprocess.run(["ip", "link", "set", "lan", "netns", "/proc/self/fd/%d" % f.fileno()], check=True, pass_fds=[f.fileno()])
    _ip(netns, "link set lo up\naddr add %s/30 dev lan\nlink set lan up\naddr add %s/32 dev lo\naddr add %s/32 dev lo\nroute add local %s dev lo\n"
        "route add blackhole %s table local\n" % (GATEWAY, DNS_ADDRESS, RESOLVER_ADDRESS, WORLD_NET, SILENT_ADDRESS))  # named serves only addresses that an interface carries
    _ip("", "route add %s via %s\n" % (WORLD_NET, GATEWAY))
    return Machine(instance, "sender", layers=layers), Machine(instance, "world", netns)


def _in_new_network(fn):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            isolate.libc.unshare(isolate.CLONE_NEWNET)
            fn()
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the world's network namespace could not be made")


def _ip(netns, batch):
    enter = ["nsenter", "--net=" + netns] if netns else []
    subprocess.run(enter + ["ip", "-batch", "-"], input=batch, text=True, check=True)


def libc_sethostname(name):
    if isolate.libc.sethostname(ctypes.c_char_p(name), len(name)) != 0:
        raise OSError(ctypes.get_errno(), "sethostname")


def thread_in(machine, target):
    """Start a daemon thread whose sockets belong to the machine's network."""
    def body():
        if machine.netns:
            isolate.setns(machine.netns, isolate.CLONE_NEWNET)
        target()
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread
