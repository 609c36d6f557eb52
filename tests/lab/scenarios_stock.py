"""The holes and breakages of stock FEATURE(`sts'), each shown open with stock and closed with ours: same world, same mail."""

import time

import roots
from lab import Domain
from scenario import scenario

QUEUE_ONLY = "define(`confDELIVERY_MODE', `queueonly')define(`confQUEUE_SORT_ORDER', `time')dnl"


def expect(lab, setup, msgid, stock, ours):
    """Compare the fates {rcpt: state} of a message with what this setup must give."""
    fate, wanted = lab.fate(msgid), stock if setup.name == "stock" else ours
    assert fate == wanted, "%s: want %s, have %s" % (setup.name, wanted, fate)


def tried(lab, *rcpts, **options):
    msgid = lab.sender.send(*rcpts, **options)
    lab.sender.wait_tried(msgid)
    return msgid


def queue_run(lab, *rcpts):
    """One message for each recipient, delivered in this order by one queue run (the queue counts seconds); the Message-IDs."""
    sent = []
    for rcpt in rcpts:
        sent.append(lab.sender.send(rcpt))
        time.sleep(1.1)
    lab.sender.run_queue()
    for msgid in sent:
        lab.sender.wait_tried(msgid)
    return sent


def both(stock, ours):
    """The sentences of the three set-ups: what stock does, what ours does (rules over a made map; everything)."""
    return {"stock": stock, "mapped": ours + " (rules alone)", "ours": ours}


@scenario(chosen=True, **both("hole a: a shared self-signed MX gets the enforce recipient, whichever of the two is named first",
                 "a closed: a shared self-signed MX gets only the recipient without policy, whichever is named first"))
def a_first_recipient_only(lab, setup):
    setup.start(lab)
    lab.mx_host("mx.h.test", "selfsigned", server="postfix")
    h0, h1 = lab.shared("mx.h.test", "h0.test", "h1.test")
    setup.enforce(lab, h1)
    for rcpts in (("u@h0.test", "u@h1.test"), ("u@h1.test", "u@h0.test")):
        expect(lab, setup, tried(lab, *rcpts), stock={"u@h0.test": "delivered", "u@h1.test": "delivered"},
               ours={"u@h0.test": "delivered", "u@h1.test": "queued"})


@scenario(**both("hole a: one bad policy recipient holds back the mail of another domain at the same MX, unseen",
                 "a closed: a failed check of one recipient leaves the other domains of that MX alone"))
def a_collateral(lab, setup):
    setup.start(lab, mc=[QUEUE_ONLY])
    lab.mx_host("mx.h.test", "selfsigned", server="postfix")
    h0, h1 = lab.shared("mx.h.test", "h0.test", "h1.test")
    setup.enforce(lab, h1)
    first, second = queue_run(lab, "u@h1.test", "u@h0.test")
    expect(lab, setup, first, stock={"u@h1.test": "queued"}, ours={"u@h1.test": "queued"})
    expect(lab, setup, second, stock={"u@h0.test": "queued"}, ours={"u@h0.test": "delivered"})


@scenario(chosen=True, **both("hole b: in a queue run the second message goes to a self-signed MX over the first one's cached connection",
                 "b closed: in a queue run a cached connection carries no policy recipient to a self-signed MX"))
def b_cached_connection(lab, setup):
    setup.start(lab, mc=[QUEUE_ONLY])
    lab.mx_host("mx.h.test", "selfsigned", server="postfix")
    h0, h1 = lab.shared("mx.h.test", "h0.test", "h1.test")
    setup.enforce(lab, h1)
    first, second = queue_run(lab, "u@h0.test", "u@h1.test")
    expect(lab, setup, first, stock={"u@h0.test": "delivered"}, ours={"u@h0.test": "delivered"})
    expect(lab, setup, second, stock={"u@h1.test": "delivered"}, ours={"u@h1.test": "queued"})


@scenario(**both("hole b: another host's self-signed certificate lends its names to a cached connection with the wrong SAN",
                 "b closed: names from another host's certificate count for nothing"))
def b_borrowed_names(lab, setup):
    setup.start(lab, mc=[QUEUE_ONLY])
    lab.mx_host("mx.w.test", "wrongsan", server="postfix")
    opener, policy = lab.shared("mx.w.test", "opener.test", "w.test")
    lab.mx_host("mx.evil.test", "selfsigned", sans=["mx.w.test"])
    lab.shared("mx.evil.test", "evil.test")
    setup.enforce(lab, policy)
    sent = queue_run(lab, "u@opener.test", "u@evil.test", "u@w.test")
    expect(lab, setup, sent[1], stock={"u@evil.test": "delivered"}, ours={"u@evil.test": "delivered"})
    expect(lab, setup, sent[2], stock={"u@w.test": "delivered"}, ours={"u@w.test": "queued"})


@scenario(**both("breakage b: a second message to a good MX in one queue run is deferred, its certificate's names forgotten",
                 "b closed: every message to a good MX in one queue run is delivered"))
def b_false_failure(lab, setup):
    setup.start(lab, mc=[QUEUE_ONLY])
    good, other = lab.domain("good.test"), lab.domain("other.test")
    setup.enforce(lab, good)
    sent = queue_run(lab, "u@good.test", "u@other.test", "u@good.test")
    expect(lab, setup, sent[0], stock={"u@good.test": "delivered"}, ours={"u@good.test": "delivered"})
    expect(lab, setup, sent[2], stock={"u@good.test": "queued"}, ours={"u@good.test": "delivered"})


@scenario(**both("breakage c: mail to an MX with a wildcard certificate is deferred for ever",
                 "c closed: mail to an MX with a wildcard certificate is delivered"))
