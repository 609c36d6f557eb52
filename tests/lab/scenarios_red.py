"""Attacks: ways round the promise that an enemy, or an unusual site, might find."""

import signal
import smtplib
import socket
import time

import net
import steps
import wait
from lab import Domain
from scenario import scenario
from setups import MAP


def talk(sender, rcpt, body):
    """One message as it stands, to an address that smtplib would mend; the Message-ID, or None when RCPT is refused."""
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="client.sender.test", timeout=70) as smtp:
        smtp.ehlo()
        smtp.docmd("MAIL FROM:<alice@sender.test>")
        if smtp.docmd("RCPT TO:<%s>" % rcpt)[0] != 250:
            return None
        msgid = sender.new_id()
        assert smtp.data("Subject: lab\r\nMessage-ID: %s\r\n\r\n%s\r\n" % (msgid, body))[0] == 250
        sender.accepted[msgid] = [rcpt]
        return msgid


@scenario(ours="attack: a catch-all address for unknown local users (LUSER_RELAY) leads to an enforce domain that nobody knows yet, past check_compat: "
               "nothing goes to a bad MX host")
def luser_relay(lab, setup):
    bad = lab.domain("bad.test", "selfsigned")
    setup.start(lab, mc=["define(`LUSER_RELAY', `esmtp:catchall@bad.test')dnl"])
    lab.policy(bad)
    lab.forbid_bad(bad)
    msgid = steps.tried(lab, "nobody.here@sender.test")
    assert lab.fate(msgid) == {"nobody.here@sender.test": "queued"}, lab.fate(msgid)
    lab.sender.run_queue()
    assert lab.fate(msgid) == {"nobody.here@sender.test": "queued"}, lab.fate(msgid)


@scenario(ours="attack: escapes, quotes, comments and blanks in the domain of a recipient, all read as the enforced domain by the resolver: no copy reaches its bad MX host")
def disguised_domain(lab, setup):
    bad = lab.domain("bad.test", "selfsigned")
    setup.start(lab)
    setup.enforce(lab, bad)
    lab.refused += [r"\\\d", "%sender"]  # no addresses: a domain name with an escaped byte is refused by our rules, the other by DNS
    tried = 0
    for rcpt in (r"u@b\ad.test", r"u@b\097d.test", r"u@\098\097\100.test", 'u@"bad.test"', r"u@bad\.test", "u@bad.test..", "u@bad.test:bad.test",
                 "u@bad.test@bad.test", "u@ bad.test", "u@(x)bad.test", "u@bad(x).test", "u@bad.test%sender.test"):
        tried += talk(lab.sender, rcpt, rcpt) is not None
    wait.until("%d tried" % tried, lambda: len(lab.log.find(r"to=.*mailer=esmtp.*stat=")) >= tried, 20)
    assert tried >= 8 and not lab.deliveries(), [(d.rcpt, d.mx) for d in lab.deliveries()]


@scenario(ours="attack: the longest addresses that Sendmail takes, of as many tokens as can be, end in no error of our rules", seconds=150)
def many_tokens(lab, setup):
    good, bad = lab.domain("good.test"), lab.domain("bad.test", "selfsigned")
    setup.start(lab)
    setup.enforce(lab, good, bad)
    sender = "b" + ".b" * 110 + "@sender.test"
    sent = {n: lab.sender.send("%s@good.test" % ("a" + ".a" * n), "%s@bad.test" % ("a" + ".a" * n), sender=sender) for n in (60, 105, 119)}
    for n, msgid in sent.items():
        lab.sender.wait_tried(msgid)
        local = "a" + ".a" * n
        steps.compare(lab.fate(msgid), {local + "@good.test": "delivered", local + "@bad.test": "queued"})
    assert not lab.log.find("too long|Internal error")


@scenario(ours="attack: an MX host with a valid certificate for no name, an IP address or another name, tried after one whose self-signed certificate "
               "claims the right name, gets nothing")
def borrowed_names(lab, setup):
    setup.start(lab)
    domains = []
    for label, kind, sans in (("nosan", "nosan", None), ("ip", "good", ["10.1.2.3"]), ("other", "good", ["attacker.lab"])):
        hosts = ["mx1.%s.test" % label, "mx2.%s.test" % label]
        lab.mx_host(hosts[0], "selfsigned", sans=hosts)
        lab.mx_host(hosts[1], kind, server="sink", sans=sans)
        lab.point(label + ".test", *hosts)
        domains.append(Domain(label + ".test", hosts, hosts))
        lab.forbid(domains[-1], *hosts)
    setup.enforce(lab, *domains)
    sent = steps.tried_each(lab, domains)
    steps.compare(steps.states(lab, sent), {domain.name: "queued" for domain in domains})
    wait.until("second hosts refused", lambda: len(lab.log.find(r"ruleset=tls_rcpt.*certificate-host-mismatch at mx2")) == 3)


