"""The lab watches itself: what the other scenarios rely on fails when it should."""

import os
import subprocess
import sys

import account
import isolate
import net
from scenario import scenario


def unbalanced(lab):
    try:
        lab.account(seconds=0.5)
    except account.Unbalanced as error:
        return str(error)
    raise AssertionError("the account balances, and must not")


@scenario(plain="a message that vanishes from the queue is missed by the account")
def account_misses_lost_mail(lab, setup):
    setup.start(lab, mc=["define(`confDELIVERY_MODE', `queueonly')dnl"])
    lab.domain("good.test")
    msgid = lab.sender.send("u@good.test")
    assert lab.fate(msgid) == {"u@good.test": "queued"}
    queue = lab.sender_machine.file("/var/spool/mqueue")
    for name in os.listdir(queue):
        os.remove(os.path.join(queue, name))
    assert "delivered 0 times, queued 0 times, bounced 0 times" in unbalanced(lab)
    lab.sender.accepted.clear()


@scenario(plain="a message that arrives twice is noticed by the account, at Postfix and at the sink")
def account_notices_doubles(lab, setup):
    setup.start(lab)
    for name, server in (("a.test", "postfix"), ("b.test", "sink")):
        lab.domain(name, server=server)
        msgid = lab.sender.send("u@" + name)
        lab.sender.wait_tried(msgid)
        assert lab.fate(msgid) == {"u@" + name: "delivered"}
        lab.sender.send("u@" + name, msgid=msgid)
        lab.sender.accepted[msgid].pop()
        lab.sender.wait_tried(msgid, times=2)
        assert "delivered 2 times" in unbalanced(lab)
        lab.sender.accepted.clear()
        lab.sinks.received.clear()
        lab.postfix.forget()


@scenario(plain="a refused recipient is counted as bounced, the others of the message as delivered; local mail counts too")
def account_counts_bounces(lab, setup):
    setup.start(lab)
    lab.mx_host("mx.no.test", rcpt="550 5.1.1 nobody")
    lab.shared("mx.no.test", "no.test")
    lab.domain("good.test")
    msgid = lab.sender.send("u@no.test", "u@good.test", "bob@sender.test")
    lab.sender.wait_tried(msgid)
    assert lab.fate(msgid) == {"u@no.test": "bounced", "u@good.test": "delivered", "bob@sender.test": "delivered"}


@scenario(plain="a delivery to a forbidden MX host, or without TLS, is noticed, with Postfix and with the sink")
def forbidden_delivery_is_noticed(lab, setup):
    setup.start(lab)
    domain, other, clear = lab.domain("bad.test", "selfsigned", server="postfix"), lab.domain("worse.test", "expired"), lab.domain("clear.test", server="sink")
    lab.hosts["mx1.clear.test"]["starttls"] = "no"  # the right host, but without TLS
    for d in (domain, other, clear):
        lab.forbid_bad(d)
    lab.sender.wait_tried(lab.sender.send("u@bad.test", "u@worse.test", "u@clear.test"))
    lab.account()
    assert len(lab.against_policy()) == 3, lab.against_policy()
    for d in (domain, other, clear):
        lab.allow(d)
    assert lab.against_policy() == []


@scenario(plain="where the lab cannot run it says what it lacks: with another user than root, and with a root that may not make namespaces, exit code 77")
def says_what_it_lacks(lab, setup):
    def as_nobody():
        os.setuid(65534)
        try:
            isolate.check_machine()
        except isolate.Lacking as lacking:
            return lacking.status if "must be run as root" in str(lacking) else 1
    assert isolate._in_child(as_nobody) == 77
    runner = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")
    done = subprocess.run(["setpriv", "--bounding-set", "-sys_admin", sys.executable, "-B", runner, "-k", "plain:"], capture_output=True, text=True)
    assert done.returncode == 77 and done.stderr.startswith("lab: root here may not make namespaces") and "--privileged" in done.stderr, done


@scenario(plain="DNS: large TXT answers need TCP; names can be dropped or fail; a server can freeze, stop and come back")
def dns_misbehaves_on_demand(lab, setup):
    lab.dns.txt("big.test", "v=STSv1; id=1;", "x" * 5000)
    assert "Truncated" in lab.dns.ask("big.test", "TXT") and "x" * 200 in lab.dns.ask("big.test", "TXT")
    lab.dns.set("a.test", "A", "10.99.1.1")
    lab.dns.drop("a.test")
    assert "timed out" in lab.dns.ask("a.test", "A")
    lab.dns.drop("a.test", on=False)
    assert "10.99.1.1" in lab.dns.ask("a.test", "A")
    lab.dns.servfail("f.test")
    assert "SERVFAIL" in lab.dns.ask("_mta-sts.f.test", "TXT")
    lab.dns.servfail("f.test", on=False)
    assert "NXDOMAIN" in lab.dns.ask("_mta-sts.f.test", "TXT")
    lab.dns.freeze()
    assert "timed out" in lab.dns.ask("a.test", "A")
    lab.dns.thaw()
    lab.dns.stop()
    assert "refused" in lab.dns.ask("a.test", "A")
    lab.dns.start()
    assert "10.99.1.1" in lab.dns.ask("a.test", "A")


@scenario(plain="policy hosts answer as told: at once, late, 404, redirect, other type, too large, with every kind of certificate, or not at all")
def policy_hosts_misbehave_on_demand(lab, setup):
    def fetch(name, address=net.WEB_ADDRESS):
        request = "GET /.well-known/mta-sts.txt HTTP/1.0\r\nHost: mta-sts.%s\r\n\r\n" % name
        done = lab.sender_machine.run(
            ["timeout", "3", "openssl", "s_client", "-quiet", "-CAfile", "/etc/ssl/certs/ca-certificates.crt", "-verify_hostname",
             "mta-sts." + name, "-verify_return_error", "-servername", "mta-sts." + name, "-connect", address + ":443"],
            stdin=request, check=False)
        return done.stdout, done.stderr

    lab.policy("good.test", mx=["mx.good.test"])
    assert "200 OK" in fetch("good.test")[0] and "mx: mx.good.test" in fetch("good.test")[0]
    assert len(lab.web.requests("good.test")) == 2
    for name, habits, wanted in (("gone.test", {"status": 404}, " 404 "), ("type.test", {"media": "text/html"}, "text/html"),
                                 ("moved.test", {"status": 301, "headers": {"Location": "https://mta-sts.good.test/"}}, "Location: https")):
        lab.policy(name, mx=["a"], **habits)
        assert wanted in fetch(name)[0], fetch(name)
    lab.policy("large.test", text="x" * 100000)
    assert len(fetch("large.test")[0]) > 100000
    lab.policy("late.test", mx=["a"], delay_s=1)
    assert "200" in fetch("late.test")[0]
    lab.policy("never.test", mx=["a"], delay_s=None)
    assert fetch("never.test")[0] == ""
    for kind, wanted in (("expired", "expired"), ("selfsigned", "self-signed"), ("wrongname", "ostname mismatch")):
        lab.policy(kind + ".test", mx=["a"], certificate=kind)
        assert wanted in fetch(kind + ".test")[1], (kind, fetch(kind + ".test"))
    assert "onnection refused" in fetch("good.test", net.NOBODY_ADDRESS)[1]
    assert fetch("good.test", net.SILENT_ADDRESS) == ("", "")
    lab.web.stop()
    assert "onnection refused" in fetch("good.test")[1]
    lab.web.up()
    assert "200 OK" in fetch("good.test")[0]
