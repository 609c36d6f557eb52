"""Sendmails built with less than Debian's: what FEATURE(`mtasts') enforces there, told what is lacking."""

from scenario import scenario
from steps import compare, reasons, states, tried, tried_each

# The common name is mx.lab where there is a subjectAltName that fits, the MX host's name where there is none, or another one.
BY_NAME = {"good": "delivered", "wildcard": "delivered", "wrongsan": "queued", "nosan": "queued", "wildcn": "queued"}
BY_CN = {"good": "queued", "wildcard": "queued", "wrongsan": "delivered", "nosan": "delivered", "wildcn": "delivered"}
ALWAYS = {"selfsigned": "queued", "expired": "queued", "notls": "queued", "notlisted": "queued"}


def enforced(lab, setup, want):
    """One domain of each kind under an enforce policy is delivered or kept as wanted; the names that were sent in the handshakes."""
    domains = {kind: lab.domain(kind + ".test", kind, server="sink") for kind in want}
    setup.enforce(lab, *domains.values())
    for kind, state in want.items():
        lab.forbid(domains[kind].name, *domains[kind].mx) if state == "queued" else lab.allow(domains[kind].name)
    sent = tried_each(lab, [kind + ".test" for kind in want])
    compare(states(lab, sent), {kind + ".test": state for kind, state in want.items()})
    why = reasons(lab, sent)
    unexplained = [kind for kind, state in want.items() if state == "queued" and "mtasts: " not in why[kind + ".test"]]
    assert not unexplained, why
    return {d.sni for d in lab.deliveries()}


@scenario(sendmail="nosni", ours="built without _FFR_MTA_STS, without=sni: all is checked as ever, and no server name is sent")
def no_sni(lab, setup):
    setup.feature = "FEATURE(`mtasts', `without=sni')dnl"
    setup.start(lab)
    assert enforced(lab, setup, {**BY_NAME, **ALWAYS}) == {""}


@scenario(sendmail="noaltnames", ours="built without _FFR_TLS_ALTNAMES, without=altnames: the common name of a trusted certificate must fit, itself or as a "
                                      "wildcard, and no other name is seen; chain, expiry, STARTTLS and MX pattern are checked as ever")
def no_altnames(lab, setup):
    setup.feature = "FEATURE(`mtasts', `without=altnames')dnl"
    setup.start(lab)
    enforced(lab, setup, {**BY_CN, **ALWAYS})


@scenario(sendmail="bare", ours="built without these and without SOCKETMAP, live=program: what only an alias leads to is asked about, held, and gone on with "
                                "when it is settled; with mtastsd away known mail flows and unknown mail waits")
def bare(lab, setup):
    setup.feature = "FEATURE(`mtasts', `without=altnames', `live=program')dnl"
    setup.settings = "socketmap { mode = 0666 }\n"
    setup.start(lab)
    lab.policy(lab.domain("late.test", "selfsigned", server="sink"), delay_s=6)
    for name in ("free", "new"):
        lab.domain(name + ".test")
    lab.forbid("late.test", "mx1.late.test")
    lab.sender.aliases({name: "u@%s.test" % name for name in ("late", "free", "new")})

    def send(name):
        msgid = tried(lab, name + "@sender.test", becomes={name + "@sender.test": ["u@%s.test" % name]})
        return msgid, lab.fate(msgid)["u@%s.test" % name], reasons(lab, {name: msgid})[name]
    assert send("free")[1] == "delivered"
    msgid, state, why = send("late")
    assert state == "queued" and "not known yet" in why and not lab.sinks.used(), (state, why)
    compare({item["domain"]: item["queue_ids"] for item in lab.ours.ctl("held")["held"]}, {"late.test": [lab.sender.qid(msgid)]})
    lab.ours.wait_verdict("late.test", "enforce")
    lab.log.wait(r"qid=%s domain=late.test check=failed" % lab.sender.qid(msgid), 20)  # the queue was run, and the failed check reported
    lab.ours.stop(lab.ours.daemon)
    assert send("free")[1] == "delivered"
    _msgid, state, why = send("new")
    assert state == "queued" and "mtastsd does not answer" in why, (state, why)
