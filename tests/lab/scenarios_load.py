"""Much at once: many domains that settle over a long queue, a map that changes all the time, many new domains in one message."""

import os
import re
import signal
import threading
import time

import wait
from scenario import scenario
from setups import MAP
from steps import compare, in_parallel, tags, tried

MESSAGES, DOMAINS, ENFORCED, BAD = 10000, 500, 40, 10


def settle(lab, domains):
    in_parallel(lambda name: lab.ours.ctl("refresh", name, check=False), [domain.name for domain in domains])


def map_value(lab, key):
    lines = lab.sender_machine.run(["makemap", "-u", "hash", MAP]).stdout.splitlines()
    return dict(line.split("\t", 1) for line in lines).get(key, "")


def rcpts_and_states(fates, msgid):
    return {rcpt: fate.state for (mid, rcpt), fate in fates.items() if mid == msgid}


@scenario(ours="one first message to 50 new domains: all are found out within the milter's wait, good hosts get it at the first attempt, bad ones nothing")
def fifty_domains(lab, setup):
    setup.settings = 'milter { wait = "40s" }\n'  # not 5 s: what a slow machine takes is not the matter here
    setup.start(lab)
    lab.mx_host("mx.good.test", server="sink")
    lab.mx_host("mx.bad.test", "selfsigned")
    good = lab.shared("mx.good.test", *("g%d.test" % n for n in range(25)))
    bad = lab.shared("mx.bad.test", *("b%d.test" % n for n in range(25)))
    lab.policies(good + bad)
    for domain in bad:
        lab.forbid_bad(domain)
    began = time.monotonic()
    msgid = lab.sender.send(*("u@" + domain.name for domain in good + bad))
    took = time.monotonic() - began
    lab.sender.wait_tried(msgid, 40)
    compare(lab.fate(msgid), {"u@" + domain.name: "delivered" if domain in good else "queued" for domain in good + bad})
    assert took < 35, "the client waited %.1f s" % took
    assert set(map(tuple, tags(lab, msgid).values())) == {("enforce",)}, tags(lab, msgid)
    assert not lab.log.find("not known yet"), "not within the milter's wait"


@scenario(ours="one first message to 120 new domains, more than the milter waits for: in the end good hosts have it, bad ones nothing")
def more_than_awaited(lab, setup):
    setup.start(lab)
    lab.mx_host("mx.good.test", server="sink")
    lab.mx_host("mx.bad.test", "selfsigned")
    good = lab.shared("mx.good.test", *("g%d.test" % n for n in range(60)))
    bad = lab.shared("mx.bad.test", *("b%d.test" % n for n in range(60)))
    lab.policies(good + bad)
    for domain in bad:
        lab.forbid_bad(domain)
    msgid = lab.sender.send(*("u@" + domain.name for pair in zip(good, bad) for domain in pair))
    want = {"u@" + domain.name: "delivered" if domain in good else "queued" for domain in good + bad}
    wait.until("all good hosts have it", lambda: len(lab.deliveries(msgid)) == len(good), 90, every=0.5)
    for domain in bad:
        lab.log.wait(r"validation-failure .*for %s" % re.escape(domain.name), 60)
    compare(lab.fate(msgid), want)


@scenario(ours="200 deliveries with verdicts both ways while the map takes hundreds of commits, some of which turn a verdict: each is right, none is bounced, Sendmail complains of nothing",
          seconds=240)
def many_commits(lab, setup):
    setup.settings = 'nudge { address = "" }\n'
    setup.start(lab)
    lab.mx_host("mx.good.test", server="sink")
    lab.mx_host("mx.bad.test", "selfsigned")
    good = lab.shared("mx.good.test", *("g%d.test" % n for n in range(20)))
    bad = lab.shared("mx.bad.test", *("b%d.test" % n for n in range(20)))
    none = lab.shared("mx.bad.test", *("n%d.test" % n for n in range(20)))
    flip = lab.shared("mx.bad.test", "flip.test")
    lab.policies(good + bad + flip)
    settle(lab, good + bad + none + flip)
    for domain in good + bad:
        lab.ours.wait_verdict(domain.name, "enforce")
        lab.forbid_bad(domain)
    lab.ours.wait_verdict("flip.test", "enforce")
    lab.ours.stop(lab.ours.daemon)  # one writer at a time
    writer = lab.sender_machine.popen(["/usr/libexec/mtasts-lab/mapwriter", MAP + ".db", "20", "flip.test", "mx.bad.test"], stdout=-1, stderr=-1, text=True)
    sent, flipped = [], {}

    def flips():
        wait.until("mapwriter commits", lambda: map_value(lab, "filler0.test"), 20)
        for n in range(10):
            state = ("none", "enforce")[n % 2]
            writer.send_signal(signal.SIGUSR1)
            wait.until("flip.test is " + state, lambda: map_value(lab, "flip.test").startswith(state), 20)
            flipped[tried(lab, "u@flip.test")] = "queued" if state == "enforce" else "delivered"
    flipping = threading.Thread(target=flips)
    try:
        flipping.start()
        def session(thread):
            for n in range(17):
                for domain in (good[(thread + n) % 20], bad[(thread * 7 + n) % 20], none[(thread * 3 + n) % 20]):
                    sent.append((domain.name[0], lab.sender.send("u@" + domain.name)))
        in_parallel(session, range(4))
        for _kind, msgid in sent:
            lab.sender.wait_tried(msgid, 60)
        flipping.join()
    finally:
        writer.terminate()
        out, err = writer.communicate(timeout=20)
    assert writer.returncode == 0 and int(out) >= 200, "%s commits: %s" % (out, err)
    fates = lab.account()
    have = {msgid: next(iter(rcpts_and_states(fates, msgid).values())) for _kind, msgid in sent}
    compare(have, {msgid: "queued" if kind == "b" else "delivered" for kind, msgid in sent})
    assert len(sent) >= 200
    assert len(flipped) == 10, "the verdict could not be changed ten times"
    compare({msgid: fates[msgid, "u@flip.test"].state for msgid in flipped}, flipped)
    print("%d deliveries, %s commits" % (len(sent), out.strip()))


