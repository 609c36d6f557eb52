"""Namespaces of our own: mounts, network, processes and host name die with the process that asked for them.

run(fn) calls fn() in a child that has a private mount, network, PID, IPC and UTS namespace. Nothing has to be cleaned
up afterwards: when fn() returns, raises, or any process of the chain is killed, the kernel ends every process
of the PID namespace, and the mounts and interfaces go with the last of them.
"""

import ctypes
import errno
import os
import shutil
import signal
import sys
import traceback

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
EX_UNAVAILABLE, EX_SOFTWARE, EX_NOPERM = 69, 70, 77  # sysexits.h

os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"  # root by su may lack them
libc = ctypes.CDLL(None, use_errno=True)


class Lacking(Exception):
    """This machine cannot run the lab; the text says what is missing and what to do."""

    def __init__(self, text, status=EX_UNAVAILABLE):
        super().__init__(text)
        self.status = status


def _call(what, result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def unshare(flags):
    _call("unshare", libc.unshare(flags))


def setns(path, flag):
    """Move the calling thread (only) into the namespace at path."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns " + path, libc.setns(fd, flag))
    finally:
        os.close(fd)


def mount(source, target, kind, options="", flags=0):
    _call("mount %s" % target,
          libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()))


def _private_mounts():
    """Let no mount of ours reach the host. In a chroot, whose / is no mount point, that is said from the real root."""
    try:
        mount("none", "/", "none", flags=MS_REC | MS_PRIVATE)
        return
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    inner = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.chdir("/")
    os.chroot("/proc")  # with the working directory outside of the root, .. leads on, up to the real one
    for _ in range(256):
        os.chdir("..")
    os.chroot(".")
    mount("none", "/", "none", flags=MS_REC | MS_PRIVATE)
    os.fchdir(inner)
    os.chroot(".")
    os.close(inner)


def check_machine():
    """Raise Lacking unless this machine can run the lab."""
    if sys.version_info < (3, 9):
        raise Lacking("the lab needs Python 3.9 or later")
    if os.geteuid() != 0:
        raise Lacking("the lab must be run as root (in a container or virtual machine of its own, if you like)", EX_NOPERM)
    missing = [tool for tool in ("ip", "nsenter", "chroot", "mount") if shutil.which(tool) is None]
    if missing:
        raise Lacking("not found: %s; install the Debian packages iproute2, util-linux, mount and coreutils"
                      % ", ".join(missing))
    if not os.path.exists("/proc/filesystems") or not os.path.exists("/dev/null"):
        raise Lacking("/proc is not mounted, or /dev is empty")
    with open("/proc/filesystems") as f:
        if "\toverlay\n" not in f.read() and os.system("modprobe overlay 2>/dev/null") != 0:
            raise Lacking("the kernel has no overlay file system (try: modprobe overlay, on the host if this is a container)")
    status = _in_child(_probe)
    if status == EX_NOPERM:
        raise Lacking("root here may not make namespaces or mounts (CAP_SYS_ADMIN and CAP_NET_ADMIN are needed: "
                      "run the container with --privileged, or use a virtual machine)", EX_NOPERM)


def _probe():
    try:
        unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC)
        _private_mounts()
        mount("tmpfs", "/tmp", "tmpfs")
        for directory in ("/tmp/lower", "/tmp/upper", "/tmp/work", "/tmp/merged"):
            os.mkdir(directory)
        mount("overlay", "/tmp/merged", "overlay", "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work")
    except OSError:
        return EX_NOPERM
    return os.WEXITSTATUS(os.system("ip link add lab0 type veth peer name lab1")) and EX_NOPERM


def end_with_parent():
    """Have the kernel kill this process when its parent ends, however that happens."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _in_child(fn, ready=None):
    """fork, call fn() in the child, return the exit status of it (int returned by fn, or EX_SOFTWARE)."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = EX_SOFTWARE
        try:
            end_with_parent()
            status = fn() or 0
        except KeyboardInterrupt:
            status = 130
        except BaseException:  # the child must never run its parent's code
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    if ready is not None:
        ready(pid)
    return _wait(pid)


def _wait(pid):
    while True:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except KeyboardInterrupt:
            continue  # the terminal's ^C reached the child as well; its end is what we wait for


def _as_init(fn):
    """PID 1 of the namespace: reaps orphans until fn's process is done; then the kernel ends all others."""
    mount("proc", "/proc", "proc")
    driver = os.fork()
    if driver == 0:
        end_with_parent()
        status = EX_SOFTWARE
        try:
            status = fn() or 0
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    while True:
        try:
            pid, status = os.wait()
        except KeyboardInterrupt:
            continue
        if pid == driver:
            return max(0, os.waitstatus_to_exitcode(status)) or (1 if os.WIFSIGNALED(status) else 0)


def run(fn, network=True):
    """Call fn() in private namespaces (the network too, unless told not to); return its exit status."""
    def outer():
        flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | (CLONE_NEWNET if network else 0)
        unshare(flags)
        _private_mounts()
        return _in_child(lambda: _as_init(fn))
    before = signal.getsignal(signal.SIGTERM)

    def pass_on(pid):
        signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
    try:
        return _in_child(outer, pass_on)
    finally:
        signal.signal(signal.SIGTERM, before)
