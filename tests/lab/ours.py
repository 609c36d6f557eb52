"""Our programs on the sender: installed as `make install` leaves them, started, asked, stopped, and searched for reports."""

import fcntl
import glob
import json
import os
import re
import shutil
import subprocess

import isolate
import net
import roots
import wait

USER = "mtasts"
CONF = """dns { servers = {"%s"} }
""" % net.DNS_ADDRESS
SANITIZE = {"ASAN_OPTIONS": "log_path=/lab/reports/asan:detect_leaks=1:exitcode=99:abort_on_error=0",
            "UBSAN_OPTIONS": "log_path=/lab/reports/ubsan:print_stacktrace=1:halt_on_error=0",
            "TSAN_OPTIONS": "log_path=/lab/reports/tsan:exitcode=0"}


SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIGURE = ["--enable-werror", "--enable-sanitizers", "--prefix=/usr", "--sysconfdir=/etc", "--localstatedir=/var",
             "--runstatedir=/run", "CFLAGS=-O1 -g -fno-omit-frame-pointer"]


def stage(builddir, directory):
    """make install DESTDIR=directory, once for many labs; for another suite than the world's builddir is filled first, in its root."""
    os.makedirs(builddir, exist_ok=True)
    with open(os.path.join(builddir, ".lab-install.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install = ["make", "-s", "-C", builddir, "install", "DESTDIR=" + directory]
        if roots.suite() == roots.WORLD:
            done = subprocess.run(install, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError("make install failed in %s:\n%s%s" % (builddir, done.stdout[-2000:], done.stderr[-2000:]))
        elif isolate.run(lambda: _build(builddir, directory, install)) != 0:
            raise isolate.Lacking("the programs could not be built for %s" % roots.suite())
    os.makedirs(directory + "/usr/libexec/mtasts-lab", exist_ok=True)
    shutil.copy(os.path.join(builddir, "tests/lab/mapwriter"), directory + "/usr/libexec/mtasts-lab")


def _build(builddir, directory, install):
    if not os.path.exists(os.path.join(SOURCE, "configure")):
        subprocess.run(["./autogen.sh"], cwd=SOURCE, check=True)
    machine = net.build_machine(SOURCE, builddir, directory)
    if not os.path.exists(os.path.join(builddir, "Makefile")):
        machine.run(["sh", "-c", 'cd "$0" && exec "$@"', builddir, SOURCE + "/configure"] + CONFIGURE)
    machine.run(["make", "-s", "-j%d" % os.cpu_count(), "-C", builddir], timeout=600)
    machine.run(install)


class Ours:
    """lab.ours, after lab.install()."""

    def __init__(self, machine, tree, is_build=True):
        self.machine, self.daemon, self.milter, self.release, self._expected_end = machine, None, None, None, set()
        self.prefix, self.environment = [], {}  # a command that starts the programs, and what they find in their environment
        if tree.endswith(".deb"):
            shutil.copy(tree, machine.file("/var/tmp"))
            machine.run(["dpkg", "--install", "/var/tmp/" + os.path.basename(tree)])
        elif is_build:
            stage(tree, machine.path)
        else:
            shutil.copytree(tree, machine.path, dirs_exist_ok=True, symlinks=True)
            os.chmod(machine.path, 0o755)  # copytree gave / the mode of a private temporary directory
        machine.run(["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", USER], check=False)
        os.makedirs(machine.file("/lab/reports"), exist_ok=True)
        os.chmod(machine.file("/lab/reports"), 0o1777)

    def configure(self, text=""):
        """Write /etc/mtasts/mtasts.conf: the lab's DNS, then the lines given."""
        self.machine.put("/etc/mtasts/mtasts.conf", CONF + text)

    def _start(self, program, *args):
        log = open(self.machine.file("/lab/%s.stderr" % program), "a")
        return self.machine.popen(self.prefix + ["/usr/sbin/" + program, *args], env={**SANITIZE, **self.environment}, stdout=log, stderr=log)

    def mtastsd(self, conf=None, ready=True):
        """Start mtastsd (conf: text after the lab's own lines) and wait until it answers mtastsctl status."""
        if conf is not None or not os.path.exists(self.machine.file("/etc/mtasts/mtasts.conf")):
            self.configure(conf or "")
        self.daemon = self._start("mtastsd")
        if ready:
            wait.until("mtastsd answers", lambda: self._alive(self.daemon, "mtastsd") and self.ctl("status", check=False) is not None, wait.START_S)

    def mtasts_milter(self, ready=True, socket="/run/mtasts/milter.sock"):
        self.milter = self._start("mtasts-milter")
        if ready:
            wait.until("mtasts-milter listens", lambda: self._alive(self.milter, "mtasts-milter") and
                       os.path.exists(self.machine.file(socket)), wait.START_S)

    def mtasts_release(self):
        mark = self._size("mtasts-release")
        self.release = self._start("mtasts-release")
        wait.until("mtasts-release listens", lambda: self._alive(self.release, "mtasts-release") and
                   "socket=" in self.stderr("mtasts-release")[mark:], wait.START_S)

    def _size(self, program):
        return len(self.stderr(program))

    def _alive(self, process, program):
        if process.poll() is not None:
            raise RuntimeError("%s ended with %d:\n%s" % (program, process.returncode, self.stderr(program)))
        return True

    def stderr(self, program):
        path = self.machine.file("/lab/%s.stderr" % program)
        return open(path, errors="replace").read() if os.path.exists(path) else ""

    def stop(self, process, kill=False):
        """End one of our processes on purpose: SIGTERM, or SIGKILL as a crash would."""
        self._expected_end.add(process.pid)
        process.kill() if kill else process.terminate()
        return process.wait(20)

    def ctl(self, *args, check=True):
        """mtastsctl --json ARGS: the parsed answer; with check=False None when it fails."""
        done = self.machine.run(["/usr/sbin/mtastsctl", args[0], "--json"] + list(args[1:]), check=False, env=SANITIZE)
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = None
        if check and (done.returncode != 0 or answer is None):
            raise RuntimeError("mtastsctl %s: exit %d\n%s%s" % (" ".join(args), done.returncode, done.stdout, done.stderr))
        return answer if done.returncode == 0 else None

    def query(self, domain):
        return self.ctl("query", domain)

    def wait_verdict(self, domain, verdict, pushed=True, seconds=20):
        def settled():
            answer = self.ctl("query", domain, check=False)
            return answer if answer and answer["verdict"] == verdict and (not pushed or answer["pushed"]) else None
        return wait.until("%s is %s" % (domain, verdict), settled, seconds, every=0.1)

    def problems(self):
        """Sanitizer reports, and programs that ended by themselves."""
        found = []
        for path in sorted(glob.glob(self.machine.file("/lab/reports/*"))):
            with open(path, errors="replace") as f:
                text = f.read()
            found.append("%s:\n%s" % (os.path.basename(path), text[:4000]))
        for program, process in (("mtastsd", self.daemon), ("mtasts-milter", self.milter), ("mtasts-release", self.release)):
            if process is not None and process.poll() is not None and process.pid not in self._expected_end:
                found.append("%s ended by itself, status %d:\n%s" % (program, process.returncode, self.stderr(program)[-3000:]))
            elif re.search(r"runtime error:|AddressSanitizer|LeakSanitizer|ThreadSanitizer", self.stderr(program)):
                found.append("%s:\n%s" % (program, self.stderr(program)[-3000:]))
        return found

    def close(self):
        """Stop them in an orderly way, so that leaks are reported too. (libmilter looks every 5 s whether it shall stop.)"""
        running = [process for process in (self.milter, self.daemon, self.release) if process is not None and process.poll() is None]
        for process in running:
            self._expected_end.add(process.pid)
            process.terminate()
        for process in running:
            process.wait(20)
