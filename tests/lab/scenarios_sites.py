"""Sendmails that are set up in other ways than Debian's: not as root, in queue groups, as two programs."""

import os

from scenario import scenario
from steps import compare, in_parallel, reasons, states, tags, tried, tried_each
import sender
import wait


def late(lab, setup):
    """A domain that only an alias leads to, settled after the message was held: the MTA is told, and then it is refused or taken."""
    domain = lab.domain("late.test")
    lab.policy(domain, delay_s=6)
    lab.sender.aliases({"late": "u@late.test"})
    msgid = tried(lab, "late@sender.test", becomes={"late@sender.test": ["u@late.test"]})
    assert "not known yet" in reasons(lab, {"late": msgid})["late"], reasons(lab, {"late": msgid})
    lab.ours.wait_verdict("late.test", "enforce")
    lab.log.wait(r"to=<?u@late.test>?.*stat=Sent", 20)  # with no queue run of the MTA's own
    assert lab.fate(msgid) == {"u@late.test": "delivered"}


@scenario(ours="RunAsUser: with that user's group on map and sockets all is enforced, held and gone on with as ever, and doctor has nothing to say")
def run_as_user(lab, setup):
    setup.settings = "".join(section + " { group = smmta }\n" for section in ("sendmail_map", "socketmap", "milter"))
    lab.sender_machine.run(["useradd", "--system", "--user-group", "-G", "smmta", "mtasts"])
    setup.start(lab, mc=["define(`confRUN_AS_USER', `smmta')dnl"])
    good, bad = lab.domain("good.test"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, good, bad)
    compare(states(lab, tried_each(lab, ["good.test", "bad.test"])), {"good.test": "delivered", "bad.test": "queued"})
    late(lab, setup)
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "doctor"], check=False)
    wrong = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert not wrong and done.returncode == 0, done.stdout


@scenario(ours="queue groups: a recipient that waits in a group of its own is gone on with when it is settled, beside another one of the same message "
               "in the default group; both are enforced; beside FEATURE(access_db) the site has room for names of its own")
def queue_groups(lab, setup):
    slow = "/var/spool/mqueue/slow"
    lab.sender_machine.run(["install", "-d", "-o", "smmta", "-g", "smmsp", "-m", "2750", slow])
    setup.start(lab, mc=["FEATURE(`access_db')dnl", "FEATURE(`queuegroup')dnl", "QUEUE_GROUP(`slow', `P=%s, F=f, I=1h')dnl" % slow],
                after=["LOCAL_CONFIG"] + ["D{site_name%d}x" % n for n in range(3)],  # of 96 in all: one too many bounces mail
                access={"qgrp:late.test": "slow", "qgrp:bad.test": "slow"})
    good, bad = lab.domain("good.test"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, good, bad)
    msgid = tried(lab, "u@good.test", "u@bad.test")
    assert lab.fate(msgid) == {"u@good.test": "delivered", "u@bad.test": "queued"}
    assert [name for name in os.listdir(lab.sender_machine.file(slow)) if name.startswith("qf")], "not in its queue group"
    late(lab, setup)


MSA_MC = ["define(`confDOMAIN_NAME', `submit.sender.test')dnl", "FEATURE(`no_default_msa')dnl",
          "define(`SMART_HOST', `relay:[127.0.0.1]')dnl", "define(`QUEUE_DIR', `/var/spool/msa')dnl", "define(`confPID_FILE', `/run/msa.pid')dnl", "undefine(`confHOST_STATUS_DIRECTORY')dnl",
          "DAEMON_OPTIONS(`Name=MSA, Addr=127.0.0.1, Port=587, M=E')dnl", "FEATURE(`mtasts', `msp')dnl"]


@scenario(ours="two Sendmails: a submission daemon on port 587 hands all to the MTA, which alone has the feature: what was submitted there, and by sendmail -t, "
               "is tagged and enforced, and goes on when it is settled")
def split(lab, setup):
    machine = lab.sender_machine
    machine.run(["install", "-d", "-m", "700", "/var/spool/msa"])
    setup.start(lab)
    machine.put("/etc/mail/msa.mc", sender.HEAD + "\n".join(MSA_MC) + "\n" + sender.MTA_TAIL)
    machine.put("/etc/mail/msa.cf", machine.run(["m4", "/etc/mail/msa.mc"]).stdout)
    msa = machine.popen(["/usr/sbin/sendmail", "-C/etc/mail/msa.cf", "-bD"])
    wait.until("the MSA listens", lambda: machine.listens("127.0.0.1", 587), 10)
    good, bad = lab.domain("good.test"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, good, bad)
    names = ["good.test", "bad.test"]
    sent = in_parallel(lambda name: lab.sender.send("u@" + name, port=587), names)
    sent.update({name + " by -t": lab.sender.submit("u@" + name) for name in names})
    for msgid in sent.values():
        lab.sender.wait_tried(msgid)
    compare({name: next(iter(lab.fate(msgid).values())) for name, msgid in sent.items()},
            {name: "delivered" if name.startswith("good") else "queued" for name in sent})
    assert [tags(lab, sent[name])["u@good.test"] for name in ("good.test", "good.test by -t")] == [["enforce"], ["enforce"]]
    late(lab, setup)
    msa.terminate()
