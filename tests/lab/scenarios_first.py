"""The first message to a domain that nobody here has heard of: held, not leaked; and policy hosts and DNS that fail us."""

import re
import shutil
import time

from policyhost import body
from scenario import scenario
from steps import compare, in_parallel, reasons, states, tags, tried, tried_each, wait_sent
import net


def pair(lab, **policy):
    """good.test and bad.test, each with an enforce policy; bad.test's only MX host has a self-signed certificate. Both are sinks, which tell all."""
    good, bad = lab.domain("good.test", server="sink"), lab.domain("bad.test", "selfsigned")
    for domain in (good, bad):
        lab.policy(domain, **policy)
    return good, bad


def send_pair(lab):
    """The first message to each; {name: Message-ID} and {name: seconds that the client waited}."""
    took = {}

    def send(name):
        began = time.monotonic()
        msgid = tried(lab, "u@" + name)
        took[name] = time.monotonic() - began
        return msgid
    return in_parallel(send, ["good.test", "bad.test"]), took


def none_begun(lab):
    """The first attempts gave no MX host a MAIL command, and a run of the queue connects to none."""
    assert not lab.sinks.used(), "mail was begun before the policy was known: %s" % lab.sinks.used()
    connected = lab.sinks.connected(lab.sender.run_queue)
    assert not connected, "a queue run connected before the policy was known: %s" % connected


@scenario(chosen=True, ours="first message: the policy host answers after 2 s, the milter waits, the first attempt delivers; a bad MX host gets nothing")
def policy_after_2_s(lab, setup):
    setup.start(lab)
    _good, bad = pair(lab, delay_s=2)
    lab.forbid_bad(bad)
    sent, took = send_pair(lab)
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued"})
    assert 2 <= min(took.values()) and max(took.values()) < 20, took
    assert not lab.log.find(r"to=<?u@good.test.*stat=Deferred"), "the first attempt must deliver"
    assert tags(lab, sent["good.test"]) == {"u@good.test": ["enforce"]}
    assert "validation-failure" in reasons(lab, sent)["bad.test"]


@scenario(ours="first message: with milter { wait = 45s } a policy host may take 30 s, which is longer than the MTA waits for a milter that says nothing: the first "
               "attempt delivers")
def policy_after_30_s(lab, setup):
    setup.settings = 'milter { wait = "45s" }\n'
    setup.start(lab)
    _good, bad = pair(lab, delay_s=30)
    lab.forbid_bad(bad)
    sent, took = send_pair(lab)
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued"})
    assert 30 <= min(took.values()) and max(took.values()) < 44, took
    assert not lab.log.find(r"to=<?u@good.test.*stat=Deferred"), "the first attempt must deliver"
    assert not lab.log.find(r"Milter \(mtasts\):"), "the MTA complains of the milter"
    assert tags(lab, sent["good.test"]) == {"u@good.test": ["enforce"]}


@scenario(ours="first message: the policy host answers after 45 s, the queue holds, a queue run without a connection, mtastsd has it delivered with no "
               "queue run of the MTA's own; a bad MX host gets nothing", seconds=150)
def policy_after_45_s(lab, setup):
    setup.start(lab)
    _good, bad = pair(lab, delay_s=45)
    lab.forbid_bad(bad)
    began = time.monotonic()
    sent, took = send_pair(lab)
    compare(states(lab, sent), {"good.test": "queued", "bad.test": "queued"})
    assert 5 <= min(took.values()) and max(took.values()) < 30, took
    for why in reasons(lab, sent).values():
        assert re.search("not known yet", why), why
    held = lab.ours.ctl("held")["held"]
    compare({item["domain"]: item["queue_ids"] for item in held}, {name: [lab.sender.qid(msgid)] for name, msgid in sent.items()})
    assert all(re.fullmatch(r"discovery began \d+ s ago and has not ended", item["why"]) for item in held), held
    none_begun(lab)
    wait_sent(lab, "u@good.test", 60)
    assert time.monotonic() - began >= 45
    lab.log.wait(r"validation-failure .*for bad.test", 20)
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued"})
    assert lab.log.find(r"mtastsd.*nudge=.*Queuing for"), "the nudge is not in the log"
    assert tags(lab, sent["good.test"]) == {"u@good.test": ["pending"]}
    assert not lab.ours.ctl("held")["held"]


@scenario(ours="first message: the policy host never answers, after 60 s the mail is delivered as without policy, and the failure is logged",
          seconds=150)
