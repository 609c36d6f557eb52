"""Named sets of rules, chosen by the authenticated user, the sender's domain or the listener: for a message, from its acceptance to its delivery."""

import signal
import smtplib

import wait
from scenario import scenario
from scenarios_paths import NO_NUDGE, in_map
from scenarios_rules import COMPAT, PASSED, Rules, refused
from steps import compare

HOLD, REFUSE = refused(451, "4.7.1", "this site requires an MTA-STS policy, and .* has none that is valid"), refused(554, "5.7.1", "this site requires")
SETS = {":sets:": "optional", ":user:bob@corp.test:": "optional", ":user:bob@corp.test:hold.test": "hold", ":user:bob@corp.test:doubt.test": "refuse", ":user:b+2bx:": "hold", ":from:a.test:": "hold", ":from:a.test:off.test": "disable",
        ":port:msa:": "optional", ":port:msa:.below.test": "refuse", ":site:": "optional", ":site:site.test": "hold"}
BOB, PLUS, SENDER, PORT = {"{mtasts_user}": "Bob@corp.test"}, {"{mtasts_user}": "b+2Bx"}, {"f": "x@A.test"}, {"{daemon_name}": "MSA"}
NOTHING = {"{mtasts_user}": "", "f": "", "{daemon_name}": ""}
OTHERS = {"{mtasts_user}": "carol", "f": "x@b.test", "{daemon_name}": "MTA"}


@scenario(mapped="rules: a message is under the set of its user, else of its sender's domain, else of its listener, else under the rules without a name; none adds to another")
def choice(lab, setup):
    rules = Rules(lab, setup)
    rules.map(**SETS)
    setup.lookup.answers["doubt.test"] = "OK doubt"
    rows = [
        (BOB, "u@hold.test", HOLD), (BOB, "u@doubt.test", refused(451, "4.4.3", "not known yet")), (OTHERS, "u@doubt.test", PASSED), (BOB, "u@fresh.test", PASSED), (BOB, "u@site.test", PASSED), (PLUS, "u@fresh.test", HOLD), (SENDER, "u@fresh.test", HOLD), (SENDER, "u@off.test", PASSED),
        (SENDER, "u@good.test", PASSED), (PORT, "u@fresh.test", PASSED), (PORT, "u@hold.test", PASSED), (OTHERS, "u@hold.test", PASSED), (OTHERS, "u@x.below.test", PASSED),
        (OTHERS, "u@site.test", HOLD), ({}, "u@site.test", HOLD), (BOB | SENDER | PORT, "u@fresh.test", PASSED), (BOB | SENDER, "u@hold.test", HOLD), (SENDER | PORT, "u@x.below.test", HOLD),
        (OTHERS | PORT, "u@x.below.test", REFUSE)]
    rules.table(COMPAT, [(NOTHING | row[0],) + row[1:] for row in rows])
    rules.map(**{**SETS, ":sets:": None})
    rules.table(COMPAT, [(NOTHING | SENDER, "u@fresh.test", PASSED), (NOTHING | SENDER, "u@site.test", HOLD)])


LISTENERS = ["DAEMON_OPTIONS(`Family=inet, Name=MSA, Port=587, Addr=127.0.0.1')dnl"]
AUTH = ["define(`confAUTH_MECHANISMS', `PLAIN')dnl", "TRUST_AUTH_MECH(`PLAIN')dnl"]
BOBS = ("bob@corp.test", "his password")


def by(lab, port, sender, *rcpts, login=None):
    """One message through a listener; its Message-ID."""
    msgid = lab.sender.new_id()
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.sender.test", timeout=30) as smtp:
        if login:
            smtp.login(*login)
        smtp.sendmail(sender, list(rcpts), lab.sender.message(rcpts, msgid, sender).encode())
    lab.sender.accepted[msgid] = list(rcpts)
    lab.sender.wait_tried(msgid)
    return msgid


@scenario(ours="sets: what a user, a sender domain or a listener has chosen rules over the message at its first attempt, in the queue, and after the set is gone no more; other messages to the "
               "same domains are not touched")
