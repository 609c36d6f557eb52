"""Policies change, in every way that the standard knows; the running Sendmail sees each change at its next lookup; and what the tag tells."""

import os
import re
import shutil
import smtplib
import socket
import struct
import subprocess
import threading
import time

import wait
from scenario import scenario
from setups import MAP
from steps import compare, in_parallel, states, tags, tried, tried_each, wait_sent


def refresh(lab, domain):
    return lab.ours.ctl("refresh", str(domain))


@scenario(ours="a policy that turns to none, or to testing, is withdrawn at once: waiting mail is delivered to the bad MX host, with no queue run of the MTA's own")
def turns_to_none(lab, setup):
    setup.start(lab)
    domains = [lab.domain("none.test", "selfsigned"), lab.domain("testing.test", "selfsigned")]
    setup.enforce(lab, *domains)
    sent = tried_each(lab, domains)
    compare(states(lab, sent), {"none.test": "queued", "testing.test": "queued"})
    for domain, mode in zip(domains, ("none", "testing")):
        lab.policy(domain, mode=mode)
        lab.allow(domain)
        answer = refresh(lab, domain)
        assert answer["mode"] == mode and answer["pushed"], answer
    again = tried_each(lab, domains)
    compare(states(lab, again), {"none.test": "delivered", "testing.test": "delivered"})
    wait.until("the waiting messages are delivered", lambda: set(states(lab, sent).values()) == {"delivered"}, 30, every=0.2)


@scenario(ours="a domain moves to other MX hosts under a new id: the failed check makes mtastsd look at once, and the mail is delivered with no "
               "queue run of the MTA's own")
def moves_and_is_noticed(lab, setup):
    setup.start(lab)
    domain = lab.domain("moving.test")
    setup.enforce(lab, domain)
    assert lab.fate(tried(lab, "u@moving.test")) == {"u@moving.test": "delivered"}
    lab.mx_host("new.moving.test")
    lab.point("moving.test", "new.moving.test")
    id = lab.policy("moving.test", mx=["new.moving.test"])
    msgid = tried(lab, "u@moving.test")
    wait_sent(lab, "u@moving.test", since=lab.log.lines.index(next(e for e in lab.log.lines if lab.sender.qid(msgid) in e[1])))
    assert lab.fate(msgid) == {"u@moving.test": "delivered"}
    assert lab.log.find("mx-mismatch .*for moving.test"), "the check did not fail first: nothing was tried"
    answer = lab.ours.query("moving.test")
    assert answer["id"] == id and answer["mx"] == ["new.moving.test"], answer


@scenario(ours="after mtastsctl refresh the new id and MX list rule: the new host gets mail, the old one none")
def moves_and_is_refreshed(lab, setup):
    setup.start(lab)
    domain = lab.domain("moving.test")
    setup.enforce(lab, domain)
    lab.mx_host("new.moving.test")
    lab.policy("moving.test", mx=["new.moving.test"])
    assert refresh(lab, domain)["mx"] == ["new.moving.test"]
    lab.forbid("moving.test", *domain.mx)
    stays = tried(lab, "u@moving.test")
    assert lab.fate(stays) == {"u@moving.test": "queued"}
    lab.point("moving.test", "new.moving.test")
    time.sleep(1.2)  # the old MX record's TTL, in Sendmail's own resolver's view
    msgid = tried(lab, "u@moving.test")
    assert lab.fate(msgid) == {"u@moving.test": "delivered"}


@scenario(ours="a policy is mended on the far side while one message waits: mtastsd finds out with no new mail and no queue run, and has it delivered")
def mended_while_waiting(lab, setup):
    setup.settings = 'failed_check = "6s"\n'
    setup.start(lab)
    domain = lab.domain("broken.test")
    setup.enforce(lab, domain, patterns=["mx.old.test"])
    msgid = tried(lab, "u@broken.test")
    assert lab.fate(msgid) == {"u@broken.test": "queued"}
    time.sleep(2)  # the look that the failed check caused is over
    compare({"mx": lab.ours.query("broken.test")["mx"]}, {"mx": ["mx.old.test"]})
    lab.policy(domain)
    wait_sent(lab, "u@broken.test", 25)
    assert lab.fate(msgid) == {"u@broken.test": "delivered"}


