"""What the site itself demands: `domain` sections (optional, require, disable) on top of the policies."""

import os
import re
import signal
import time

import wait
from scenario import scenario
from scenarios_paths import NO_NUDGE, in_map
from scenarios_rules import COMPAT, NOW, PASSED, Rules, drop, refused, session
from setups import MAP
from steps import compare, in_parallel, reasons, states, tried, tried_each

HOLD, REFUSE = refused(451, "4.7.1", "this site requires an MTA-STS policy, and .* has none that is valid"), refused(554, "5.7.1", "this site requires")
WAITS, PUSHED = refused(451, "4.4.3", "not known yet"), refused(451, "4.4.3", r'policy of " enf . test " is being pushed')
SITE = {":site:": "optional", ":site:hold.test": "hold", ":site:refuse.test": "refuse", ":site:.below.test": "hold", ":site:but.below.test": "optional", ":site:.off.below.test": "disable",
        ":site:good.test": "hold", ":site:known.test": "refuse", ":site:wait.test": "hold", ":site:enf.test": "refuse", ":site:perm.test": "refuse", ":site:off.test": "disable"}


@scenario(mapped="rules: where the site requires a policy, none is held or refused for good; the longest pattern counts; while mtastsd is away all that is not enforced waits")
def rules_of_the_site(lab, setup):
    rules = Rules(lab, setup)
    rules.map(**SITE)
    setup.lookup.answers["known.test"] = "OK none"
    rows = [("u@hold.test", HOLD), ("u@HOLD.test.", HOLD), ("u@below.test", PASSED), ("u@a.below.test", HOLD), ("u@b.a.below.test", HOLD), ("u@but.below.test", PASSED),
            ("u@x.but.below.test", HOLD), ("u@off.below.test", HOLD), ("u@x.off.below.test", PASSED), ("u@good.test", PASSED), ("u@wait.test", WAITS), ("u@enf.test", PUSHED),
            ("u@perm.test", refused(451, "4.4.3", "odd answer")), ("u@off.test", PASSED), ("u@xbelow.test", PASSED), ("u@fresh.test", PASSED), ("alice", PASSED)]
    refuse = [("u@refuse.test", REFUSE), ("u@known.test", REFUSE)]
    # what is refused for good comes last: after it a temporary refusal is left to tls_server
    rules.table(COMPAT, rows + refuse + [("u@hold.test", PASSED)])
    assert "mtastsq off.test,Q4AB" not in setup.lookup.requests, "asked about a domain whose policy does not count"
    rules.table("Translate,check_compat", [({"{ntries}": "0"}, "s@sender.test $| " + address, want) for address, want in refuse])  # at a first attempt as well
    # in the session: a recipient seen for the first time, or whose policy has gone since
    rules.table("Local_tls_rcpt", [(session("OK", "mxa.good.test"),) + row for row in rows + refuse])
    rules.map(**{**SITE, ":site:": "hold"})
    rules.table(COMPAT, [("u@fresh.test", HOLD), ("u@below.test", HOLD), ("u@but.below.test", PASSED), ("u@off.test", PASSED), ("u@good.test", PASSED), ("u@[10.98.0.9]", PASSED)])
    out = lab.sender.machine.run(["/usr/sbin/sendmail", "-bt"], stdin=".Dhx\n.D{time}%d\nmtasts_compat u@%sbelow.test\n" % (NOW, "a." * 105), check=False).stdout
    lab.forgiven.append("SYSERR.*(Infinite loop in ruleset mtasts_site|excessive recursion .* ruleset Mailertable)")
    assert "Infinite loop" in out and re.search("mtasts_compat +returns: .*this site requires", out), out  # more labels than Sendmail's rules go through
    rules.map(**{**SITE, ":ready:": "obs"})
    rules.table(COMPAT, [(address, PASSED) for address, _want in rows])
    drop(lab)
    away = refused(451, "4.4.3", "mtastsd does not answer")
    for alive in ("0", str(NOW)):
        rules.map(**{**SITE, ":alive:": alive})
        rules.table(COMPAT, [("u@hold.test", away), ("u@refuse.test", away), ("u@a.below.test", away), ("u@known.test", away), ("u@fresh.test", PASSED), ("u@off.test", PASSED),
                             ("u@good.test", PASSED), ("u@x.off.below.test", PASSED)])
    rules.map(**{**SITE, ":ready:": "not"})
    rules.table(COMPAT, [("u@" + name, refused(451, "4.3.0", "is not complete")) for name in ("hold.test", "off.test", "fresh.test", "a.below.test")])