@scenario(ours="attack: twenty unknown domains with silent policy hosts behind one alias: a known domain behind it does not wait for them")
def slow_neighbours(lab, setup):
    lab.domain("mx.test", "notls")
    names = ["slow%d.test" % n for n in range(20)]
    for name in names:
        lab.dns.update("add %s. 1 MX 10 mx1.mx.test." % name, 'add _mta-sts.%s. 1 TXT "v=STSv1; id=1;"' % name,
                       "add mta-sts.%s. 1 A %s" % (name, net.SILENT_ADDRESS))
    good, rcpts = lab.domain("zgood.test"), ["u@" + name for name in names] + ["u@zgood.test"]
    lab.sender.aliases({"list": ", ".join(rcpts)})
    setup.start(lab)
    setup.enforce(lab, good)
    began = time.monotonic()
    msgid = lab.sender.send("list@sender.test", becomes={"list@sender.test": rcpts})
    steps.wait_sent(lab, "u@zgood.test", 60)
    assert time.monotonic() - began < 30, "it took %.1f s" % (time.monotonic() - began)
    steps.compare(lab.fate(msgid), {rcpt: "delivered" if rcpt == "u@zgood.test" else "queued" for rcpt in rcpts})


@scenario(ours="attack: more domains with silent policy hosts than may be looked up at once: a domain without a record does not wait for them")
def silent_crowd(lab, setup):
    lab.dns.update("add *.evil.test. 60 MX 10 mx1.evil.test.", 'add *.evil.test. 60 TXT "v=STSv1; id=1;"', "add *.evil.test. 60 A " + net.SILENT_ADDRESS)
    lab.domain("bystander.test", "notls")
    setup.settings = 'discoveries_max = 50\nmilter { wait = "1s" }\n'
    setup.start(lab)
    crowd = [lab.sender.send(*["u@x%d-%d.evil.test" % (k, n) for n in range(90)]) for k in range(2)]
    wait.until("50 discoveries, 130 wait for theirs", lambda: [s for s in [lab.ours.ctl("status")] if (s["discoveries"], s["queued"]) == (50, 130)], 20, every=0.2)
    began = time.monotonic()
    lab.sender.send("u@bystander.test")
    steps.wait_sent(lab, "u@bystander.test", 90)
    assert time.monotonic() - began < 30, "it took %.1f s" % (time.monotonic() - began)
    assert {state for msgid in crowd for state in lab.fate(msgid).values()} == {"queued"}


@scenario(ours="attack: forty policies of thousands of MX patterns, found at once, are pushed in many short commits, and other mail flows")
def giant_policies(lab, setup):
    good = lab.domain("good.test")
    names = ["giant%d.test" % n for n in range(40)]
    lab.policies(names, mx=["m%x.b" % n for n in range(4000)])
    setup.start(lab)
    setup.enforce(lab, good)
    for name in names:
        lab.ours.machine.popen(["/usr/sbin/mtastsctl", "refresh", name])
    worst, end = 0, time.monotonic() + 120
    while lab.ours.ctl("status")["entries"] < 41 and time.monotonic() < end:
        began = time.monotonic()
        msgid = lab.sender.send("u@good.test")
        wait.until("delivered", lambda: "delivered" in lab.fate(msgid).values(), 60)
        worst = max(worst, time.monotonic() - began)
    wait.until("all are in the map", lambda: all(lab.ours.query(name)["pushed"] for name in names), 60, every=1)
    entries = lab.sender_machine.run(["makemap", "-u", "hash", MAP]).stdout
    assert entries.count("\tenforce ") == 41 and entries.count("\tmx\n") == 40 * 4000 + 1
    commits = lab.ours.ctl("status")["commits"]
    assert commits >= 20 and worst < 60, "%d commits, a message took %.1f s" % (commits, worst)


@scenario(ours="attack: virtusertable, no canonification, masquerading, queue groups, a fallback MX host, foreground delivery: enforce domains, known or not, "
               "and without MX records, keep their bad hosts from the mail; good ones get it")