@scenario(ours="a new id is noticed by the mail that flows, a minute after the last look: the old host gets no more mail", seconds=180)
def noticed_by_mail(lab, setup):
    setup.start(lab)
    domain = lab.domain("moving.test")
    setup.enforce(lab, domain)
    looked = time.monotonic()
    id = lab.policy(domain, mx=["new.moving.test"])
    assert lab.fate(tried(lab, "u@moving.test")) == {"u@moving.test": "delivered"}
    assert lab.ours.query("moving.test")["id"] != id, "looked at again although the last look is not a minute old"
    time.sleep(looked + 61 - time.monotonic())
    tried(lab, "u@moving.test")  # makes mtastsd look again, and does not wait for it
    wait.until("the new id is known", lambda: lab.ours.query("moving.test")["id"] == id, 10, every=0.2)
    lab.forbid(domain, *domain.mx)
    assert lab.fate(tried(lab, "u@moving.test")) == {"u@moving.test": "queued"}


@scenario(ours="a policy that is due is fetched with no mail for its domain and nobody asking, and what it says now is pushed (due: taken over from the map, as the store was lost)")
def fetched_when_due(lab, setup):
    setup.start(lab)
    turns, stays = lab.domain("turns.test", "selfsigned"), lab.domain("stays.test")
    setup.enforce(lab, turns, stays)
    lab.ours.stop(lab.ours.daemon)
    shutil.rmtree(lab.sender_machine.file("/var/lib/mtasts/store"))
    lab.policy(turns, mode="testing")
    lab.allow(turns)
    before = {domain.name: len(lab.web.requests(domain.name)) for domain in (turns, stays)}
    lab.ours.mtastsd()
    wait.until("both are fetched", lambda: all(len(lab.web.requests(name)) > n for name, n in before.items()), 30, every=0.2)
    reader = Reader(lab)
    wait.until("the map is changed", lambda: re.match(r"none|testing", reader.ask("turns.test") or "none"), 20, every=0.2)
    assert reader.ask("stays.test").startswith("enforce")
    reader.close()
    compare(states(lab, tried_each(lab, [turns, stays])), {"turns.test": "delivered", "stays.test": "delivered"})


@scenario(ours="a policy of 60 MX patterns, its body larger than a packet: delivered to the host of the last pattern; a host that none lists gets nothing")
def sixty_patterns(lab, setup):
    setup.start(lab)
    many = ["mx%02d.%s.other.test" % (n, "x" * 40) for n in range(59)]
    good, bad = lab.domain("good.test"), lab.domain("notlisted.test")
    setup.enforce(lab, good, patterns=many + good.patterns)
    setup.enforce(lab, bad, patterns=many + ["mx2.notlisted.test"])
    lab.forbid(bad, *bad.mx)
    assert len(lab.ours.query("good.test")["mx"]) == 60
    compare(states(lab, tried_each(lab, [good, bad])), {"good.test": "delivered", "notlisted.test": "queued"})


@scenario(ours="a policy with max_age 0 rules for the message that found it, and for the next")
def max_age_zero(lab, setup):
    setup.start(lab)
    good, bad = lab.domain("good.test"), lab.domain("bad.test", "selfsigned")
    for domain in (good, bad):
        lab.policy(domain, max_age=0)
    lab.forbid_bad(bad)
    for _ in range(2):
        compare(states(lab, tried_each(lab, [good, bad])), {"good.test": "delivered", "bad.test": "queued"})
    assert lab.ours.query("bad.test")["max_age"] == 0


@scenario(ours="a TXT answer that is larger than a datagram is asked for again by TCP: the policy is found and enforced")
def txt_by_tcp(lab, setup):
    setup.start(lab)
    bad = lab.domain("bad.test", "selfsigned")
    id = lab.policy(bad)
    lab.forbid_bad(bad)
    lab.dns.txt("_mta-sts.bad.test", "v=STSv1; id=%s;" % id, *("filler %02d %s" % (n, "x" * 200) for n in range(30)))
    assert lab.fate(tried(lab, "u@bad.test")) == {"u@bad.test": "queued"}
    assert lab.ours.query("bad.test")["id"] == id


@scenario(ours="case and IDN: recipients in any case and as A-labels meet the policy, and mtastsctl takes the Unicode name")
def case_and_idn(lab, setup):
    setup.start(lab)
    bad, idn, good = lab.domain("bad.test", "selfsigned"), lab.domain("xn--mnchen-3ya.test", "selfsigned"), lab.domain("good.test")
    setup.enforce(lab, bad, idn, good)
    sent = in_parallel(lambda name: tried(lab, "u@" + name), ["BAD.Test", "XN--Mnchen-3YA.test", "GOOD.TEST"])
    compare({name: lab.fate(msgid) for name, msgid in sent.items()},
            {"BAD.Test": {"u@bad.test": "queued"}, "XN--Mnchen-3YA.test": {"u@xn--mnchen-3ya.test": "queued"}, "GOOD.TEST": {"u@good.test": "delivered"}})
    answer = lab.ours.query("M\u00fcnchen.test.")
    assert answer["domain"] == "xn--mnchen-3ya.test" and answer["verdict"] == "enforce", answer


