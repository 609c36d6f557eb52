"""Rungs of the milter for messages whose domains are not settled in time: refused for now, or kept in the MTA's quarantine."""

import smtplib
import time

from scenario import scenario
from steps import compare, tried
import wait


@scenario(ours="hold = tempfail: a message with a domain that is not known in time is refused 451 as a whole, the MSP keeps it, and it passes when the "
               "domain is known; with mtastsd away nothing is refused", seconds=90)
def tempfail(lab, setup):
    setup.settings = 'milter { wait = "1s" hold = tempfail }\n'
    setup.start(lab)
    good, slow = lab.domain("good.test", server="sink"), lab.domain("slow.test", server="sink")
    setup.enforce(lab, good)
    lab.policy(slow, delay_s=5)
    try:
        lab.sender.send("u@good.test", "u@slow.test")
        raise AssertionError("accepted")
    except smtplib.SMTPDataError as error:
        assert error.smtp_code == 451 and error.smtp_error == b"4.7.0 mtasts: policy of slow.test not known yet, try again soon", error
    kept = lab.sender.submit("u@slow.test")
    compare({(item.queue, item.rcpts[0]): "policy of slow.test not known yet" in item.reason for item in lab.sender.queue()},
            {("mqueue-client", "u@slow.test"): True})
    assert not lab.sinks.used(), "nobody has got any of it: %s" % lab.sinks.used()
    lab.log.wait(r"mtasts-milter.*qid=\w+ hold=tempfail domain=slow.test")
    lab.ours.wait_verdict("slow.test", "enforce")
    both = tried(lab, "u@good.test", "u@slow.test")
    lab.sender_machine.run(["/usr/sbin/sendmail", "-Ac", "-qf"])
    wait.until("delivered", lambda: not lab.sender.queue(), 10)
    compare(lab.fate(both) | lab.fate(kept), {"u@good.test": "delivered", "u@slow.test": "delivered"})
    lab.ours.stop(lab.ours.daemon, kill=True)
    lab.forgiven.append(r"mtastsq")
    lab.domain("new.test", server="sink")
    compare(lab.fate(tried(lab, "u@good.test", "u@new.test")), {"u@good.test": "delivered", "u@new.test": "queued"})


QUARANTINE = 'milter { wait = "1s" hold = quarantine }\n'
# an administrator's rule: what goes to other@ is quarantined by it
OTHERS = ["LOCAL_RULESETS", "SLocal_check_rcpt", "R$*\t\t\t$: $1 $| $&{rcpt_addr}",
          'R$* $| other@$*\t\t$#error $@ quarantine $: "held by the administrator"', "R$* $| $*\t\t$: $1"]


def quarantined(lab):
    """{Message-ID: in quarantine?} of what waits in the MTA's queue."""
    return {item.msgid: item.quarantined for item in lab.sender.queue()}


@scenario(ours="hold = quarantine: the whole message waits in quarantine, is released when its domains are settled, and is delivered, or held by the rules; "
               "nobody else's quarantine is touched")
def quarantine(lab, setup):
    setup.settings = QUARANTINE
    setup.start(lab, mc=OTHERS)
    lab.ours.mtasts_release()
    good, slow, later, bad = [lab.domain(name + ".test", kind, server="sink") for name, kind in
                              (("good", "good"), ("slow", "good"), ("later", "good"), ("bad", "selfsigned"))]
    setup.enforce(lab, good)
    for domain, delay in ((slow, 7), (later, 9), (bad, 7)):
        lab.policy(domain, delay_s=delay)
    lab.forbid_bad(bad)
    both = lab.sender.send("u@good.test", "u@slow.test", "u@later.test")
    refused = lab.sender.send("u@bad.test")
    others = lab.sender.send("other@slow.test")
    taken = lab.sender.send("u@slow.test")
    lab.sender_machine.run(["/usr/sbin/sendmail", "-Qheld by hand", "-qQ", "-qI" + lab.sender.qid(taken)])
    compare(quarantined(lab), {both: True, refused: True, others: True, taken: True})
    reason = lab.log.wait(r"%s: milter=mtasts, quarantine=" % lab.sender.qid(both))
    assert reason.endswith("quarantine=mtasts: policy of slow.test, later.test not known yet"), reason
    lab.log.wait(r"mtasts-milter.*qid=%s hold=queue instead=quarantine why=.in another quarantine" % lab.sender.qid(others))
    for msgid, cause, ours in ((both, "quarantine", 3), (taken, "other quarantine", 0)):
        story = lab.ours.ctl("explain", lab.sender.qid(msgid))
        assert story["ours"] == ours and {rcpt["cause"] for rcpt in story["recipients"]} == {cause}, story
    lab.sender.run_queue()
    assert not lab.sinks.used(), "nobody has got any of it: %s" % lab.sinks.used()
    lab.ours.wait_verdict("slow.test", "enforce")
    assert quarantined(lab)[both], "released before later.test is known"
    lab.log.wait(r"validation-failure .*for bad.test", 20)
    lab.log.wait(r"mtasts-release.*qid=%s released=yes by=request" % lab.sender.qid(both))
    wait.until("all delivered", lambda: set(lab.fate(both).values()) == {"delivered"}, 10)
    compare(quarantined(lab), {refused: False, others: True, taken: True})


@scenario(ours="hold = quarantine: mtasts-release, mtasts-milter and mtastsd may die while messages wait: they are released when these are back, or by their age; "
               "without mtasts-release nothing is quarantined")
def quarantine_restarts(lab, setup):
    setup.settings = "hold_max = 8s\n" + QUARANTINE
    setup.start(lab)
    slow, other = lab.domain("slow.test", server="sink"), lab.domain("other.test", server="sink")
    lab.policy(slow, delay_s=6)
    queued = tried(lab, "u@slow.test")
    lab.log.wait(r"mtasts-milter.*qid=%s hold=queue instead=quarantine why=.mtasts-release does not answer" % lab.sender.qid(queued))
    lab.ours.mtasts_release()
    held = lab.sender.send("u@slow.test")
    compare(quarantined(lab), {queued: False, held: True})
    for process in (lab.ours.release, lab.ours.milter, lab.ours.daemon):
        lab.ours.stop(process, kill=True)
    lab.ours.mtastsd()
    lab.ours.ctl("refresh", "slow.test")
    assert quarantined(lab)[held]
    lab.ours.mtasts_release()
    lab.ours.mtasts_milter()
    wait.until("released and delivered", lambda: lab.fate(held) == {"u@slow.test": "delivered"}, 20)
    lab.policy(other, delay_s=None)
    old = lab.sender.send("u@other.test")
    assert quarantined(lab)[old]
    for process in (lab.ours.release, lab.ours.milter, lab.ours.daemon):
        lab.ours.stop(process, kill=True)
    lab.forgiven.append(r"mtastsq")
    time.sleep(8)
    lab.ours.mtasts_release()
    lab.log.wait(r"mtasts-release.*qid=%s released=yes by=age" % lab.sender.qid(old))
    lab.log.wait(r"%s: .*mtastsd does not answer" % lab.sender.qid(old))
    assert not quarantined(lab)[old] and lab.fate(old) == {"u@other.test": "queued"}