def c_wildcard_san(lab, setup):
    setup.start(lab)
    setup.enforce(lab, lab.domain("wild.test", "wildcard"))
    expect(lab, setup, tried(lab, "u@wild.test"), stock={"u@wild.test": "queued"}, ours={"u@wild.test": "delivered"})


@scenario(**both("breakage d: a policy of 41 MX patterns never matches, mail is deferred for ever",
                 "d closed: a policy of 41 MX patterns is delivered to the host of its last one"))
def d_many_patterns(lab, setup):
    setup.start(lab)
    domain = lab.domain("many.test")
    setup.enforce(lab, domain, patterns=["mx%02d.other.test" % n for n in range(40)] + domain.patterns)
    expect(lab, setup, tried(lab, "u@many.test"), stock={"u@many.test": "queued"}, ours={"u@many.test": "delivered"})


def spoof(lab, setup):
    """spoofed.test has a policy, and a forged CNAME that leads all its mail to the attacker's good certificate."""
    lab.domain("attacker.test")
    spoofed = Domain("spoofed.test", ["mx1.attacker.test"], ["mx1.spoofed.test"])
    setup.enforce(lab, spoofed)
    lab.dns.update("add spoofed.test. 1 CNAME attacker.test.")


def rewritten(setup):
    """Stock Sendmail changes the recipient's own address; for the account that is an alias."""
    return {"u@spoofed.test": ["u@attacker.test" if setup.name == "stock" else "u@spoofed.test"]}


@scenario(**both("hole e: a forged CNAME of the recipient's domain takes the mail to the attacker",
                 "e closed: a forged CNAME of the recipient's domain leads nowhere"))
def e_spoofed_cname(lab, setup):
    setup.start(lab)
    spoof(lab, setup)
    msgid = tried(lab, "u@spoofed.test", becomes=rewritten(setup))
    expect(lab, setup, msgid, stock={"u@attacker.test": "delivered"}, ours={"u@spoofed.test": "queued"})


@scenario(**both("hole e: submitted by sendmail -t, too, mail follows the forged CNAME to the attacker",
                 "e closed: submitted by sendmail -t, too, mail does not follow a forged CNAME"))
def e_spoofed_cname_msp(lab, setup):
    setup.start(lab)
    spoof(lab, setup)
    msgid = lab.sender.submit("u@spoofed.test", becomes=rewritten(setup))
    lab.sender.wait_tried(msgid)
    expect(lab, setup, msgid, stock={"u@attacker.test": "delivered"}, ours={"u@spoofed.test": "queued"})


@scenario(**both("hole f: no SNI is sent when the first recipient of a session has no policy",
                 "f closed: SNI is sent in every session"))
def f_sni(lab, setup):
    setup.start(lab)
    lab.mx_host("mx.shared.test")
    s0, s1 = lab.shared("mx.shared.test", "s0.test", "s1.test")
    setup.enforce(lab, s1)
    msgid = tried(lab, "u@s0.test", "u@s1.test")
    seen = {d.sni for d in lab.deliveries(msgid)}
    assert len(lab.deliveries(msgid)) == 2, lab.deliveries(msgid)
    assert seen == ({""} if setup.name == "stock" else {"mx.shared.test"}), seen
    assert {d.sni for d in lab.deliveries(tried(lab, "u@s1.test"))} == {"mx.shared.test"}, "the lab must see SNI when it is sent"


@scenario(**both("breakage g: mail that a mailertable sends to another host is deferred by the recipient domain's policy",
                 "g closed: mail that a mailertable sends to another host flows; mail by MX is still checked"))
def g_mailertable(lab, setup):
    setup.start(lab, mc=["FEATURE(`mailertable')dnl"], mailertable={"mtable.test": "esmtp:[smart.test]"})
    lab.mx_host("smart.test", "selfsigned")
    mtable, bad = lab.domain("mtable.test"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, mtable, bad)
    expect(lab, setup, tried(lab, "u@mtable.test"), stock={"u@mtable.test": "queued"}, ours={"u@mtable.test": "delivered"})
    expect(lab, setup, tried(lab, "u@bad.test"), stock={"u@bad.test": "queued"}, ours={"u@bad.test": "queued"})


@scenario(**both("breakage g: with a smart host all mail to policy domains is deferred",
                 "g closed: with a smart host mail to policy domains flows"))
def g_smart_host(lab, setup):
    setup.start(lab, mc=["define(`SMART_HOST', `esmtp:[smart.test]')dnl"])
    lab.mx_host("smart.test")
    setup.enforce(lab, lab.domain("good.test"))
    expect(lab, setup, tried(lab, "u@good.test"), stock={"u@good.test": "queued"}, ours={"u@good.test": "delivered"})


@scenario(**both("breakage h: Clt_Features with flag M for the smart host exempts nothing, mail is deferred (8.18 heeds it)",
                 "h closed: beside FEATURE(tls_session_features) and its Clt_Features a smart host needs no exemption"))
def h_clt_features(lab, setup):
    setup.start(lab, mc=["FEATURE(`access_db')dnl", "FEATURE(`tls_session_features')dnl", "FEATURE(`mailertable')dnl"],
                access={"Clt_Features:smart.test": "M"}, mailertable={"mtable.test": "esmtp:[smart.test]"})
    lab.mx_host("smart.test")
    setup.enforce(lab, lab.domain("mtable.test"))
    expect(lab, setup, tried(lab, "u@mtable.test"), stock={"u@mtable.test": "queued" if roots.suite() == roots.WORLD else "delivered"}, ours={"u@mtable.test": "delivered"})
