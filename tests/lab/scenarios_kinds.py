"""Every kind of MX host under a policy, with all our programs: what is delivered, what waits, and why."""

import re

from scenario import scenario
from steps import compare, reasons, states, tags, tried, tried_each, wait_sent

FITS = ("good", "wildcard", "case", "cname", "two", "twosan", "twolist")
TWO = ("two.test", "twosan.test", "twolist.test")  # the first host is bad, the second good
FAILS = {"wrongsan": "certificate-host-mismatch", "nosan": "certificate-host-mismatch", "selfsigned": "validation-failure verify=FAIL",
         "expired": "validation-failure verify=FAIL", "notls": "starttls-not-supported", "refuse": "validation-failure",
         "break": "TLS handshake|validation-failure", "notlisted": "mx-mismatch", "multi": "mx-mismatch", "ip": "mx-mismatch|host-mismatch"}


def enforced(lab, setup, kinds):
    """One domain KIND.test for each kind, all with an enforce policy that rules."""
    domains = [lab.domain(kind + ".test", kind) for kind in kinds]
    for domain in domains:
        if domain.name == "ip.test":
            domain.patterns = ["mx.ip.test"]  # an address is no MX pattern
    setup.enforce(lab, *domains)
    return domains


@scenario(chosen=True, ours="enforce: mail is delivered to MX hosts whose certificate fits, also by wildcard, by the name before a CNAME, whatever the "
               "case, and to the second host when the first is bad")
def fitting_hosts(lab, setup):
    setup.start(lab)
    enforced(lab, setup, FITS)
    sent = tried_each(lab, [kind + ".test" for kind in FITS])
    for name in TWO:  # tried at the first host, it is not yet at the second
        wait_sent(lab, "u@" + name)
    compare(states(lab, sent), {kind + ".test": "delivered" for kind in FITS})
    for delivery in lab.deliveries():
        assert delivery.tls, "delivered without TLS: %s" % delivery
    compare({name: {d.mx for d in lab.deliveries(sent[name])} for name in TWO}, {name: {"ok." + name} for name in TWO})
    assert {"bad." + name for name in TWO} <= {state["mx"] for state in lab.sinks.sessions}, "a first host was not tried"
    assert {d.sni for d in lab.deliveries(sent["cname.test"])} == {"mx.cname.test"}, lab.deliveries(sent["cname.test"])
    compare({name: tags(lab, msgid)["u@" + name] for name, msgid in sent.items()}, {kind + ".test": ["enforce"] for kind in FITS})


@scenario(chosen=True, ours="enforce: mail waits in the queue, with the reason, for MX hosts with a wrong, nameless, self-signed or expired certificate, "
               "with no or a broken STARTTLS, outside the policy, or named by an address")
def failing_hosts(lab, setup):
    setup.start(lab)
    for domain in enforced(lab, setup, FAILS):
        lab.forbid(domain, *domain.mx)
    sent = tried_each(lab, [kind + ".test" for kind in FAILS])
    compare(states(lab, sent), {kind + ".test": "queued" for kind in FAILS})
    why = reasons(lab, sent)
    wrong = {kind: why[kind + ".test"] for kind, wanted in FAILS.items() if not re.search(wanted, why[kind + ".test"])}
    assert not wrong, wrong
    assert not lab.deliveries(), lab.deliveries()


@scenario(ours="enforce: an MX host that stops offering STARTTLS gets no more mail until it offers it again")
def starttls_stripped(lab, setup):
    setup.start(lab)
    domain = lab.domain("strip.test", server="sink")
    setup.enforce(lab, domain)
    habits = lab.hosts[domain.mx[0]]
    assert lab.fate(tried(lab, "u@strip.test")) == {"u@strip.test": "delivered"}
    habits["starttls"] = "no"
    lab.forbid(domain, *domain.mx)
    msgid = tried(lab, "u@strip.test")
    assert lab.fate(msgid) == {"u@strip.test": "queued"}
    assert "starttls-not-supported" in reasons(lab, {"strip.test": msgid})["strip.test"]
    habits["starttls"] = "yes"
    lab.allow(domain)
    lab.sender.run_queue()
    assert lab.fate(msgid) == {"u@strip.test": "delivered"}
    assert {d.tls for d in lab.deliveries(msgid)} != {""}


@scenario(ours="testing, mode none, no record, an invalid record, two records: mail is delivered to an MX host with a self-signed certificate")
def no_enforcement(lab, setup):
    setup.start(lab)
    names = ["testing.test", "modenone.test", "norecord.test", "invalid.test", "twice.test"]
    domains = dict(zip(names, [lab.domain(name, "selfsigned") for name in names]))
    lab.policy(domains["testing.test"], mode="testing")
    lab.policy(domains["modenone.test"], mode="none")
    for name in ("invalid.test", "twice.test"):
        lab.policy(domains[name])
    lab.dns.txt("_mta-sts.invalid.test", "v=STSv1; id=under_score;")
    lab.dns.txt("_mta-sts.twice.test", "v=STSv1; id=1;", "v=STSv1; id=2;")
    sent = tried_each(lab, names)
    compare(states(lab, sent), {name: "delivered" for name in names})
    verdicts = {name: "testing" if name == "testing.test" else "none" for name in names}
    compare({name: lab.ours.query(name)["verdict"] for name in names}, verdicts)
    compare({name: tags(lab, msgid)["u@" + name] for name, msgid in sent.items()}, {name: [verdict] for name, verdict in verdicts.items()})
    assert not lab.web.requests("invalid.test") and not lab.web.requests("twice.test"), "fetched although there is no valid record"
