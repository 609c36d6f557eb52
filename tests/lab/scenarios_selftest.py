"""mtastsctl selftest: what it says of hosts that enforce, and of hosts where something was left out."""

import json
import os
import re
import signal
import subprocess
import time

import net
import wait
from scenario import scenario
from steps import compare

STEPS = ("good", "selfsigned", "wrongname", "notlisted", "notls", "alias", "live", "away")
RIGHT = dict.fromkeys(("running",) + STEPS, "ok")
CF = "/etc/mail/sendmail.cf"
MAP = "/var/lib/mtasts/map/policy.db"


def selftest(lab, *args):
    """(exit status, {step: outcome}, {step: found})."""
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "selftest", "--json"] + list(args), check=False)
    assert done.stdout, done
    answer = json.loads(done.stdout)
    assert answer["ok"] == (done.returncode == 0), done
    return (done.returncode, {step["step"]: step["outcome"] for step in answer["steps"]},
            {step["step"]: step["found"] or "" for step in answer["steps"]})


def traces(lab):
    """What a selftest could leave behind: entries, queued mail, processes, mounts, log lines."""
    machine = lab.sender_machine
    entries = [entry["domain"] for entry in lab.ours.ctl("list")["entries"]]
    processes = [name for name in os.listdir("/proc") if name.isdigit() and "selftest" in _command(name)]
    return entries, lab.sender.queue(), processes, machine.run(["cat", "/proc/self/mounts"]).stdout, lab.log.find(r"sendmail\[.*selftest")


def _command(pid):
    try:
        with open("/proc/%s/cmdline" % pid) as f:
            return f.read()
    except OSError:
        return ""


@scenario(ours="selftest: a right host delivers and defers as it must, within seconds, and nothing is left behind, not even after SIGKILL or ^C")
def right(lab, setup):
    setup.start(lab)
    before = traces(lab)
    began = time.monotonic()
    status, outcome, found = selftest(lab)
    took = time.monotonic() - began
    compare(outcome, RIGHT)
    assert status == 0 and took < 20, (status, took)
    assert traces(lab) == before, (traces(lab), before)
    for kill in (False, True):
        process = lab.sender_machine.popen(["/usr/sbin/mtastsctl", "selftest"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1.5)
        assert lab.sender_machine.run(["/usr/sbin/mtastsctl", "selftest"], check=False).returncode == 75  # one at a time
        process.kill() if kill else process.terminate()
        assert process.wait(10) == (-9 if kill else 75)
        entries, *rest = traces(lab)
        assert rest == list(before[1:]), rest
        assert bool(entries) == kill, entries  # those end by themselves
    assert selftest(lab)[0] == 0 and traces(lab) == before


@scenario(ours="selftest: a site that observes is told what would be refused; one that requires a policy of all domains is proved too, "
                "with several queue directories and an address of its own for connections")
def observing(lab, setup):
    setup.settings = "enforcement = observe\n"
    for name in ("q1", "q2/qf", "q2/df", "q2/xf"):
        os.makedirs(lab.sender_machine.file("/var/spool/mqueue/" + name))
    setup.start(lab, mc=["define(`QUEUE_DIR', `/var/spool/mqueue/q*')dnl", "CLIENT_OPTIONS(`Family=inet, Addr=%s')dnl" % net.SENDER])
    status, outcome, found = selftest(lab)
    compare(outcome, {step: "ok" if step in ("running", "good", "live") else "would" for step in ("running",) + STEPS})
    assert status == 0 and "mx-mismatch" in found["notlisted"], found
    lab.ours.configure('domain "*" { policy = require }\n')
    lab.ours.daemon.send_signal(signal.SIGHUP)
    wait.until("mtastsd enforces", lambda: lab.ours.ctl("status")["enforcement"] == "on")
    status, outcome, found = selftest(lab)
    compare(outcome, {**RIGHT, "live": "note"})
    assert status == 0 and "requires" in found["live"], found


@scenario(sendmail="bare", ours="selftest: a Sendmail built with less, and asking by a program, is proved as far as its arguments go")
def bare(lab, setup):
    setup.feature = "FEATURE(`mtasts', `without=altnames', `live=program')dnl"
    setup.settings = "socketmap { mode = 0666 }\n"
    setup.start(lab)
    status, outcome, found = selftest(lab)
    assert status == 0, found
    compare(outcome, RIGHT)
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "doctor", "--json"], check=False)
    checks = {check["check"]: check["found"] for check in json.loads(done.stdout)["checks"] if check["found"]}
    assert done.returncode == 0 and "common name" in checks["build-less"], checks
    snippet = json.loads(lab.sender_machine.run(["/usr/sbin/mtastsctl", "doctor", "--snippet", "--json"]).stdout)
    assert snippet["sendmail_mc"] == "FEATURE(`mtasts', `live=program', `without=altnames')dnl", snippet


@scenario(ours="selftest: names what is not enforced on a host with a stock sendmail.cf, without CAs, rules, or a map, and with what undoes ours")
def broken(lab, setup):
    setup.start(lab)
    machine, whole = lab.sender_machine, lab.sender_machine.read(CF)
    refusals = {step for step in STEPS if step not in ("good", "live")}

    def wrong(text):
        machine.put(CF, text)
        os.utime(machine.file(CF), (time.time() + 60,) * 2)
        status, outcome, found = selftest(lab)
        machine.put(CF, whole)
        assert status == 78, (outcome, found)
        assert outcome["running"] == "FAILED" and "older" in found["running"], found
        return {step for step in STEPS if outcome[step] == "FAILED"}, found

    def expect(text, steps, step, reason):
        have, found = wrong(text)
        assert have == steps and reason in found[step], (have, found)
    expect(re.sub(r"(?m)^O CACertPath=.*\n", "", whole), {"good", "wrongname", "notlisted", "alias"}, "good", "verify=FAIL")
    expect(whole + "O DontExpandCnames=False\n", {"alias"}, "alias", "delivered")
    expect(whole.replace("SLocal_tls_rcpt\n", "Sother_rcpt\n"), refusals - {"away"}, "selfsigned", "delivered")
    expect(re.sub(r"(?m)^Kmtastsq .*", "Kmtastsq socket -T<TMPF> local:/run/other.sock", whole), {"live"}, "live", "does not answer")
    expect(re.sub(r"(?m)^DS$", "DSrelay.sender.test", whole), set(STEPS), "good", "smart host")
    lab.sender.configure()  # stock
    have, found = wrong(machine.read(CF))
    assert have == set(STEPS) and found["live"] == "sendmail.cf has no line Kmtastsq", (have, found)
    machine.put(CF, whole)
    machine.run(["chmod", "600", MAP])  # of the user mtasts: Sendmail opens only what is safe
    machine.run(["chown", "nobody:nogroup", MAP])
    status, outcome, found = selftest(lab)
    assert status == 75 or status == 78, (status, outcome, found)