def policy_never(lab, setup):
    setup.start(lab)
    pair(lab, delay_s=None)
    began = time.monotonic()
    sent, _took = send_pair(lab)
    compare(states(lab, sent), {"good.test": "queued", "bad.test": "queued"})
    for name in sent:
        wait_sent(lab, "u@" + name, 80)
    assert 59 <= time.monotonic() - began < 90
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "delivered"})
    for name in sent:
        assert lab.log.find(r"mtastsd.*domain=%s verdict=none.*failure=sts-policy-fetch-error reason=" % name)
        answer = lab.ours.query(name)
        assert answer["verdict"] == "none" and answer["failure"]["type"] == "sts-policy-fetch-error", answer


FETCH, INVALID, PKI = "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid"
TROUBLES = {  # name: (how the policy host fails, RFC 8460 result type)
    "gone": ({"status": 404}, FETCH), "fault": ({"status": 500}, FETCH),
    "moved": ({"status": 301, "headers": {"Location": "https://mta-sts.elsewhere.test/.well-known/mta-sts.txt"}}, FETCH),
    "html": ({"media": "text/html"}, FETCH), "large": ({"text": body(mx=["mx%d.large.test" % n for n in range(4000)])}, FETCH),
    "wrongname": ({"certificate": "wrongname"}, PKI), "cnonly": ({"certificate": "nosan"}, PKI),
    "expired": ({"certificate": "expired"}, PKI), "selfsigned": ({"certificate": "selfsigned"}, PKI),
    "garbage": ({"text": "\x00\x01\xff not a policy\r\n" * 20}, INVALID), "empty": ({"text": ""}, INVALID),
    "nomx": ({"text": "version: STSv1\nmode: enforce\nmax_age: 86400\n"}, INVALID)}
AWAY = {"refused": net.NOBODY_ADDRESS, "noaddress": None}  # policy hosts that are not there


def trouble(lab, domains):
    """From now on each domain's policy host fails as TROUBLES and AWAY say, under a new id."""
    for name, domain in domains.items():
        lab.policy(domain, **TROUBLES.get(name, ({},))[0])
        if name in AWAY:
            lab.web.address(domain.name, AWAY[name])


def types():
    return {name + ".test": kind for name, (_how, kind) in TROUBLES.items()} | {name + ".test": FETCH for name in AWAY}


def failures(lab, domains):
    return {domain.name: (lab.ours.query(domain.name)["failure"] or {}).get("type") for domain in domains.values()}


@scenario(ours="policy host fails, nothing cached: mail is delivered as without policy, and each failure has its RFC 8460 type")
def host_fails_uncached(lab, setup):
    setup.start(lab)
    lab.mx_host("mx.shared.test", "selfsigned")
    domains = {name: lab.shared("mx.shared.test", name + ".test")[0] for name in list(TROUBLES) + list(AWAY)}
    trouble(lab, domains)
    sent = tried_each(lab, [domain.name for domain in domains.values()])
    compare(states(lab, sent), {name: "delivered" for name in sent})
    compare(failures(lab, domains), types())
    compare({name: tags(lab, msgid)["u@" + name] for name, msgid in sent.items()}, {name: ["none"] for name in sent})
    assert not lab.web.requests("elsewhere.test"), "a redirect was followed"


@scenario(ours="policy host fails, a policy is cached: it is still enforced, and each failure has its RFC 8460 type", seconds=150)
def host_fails_cached(lab, setup):
    setup.start(lab)
    lab.mx_host("mx.shared.test", "selfsigned")
    domains = {name: lab.shared("mx.shared.test", name + ".test")[0] for name in list(TROUBLES) + list(AWAY)}
    setup.enforce(lab, *domains.values())
    trouble(lab, domains)
    in_parallel(lambda name: lab.ours.ctl("refresh", name + ".test"), domains)
    compare({name: lab.ours.query(name + ".test")["verdict"] for name in domains}, {name: "enforce" for name in domains})
    compare(failures(lab, domains), types())
    sent = tried_each(lab, [domain.name for domain in domains.values()])
    compare(states(lab, sent), {name: "queued" for name in sent})


