"""Private Debian roots: one debootstrap a suite, package sets on top of it as overlay layers, kept in a cache.

    CACHE/KEY/base     debootstrap, minbase
    CACHE/KEY/sender   what Sendmail and our programs need, on top of base
    CACHE/KEY/world    DNS server, web server and MX, on top of base: of Debian 12 only, whatever the sender is
    CACHE/KEY/build    what builds our programs for the suite, on top of base: where it is not the suite of the tests' host
    CACHE/sendmail-KEY other builds of Sendmail, from the source of Debian's package

KEY is a hash of the suite and of the package lists: another list makes another cache entry.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import isolate

CACHE = os.environ.get("MTASTS_LAB_CACHE", "/var/cache/mtasts-lab")
WORLD = "bookworm"  # the suite of the world; our programs come for it from a build directory of the host
BASE = ["eatmydata", "ca-certificates", "openssl", "procps"]
SENDER = ["sendmail-bin", "sendmail-cf", "sendmail-base", "m4", "make", "db5.3-util", "libsasl2-modules", "sasl2-bin"]
SUITES = {
    "bookworm": {
        "sender": SENDER + ["libevent-2.1-7", "libevent-pthreads-2.1-7", "libc-ares2", "libcurl4", "liblmdb0", "libdb5.3",
                            "libconfuse2", "libjansson4", "libidn2-0", "libmilter1.0.1", "libasan8", "libubsan1"],
        "world": ["postfix", "bind9", "bind9-utils", "bind9-dnsutils", "nginx"],
    },
    "trixie": {
        "sender": SENDER + ["libevent-2.1-7t64", "libevent-pthreads-2.1-7t64", "libcares2", "libcurl4t64", "liblmdb0", "libdb5.3t64",
                            "libconfuse2", "libjansson4", "libidn2-0", "libmilter1.0.1", "libasan8", "libubsan1"],
        "build": ["gcc", "libc6-dev", "make", "pkg-config", "m4", "libssl-dev", "libcurl4-openssl-dev", "libevent-dev", "libc-ares-dev",
                  "liblmdb-dev", "libdb5.3-dev", "libconfuse-dev", "libjansson-dev", "libidn2-dev", "libmilter-dev"],
    },
}
# Parts that Debian's Sendmail is built with and others are not, as compiler flags. _FFR_MTA_STS needs _FFR_TLS_ALTNAMES.
SENDMAILS = {"bare": "", "noaltnames": "-DSOCKETMAP", "nosni": "-DSOCKETMAP -D_FFR_TLS_ALTNAMES"}
SENDMAIL_PACKAGES = ["gcc", "libc6-dev", "make", "m4", "libssl-dev", "libdb5.3-dev", "dpkg-dev"]
SENDMAIL_SCRIPT = """set -e
sed 's/^deb /deb-src /' /etc/apt/sources.list >/etc/apt/sources.list.d/source.list
apt-get update -q
apt-get install -y -q %(packages)s
mkdir /source
cd /source
apt-get source -q sendmail
cd sendmail-*/
cat >devtools/Site/site.config.m4 <<'END'
define(`confOPTIMIZE', `-O0')
define(`confMAPDEF', `-DNEWDB -DMAP_REGEX')
define(`confENVDEF', `-DHASFLOCK=1 -DNETINET6=1 -DSTARTTLS -DTLS_EC=1 -DMILTER -DNETUNIX=1 -D_FFR_REJECT_NUL_BYTE')
define(`confLIBS', `-lssl -lcrypto -ldb -lresolv')
define(`confNO_MAN_BUILD', `yes')
END
export MAKEFLAGS=-j%(jobs)d
(cd libsm && sh Build)
(cd libsmutil && sh Build)
(cd sendmail && sh Build)
cd obj*/sendmail
build() {
	rm -f sendmail main.o $(grep -lE 'SOCKETMAP|_FFR_MTA_STS|_FFR_TLS_ALTNAMES' *.c | sed 's/c$/o/')
	make "CC=cc $2" sendmail
	cp sendmail "/built/$1"
}
"""
RUN_AS = {  # daemons of these accounts need their state directories; nothing else is changed in a root
    "LANG": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive",
}


def suite():
    """The suite of the sender: tests/lab/run --suite, for all its processes."""
    return os.environ.get("MTASTS_LAB_SUITE", WORLD)


def path(name):
    """The cache entry of a suite."""
    text = json.dumps([name, BASE, SUITES[name]], sort_keys=True)
    return os.path.join(CACHE, name + "-" + hashlib.sha256(text.encode()).hexdigest()[:12])


def layers(layer):
    """The lower directories of a machine: "sender", "world" or "build"."""
    entry = path(WORLD if layer == "world" else suite())
    return [os.path.join(entry, layer), os.path.join(entry, "base")]


def sources(name):
    """The archives of a suite, as (uri, release) pairs, the main one first: those of the host's apt, by the suite's name."""
    listing = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
                              "Created-By: Packages"], capture_output=True, text=True).stdout
    found = []
    for line in listing.splitlines():
        uri, release, component = line.split()
        of, dash, rest = release.partition("-")
        if of in SUITES and component == "main" and (uri, name + dash + rest) not in found:
            found.append((uri, name + dash + rest))
    found.sort(key=lambda pair: pair[1] != name)
    if not found or found[0][1] != name:
        raise isolate.Lacking("apt on this machine knows no archive of %s; the lab takes its mirror from apt's sources" % " or ".join(SUITES))
    return found


def ensure(say=lambda text: print(text, file=sys.stderr, flush=True)):
    """Build the roots of the world and of the sender's suite when they are not there yet (1 to 2 minutes each)."""
    os.makedirs(os.path.join(CACHE, "instance"), exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in dict.fromkeys((WORLD, suite())):
            if os.path.isdir(path(name)):
                continue
            if shutil.which("debootstrap") is None:
                raise isolate.Lacking("debootstrap not found; install the Debian package debootstrap")
            building = path(name) + ".new"
            shutil.rmtree(building, ignore_errors=True)
            os.makedirs(building)
            began = time.monotonic()
            say("lab: building private Debian roots in %s (once; one to two minutes)" % path(name))
            if isolate.run(lambda: _build(building, name), network=False) != 0:
                raise isolate.Lacking("the roots could not be built; see %s/*.log" % building)
            os.rename(building, path(name))
            say("lab: roots ready after %d s" % (time.monotonic() - began))


def sendmails(say=lambda text: print(text, file=sys.stderr, flush=True)):
    """The directory of other builds of Sendmail, one file each: SENDMAILS; built when it is not there yet (about a minute)."""
    text = json.dumps([path(WORLD), SENDMAILS, SENDMAIL_PACKAGES, SENDMAIL_SCRIPT], sort_keys=True)
    entry = os.path.join(CACHE, "sendmail-" + hashlib.sha256(text.encode()).hexdigest()[:12])
    with open(os.path.join(CACHE, "sendmail-lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(entry):
            shutil.rmtree(entry + ".new", ignore_errors=True)
            os.makedirs(entry + ".new/root/built")
            say("lab: building Sendmails of other kinds (once; a minute or two)")
            if isolate.run(lambda: _build_sendmails(entry + ".new"), network=False) != 0:
                raise isolate.Lacking("the Sendmails of other kinds could not be built; see %s.new/*.log" % entry)
            os.rename(entry + ".new/root/built", entry)
            shutil.rmtree(entry + ".new")
    return entry


def _build_sendmails(building):
    root = _overlay(building, "root", os.path.join(path(WORLD), "base"))
    script = SENDMAIL_SCRIPT % {"packages": " ".join(SENDMAIL_PACKAGES), "jobs": os.cpu_count()}
    _logged(building, "root", ["chroot", root, "sh", "-c", script + "".join("build %s '%s'\n" % item for item in SENDMAILS.items())])
    return 0


def _build(building, suite_name):
    archives = sources(suite_name)
    base, empty = os.path.join(building, "base"), os.path.join(building, "empty")
    os.mkdir(empty)
    root = _overlay(building, "base", empty)
    _logged(building, "base", ["debootstrap", "--variant=minbase", "--include=" + ",".join(BASE), suite_name, root, archives[0][0]])
    _prepare(root, archives)
    _logged(building, "base", ["chroot", root, "apt-get", "update"], "a")
    _logged(building, "base", ["umount", "-R", root], "a")
    workers = [(name, _start_layer(building, base, name, packages)) for name, packages in SUITES[suite_name].items()]
    failed = [name for name, worker in workers if worker.wait() != 0]
    for name in failed:
        print("lab: layer %s failed; the end of its log:" % name, file=sys.stderr)
        with open(os.path.join(building, name + ".log"), errors="replace") as f:
            sys.stderr.writelines(f.readlines()[-15:])
    return 1 if failed else 0


def _logged(building, name, command, mode="w"):
    with open(os.path.join(building, name + ".log"), mode) as log:
        status = subprocess.call(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=_environment())
    if status != 0:
        with open(os.path.join(building, name + ".log"), errors="replace") as log:
            sys.stderr.writelines(log.readlines()[-15:])
        raise SystemExit("lab: %s failed" % command[0])


def _environment():
    keep = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    return {**RUN_AS, **keep}


def _prepare(base, archives):
    """What apt and dpkg need in a root: archives, the host's ways to reach them, no daemons started, no fsync."""
    def put(name, text, mode=0o644):
        target = os.path.join(base, name)
        with open(target, "w") as f:
            f.write(text)
        os.chmod(target, mode)
    put("etc/apt/sources.list", "".join("deb %s %s main\n" % pair for pair in archives))
    put("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    put("etc/dpkg/dpkg.cfg.d/lab", "force-unsafe-io\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n")
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True).stdout
    kept = [line for line in dump.splitlines() if line.split(" ")[0].split("::")[-1].lower() in
            ("proxy", "check-valid-until", "check-date") and not line.endswith('"";')]
    put("etc/apt/apt.conf.d/90lab", "\n".join(kept + ['Acquire::Languages "none";', 'APT::Install-Recommends "false";', ""]))
    shutil.copyfile("/etc/resolv.conf", os.path.join(base, "etc/resolv.conf"))
    put("etc/hosts", "127.0.0.1 localhost\n")


def _overlay(building, name, lower):
    """Mount an overlay whose upper directory becomes the layer; volatile: nobody waits for the disk."""
    upper, work, merged = (os.path.join(building, name + suffix) for suffix in ("", ".work", ".merged"))
    for directory in (upper, work, merged):
        os.makedirs(directory, exist_ok=True)
    options = "lowerdir=%s,upperdir=%s,workdir=%s" % (lower, upper, work)
    try:
        isolate.mount("overlay", merged, "overlay", options + ",volatile")
    except OSError:  # before Linux 5.10
        try:
            isolate.mount("overlay", merged, "overlay", options)
        except OSError as error:
            raise SystemExit("lab: %s: an overlay cannot be made there (in a container: set MTASTS_LAB_CACHE to a directory "
                             "on a volume, since / is an overlay itself): %s" % (building, error)) from None
    return merged


def _start_layer(building, base, name, packages):
    merged = _overlay(building, name, base)
    isolate.mount("proc", merged + "/proc", "proc")
    script = ("set -e; apt-get install -y -q %s; apt-get clean; rm -rf /var/lib/apt/lists/*; "
              "find /var/log -type f -delete" % " ".join(packages))
    with open(os.path.join(building, name + ".log"), "w") as log:
        return subprocess.Popen(["chroot", merged, "sh", "-c", script], stdout=log, stderr=log,
                                stdin=subprocess.DEVNULL, env=_environment())


if __name__ == "__main__":
    try:
        isolate.check_machine()
        ensure()
        print(path(suite()))
    except isolate.Lacking as lacking:
        print("lab: %s" % lacking, file=sys.stderr)
        sys.exit(lacking.status)
