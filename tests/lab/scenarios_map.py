"""The policy map as a file: made by makemap, read by makemap, its directory's modes, its writer killed, its pages scrambled."""

import os
import random
import re
import subprocess
import sys
import threading
import time

from scenario import scenario
from setups import MAP
from steps import compare, in_parallel, states, tried, tried_each
import wait

PAGE = 4096


def read_map(lab):
    """What makemap -u reads in it: {key: value}."""
    lines = lab.sender_machine.run(["makemap", "-u", "hash", MAP], check=False).stdout.splitlines()
    return dict(line.split("\t", 1) for line in lines)


def owner_and_mode(lab, name):
    st = os.stat(lab.sender_machine.file(name))
    return (st.st_uid, st.st_gid, st.st_mode & 0o7777)


def wait_ready(lab, seconds=20):
    wait.until("the map is ready", lambda: read_map(lab).get(":ready:") == "yes", seconds)


def pair(lab, setup):
    good, bad = lab.domain("good.test"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, good, bad)
    return good, bad


@scenario(ours="a map that an administrator made by makemap is taken over and filled; makemap reads ours")
def made_by_makemap(lab, setup):
    setup.start(lab)
    good, bad = pair(lab, setup)
    want = {key: value for key, value in read_map(lab).items() if not key.startswith(":")}
    compare({key: value.split()[0] for key, value in want.items()},
            {"good.test": "enforce", "good.test:mx1.good.test": "mx", "bad.test": "enforce", "bad.test:mx1.bad.test": "mx"})
    for entries in ({}, {"odd.test": "anything"}, {":ready:": "yes", "bad.test": "none 9999999999", "bad.test:mx1.bad.test": "mx"}):
        lab.ours.stop(lab.ours.daemon)
        os.unlink(lab.sender_machine.file(MAP + ".db"))
        lab.sender.makemap("/etc/mail/first", entries)
        lab.sender_machine.run(["install", "-o", "mtasts", "-g", "root", "-m", "640", "/etc/mail/first.db", MAP + ".db"])
        lab.ours.mtastsd()
        wait_ready(lab)
        compare({key: value for key, value in read_map(lab).items() if not key.startswith(":")}, want)
        compare(states(lab, tried_each(lab, [good, bad])), {"good.test": "delivered", "bad.test": "queued"})


@scenario(chosen=True, ours="an unprivileged first start in a directory of mode 2750 makes a map that Sendmail reads; one of the administrator's own is refused "
               "with the remedy")
def unprivileged_first_start(lab, setup):
    setup.start(lab)
    lab.ours.stop(lab.ours.daemon)
    machine, file = lab.sender_machine, MAP + ".db"
    for directory in (0o750, 0o2750):
        os.unlink(machine.file(file))
        os.chmod(machine.file(os.path.dirname(MAP)), directory)
        machine.run(["sh", "-c", "chown -R mtasts /var/lib/mtasts/store /run/mtasts"])
        user = machine.run(["id", "-u", "mtasts"]).stdout.strip()
        group = machine.run(["id", "-g", "mtasts"]).stdout.strip()
        command = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "/usr/sbin/mtastsd"]
        with open(machine.file("/lab/unprivileged.stderr"), "w+") as log:
            daemon = machine.popen(command, stdout=log, stderr=log)
        if directory == 0o750:
            assert daemon.wait(20) != 0
            told = machine.read("/lab/unprivileged.stderr")
            assert "chmod g+s /var/lib/mtasts/map" in told, told
            open(machine.file(file), "w").close()
        else:
            wait.until("mtastsd answers", lambda: lab.ours.ctl("status", check=False) is not None, 20)
    compare({"file": owner_and_mode(lab, file)}, {"file": (int(user), 0, 0o640)})
    good, bad = pair(lab, setup)
    compare(states(lab, tried_each(lab, [good, bad])), {"good.test": "delivered", "bad.test": "queued"})
    daemon.terminate()
    daemon.wait(20)
    os.chown(machine.file(file), 0, 0)
    lab.ours.daemon = lab.ours._start("mtastsd")
    lab.ours.daemon.wait(20)
    lab.ours._expected_end.add(lab.ours.daemon.pid)
    told = lab.ours.stderr("mtastsd") + "\n".join(lab.log.find("mtastsd.*chown"))
    assert re.search("owned by uid 0.*chown", told), told


# A process of its own: in this one the reaction would wait for other threads. Prints a line when it watches; looks into the map without a pause, stops
# mtastsd when it is not ready, and if it still is not, kills it: within the first such commit or the second, or after some seconds without one.
KILLER = """
import os, signal, sys, time
path, daemon, commits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.nice(-20)
fd = os.open(path, os.O_RDONLY)
at = os.pread(fd, os.fstat(fd).st_size, 0).rindex(b"yes\\x01:ready:")
print("watching", flush=True)
end = time.monotonic() + 10
while time.monotonic() < end:
    if os.pread(fd, 3, at) != b"not":
        continue
    os.kill(daemon, signal.SIGSTOP)
    time.sleep(0.001)
    commits -= os.pread(fd, 3, at) == b"not"  # still in the middle of one
    if not commits:
        break
    os.kill(daemon, signal.SIGCONT)
    while os.pread(fd, 3, at) == b"not" and time.monotonic() < end:
        pass
os.kill(daemon, 9)
"""


@scenario(ours="mtastsd is killed in the middle of commits, under deliveries: nothing leaks, nothing bounces, and each start repairs the map",
          seconds=360)