def sets(lab, setup):
    plain = 'milter { wait = "0s" }\n' + NO_NUDGE
    setup.settings = plain + 'rules "partners" {\n user = {"Bob@corp.test"}\n sender = {"partner.test"}\n listener = {"MSA"}\n' \
        ' domain "*" { policy = require }\n domain "free.test" { policy = disable }\n domain "mute.test" { policy = require unmet = refuse }\n}\nhold_max = "2s"\n'
    lab.sender_machine.put("/etc/sasl2/Sendmail.conf", "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\n")
    lab.sender_machine.run(["saslpasswd2", "-p", "-c", "-u", "corp.test", "bob"], stdin=BOBS[1])
    setup.start(lab, mc=LISTENERS + AUTH)
    for name, kind in (("none.test", "good"), ("good.test", "good"), ("free.test", "selfsigned")):
        domain = lab.domain(name, kind, server="sink")
        if name != "none.test":
            lab.policy(domain)
        lab.ours.ctl("refresh", name, check=False)
    lab.domain("partner.test")
    to = ["u@none.test", "u@good.test", "u@free.test"]
    under = dict(zip(to, ("queued", "delivered", "delivered")))
    other = dict(zip(to, ("delivered", "delivered", "queued")))
    want = {by(lab, 25, "alice@sender.test", *to): other, by(lab, 25, "x@partner.test", *to): under, by(lab, 587, "carol@sender.test", *to): under,
            by(lab, 25, "alice@sender.test", *to, login=BOBS): under, by(lab, 25, "bob@sender.test", *to): other}
    lab.domain("mute.test", server="sink")
    lab.dns.servfail("_mta-sts.mute.test")
    mute = {by(lab, 25, sender, "u@mute.test"): state for sender, state in (("alice@sender.test", "delivered"), ("x@partner.test", "queued"))}
    lab.ours.wait_verdict("mute.test", "none")
    want |= {msgid: {"u@mute.test": state} for msgid, state in mute.items()}
    for _ in range(2):  # the second time from the queue alone: the first connection has ended what the session knew
        lab.sender.run_queue()
        for msgid, states in want.items():
            compare(lab.fate(msgid), states)
    lab.log.wait("reject=451 4.7.1 mtasts: this site requires an MTA-STS policy, and none.test has none")
    assert in_map(lab, ":from:partner.test:free.test") == "disable" and in_map(lab, ":user:bob@corp.test:") == "hold"
    lab.ours.configure(plain)
    lab.ours.daemon.send_signal(signal.SIGHUP)
    wait.until("the sets are gone", lambda: not in_map(lab, ":sets:") and not in_map(lab, ":port:msa:"), 10)
    lab.sender.run_queue()
    for msgid, states in want.items():
        compare(lab.fate(msgid), {rcpt: "delivered" if rcpt in ("u@none.test", "u@mute.test") else state for rcpt, state in states.items()})


@scenario(ours="sets, milter: a recipient without the policy that a set requires is refused when it is named, with what the rules would say; with hold = tempfail also where it would wait; "
               "others and other messages pass, and disable holds nothing up")
def sets_at_rcpt(lab, setup):
    setup.settings = 'milter { wait = "30s" hold = tempfail }\n' + NO_NUDGE + \
        'rules "strict" {\n sender = {"partner.test"}\n listener = {"MSA"}\n domain "none.test" { policy = require unmet = refuse }\n domain "wait.test" { policy = require }\n' \
        ' domain "mute.test" { policy = disable }\n}\n'
    setup.start(lab, mc=LISTENERS)
    lab.domain("partner.test")
    for name in ("none.test", "wait.test", "good.test", "mute.test"):
        lab.domain(name, server="sink")
    lab.policy(lab.domain("enforced.test", server="sink"))
    lab.dns.servfail("_mta-sts.mute.test")
    for name in ("none.test", "wait.test", "good.test", "enforced.test"):
        lab.ours.ctl("refresh", name, check=False)
    to = ["u@%s.test" % name for name in ("none", "wait", "good", "enforced")]
    text = "<u@{0}.test>... mtasts: this site requires an MTA-STS policy, and {0}.test has none that is valid"
    for port, sender in ((25, "x@partner.test"), (587, "alice@sender.test")):
        msgid = lab.sender.new_id()
        with smtplib.SMTP("127.0.0.1", port, local_hostname="client.sender.test", timeout=30) as smtp:
            refused_rcpts = smtp.sendmail(sender, to, lab.sender.message(to, msgid, sender).encode())
        compare({rcpt: (code, why.decode()) for rcpt, (code, why) in refused_rcpts.items()},
                {"u@none.test": (550, "5.7.1 " + text.format("none")), "u@wait.test": (450, "4.7.1 " + text.format("wait"))})
        lab.sender.accepted[msgid] = to[2:]
        lab.sender.wait_tried(msgid)
        compare(lab.fate(msgid), {"u@good.test": "delivered", "u@enforced.test": "delivered"})
    compare(lab.fate(by(lab, 25, "alice@sender.test", *to)), {rcpt: "delivered" for rcpt in to})
    compare(lab.fate(by(lab, 587, "alice@sender.test", "u@mute.test")), {"u@mute.test": "delivered"})