@scenario(ours="_mta-sts and mta-sts that are CNAMEs into a provider's zone: the policy is found, its host's own name is in the certificate")
def cnames(lab, setup):
    setup.start(lab)
    hosted, wrong = lab.domain("hosted.test", "selfsigned"), lab.domain("wrong.test", "selfsigned")
    id = lab.policy(hosted)
    lab.policy(wrong, certificate="wrongname")
    for domain in (hosted, wrong):
        lab.dns.set("mta-sts." + domain.name, "A")
        lab.dns.set("_mta-sts." + domain.name, "TXT")
        lab.dns.set("mta-sts." + domain.name, "CNAME", "hosts.provider.test.")
        lab.dns.set("_mta-sts." + domain.name, "CNAME", "_mta-sts.provider.test.")
    lab.dns.set("hosts.provider.test", "A", "10.99.2.1")
    lab.dns.txt("_mta-sts.provider.test", "v=STSv1; id=%s;" % id)
    lab.forbid_bad(hosted)
    compare(states(lab, tried_each(lab, [hosted, wrong])), {"hosted.test": "queued", "wrong.test": "delivered"})
    assert lab.ours.query("wrong.test")["failure"]["type"] == "sts-webpki-invalid"


class Reader:
    """One sendmail -bt that stays, with the map open since its first lookup."""

    def __init__(self, lab):
        self.process = lab.sender_machine.popen(["/usr/sbin/sendmail", "-bt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                stderr=subprocess.STDOUT, text=True, bufsize=1)
        self.ask("nosuch.test")

    def ask(self, key):
        """The value that the map mtasts has for a key; None: none."""
        self.process.stdin.write("/map mtasts %s\n" % key)
        while True:
            line = self.process.stdout.readline()
            assert line, "sendmail -bt ended"
            found = re.search(r"map_lookup: mtasts \(%s\) (?:no match|returns (.*)) \(\d+\)$" % re.escape(key), line.rstrip())
            if found:
                return found.group(1)

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


@scenario(ours="a running Sendmail sees each change of the map at its next lookup, also in the second of the lookup before, "
               "and after the clock was set back")
def seen_at_once(lab, setup):
    setup.start(lab)
    domains = [lab.domain("d%d.test" % n, server="sink") for n in range(3)]
    reader = Reader(lab)
    for mode in ("enforce", "none", "enforce"):
        for domain in domains:
            lab.policy(domain, mode=mode)
        time.sleep(1.1)  # so that the next change is made at once, in the second of this lookup
        reader.ask("d0.test")
        for domain in domains:
            answer, value = refresh(lab, domain), reader.ask(domain.name)
            assert answer["pushed"] and re.match(mode + r" \d+$", value or ""), (mode, answer, value)
            pattern = reader.ask("%s:%s" % (domain.name, domain.patterns[0]))
            assert pattern == ("mx" if mode == "enforce" else None), (mode, pattern)
    ahead = time.time() + 3600  # as after a clock that was an hour fast has been set right
    os.utime(lab.sender_machine.file(MAP + ".db"), (ahead, ahead))
    reader.ask("d0.test")
    lab.policy(domains[0], mode="none")
    refresh(lab, domains[0])
    assert (reader.ask("d0.test") or "").startswith("none"), "a change under a clock that was set back is not seen"
    reader.close()


@scenario(ours="within one SMTP session that delivers in the foreground, each message meets the policy of the moment, however often that changes")
def changes_within_a_session(lab, setup):
    setup.settings = 'nudge { address = "" }\n'  # what waits shall stay
    setup.start(lab, mc=["define(`confDELIVERY_MODE', `interactive')dnl"])
    domain = lab.domain("flip.test", "selfsigned")
    want = {}
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="client.sender.test", timeout=60) as smtp:
        for mode in ("enforce", "none", "enforce", "none", "enforce", "testing"):
            if mode != "enforce":
                lab.allow(domain)
            lab.policy(domain, mode=mode)
            assert refresh(lab, domain)["mode"] == mode
            if mode == "enforce":
                lab.forbid_bad(domain)
            msgid = lab.sender.new_id()
            smtp.sendmail("alice@sender.test", ["u@flip.test"], lab.sender.message(["u@flip.test"], msgid, "alice@sender.test"))
            lab.sender.accepted[msgid] = ["u@flip.test"]
            want[msgid] = "queued" if mode == "enforce" else "delivered"
            compare({m: lab.fate(m)["u@flip.test"] for m in want}, want)


@scenario(ours="the tag tells the strongest verdict of the recipients that To and Cc show; forged copies go; a Bcc changes nothing in it")
def tag(lab, setup):
    setup.start(lab)
    enforce, testing, none = lab.domain("enforce.test"), lab.domain("testing.test"), lab.domain("none.test")
    setup.enforce(lab, enforce)
    lab.policy(testing, mode="testing")
    refresh(lab, testing)

    def sent(*rcpts, **options):
        msgid = tried(lab, *rcpts, **options)
        found = tags(lab, msgid)
        assert set(found) == set(rcpts), found
        assert len({tuple(values) for values in found.values()}) == 1, "copies differ: %s" % found
        return next(iter(found.values()))
    e, t, n = "u@enforce.test", "u@testing.test", "u@none.test"
    forged = ["X-MTA-STS: enforce", "x-mta-sts:  verified by us", "X-MTA-STS: none"]
    rows = {
        "each alone": ([sent(e), sent(t), sent(n)], [["enforce"], ["testing"], ["none"]]),
        "the strongest": ([sent(n, t), sent(n, t, e)], [["testing"], ["enforce"]]),
        "in Cc": (sent(n, e, to=[n], headers=["Cc: Some Body <U@Enforce.TEST>"]), ["enforce"]),
        "forged": (sent(n, headers=forged), ["none"]),
        "Bcc": ([sent(n, e, to=[n]), sent(n, to=[n]), sent(t, e, to=[t])], [["none"], ["none"], ["testing"]]),
        "all Bcc": (sent(e, to=["undisclosed-recipients:;"]), []),
        "shown, but no recipient": (sent(n, to=[n, e]), ["none"])}
    compare({name: have for name, (have, _want) in rows.items()}, {name: want for name, (_have, want) in rows.items()})
    lines = lab.log.find(r"mtasts-milter.*qid=\w+ domain=enforce.test verdict=enforce pushed=yes")
    assert lines, "the milter's log has no verdict for the recipients"


class OtherMilter:
    """Another filter of the site: adds a header to each message. Speaks as much of the milter protocol, version 6, as that takes."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client = self._socket.accept()[0]
            threading.Thread(target=self._serve, args=(client.makefile("rwb"),), daemon=True).start()

    def _serve(self, stream):
        while True:
            head = stream.read(5)
            if len(head) < 5 or head[4:] in b"QK":
                return
            stream.read(struct.unpack("!I", head[:4])[0] - 1)
            if head[4:] == b"O":  # adds headers; of all steps wants only the end of the message
                self._say(stream, b"O" + struct.pack("!III", 6, 0x1, 0x37f))
            elif head[4:] == b"E":
                self._say(stream, b"hX-Other\0seen\0")
                self._say(stream, b"c")

    @staticmethod
    def _say(stream, data):
        stream.write(struct.pack("!I", len(data)) + data)
        stream.flush()


@scenario(ours="another milter, before ours in the list and after it: each sees every message, also those that ours waits for, and both headers arrive")
def beside_another_milter(lab, setup):
    OtherMilter(lab.sender_machine.file("/run/other.sock"))
    other = "INPUT_MAIL_FILTER(`other', `S=local:/run/other.sock')dnl"
    setup.start(lab, mc=[other])
    for n, order in enumerate(("mtasts, other", "other, mtasts")):
        assert "\nO InputMailFilters=%s\n" % order in lab.sender_machine.read("/etc/mail/sendmail.cf")
        good, fresh = lab.domain("good%d.test" % n), lab.domain("fresh%d.test" % n)
        setup.enforce(lab, good)
        lab.policy(fresh, delay_s=2)
        for name, sent in tried_each(lab, [good, fresh]).items():
            compare({name: (tags(lab, sent), tags(lab, sent, "X-Other"))}, {name: ({"u@" + name: ["enforce"]}, {"u@" + name: ["seen"]})})
        lab.sender.stop()
        lab.sender.configure([other, setup.feature], submit=["FEATURE(`mtasts', `msp')dnl"])
        lab.sender.start()