def unusual_site(lab, setup):
    lab.mx_host("mx.fallback.test", "good")
    bad, good, fresh = lab.domain("bad.test", "selfsigned"), lab.domain("good.test"), lab.domain("fresh.test", "selfsigned")
    lab.mx_host("implicit.test", "good")
    lab.mx_host("nomx.test", "selfsigned")
    implicit, nomx = Domain("implicit.test", ["implicit.test"], ["implicit.test"]), Domain("nomx.test", ["nomx.test"], ["nomx.test"])
    dead = Domain("dead.test", ["mx.dead.test"], ["mx.dead.test"])
    lab.dns.update("add mx.dead.test. 1 A " + net.NOBODY_ADDRESS, "add dead.test. 1 MX 10 mx.dead.test.")
    setup.start(lab, mc=["FEATURE(`virtusertable')dnl", "VIRTUSER_DOMAIN(`virt.test')dnl", "FEATURE(`nocanonify')dnl", "MASQUERADE_AS(`mask.test')dnl",
                         "FEATURE(`masquerade_envelope')dnl", "define(`confDELIVERY_MODE', `interactive')dnl", "define(`confFALLBACK_MX', `mx.fallback.test')dnl",
                         "QUEUE_GROUP(`other', `P=/var/spool/mqueue, I=1m')dnl"],
                virtusertable={"b@virt.test": "vb@bad.test", "f@virt.test": "vf@fresh.test", "g@virt.test": "u@good.test", "@all.test": "%1@bad.test"})
    lab.policy(fresh, delay_s=8)
    lab.forbid_bad(fresh)
    setup.enforce(lab, bad, good, implicit, nomx, dead)
    for domain in (bad, fresh, nomx, dead):
        lab.forbid(domain, "mx.fallback.test")
    becomes = {"g@virt.test": ["u@good.test"]}
    want = {"b@virt.test": "queued", "f@virt.test": "queued", "u@good.test": "delivered", "u@implicit.test": "delivered", "u@nomx.test": "queued",
            "u@bad.test": "queued", "u@fresh.test": "queued", "u@dead.test": "queued"}
    msgid = lab.sender.send("b@virt.test", "f@virt.test", "g@virt.test", "u@implicit.test", "u@nomx.test", "u@bad.test", "u@fresh.test", "u@dead.test", becomes=becomes)
    steps.compare(lab.fate(msgid), want)
    time.sleep(9)
    lab.sender.run_queue()
    steps.compare(lab.fate(msgid), want)


@scenario(ours="attack: forget, SIGHUP and lookups without a pause under mail for an enforce domain: its bad MX host gets nothing, its good neighbour all")
def forget_and_reload(lab, setup):
    bad, good = lab.domain("bad.test", "selfsigned"), lab.domain("good.test")
    setup.start(lab)
    setup.enforce(lab, bad, good)
    end, sent = time.monotonic() + 12, []
    pids = []
    while time.monotonic() < end:
        for name in ("bad.test", "good.test"):
            pids.append(lab.ours.machine.popen(["/usr/sbin/mtastsctl", "forget", name]))
        lab.ours.daemon.send_signal(signal.SIGHUP)
        sent.append(lab.sender.send("u@bad.test", "u@good.test"))
        if len(sent) % 5 == 0:
            lab.sender.run_queue()
    for process in pids:
        process.wait(20)
    for name in ("bad.test", "good.test"):
        lab.ours.ctl("refresh", name)
    lab.sender.run_queue()
    lab.sender.run_queue()
    assert len(sent) > 5
    for msgid in sent:
        steps.compare(lab.fate(msgid), {"u@bad.test": "queued", "u@good.test": "delivered"})


@scenario(ours="attack: other users of the host reach no socket, map or store; two thousand idle live lookups do not keep an enforce domain's first mail")
def local_users(lab, setup):
    setup.start(lab)
    lab.policy(lab.domain("good.test"))
    paths = ["/run/mtasts/socketmap.sock", "/run/mtasts/control.sock", "/run/mtasts/milter.sock", "/var/lib/mtasts/map/policy.db", "/var/lib/mtasts/store/data.mdb"]
    program = ("use Socket; for $p (@ARGV) { if ($p =~ /sock$/) { socket(S, AF_UNIX, SOCK_STREAM, 0); $r = connect(S, sockaddr_un($p)); } "
               "else { $r = open(F, '<', $p); } print(($r ? 'open' : $!) . \" $p\\n\"); }")
    answer = lab.sender_machine.run(["perl", "-e", program] + paths, user="carol").stdout
    assert answer.count("Permission denied") == len(paths), answer
    assert "Permission denied" not in lab.sender_machine.run(["perl", "-e", program] + paths).stdout
    idle = [socket.socket(socket.AF_UNIX) for _n in range(2100)]
    for s in idle:
        s.connect(lab.sender_machine.file(paths[0]))
    began = time.monotonic()
    lab.sender.send("u@good.test")
    steps.wait_sent(lab, "u@good.test", 40)
    assert time.monotonic() - began < 30, "it took %.1f s" % (time.monotonic() - began)
    for s in idle:
        s.close()
