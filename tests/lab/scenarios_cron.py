"""No daemon at all: cron, `mtastsctl refresh --once`, and the map that it pushes."""

import json
import os
import re
import time

import ours
import wait
from scenario import scenario
from scenarios_down import not_ready, value
from setups import MAP
from steps import compare, reasons, states, tried_each

FEATURE = "FEATURE(`mtasts', `live=none', `milter=none')dnl"


def prepare(lab, settings="", feature=FEATURE):
    """Our programs installed and configured, Sendmail with our rules; nothing of ours runs."""
    lab.install(os.environ["MTASTS_LAB_TREE"], is_build=False)
    lab.ours.configure(settings)
    lab.sender.configure([feature], [], ["FEATURE(`mtasts', `msp')dnl"])


def refresh_once(lab, *args, status=0, stdin=None):
    """One run as root; its summary."""
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "refresh", "--once", "--json", *args], check=False, env=ours.SANITIZE, stdin=stdin)
    assert done.returncode == status, "exit %d, want %d\n%s%s" % (done.returncode, status, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


@scenario(ours="a site without daemon: a domain list and refresh --once by root: all files belong to mtasts, a bad MX is enforced against and a good one delivered to; what is "
               "not on the list is delivered, logged unchecked; a later run sees a new id and a withdrawn policy")
def list_only(lab, setup):
    prepare(lab)
    good, bad, gone, other = lab.domain("good.test", "wildcard"), lab.domain("bad.test", "selfsigned"), lab.domain("gone.test", "selfsigned"), lab.domain("other.test")
    lab.policies([good, bad, gone])
    lab.sender_machine.put("/etc/mtasts/domains", "# ours\ngood.test\nBad.Test.  # self-signed\n\ngone.test\nno domain\n")
    first = refresh_once(lab, "--domains", "/etc/mtasts/domains")
    compare(first, {**first, "looked_at": 3, "changed": 3, "failed": 0, "pushed": 3, "in_step": True, "again": False, "alive_until": None})
    assert value(lab, ":alive:") == "0", "mail would wait for somebody who does not come"
    strange = lab.sender_machine.run(["find", "/var/lib/mtasts", "-mindepth", "1", "!", "-user", "mtasts"]).stdout
    assert os.path.exists(lab.sender_machine.file(MAP + ".db")) and not strange, strange
    for domain in (bad, gone):
        lab.forbid_bad(domain)
    lab.sender.start()
    sent = tried_each(lab, ["good.test", "bad.test", "gone.test", "other.test"])
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued", "gone.test": "queued", "other.test": "delivered"})
    assert lab.log.find("mtasts=deliver policy=unchecked domain=other.test") and "validation-failure" in reasons(lab, sent)["bad.test"]
    lab.policy(good, mx=["*.good.test", "mx.elsewhere.test"])
    lab.policy(gone, mode="none")
    lab.policy(bad, status=500)
    second = refresh_once(lab, "--domains", "-", status=os.EX_TEMPFAIL, stdin="good.test\ngone.test\nbad.test\n")
    compare(second, {**second, "looked_at": 3, "changed": 2, "failed": 1, "pushed": 3, "again": True})
    assert [f["domain"] for f in second["failures"]] == ["bad.test"] and "500" in second["failures"][0]["reason"], second
    lab.allow(gone)
    lab.sender.run_queue()
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued", "gone.test": "delivered", "other.test": "delivered"})
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "refresh", "--once", "--from-log", "/var/log/mail.log"], check=False, env=ours.SANITIZE)
    assert done.returncode == os.EX_TEMPFAIL and done.stdout.startswith("looked at 4, changed 1, failed 1,"), done
    assert done.stderr.startswith("mtastsd: bad.test: "), done.stderr  # cron's mail
    compare(states(lab, tried_each(lab, ["other.test"])), {"other.test": "delivered"})
    assert len(lab.log.find("policy=unchecked domain=other.test")) == 1


@scenario(ours="a site without daemon, refresh --once --from-queue: what nobody knows waits for the next run, is found in the queue and delivered or enforced; a run that is "
               "killed leaves all mail waiting and the next one mends it; while mtastsd runs it refuses, and mtastsd while it runs")
def from_queue(lab, setup):
    prepare(lab)
    fresh, worse, none = lab.domain("fresh.test"), lab.domain("worse.test", "selfsigned"), lab.domain("none.test", "selfsigned")
    lab.policies([fresh, worse])
    lab.forbid_bad(worse)
    unit = lab.sender_machine.read("/usr/lib/systemd/system/mtasts-refresh.service")
    lab.sender_machine.run(re.search("(?m)^ExecStart=(.*)$", unit).group(1).split(), env=ours.SANITIZE)
    alive = refresh_once(lab, "--from-queue")["alive_until"]
    assert alive and int(value(lab, ":alive:")) - time.time() > 7000, alive
    lab.sender.start()
    names = ["fresh.test", "worse.test", "none.test"]
    sent = tried_each(lab, names)
    waiting = {name: "queued" for name in names}
    compare(states(lab, sent), waiting)
    assert not lab.sinks.used(), "mail was begun"
    lab.policy(fresh, delay_s=None)
    run = lab.sender_machine.popen(["/usr/sbin/mtastsctl", "refresh", "--once", "--from-queue"], env=ours.SANITIZE)
    wait.until("the others are pushed", lambda: value(lab, "worse.test") and value(lab, "none.test"), 20, every=0.1)
    done = lab.sender_machine.run(["/usr/sbin/mtastsd"], check=False, env=ours.SANITIZE, timeout=20)
    assert done.returncode == os.EX_TEMPFAIL and "pid %d" % inner_pid(lab, run) in done.stderr, done
    run.kill()
    run.wait()
    lab.sender.run_queue()
    compare(states(lab, sent), {"fresh.test": "queued", "worse.test": "queued", "none.test": "delivered"})
    lab.forgiven.append("SYSERR.*(map|hash)")
    not_ready(lab, lab.sender_machine.file(MAP + ".db"))  # the worst moment to be killed
    sent["good.test"] = tried_each(lab, [lab.domain("good.test")])["good.test"]
    compare(states(lab, sent), {**waiting, "none.test": "delivered", "good.test": "queued"})
    lab.policy(fresh)
    summary = refresh_once(lab, "--from-queue")
    compare(summary, {**summary, "looked_at": 3, "failed": 0, "pushed": 3, "again": False})
    lab.sender.run_queue()
    want = {"good.test": "delivered", "fresh.test": "delivered", "worse.test": "queued", "none.test": "delivered"}
    compare(states(lab, sent), want)
    lab.ours.mtastsd()
    refused = refresh_once(lab, "--from-queue", status=os.EX_TEMPFAIL)
    assert "pid %d" % lab.ours.ctl("status")["pid"] in refused, refused
    compare(states(lab, sent), want)


def inner_pid(lab, process):
    """The process id as its own namespace has it."""
    with open("/proc/%d/status" % process.pid) as f:
        return int(next(line for line in f if line.startswith("NSpid:")).split()[-1])