@scenario(ours="TXT record stripped or unreachable, all policy hosts down, policies cached: still enforced, bad MX hosts get nothing")
def txt_stripped_cached(lab, setup):
    setup.start(lab)
    lab.mx_host("mx.good.test")
    lab.mx_host("mx.bad.test", "selfsigned")
    good = lab.shared("mx.good.test", "stripped-good.test", "servfail-good.test", "silent-good.test")
    bad = lab.shared("mx.bad.test", "stripped-bad.test", "servfail-bad.test", "silent-bad.test")
    setup.enforce(lab, *good, *bad)
    for domain in good + bad:
        if domain.name.startswith("stripped"):
            lab.no_txt(domain)
        elif domain.name.startswith("servfail"):
            lab.dns.servfail("_mta-sts." + domain.name)
        else:
            lab.dns.drop("_mta-sts." + domain.name)
    lab.web.stop()
    in_parallel(lambda domain: lab.ours.ctl("refresh", domain), [domain.name for domain in good + bad])
    sent = tried_each(lab, good + bad)
    compare(states(lab, sent), {d.name: "delivered" for d in good} | {d.name: "queued" for d in bad})


@scenario(ours="DNS fails for an unknown domain: its mail is held and listed with its queue id, others flow; when DNS heals it is delivered, "
               "or checked and kept")
def dns_trouble_unknown(lab, setup):
    setup.start(lab)
    good, bad = pair(lab)
    lab.domain("other.test")  # at Postfix, so that the sinks have the held ones only
    for domain in (good, bad):
        lab.dns.servfail("_mta-sts." + domain.name)
    lab.forbid_bad(bad)
    sent = tried_each(lab, ["good.test", "bad.test", "other.test"])
    compare(states(lab, sent), {"good.test": "queued", "bad.test": "queued", "other.test": "delivered"})
    held = {item["domain"]: (item["verdict"], item["queue_ids"]) for item in lab.ours.ctl("held")["held"]}
    compare(held, {name: ("undecided", [lab.sender.qid(sent[name])]) for name in ("good.test", "bad.test")})
    none_begun(lab)
    assert tags(lab, sent["other.test"]) == {"u@other.test": ["none"]}
    for domain in (good, bad):
        lab.dns.servfail("_mta-sts." + domain.name, on=False)
    wait_sent(lab, "u@good.test", 40)
    lab.log.wait(r"validation-failure .*for bad.test", 20)
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued", "other.test": "delivered"})


@scenario(ours="mtastsd is killed and restarted while mail is held for DNS trouble: when DNS heals it is delivered, or checked and kept")
def held_over_restart(lab, setup):
    setup.start(lab)
    good, bad = pair(lab)
    for domain in (good, bad):
        lab.dns.servfail("_mta-sts." + domain.name)
    lab.forbid_bad(bad)
    sent = tried_each(lab, [good, bad])
    compare(states(lab, sent), {"good.test": "queued", "bad.test": "queued"})
    lab.ours.stop(lab.ours.daemon, kill=True)
    for domain in (good, bad):
        lab.dns.servfail("_mta-sts." + domain.name, on=False)
    lab.ours.mtastsd()
    wait_sent(lab, "u@good.test", 40)
    lab.log.wait(r"validation-failure .*for bad.test", 20)
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued"})


@scenario(ours="DNS fails for longer than hold_max: the mail is delivered as without policy, and the log says so; the next message does not wait")
def hold_ends(lab, setup):
    setup.settings = 'hold_max = "16s"\n'
    setup.start(lab)
    lab.domain("dark.test", "selfsigned")
    lab.dns.servfail("_mta-sts.dark.test")
    began = time.monotonic()
    msgid = tried(lab, "u@dark.test")
    assert lab.fate(msgid) == {"u@dark.test": "queued"}
    wait_sent(lab, "u@dark.test", 40)
    assert time.monotonic() - began >= 15
    assert lab.log.find(r"mtastsd.*domain=dark.test verdict=none.*hold ended")
    answer = lab.ours.query("dark.test")
    assert answer["verdict"] == "none" and answer["confirmed"] is None, answer
    again = tried(lab, "u@dark.test")
    assert lab.fate(again) == {"u@dark.test": "delivered"}


@scenario(chosen=True, ours="store deleted, TXT records stripped, restart: every policy is still enforced, taken over from the map")
def store_deleted(lab, setup):
    setup.start(lab)
    good, bad = lab.domain("good.test", "wildcard"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, good, bad)
    lab.ours.stop(lab.ours.daemon)
    for domain in (good, bad):
        lab.no_txt(domain)
    lab.web.stop()
    store = lab.sender_machine.file("/var/lib/mtasts/store")
    shutil.rmtree(store)
    lab.ours.mtastsd()
    for domain in (good, bad):
        answer = lab.ours.wait_verdict(domain.name, "enforce")
        assert answer["id"] is None and answer["mx"] == domain.patterns, answer
        assert lab.log.find("mtastsd.*domain=%s imported from the map" % domain.name)
    lab.ours.ctl("refresh", "bad.test")
    sent = tried_each(lab, ["good.test", "bad.test"])
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued"})