def required(names, unmet="hold"):
    return "".join('domain "%s" { policy = require unmet = %s }\n' % (name, unmet) for name in names)


@scenario(ours="require: mail goes to an enforced or tested policy over a good connection alone; where there is none it waits or is refused for good, as the site says, in whatever order the "
               "recipients come; with mtastsd away for longer than its limit too, and after a repair of the map; a policy that appears lets it go", seconds=200)
def require(lab, setup):
    setup.feature = "FEATURE(`mtasts', `milter=none')dnl"  # it would refuse some of it at RCPT
    setup.settings = 'away_limit = "1s"\nmilter { wait = "0s" }\n' + NO_NUDGE + required(["none.test", ".below.test", "good.test", "bad.test", "tested.test", "badly-tested.test", "broken.test"]) + \
        required(["refused.test", "mode-none.test"], "refuse") + 'domain "free.below.test" { policy = disable }\n'
    setup.start(lab)
    names = {name: lab.domain(name, kind) for name, kind in (
        ("none.test", "good"), ("x.below.test", "good"), ("free.below.test", "selfsigned"), ("below.test", "good"), ("good.test", "good"), ("bad.test", "selfsigned"), ("tested.test", "good"),
        ("badly-tested.test", "selfsigned"), ("broken.test", "good"), ("refused.test", "good"), ("mode-none.test", "good"))}
    for name, mode in (("good.test", "enforce"), ("bad.test", "enforce"), ("tested.test", "testing"), ("badly-tested.test", "testing"), ("mode-none.test", "none")):
        lab.policy(names[name], mode=mode)
    lab.policy(names["broken.test"], certificate="expired")
    for name in ("bad.test", "badly-tested.test"):
        lab.forbid_bad(names[name])
    lab.refused += ["refused.test$", "mode-none.test$"]
    want = {"none.test": "queued", "x.below.test": "queued", "free.below.test": "delivered", "below.test": "delivered", "good.test": "delivered", "bad.test": "queued", "tested.test": "delivered",
            "badly-tested.test": "queued", "broken.test": "queued", "refused.test": "bounced", "mode-none.test": "bounced"}
    in_parallel(lambda name: lab.ours.ctl("refresh", name, check=False), want)
    sent = tried_each(lab, want)
    together = [tried(lab, *["u@" + name for name in order]) for order in (list(want), list(want)[::-1])]
    lab.sender.run_queue()
    compare(states(lab, sent), want)
    for msgid in together:
        compare(lab.fate(msgid), {"u@" + name: state for name, state in want.items()})
    why = reasons(lab, sent)
    assert "this site requires an MTA-STS policy, and x.below.test has none" in why["x.below.test"] and "validation-failure" in why["badly-tested.test"], why
    lab.log.wait("reject=554 5.7.1 mtasts: this site requires an MTA-STS policy, and refused.test has none")
    compare({k: lab.ours.query("x.below.test")[k] for k in ("verdict", "override", "unmet", "pattern")}, {"verdict": "none", "override": "require", "unmet": "hold", "pattern": ".below.test"})
    assert {"none.test", "x.below.test"} <= {d["domain"] for d in lab.ours.ctl("held")["held"]}
    # the map alone says it, also one that has been made anew
    lab.ours.stop(lab.ours.daemon)
    os.unlink(lab.sender_machine.file(MAP + ".db"))
    lab.ours.mtastsd()
    wait.until("the map is there again", lambda: in_map(lab, ":site:.below.test") == "hold")
    lab.ours.stop(lab.ours.daemon, kill=True)
    time.sleep(2)
    del want["refused.test"], want["mode-none.test"]
    lab.domain("new.below.test")
    away = tried_each(lab, list(want) + ["new.below.test"])
    lab.sender.run_queue()
    compare(states(lab, away), {**want, "new.below.test": "queued"})
    lab.ours.mtastsd()
    lab.policy(names["none.test"])
    lab.ours.ctl("refresh", "none.test")
    lab.ours.wait_verdict("none.test", "enforce")
    lab.sender.run_queue()
    assert states(lab, away)["none.test"] == "delivered"


