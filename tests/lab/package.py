#!/usr/bin/env python3
"""Our Debian package: built and judged in a private root that holds its build dependencies and no more.

    tests/lab/package.py --source mtasts-VERSION.tar.xz --out DIR

leaves in DIR the package (mtasts_VERSION_ARCH.deb, its path is printed) and next/, the same with a higher version. Two more roots
are kept in the lab's cache:

    CACHE/KEY/build    what builds the package (tests/prepare's list), lintian and systemd-analyze, on top of base
    CACHE/KEY/fresh    a machine with Sendmail as Debian installs it; what our package depends on waits in apt's archives
"""

import argparse
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import isolate  # noqa: E402
import net  # noqa: E402
import roots  # noqa: E402

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEXT = "0~next1"  # appended to the version by a "+"
FRESH = "sendmail systemd systemd-sysv"


def _build_depends():
    """Of debian/control: what a user's `apt-get build-dep .` would install."""
    with open(os.path.join(TREE, "debian/control")) as f:
        field = re.search(r"^Build-Depends:((?:.|\n )*)", f.read(), re.M).group(1)
    words = [re.sub(r"[\s(].*", "", word.strip()) for word in field.split(",")]
    return " ".join("debhelper" if word == "debhelper-compat" else word for word in words)


def _layers():
    """name -> what the shell does in it."""
    depends = " ".join(package for package in roots.SUITES[roots.suite()]["sender"] if package.startswith("lib") and "san" not in package)
    return {
        "build": "apt-get install -y -q build-essential lintian systemd %s; apt-get clean; rm -rf /var/lib/apt/lists/*" % _build_depends(),
        "fresh": "apt-get install -y -q %s; apt-get clean; rm -f /usr/sbin/policy-rc.d; apt-get install -y -q --download-only %s ca-certificates adduser" % (FRESH, depends),
    }


def _base():
    return roots.layers("base")[-1]


def _path():
    text = json.dumps([_base(), _layers()], sort_keys=True)
    return os.path.join(roots.CACHE, roots.suite() + "-package-" + hashlib.sha256(text.encode()).hexdigest()[:12])


def layers(name):
    """The lower directories of a machine of this kind, as net.Machine takes them."""
    return [os.path.join(_path(), name), _base()]


def ensure():
    """Build both roots, and those of the lab, unless they are there."""
    roots.ensure()
    with open(os.path.join(roots.CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(_path()):
            return
        building = _path() + ".new"
        shutil.rmtree(building, ignore_errors=True)
        os.makedirs(building)
        began = time.monotonic()
        if isolate.run(lambda: _make_layers(building), network=False) != 0:
            raise isolate.Lacking("the roots could not be built; see %s/*.log" % building)
        os.rename(building, _path())
        print("package: roots ready after %d s" % (time.monotonic() - began), file=sys.stderr)


def _make_layers(building):
    workers = {}
    for name, script in _layers().items():
        merged = roots._overlay(building, name, _base())
        isolate.mount("proc", merged + "/proc", "proc")
        with open(os.path.join(building, name + ".log"), "w") as log:
            workers[name] = subprocess.Popen(["chroot", merged, "sh", "-ec", script], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                             env=roots._environment())
    return 1 if [name for name, worker in workers.items() if worker.wait() != 0] else 0


SCRIPT = """set -e
out=$1
tar -xJf $out/source.tar.xz -C /tmp
cd /tmp/mtasts-*
parallel=-j$(nproc)
dpkg-buildpackage -us -uc -b $parallel
mkdir -p $out/next
cp ../mtasts_*.deb $out
version=$(dpkg-parsechangelog -S Version)
# The next version: another changelog, and all steps but compiling again.
sed -i "1s/($version)/($version+NEXT)/" debian/changelog
rm -rf debian/mtasts debian/.debhelper/generated debian/*.substvars debian/debhelper-build-stamp
debian/rules binary
cp ../mtasts_*+NEXT_*.deb $out/next
cd $out
lintian --fail-on error,warning --profile debian mtasts_*.deb
dpkg --unpack --force-depends mtasts_*.deb >/dev/null 2>&1
# the manual pages of a unit are looked for by man(1), which is not here
! systemd-analyze verify /usr/lib/systemd/system/mtasts*.service /lib/systemd/system/mtasts*.service 2>&1 | grep -v "Command 'man "
for unit in mtastsd mtasts-milter; do
	systemd-analyze security --offline=yes --threshold=20 "$(readlink -f /lib/systemd/system/$unit.service)" | tail -n 1
done
"""


def build(source, out):
    """The package of a tarball, in out; everything that is said goes to standard output."""
    os.makedirs(out, exist_ok=True)
    for old in glob.glob(out + "/*.deb") + glob.glob(out + "/next/*.deb"):
        os.remove(old)
    shutil.copy(source, out + "/source.tar.xz")

    def inside():
        machine = net.build_machine(out, layers=layers("build"))
        return machine.popen(["sh", "-c", SCRIPT.replace("NEXT", NEXT), "sh", out]).wait()
    return isolate.run(inside)


def main():
    parser = argparse.ArgumentParser(prog="tests/lab/package.py", description="Build our Debian package in a private root.")
    parser.add_argument("--source", metavar="FILE", required=True, help="mtasts-VERSION.tar.xz, made by make dist")
    parser.add_argument("--out", metavar="DIR", required=True, help="where the packages go")
    chosen = parser.parse_args()
    isolate.check_machine()
    ensure()
    out = os.path.abspath(chosen.out)
    status = build(chosen.source, out)
    if status == 0:
        print(glob.glob(out + "/mtasts_*.deb")[0])
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except isolate.Lacking as lacking:
        print("package: %s" % lacking, file=sys.stderr)
        sys.exit(lacking.status)