def writer_killed(lab, setup):
    setup.settings = 'nudge { address = "" }\n'
    lab.forgiven.append(r"socket_map_lookup\(mtastsq\): read timeout")  # it died with the question in its hands
    setup.start(lab)
    lab.mx_host("mx.good.test", server="sink")
    lab.mx_host("mx.bad.test", "selfsigned")
    good = lab.shared("mx.good.test", *("g%d.test" % n for n in range(60)))
    bad = lab.shared("mx.bad.test", *("b%d.test" % n for n in range(60)))
    lab.policies(good + bad)
    in_parallel(lambda name: lab.ours.ctl("refresh", name, check=False), [domain.name for domain in good + bad])
    for domain in good + bad:
        lab.ours.wait_verdict(domain.name, "enforce")
        lab.forbid_bad(domain)
    path = lab.sender_machine.file(MAP + ".db")
    stopping, sent = threading.Event(), []

    def deliveries():
        while not stopping.is_set():
            n = random.randrange(60)
            sent.append(("good", lab.sender.send("u@g%d.test" % n, timeout=60)))
            sent.append(("bad", lab.sender.send("u@b%d.test" % n, timeout=60)))
            time.sleep(0.1)
    sending = threading.Thread(target=deliveries)
    sending.start()
    broken = 0
    try:
        for round in range(6):
            time.sleep(1.1)  # a policy's end is in whole seconds: so that each has changed
            killer = subprocess.Popen([sys.executable, "-c", KILLER, path, str(lab.ours.daemon.pid), str(1 + round % 2)], stdout=subprocess.PIPE)
            assert killer.stdout.readline()
            lab.ours._expected_end.add(lab.ours.daemon.pid)
            refresh = threading.Thread(target=lab.ours.ctl, args=("refresh", "--all"), kwargs={"check": False})
            refresh.start()
            lab.ours.daemon.wait(30)
            killer.wait(10)
            with open(path, "rb") as f:
                broken += b"not\x01:ready:" in f.read()
            refresh.join()
            lab.ours.mtastsd()
            wait_ready(lab)
            have = read_map(lab)
            lost = [domain.name for domain in good + bad if not have.get(domain.name, "").startswith("enforce")]
            assert not lost, "round %d: lost %s" % (round, lost)
    finally:
        stopping.set()
        sending.join()
    assert broken, "no kill hit a commit in the middle"  # by chance, some 5 of 6; test_bdb kills at every write
    lab.sender.run_queue()
    fates = {msgid: next(iter(lab.fate(msgid).values())) for _kind, msgid in sent}
    assert len(sent) > 20, len(sent)
    compare({msgid: (kind, fates[msgid]) for kind, msgid in sent},
            {msgid: (kind, "delivered" if kind == "good" else "queued") for kind, msgid in sent})


def values(lab, domains):
    """{name: the first word of what the map has for it}"""
    have = read_map(lab)
    return {domain.name: have.get(domain.name, "-").split()[0] for domain in domains}


def scramble(lab):
    """Changes bytes in every page of the map but the first and those of the state: each has a wrong checksum then."""
    with open(lab.sender_machine.file(MAP + ".db"), "r+b") as f:
        pages = f.read()
        hit = [at for at in range(PAGE, len(pages), PAGE) if b":ready:" not in pages[at:at + PAGE] and b":alive:" not in pages[at:at + PAGE]]
        for at in hit:
            f.seek(at + PAGE - 600)
            f.write(bytes(byte ^ 0x55 for byte in pages[at + PAGE - 600:at + PAGE]))
    return len(hit)


@scenario(ours="pages of the map are scrambled while it is in use, with mtastsd alive or just gone: mail for enforced domains waits, none "
               "is bounced or leaks; mtastsd mends it")
def scrambled(lab, setup):
    setup.settings = 'nudge { address = "" }\n'
    setup.start(lab)
    lab.forgiven.append("SYSERR.*(map|hash|Unknown error -30973)")
    lab.mx_host("mx.bad.test", "selfsigned")
    bad = lab.shared("mx.bad.test", *("b%d.test" % n for n in range(150)))
    lab.policies(bad)
    in_parallel(lambda name: lab.ours.ctl("refresh", name, check=False), [domain.name for domain in bad])
    for domain in bad:
        lab.ours.wait_verdict(domain.name, "enforce")
        lab.forbid_bad(domain)
    lab.domain("unknown.test")
    lab.policy("unknown.test", mode="none")
    assert scramble(lab) >= 2
    alive = tried_each(lab, bad[:8])
    compare(states(lab, alive), {domain.name: "queued" for domain in bad[:8]})
    lab.ours.stop(lab.ours.daemon, kill=True)
    scramble(lab)
    away = tried_each(lab, bad[8:16])
    compare(states(lab, away), {domain.name: "queued" for domain in bad[8:16]})
    assert lab.log.find(r"SYSERR.*db_map_lookup: get \(b\d+.test\)"), "no scrambled page was looked up"
    lab.ours.mtastsd()
    wait_ready(lab)
    compare(values(lab, bad), {domain.name: "enforce" for domain in bad})
    scramble(lab)
    lab.ours.ctl("refresh", "b20.test", check=False)  # the next commit meets the damage
    lab.ours.ctl("refresh", "unknown.test", check=False)
    wait.until("the map is whole", lambda: values(lab, bad) == {domain.name: "enforce" for domain in bad}, 30)
    wait_ready(lab)
    compare(states(lab, tried_each(lab, ["unknown.test"])), {"unknown.test": "delivered"})
    lab.sender.run_queue()
    compare(states(lab, {**away, **alive}), {name: "queued" for name in [*away, *alive]})