@scenario(ours="require, in observe mode: all is delivered, and the log tells what would have been; rules in an included file count from SIGHUP on, and a file that is wrong changes nothing")
def require_by_reload(lab, setup):
    setup.feature = "FEATURE(`mtasts', `milter=none')dnl"  # it would refuse some of it at RCPT
    def include(text):
        lab.sender_machine.put("/etc/mtasts/domains.conf", text)
        mark = lab.log.mark()
        lab.ours.daemon.send_signal(signal.SIGHUP)
        return mark
    lab.sender_machine.put("/etc/mtasts/domains.conf", required(["none.test"]) + required(["*"], "refuse"))
    setup.settings = 'enforcement = observe\nmilter { wait = "0s" }\n' + NO_NUDGE + 'include("/etc/mtasts/domains.conf")\n'
    setup.start(lab)
    for name in ("none.test", "other.test"):
        lab.domain(name)
        lab.ours.ctl("refresh", name)
    compare(states(lab, tried_each(lab, ["none.test", "other.test"])), {"none.test": "delivered", "other.test": "delivered"})
    for code in ("451 mtasts: this site requires an MTA-STS policy, and none.test", "554 mtasts: this site requires an MTA-STS policy, and other.test"):
        lab.log.wait("mtasts=observe would=" + code)
    mark = include("")
    lab.ours.configure('enforcement = on\n' + NO_NUDGE + 'include("/etc/mtasts/domains.conf")\n')
    mark = include(required([".test"]) + 'domain "other.test" { policy = optional }\n')
    lab.log.wait("mtastsd.*configuration read again: enforcement=on", 10, mark)
    wait.until("the map says so", lambda: in_map(lab, ":site:.test") == "hold" and in_map(lab, ":ready:") == "yes" and in_map(lab, ":site:none.test") is None)
    want = {"none.test": "queued", "other.test": "delivered"}
    compare(states(lab, tried_each(lab, want)), want)
    mark = include("domain \"none.test\" {\n\tpolicy = free\n}\n")
    lab.log.wait("/etc/mtasts/domains.conf:2: policy = \"free\".*the old configuration stays in force", 10, mark)
    compare(states(lab, tried_each(lab, want)), want)


@scenario(ours="smart hosts: mail goes by the policy of the host that it is sent to, in brackets or by MX, from the first message on: delivered to a good one, kept from a bad certificate, "
               "from a host outside the patterns and from all but the enforced ones of a list; one that is exempt gets it; what waited for a smart host goes when its policy is known", seconds=200)
