"""mtastsctl check: what it says of a domain is what becomes of mail from here; it needs no daemon, and ends in time."""

import json
import os
import pty
import re
import time

import net
import ours
from scenario import scenario
from scenarios_kinds import FAILS, FITS, enforced
from steps import compare, in_parallel, states, tried_each

# RFC 8460 section 4.3
TYPES = {"wrongsan": "certificate-host-mismatch", "nosan": "certificate-host-mismatch", "selfsigned": "certificate-not-trusted",
         "expired": "certificate-expired", "notls": "starttls-not-supported", "refuse": "validation-failure",
         "break": "validation-failure", "notlisted": "validation-failure", "multi": "validation-failure", "ip": "validation-failure"}
NO_MAIL, OK, WARNING, UNUSABLE, UNREACHABLE, DNS_TROUBLE, FAILS_POLICY = 68, 0, 1, 65, 69, 75, 76


def check(lab, *args, user=None):
    """(exit status, [object, ...]) of mtastsctl check --json ARGS."""
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "check", "--json", *args], check=False, user=user, env=ours.SANITIZE)
    try:
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]
    except ValueError:
        raise AssertionError("no JSON: exit %d\n%s%s" % (done.returncode, done.stdout, done.stderr)) from None


def fate_of(answer):
    return {"delivered": "delivered", "partly": "delivered", "deferred": "queued", "bounced": "bounced"}[answer["mail"]]


@scenario(ours="check: for every kind of MX host, policy and record the verdict is the fate of a message sent at the same time, with the "
               "result type of RFC 8460; over the whole cache, the daemon's or without one its store's, the worst one counts")
def verdict_is_fate(lab, setup):
    setup.settings = """domain "needs.test" { policy = require }
        domain "must.test" { policy = require unmet = refuse }
        domain "off.test" { policy = disable }
    """
    setup.start(lab)
    kinds = list(FITS) + list(FAILS)
    enforced(lab, setup, kinds)
    plain = {"testing.test": "testing", "modenone.test": "none", "norecord.test": None, "invalid.test": "enforce", "twice.test": "enforce",
             "unsafe.test": "enforce", "away.test": "enforce", "needs.test": None, "must.test": None, "off.test": "enforce"}
    for name, mode in plain.items():
        domain = lab.domain(name, "selfsigned")
        if mode:
            lab.policy(domain, mode=mode, certificate="wrongname" if name == "unsafe.test" else "good")
    lab.dns.txt("_mta-sts.invalid.test", "v=STSv1; id=under_score;")
    lab.dns.txt("_mta-sts.twice.test", "v=STSv1; id=1;", "v=STSv1; id=2;")
    lab.web.address("away.test", net.NOBODY_ADDRESS)
    lab.dns.set("nullmx.test", "MX", "0 .")
    lab.dns.set("implicit.test", "A", lab.mx_host("implicit.test", "selfsigned"))
    for name, pattern in (("own.test", "own.test"), ("notown.test", "*.notown.test")):  # without MX records, under a policy
        lab.mx_host(name, "good")
        lab.policy(name, mx=[pattern])
    names = [kind + ".test" for kind in kinds] + list(plain) + ["nullmx.test", "nosuchdomain.test", "implicit.test", "own.test", "notown.test"]
    lab.refused = [r"@nullmx\.test$", r"@nosuchdomain\.test$", r"@must\.test$"]
    lab.forgiven = [r"nosuchdomain"]
    sent = tried_each(lab, names)
    status, answers = check(lab, *names)
    assert status == FAILS_POLICY, status
    found = {answer["domain"]: answer for answer in answers}
    assert list(found) == names, list(found)
    for name in ("two.test", "twosan.test", "twolist.test"):
        lab.log.wait(r"to=<?u@%s>?.*stat=Sent" % name, 20)
    compare({name: fate_of(answer) for name, answer in found.items()}, states(lab, sent))
    types = {kind: found[kind + ".test"]["mx"][0]["type"] for kind in kinds}
    compare(types, {**{kind: None for kind in FITS}, **TYPES, "two": TYPES["selfsigned"], "twosan": TYPES["wrongsan"],
                    "twolist": TYPES["notlisted"]})
    compare({name: found[name]["mail"] for name in ("needs.test", "must.test", "off.test", "own.test", "notown.test")},
            {"needs.test": "deferred", "must.test": "bounced", "off.test": "delivered", "own.test": "delivered", "notown.test": "deferred"})
    compare({name: found[name]["policy_host"] and found[name]["policy_host"]["result"] for name in plain},
            {"testing.test": "ok", "modenone.test": "ok", "norecord.test": None, "invalid.test": None, "twice.test": None,
             "unsafe.test": "sts-webpki-invalid", "away.test": "sts-policy-fetch-error", "needs.test": None, "must.test": None, "off.test": "ok"})
    assert {d["sni"] for d in lab.sinks.sessions if d["mx"].startswith("mx1.selfsigned.")} == {"mx1.selfsigned.test"}
    # over the cache: those with a policy, or that should have one
    status, answers = check(lab, "--all")
    cached = {kind + ".test" for kind in kinds} | {"testing.test", "modenone.test", "unsafe.test", "away.test", "own.test", "notown.test"}
    assert (status, {answer["domain"] for answer in answers}) == (FAILS_POLICY, cached), answers
    # the daemon's store says the same while no daemon runs, to its user
    lab.ours.stop(lab.ours.daemon)
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "check", "--all"], check=False, user=ours.USER, env=ours.SANITIZE)
    assert done.returncode == FAILS_POLICY and {line.split()[0] for line in done.stdout.splitlines()[1:-1]} == cached, done
    assert done.stdout.splitlines()[-1].startswith("%d domains: " % len(cached)), done
    assert re.search(r"(?m)^wrongsan\.test +mx-fails +deferred ", done.stdout), done


