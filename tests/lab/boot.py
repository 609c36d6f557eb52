"""A machine of the lab boots: systemd is process 1 of a namespace of its own.

systemd wants a control group to itself. Where the host's cgroup2 file system can be written, it gets one of those; its journal
does not get /dev/log, which is the lab's own.
"""

import os
import time

import isolate
import wait

CLONE_NEWCGROUP = 0x02000000
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine)
MOUNTS = [("/sys", "sysfs", "sysfs", "", 1), ("/run", "tmpfs", "tmpfs", "mode=755", 0), ("/tmp", "tmpfs", "tmpfs", "mode=1777", 0)]


def _cgroup2():
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(place + "/cgroup.procs") and os.path.exists(place + "/cgroup.controllers"):
            return place
    return None


class Cgroup:
    """A control group of our own, made before isolate.run() and removed after it. path is None where none can be made."""

    def __init__(self):
        self.path = None
        try:
            self.path = os.path.join(_cgroup2(), "mtasts-lab-%d" % os.getpid())
            os.mkdir(self.path)
        except (OSError, TypeError):
            self.path = None

    def remove(self):
        for _ in range(50):
            try:
                for directory, _names, _files in os.walk(self.path or "/nonexistent", topdown=False):
                    os.rmdir(directory)
                return
            except OSError:  # its last processes are being ended
                time.sleep(0.1)


def systemd(machine, cgroup):
    """Boot the machine; its commands are run inside from then on. Raises OSError where systemd cannot run."""
    if cgroup.path is None or PIVOT_ROOT is None or not os.path.exists(machine.file("/lib/systemd/systemd")):
        raise OSError("there is no control group for it")
    for name, source, kind, options, flags in MOUNTS:
        isolate.mount(source, machine.file(name), kind, options, flags)
    for name, target in (("/dev/ptmx", "pts/ptmx"), ("/etc/systemd/system/systemd-journald-dev-log.socket", "/dev/null")):
        os.symlink(target, machine.file(name))
    os.mkdir(machine.file("/dev/pts"))
    machine.put("/etc/machine-id", "")
    init = os.fork()
    if init == 0:
        try:
            isolate.end_with_parent()
            _become_init(machine, cgroup)
        finally:
            os._exit(1)
    pid = wait.until("systemd is process 1", lambda: _child_of(init), 10)
    machine.enter = ["nsenter", "--target=%d" % pid, "--mount", "--pid", "--cgroup", "--root", "--wd=/"]
    wait.until("systemd has started its services", lambda: machine.run(["systemctl", "is-system-running"], check=False).stdout.strip()
               in ("running", "degraded"), 30, every=0.2)


def _child_of(parent):
    children = open("/proc/%d/task/%d/children" % (parent, parent)).read().split()
    return int(children[0]) if children else None


def _become_init(machine, cgroup):
    with open(cgroup.path + "/cgroup.procs", "w") as f:
        f.write("0")
    isolate.unshare(isolate.CLONE_NEWNS | isolate.CLONE_NEWPID | CLONE_NEWCGROUP)
    child = os.fork()
    if child != 0:
        os.waitpid(child, 0)
        return
    isolate.end_with_parent()
    isolate.mount("proc", machine.file("/proc"), "proc")
    isolate.mount("cgroup2", machine.file("/sys/fs/cgroup"), "cgroup2")
    os.chdir(machine.path)
    isolate._call("pivot_root", isolate.libc.syscall(PIVOT_ROOT, b".", b"."))
    isolate._call("umount", isolate.libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, 256)
    os.execve("/lib/systemd/systemd", ["systemd", "--system", "--unit=multi-user.target"],
              {"container": "lab", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