def fill_queue(lab, names):
    """Queue files as this Sendmail writes them, copied from one of its own: one message to u@NAME for each name."""
    pattern = lab.sender.send("u@" + names[0])
    item = next(q for q in lab.sender.queue() if q.msgid == pattern)
    directory = lab.sender_machine.file("/var/spool/mqueue")
    with open(os.path.join(directory, "qf" + item.qid), encoding="latin-1") as f:
        head = f.read()
    with open(os.path.join(directory, "df" + item.qid), encoding="latin-1") as f:
        body = f.read()
    st = os.stat(os.path.join(directory, "qf" + item.qid))
    for n, name in enumerate(names[1:]):
        qid = "%s%06d" % (item.qid[:8], 100000 + n)
        msgid = "<load.%d@lab.sender.test>" % n
        for letter, text in (("d", body), ("q", head.replace(item.qid, qid).replace(pattern, msgid).replace("u@" + names[0], "u@" + name))):
            path = os.path.join(directory, letter + "f" + qid)
            with open(path, "w", encoding="latin-1") as f:
                f.write(text)
            os.chown(path, st.st_uid, st.st_gid)
            os.chmod(path, st.st_mode & 0o7777)
        lab.sender.accepted[msgid] = ["u@" + name]


@scenario(ours="500 domains that settle at once over a queue of 10,000 messages: all but those for bad MX hosts are delivered soon, no message lost or twice, and the MTA is asked politely",
          seconds=500)
def long_queue(lab, setup):
    setup.start(lab, mc=["define(`confDELIVERY_MODE', `queueonly')dnl"])
    lab.mx_host("mx.good.test", server="sink")
    lab.mx_host("mx.plain.test", "notls")
    lab.mx_host("mx.bad.test", "selfsigned")
    enforced = lab.shared("mx.good.test", *("e%d.test" % n for n in range(ENFORCED)))
    bad = lab.shared("mx.bad.test", *("b%d.test" % n for n in range(BAD)))
    others = lab.shared("mx.plain.test", *("o%d.test" % n for n in range(DOMAINS - ENFORCED - BAD)))
    lab.policies(enforced + bad)
    for domain in bad:
        lab.forbid_bad(domain)
    domains = enforced + bad + others
    for domain in domains:  # until these answer, nobody can know
        lab.dns._servfail.add("_mta-sts." + domain.name)
    lab.dns.servfail("_mta-sts." + domains[0].name)
    fill_queue(lab, [domains[n % DOMAINS].name for n in range(MESSAGES)])
    began = time.monotonic()
    lab.sender.run_queue(timeout=300)
    held = time.monotonic() - began
    assert not lab.sinks.used(), "mail was begun before a policy was known"
    assert lab.ours.ctl("status")["held"] == DOMAINS, lab.ours.ctl("status")
    mark = lab.log.mark()
    lab.dns._servfail.clear()
    lab.dns.servfail("_mta-sts." + domains[0].name, on=False)
    began = time.monotonic()
    good_messages = MESSAGES // DOMAINS * (DOMAINS - BAD)
    wait.until("%d delivered" % good_messages, lambda: len(lab.sinks.deliveries()) >= good_messages, 300, every=0.5)
    took = time.monotonic() - began
    nudges = lab.log.find(r"mtastsd.*nudge=.*reply=.250", mark)
    fates = lab.account(seconds=30)
    assert len(fates) == MESSAGES
    compare({key: fate.state for key, fate in fates.items()}, {key: "queued" if key[1].startswith("u@b") else "delivered" for key in fates})
    assert len(nudges) <= 10 * (took / 60 + 2), nudges
    rate = good_messages / took
    print("held in %.1f s; delivered in %.1f s, %.0f messages a second, %d ETRN" % (held, took, rate, len(nudges)))
    assert all(d.tls for d in lab.deliveries() if re.match(r"u@e\d", d.rcpt)), "without TLS"
