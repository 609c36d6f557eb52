"""DANE in the MTA (Sendmail 8.18, O DANE=true, a resolver that validates) beside MTA-STS: a signed TLSA record decides, for good and for bad."""

from scenario import scenario
from steps import compare, reasons, states, tried_each

DANE = "define(`confDANE', `%s')dnl"
WRONG = "3 1 1 " + "00" * 32
UNUSABLE = "9 9 9 " + "11" * 32
RIGHT = object()
KINDS = {  # name: kind of MX host, its TLSA record, what becomes of mail under an enforce policy, the reason
    "fits.dane.test": ("good", RIGHT, "delivered", ""),
    "self.dane.test": ("selfsigned", RIGHT, "delivered", ""),      # DANE needs no CA
    "listed.dane.test": ("notlisted", RIGHT, "delivered", ""),     # nor the policy
    "wrong.dane.test": ("good", WRONG, "queued", "DANE_FAIL"),     # all that MTA-STS asks for is there
    "temp.dane.test": ("good", None, "queued", "TLSA"),            # the resolver cannot say whether there is a TLSA record
    "notls.dane.test": ("notls", RIGHT, "queued", "DANE_NOTLS"),
    "none.dane.test": ("good", None, "delivered", ""),
    "noneself.dane.test": ("selfsigned", None, "queued", "verify=FAIL"),
    "unusable.dane.test": ("good", UNUSABLE, "delivered", ""),
    "unself.dane.test": ("selfsigned", UNUSABLE, "queued", "verify=FAIL"),
    "unsigned.test": ("good", WRONG, "delivered", ""),             # anybody may have written that record
    "unsignedself.test": ("selfsigned", RIGHT, "queued", "verify=FAIL"),
}


def prepare(lab):
    """A resolver that validates, and an MX host of each kind; {name: Domain}."""
    lab.sender_machine.put("/etc/resolv.conf", "nameserver %s\noptions timeout:1 attempts:2\n" % lab.dns.sign("dane.test"))
    domains = {}
    for name, (kind, tlsa, _state, _why) in KINDS.items():
        domain = domains[name] = lab.domain(name, kind, server="sink")
        if name == "temp.dane.test":
            lab.dns.servfail("_25._tcp." + domain.mx[0])
        if tlsa:
            lab.dns.set("_25._tcp." + domain.mx[0], "TLSA", lab.pki.tlsa() if tlsa is RIGHT else tlsa)
    return domains


def check(lab, sent, want):
    compare(states(lab, sent), {name: state for name, (state, _why) in want.items()})
    why = reasons(lab, sent)
    wrong = {name: why[name] for name, (_state, reason) in want.items() if reason not in why[name]}
    assert not wrong, wrong


@scenario(only="trixie", ours="DANE: beside an enforce policy a signed TLSA record decides: one that fits delivers to a self-signed host, one that "
                              "fails or cannot be looked up keeps mail for a good one; without one, or unsigned, the policy decides")
def enforced(lab, setup):
    domains = prepare(lab)
    setup.start(lab, mc=[DANE % "true"])
    setup.enforce(lab, *domains.values())
    for name, (_kind, _tlsa, state, _why) in KINDS.items():
        lab.forbid(name, *domains[name].mx) if state == "queued" else lab.allow(name)
    sent = tried_each(lab, KINDS)
    check(lab, sent, {name: (state, why) for name, (_kind, _tlsa, state, why) in KINDS.items()})
    served = {d.mx: d.sni for d in lab.deliveries()}
    assert served and all(sni == mx for mx, sni in served.items()), served


@scenario(only="trixie", mapped="DANE: without a policy, and in observe mode, a failed check of Sendmail's own keeps the mail as before")
def not_enforced(lab, setup):
    failing = {name: ("queued", why.split("_")[0]) for name, (_kind, _tlsa, _state, why) in KINDS.items() if "DANE" in why or "TLSA" in why}
    domains = prepare(lab)
    setup.start(lab, mc=[DANE % "true"])
    check(lab, tried_each(lab, failing), failing)
    setup.entries[":ready:"] = "obs"
    setup.enforce(lab, *domains.values())
    lab.forbidden = []
    check(lab, tried_each(lab, KINDS), {name: failing.get(name, ("delivered", "")) for name in KINDS})