def on_terminal(lab, *args, env=None):
    """What mtastsctl check ARGS writes to a terminal that is both its output and its error output."""
    master, slave = pty.openpty()
    process = lab.sender_machine.popen(["/usr/sbin/mtastsctl", "check", *args], stdout=slave, stderr=slave,
                                       env={"TERM": "xterm", **ours.SANITIZE, **(env or {})})
    os.close(slave)
    text = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        text += piece
        with open("/proc/%d/status" % process.pid) as f:
            assert "Uid:\t0\t" not in f.read(), "root listens to the network"
    os.close(master)
    return process.wait(20), text.decode()


@scenario(ours="check: without a daemon and by anybody: an exit status for each kind of trouble, bounded in time; colour and progress on a "
               "terminal, none in a pipe or with NO_COLOR")
def no_daemon(lab, setup):
    lab.install(os.environ["MTASTS_LAB_TREE"], is_build=False)
    lab.ours.configure("https { timeout = 2s }\n")
    for name, kind in (("good.test", "good"), ("bad.test", "wrongsan"), ("soon.test", "expiring"), ("norecord.test", "good"),
                       ("invalid.test", "good"), ("silent.test", "good"), ("partly.test", "two")):
        domain = lab.domain(name, kind)
        if name != "norecord.test":
            lab.policy(domain)
    lab.dns.txt("_mta-sts.invalid.test", "v=STSv1;")
    lab.web.address("silent.test", net.SILENT_ADDRESS)
    away, lame = lab.domain("away.test"), lab.domain("lame.test")
    lab.dns.set("mx1.away.test", "A", net.NOBODY_ADDRESS)
    lab.dns.set("mx1.lame.test", "A")
    lab.policy(away), lab.policy(lame)
    lab.dns.servfail("broken.test")
    lab.dns.set("nullmx.test", "MX", "0 .")
    lab.dns.set("_25._tcp.mx1.good.test", "TLSA", "3 1 1 " + "ab" * 32)
    lab.dns.txt("_smtp._tls.good.test", "v=TLSRPTv1; rua=mailto:tls@good.test")
    resolver = lab.dns.sign("signed.test")
    lab.sender_machine.put("/etc/mtasts/signed.conf", 'dns { servers = {"%s"} }\n' % resolver)
    signed = lab.domain("signed.test")
    lab.policy(signed)
    lab.dns.set("_25._tcp.mx1.signed.test", "TLSA", lab.pki.tlsa())
    want = {"good.test": OK, "bad.test": FAILS_POLICY, "soon.test": WARNING, "norecord.test": OK, "--require norecord.test": UNUSABLE,
            "--require good.test": OK, "invalid.test": UNUSABLE, "silent.test": UNUSABLE, "away.test": UNREACHABLE, "lame.test": UNREACHABLE,
            "broken.test": DNS_TROUBLE, "nullmx.test": NO_MAIL, "nosuch.test": NO_MAIL, "partly.test": FAILS_POLICY, "GOOD.test.": OK,
            "good.test norecord.test soon.test": WARNING, "no..domain": UNUSABLE, "-c /nonexistent good.test": 78,
            "-c /etc/mtasts/signed.conf signed.test": OK}
    began = time.monotonic()
    found = in_parallel(lambda args: check(lab, *args.split()), want)
    assert time.monotonic() - began < 30, time.monotonic() - began
    compare({args: status for args, (status, _) in found.items()}, want)
    good = found["good.test"][1][0]
    assert good["mx"][0]["tlsa"]["records"] == ["3 1 1 " + "ab" * 32] and not good["mx"][0]["tlsa"]["authentic"], good["mx"]
    seen = found["-c /etc/mtasts/signed.conf signed.test"][1][0]
    assert seen["mx_lookup"]["authentic"] and seen["mx"][0]["tlsa"]["authentic"], seen
    assert not good["mx_lookup"]["authentic"], good["mx_lookup"]
    assert good["tlsrpt"]["rua"] == "mailto:tls@good.test", good["tlsrpt"]
    assert good["mx"][0]["addresses"][0]["certificate"]["days_left"] > 3000, good["mx"]
    assert found["soon.test"][1][0]["warnings"] == ["mx1.soon.test at %s: the certificate expires in 9 days" % found["soon.test"][1][0]["mx"][0]["addresses"][0]["address"]]
    # anybody may, without the configuration: the system's resolver and certificates
    lab.sender_machine.run(["chmod", "600", "/etc/mtasts/mtasts.conf"])
    assert check(lab, "good.test", user="nobody")[0] == OK
    status, text = on_terminal(lab, "silent.test", "good.test")
    assert status == UNUSABLE, text
    assert "\033[32mok" in text and re.search(r"\r\033\[K\[.*\] 0/2 waiting for the policy host", text), text
    assert re.sub(r"\033\[[0-9;]*m|\r(\033\[K[^\r\n]*)?", "", text).count("Mail from here would be ") == 2, text
    status, text = on_terminal(lab, "bad.test", env={"NO_COLOR": "1"})
    assert status == FAILS_POLICY and "\033[3" not in text and "FAIL" in text, text
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "check", "silent.test"], check=False)
    assert "\033" not in done.stdout and done.stderr == "", done
