"""mtastsctl doctor on a host with everything installed, and on hosts where something was left out or undone."""

import json

import os

from scenario import scenario
from steps import compare, reasons, states, tried, tried_each


def doctor(lab):
    """(exit status, {check: found} of what is not right)."""
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "doctor", "--json"], check=False)
    answer = json.loads(done.stdout)
    assert answer["ok"] == (done.returncode == 0), done
    wrong = {check["check"]: check for check in answer["checks"] if not check["ok"]}
    assert all(check["remedy"] for check in wrong.values()), wrong
    return done.returncode, wrong


@scenario(chosen=True, ours="doctor: silent on a host where FEATURE(`mtasts') is in both .mc files and both programs run")
def right(lab, setup):
    setup.start(lab)
    status, wrong = doctor(lab)
    assert (status, wrong) == (0, {}), wrong


@scenario(ours="doctor: a stock sendmail.cf lacks everything, and each missing piece comes with the line to add")
def stock_cf(lab, setup):
    setup.start(lab)
    lab.sender.configure()
    status, wrong = doctor(lab)
    assert status == 78, status
    assert len(wrong) >= 10, wrong
    assert any("FEATURE(`mtasts')" in check["remedy"] for check in wrong.values()), wrong


@scenario(ours="doctor: options undone by hand at the end of sendmail.cf, a map that others may read and a daemon that is away are each found")
def undone(lab, setup):
    setup.start(lab)
    cf = lab.sender_machine.read("/etc/mail/sendmail.cf")
    lab.sender_machine.put("/etc/mail/sendmail.cf", cf + "O ConnectionCacheSize=2\nO DontExpandCnames=False\n")
    map_file = "/var/lib/mtasts/map/policy.db"
    lab.sender_machine.run(["chmod", "644", map_file])
    lab.ours.stop(lab.ours.daemon)
    status, wrong = doctor(lab)
    assert status == 78, status
    text = json.dumps(wrong)
    for word in ("ConnectionCacheSize", "DontExpandCnames", map_file, "mtastsd"):
        assert word in text, "%s is not in %s" % (word, text)
    lab.sender_machine.run(["chmod", "640", map_file])


@scenario(ours="Sendmail's CACertFile is missing: mail for enforced domains waits with the reason, other mail flows, and doctor names the file; it is back: all is delivered")
def no_ca_file(lab, setup):
    machine, name = lab.sender_machine, "/etc/mail/authorities.pem"
    machine.put(name, machine.read("/etc/ssl/certs/ca-certificates.crt"))
    setup.start(lab, mc=["define(`confCACERT', `%s')dnl" % name, "define(`confCACERT_PATH', `/etc/ssl/certs')dnl"])
    good = lab.domain("good.test")
    lab.domain("none.test")
    setup.enforce(lab, good)
    os.rename(machine.file(name), machine.file(name + ".away"))
    lab.sender.stop()
    lab.sender.start()
    sent = tried_each(lab, ["good.test", "none.test"])
    compare(states(lab, sent), {"good.test": "queued", "none.test": "delivered"})
    local = tried(lab, "bob@sender.test")
    assert lab.fate(local) == {"bob@sender.test": "delivered"}
    assert "validation-failure" in reasons(lab, sent)["good.test"], reasons(lab, sent)
    status, wrong = doctor(lab)
    assert status == 78 and name in json.dumps(wrong), wrong
    os.rename(machine.file(name + ".away"), machine.file(name))
    lab.sender.stop()
    lab.sender.start()
    lab.sender.run_queue()
    compare(states(lab, sent), {"good.test": "delivered", "none.test": "delivered"})
    assert doctor(lab) == (0, {})
