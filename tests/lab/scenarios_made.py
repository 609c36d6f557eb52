"""The policy map in another format, made by Sendmail's own makemap: sendmail_map { makemap, type }."""

import os
import shutil
import time

from scenario import scenario
from setups import MAP
from steps import compare, in_parallel, states, tried_each
import wait

MAKEMAP = "/usr/libexec/sendmail/makemap"


def read(lab):
    """What makemap reads in it; empty when it cannot."""
    return dict(line.split("\t", 1) for line in lab.sender_machine.run([MAKEMAP, "-u", "btree", MAP], check=False).stdout.splitlines())


@scenario(ours="another map format, a btree made by makemap: enforced and kept up to date, also for a process that has it open; "
               "a map that was left in the middle of a copy, or cut off, keeps mail waiting, and is mended at the next start")
def made(lab, setup):
    machine = lab.sender_machine
    setup.settings = 'nudge { address = "" }\nsendmail_map { makemap = "%s" type = btree }\n' % MAKEMAP
    setup.feature = "FEATURE(`mtasts', `type=btree')dnl"
    setup.start(lab)
    good, bad, turned = lab.domain("good.test"), lab.domain("bad.test", "selfsigned"), lab.domain("turned.test", "selfsigned")
    setup.enforce(lab, good, bad)
    many = lab.shared(bad.mx[0], *("many%d.test" % n for n in range(20)))
    lab.policies(many, mx=["*.a-long-label-of-pattern-%d.example.test" % n for n in range(60)])
    in_parallel(lambda name: lab.ours.ctl("refresh", name, check=False), [domain.name for domain in many])
    for domain in many:
        lab.ours.wait_verdict(domain.name, "enforce")
        lab.forbid(domain.name, bad.mx[0])
    sent = tried_each(lab, ["good.test", "bad.test", "many3.test"])
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued", "many3.test": "queued"})
    # a runner that lives on has the map open
    runner = machine.popen(["/usr/sbin/sendmail", "-qp1s"])
    compare(states(lab, tried_each(lab, ["turned.test"])), {"turned.test": "delivered"})
    wait.until("the runner has tried bad.test", lambda: lab.log.find(r"\]: %s: to=<u@bad.test>" % lab.sender.qid(sent["bad.test"]))[1:], 20)
    lab.dns.set(bad.name, "MX", "10 mx1.good.test.")
    lab.policy(bad.name, mx=["mx1.good.test"])
    lab.ours.ctl("refresh", bad.name)
    wait.until("the runner sees the change", lambda: lab.fate(sent["bad.test"]) == {"u@bad.test": "delivered"}, 20)
    runner.terminate()
    setup.enforce(lab, turned)
    compare(states(lab, tried_each(lab, ["turned.test"])), {"turned.test": "queued"})
    whole = read(lab)
    enforced = {key for key, value in whole.items() if value.startswith(("enforce", "mx"))}
    assert whole[":ready:"] == "yes" and len(enforced) > 1200, len(enforced)

    path = machine.file(MAP + ".db")
    with open(path, "rb") as f:
        pages = f.read()
    for damage in (bytes(4096) + pages[4096:], bytes(4096), b"", pages[:len(pages) // 8192 * 4096]):
        lab.ours.stop(lab.ours.daemon, kill=True)
        with open(path, "r+b") as f:
            f.write(damage)
            f.truncate(len(damage))
        os.utime(path, (time.time(), time.time() + 2))
        compare(states(lab, tried_each(lab, ["turned.test", "many3.test"])), {"turned.test": "queued", "many3.test": "queued"})
        lab.ours.mtastsd()
        wait.until("the map is mended", lambda: read(lab).get(":ready:") == "yes" and enforced <= set(read(lab)), 20)
    wait.until("nothing is left beside it", lambda: set(os.listdir(os.path.dirname(path))) <= {"policy.db", "policy.source.db"}, 10)
    lab.forgiven.append("SYSERR.*(map|btree)")  # of the damaged one