def smart_hosts(lab, setup):
    setup.settings = 'milter { wait = "0s" }\ndomain "free.test" { policy = disable }\n'
    hops = {"brackets": "[good.test]", "mx": "viamx.test", "badcert": "[bad.test]", "badmx": "badmx.test", "outside": "[outside.test]", "nopolicy": "[none.test]", "free": "[free.test]",
            "fallback": "[down.test]:[good.test]", "weaker": "[bad.test]:[none.test]", "two": "viamx.test:[good.test]", "slow": "[later.test]"}
    setup.start(lab, mc=["FEATURE(`mailertable')dnl"], mailertable={name + ".test": "esmtp:" + hop for name, hop in hops.items()})
    for name, kind in (("good.test", "good"), ("bad.test", "selfsigned"), ("outside.test", "good"), ("none.test", "selfsigned"), ("free.test", "selfsigned"), ("down.test", "refuse"), ("later.test", "good")):
        lab.mx_host(name, kind)
    viamx, badmx = lab.domain("viamx.test"), lab.domain("badmx.test", "selfsigned")
    for name, patterns in (("good.test", ["good.test"]), ("bad.test", ["bad.test"]), ("outside.test", ["*.outside.test"]), ("free.test", ["elsewhere.test"]), ("down.test", ["down.test"])):
        lab.policy(name, mx=patterns)
    lab.policy("later.test", mx=["later.test"], delay_s=9)
    for domain in (viamx, badmx):
        lab.policy(domain)
    for name, hop in hops.items():  # the recipients' own domains have policies as well, that no host meets
        lab.policy(name + ".test", mx=["mx.elsewhere.test"])
    wanted = {"brackets": "delivered", "mx": "delivered", "badcert": "queued", "badmx": "queued", "outside": "queued", "nopolicy": "delivered", "free": "delivered", "fallback": "delivered",
              "weaker": "queued", "two": "delivered", "slow": "delivered"}
    want = {name + ".test": state for name, state in wanted.items()}
    sent = tried_each(lab, want)
    assert lab.fate(sent["slow.test"]) == {"u@slow.test": "queued"}, "it was not held"
    # nobody runs the queue here but mtastsd: all of it, as ETRN knows no smart hosts
    lab.log.wait("to=.*<u@slow.test>.*stat=Sent", 60)
    compare(states(lab, sent), want)
    why = reasons(lab, sent)
    for name, text in (("badcert.test", "validation-failure"), ("badmx.test", "validation-failure"), ("outside.test", "mx-mismatch at outside.test for outside.test"), ("weaker.test", "validation-failure")):
        assert text in why[name], (name, why[name])
    qid = next(item.qid for item in lab.sender.queue() if item.msgid == sent["badcert.test"])
    told = lab.ours.ctl("explain", qid)["recipients"][0]
    assert told["domain"] == "bad.test" and told["entry"]["verdict"] == "enforce", told
    assert not lab.web.requests("brackets.test"), "the policy of a domain was looked up that mail for it is not measured by"


@scenario(ours="one MX host for recipients of its own smart-host route and of others' MX records, in one session: each is measured by its own policy domain", seconds=120)
def merged(lab, setup):
    setup.settings = NO_NUDGE
    setup.start(lab, mc=["FEATURE(`mailertable')dnl"], mailertable={"routed.test": "esmtp:[mx.both.test]", "named.test": "esmtp:mx.both.test"})
    lab.mx_host("mx.both.test", "good", server="sink")
    routed, named, direct, strict = lab.shared("mx.both.test", "routed.test", "named.test", "direct.test", "strict.test")
    setup.enforce(lab, direct)
    setup.enforce(lab, strict, patterns=["mx.elsewhere.test"])
    rcpts = ["u@routed.test", "u@named.test", "u@direct.test", "u@strict.test"]
    for mx, state in (None, "delivered"), (["mx.both.test"], "delivered"), (["*.elsewhere.test"], "queued"):
        if mx is not None:
            lab.policy("mx.both.test", mx=mx)
            lab.ours.ctl("refresh", "mx.both.test")
        for order in (rcpts, rcpts[::-1]):
            msgid = tried(lab, *order)
            lab.sender.run_queue()
            compare(lab.fate(msgid), {"u@routed.test": state, "u@named.test": state, "u@direct.test": "delivered", "u@strict.test": "queued"})


@scenario(mapped="mail: what Sendmail sends to a hub or a relay for local names (MAIL_HUB, LUSER_RELAY) is measured by the policy of that host", seconds=60)
def hubs(lab, setup):
    lab.mx_host("hub.test", "selfsigned")
    lab.mx_host("luser.test", "good", server="sink")
    setup.start(lab, mc=["define(`MAIL_HUB', `[hub.test]')dnl"])
    setup.enforce(lab, *lab.shared("hub.test", "hub.test"), *lab.shared("luser.test", "luser.test"))
    sent = lab.sender.send("alice@sender.test")
    lab.log.wait("ruleset=tls_rcpt, arg1=alice@.hub.test., .*validation-failure .*for hub.test", 20)
    compare(lab.fate(sent), {"alice@sender.test": "queued"})
    lab.sender.stop()
    lab.sender.configure(["FEATURE(`mtasts', `milter=none')dnl", "define(`LUSER_RELAY', `relay:[luser.test]')dnl"])
    lab.sender.start()
    relayed = lab.sender.send("nosuch@sender.test", becomes={"nosuch@sender.test": ["nosuch@[luser.test]"]})
    lab.log.wait("to=<nosuch@sender.test>.*mailer=relay.*stat=Sent", 20)
    compare(lab.fate(relayed), {"nosuch@[luser.test]": "delivered"})
