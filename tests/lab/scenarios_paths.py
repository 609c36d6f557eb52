"""Every way that a message takes to a recipient, or past our rules on purpose; and the administrator's switches: observe, disable, forget, the access form."""

import os
import signal
import smtplib
import time

import wait
from scenario import scenario
from sender import TRUST
from setups import MAP
from steps import compare, in_parallel, reasons, states, tags, tried, tried_each, wait_sent

NO_NUDGE = 'nudge { address = "" }\n'  # what waits shall stay until we look
PATHS = ("alias", "forward", "bounce", "list")


def refusing(lab, *names):
    lab.mx_host("mx.refusing.test", server="sink", rcpt="550 5.1.1 no such user")
    lab.shared("mx.refusing.test", *names)
    lab.refused.append("refusing.test$")


def sessions(lab):
    return lab.sinks.used()


@scenario(ours="alias, .forward, a list, and a bounce lead to enforce domains that nobody knows yet: held before MAIL, then delivered or kept back; "
               "the milter never saw those recipients", seconds=150)
def behind_local_names(lab, setup):
    setup.start(lab)
    good = {path: lab.domain("good-%s.test" % path, server="sink") for path in PATHS}
    bad = {path: lab.domain("bad-%s.test" % path, "selfsigned") for path in PATHS}
    for domain in list(good.values()) + list(bad.values()):
        lab.policy(domain, delay_s=9)
    for domain in bad.values():
        lab.forbid_bad(domain)
    refusing(lab, "refusing.test")
    targets = {path: ["u@" + good[path].name, "u@" + bad[path].name] for path in PATHS}
    lab.sender.aliases({"ext": ", ".join(targets["alias"]), "friends": ", ".join(targets["list"]), "owner-friends": "alice"})
    lab.sender_machine.put("/home/bob/.forward", "\n".join(targets["forward"]) + "\n")
    lab.sender_machine.run(["chown", "bob:bob", "/home/bob/.forward"])
    sent = {}
    for path, rcpt in (("alias", "ext@sender.test"), ("list", "friends@sender.test"), ("forward", "bob@sender.test")):
        sent[path] = lab.sender.send(rcpt, becomes={rcpt: targets[path]})
    bounced = {rcpt: lab.sender.send("nobody@refusing.test", sender=rcpt) for rcpt in targets["bounce"]}
    for path, rcpts in targets.items():
        for rcpt in rcpts:
            lab.log.wait("ruleset=.*451 4.4.3 mtasts: policy of %s not known yet" % rcpt[2:], 20)
    assert not sessions(lab) & {d.mx[0] for d in list(good.values()) + list(bad.values())}, "mail was begun before the policy was known"
    for path in PATHS:
        wait_sent(lab, "u@" + good[path].name, 60)
        lab.log.wait("validation-failure .*for %s" % bad[path].name, 30)
    for path, msgid in sent.items():
        compare({path: lab.fate(msgid)}, {path: {targets[path][0]: "delivered", targets[path][1]: "queued"}})
    for rcpt, msgid in bounced.items():
        compare(lab.fate(msgid), {"nobody@refusing.test": "bounced"})
    arrived = [d for d in lab.deliveries() if d.bounce]
    compare({"bounces that arrived": [d.rcpt for d in arrived]}, {"bounces that arrived": [targets["bounce"][0]]})
    assert all(d.tls for d in lab.deliveries()), "without TLS"


@scenario(ours="a permanent failure before it, in the same session, message or process, does not turn the deferral of an unknown domain into a bounce", seconds=150)
def after_a_failure(lab, setup):
    setup.settings = NO_NUDGE + 'milter { wait = "0s" }\n'
    setup.start(lab, mc=["FEATURE(`access_db')dnl", "FEATURE(`blocklist_recipients')dnl"], access={"To:blocked.test": "550 5.7.1 not from here"})
    refusing(lab, "aaa-refusing.test", "zzz-refusing.test")
    fresh, bad = lab.domain("fresh.test", server="sink"), lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, bad)
    lab.policy(fresh, delay_s=40)
    none = ["nobody@aaa-refusing.test", "nobody@zzz-refusing.test"]
    sent = {"alone": lab.sender.send("u@fresh.test"), "enforced": lab.sender.send(*none, "u@bad.test", to=["u@bad.test"]),
            "beside them": lab.sender.send(*none, "u@fresh.test", to=["u@fresh.test"])}
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="client.sender.test", timeout=70) as smtp:
        for name, rcpts in (("refused", ["nosuch@sender.test", "u@fresh.test"]), ("refused by access", ["u@blocked.test", "u@fresh.test"]), ("next in the session", ["u@fresh.test"])):
            sent[name] = lab.sender.new_id()
            refused = smtp.sendmail("alice@sender.test", rcpts, lab.sender.message(["u@fresh.test"], sent[name], "alice@sender.test"))
            assert list(refused) == rcpts[:-1], refused
            lab.sender.accepted[sent[name]] = ["u@fresh.test"]
    for msgid in sent.values():
        lab.sender.wait_tried(msgid)
    time.sleep(3)
    have = {name: {rcpt: state for rcpt, state in lab.fate(msgid).items() if rcpt not in none} for name, msgid in sent.items()}
    compare(have, {name: {"u@bad.test" if name == "enforced" else "u@fresh.test": "queued"} for name in sent})


@scenario(ours="recipients that share a session with one of an unknown domain, or with one whose check fails after a permanent failure, wait seconds for it, "
               "with mtastsd away until the next queue run; nobody is bounced", seconds=200)
def shared_sessions(lab, setup):
    setup.settings = 'milter { wait = "0s" }\n'
    setup.start(lab)
    refusing(lab, "aaa-refusing.test")
    lab.mx_host("mx.many.test", server="sink")
    lab.mx_host("mx.bad.test", "selfsigned")
    none, fine, fresh, unseen = lab.shared("mx.many.test", "none.test", "fine.test", "fresh.test", "unseen.test")
    lax, bad, long = lab.shared("mx.bad.test", "lax.test", "bad.test", "a-domain-with-quite-a-long-name.test")
    setup.enforce(lab, fine, bad, long)
    in_parallel(lab.ours.query, ["none.test", "lax.test"])
    in_parallel(lambda name: lab.ours.ctl("refresh", name), ["none.test", "lax.test"])
    for domain in (fresh, unseen):
        lab.policy(domain, delay_s=50)
    crowd = ["u%d@none.test" % n for n in range(120)]  # more than go into one session
    beside = lab.sender.send("u@none.test", "u@fresh.test", "u@fine.test", *crowd)
    for rcpt in ("u@none.test", "u@fine.test", crowd[-1]):
        lab.log.wait("to=.*<%s>.*stat=Sent" % rcpt, 20)
    want = {rcpt: "delivered" for rcpt in ["u@none.test", "u@fine.test"] + crowd}
    compare(lab.fate(beside), {**want, "u@fresh.test": "queued"})
    after = lab.sender.send("nobody@aaa-refusing.test", "u@lax.test", "u@bad.test")
    alone = lab.sender.send("nobody@aaa-refusing.test", *["u%d@%s" % (n, long.name) for n in range(60)])
    wait_sent(lab, "u@lax.test", 20)
    lab.sender.wait_tried(alone)
    compare(lab.fate(after), {"nobody@aaa-refusing.test": "bounced", "u@lax.test": "delivered", "u@bad.test": "queued"})
    assert {state for rcpt, state in lab.fate(alone).items() if "refusing" not in rcpt} == {"queued"}, lab.fate(alone)
    lab.ours.stop(lab.ours.daemon)
    away = tried(lab, "v@none.test", "v@unseen.test", "v@fine.test")
    lab.sender.run_queue()
    for rcpt in ("v@none.test", "v@fine.test"):
        lab.log.wait("to=.*<%s>.*stat=Sent" % rcpt, 20)
    compare(lab.fate(away), {"v@none.test": "delivered", "v@fine.test": "delivered", "v@unseen.test": "queued"})
    lab.ours.mtastsd()
    wait_sent(lab, "u@fresh.test", 60)


def talk(lab, sender, rcpts, final):
    """Submit with recipients as they are written here; final: what the account shall know them as."""
    msgid = lab.sender.new_id()
    with smtplib.SMTP("127.0.0.1", 25, local_hostname="client.sender.test", timeout=70) as smtp:
        smtp.ehlo()
        for command in ["MAIL FROM:<%s>" % sender] + ["RCPT TO:%s" % rcpt for rcpt in rcpts]:
            code, text = smtp.docmd(command)
            assert code == 250, (command, code, text)
        code, text = smtp.data(lab.sender.message(final, msgid, sender))
        assert code == 250, (code, text)
    lab.sender.accepted[msgid] = list(final)
    return msgid


@scenario(ours="percent-hacks, source routes, quoted and bang addresses, subaddresses and final dots meet the policy of the domain that gets the mail")
def odd_addresses(lab, setup):
    setup.settings = NO_NUDGE + 'milter { wait = "1s" }\n'
    setup.start(lab)
    bad, good, fresh = lab.domain("bad.test", "selfsigned"), lab.domain("good.test"), lab.domain("fresh.test", "selfsigned")
    setup.enforce(lab, bad, good)
    lab.policy(fresh, delay_s=60)
    # in the queue an address stands as it was written, on the way it is what Sendmail makes of it
    forms = ("<u%%%s@sender.test>", "<@sender.test:u@%s>", "<u@%s.>", "<u+detail@%s>", '<"a b"@%s>', "<%s!u>", '<u%%%s%%sender.test@mail.sender.test>')
    final = ("u@%s", "u@%s", "u@%s", "u+detail@%s", '"a b"@%s', "u@%s", "u@%s")
    done = []
    for form, arrives in zip(forms, final):
        for name, state in (("good.test", "delivered"), ("bad.test", "queued"), ("fresh.test", "queued")):
            msgid = talk(lab, "alice@sender.test", [form % name], [(arrives if state == "delivered" else form.strip("<>")) % name])
            lab.sender.wait_tried(msgid)
            done.append((form % name, msgid, state))
    fates = lab.account()
    compare({form: next(f.state for (m, _r), f in fates.items() if m == msgid) for form, msgid, _s in done}, {form: state for form, _m, state in done})
    assert "mx1.fresh.test" not in sessions(lab)


@scenario(ours="mail queued before our line was in the .cf: after the restart with it each message is checked, known or not")
def old_queue(lab, setup):
    lab.sender.configure(TRUST + ["define(`confDELIVERY_MODE', `queueonly')dnl"])
    lab.sender.start()
    domains = [lab.domain("good.test"), lab.domain("bad.test", "selfsigned"), lab.domain("none.test", "selfsigned")]
    sent = in_parallel(lambda name: lab.sender.send("u@" + name), [domain.name for domain in domains])
    lab.sender.stop()
    lab.policies(domains[:2])
    lab.forbid_bad(domains[1])
    setup.start(lab)
    lab.sender.run_queue()
    for msgid in sent.values():
        lab.sender.wait_tried(msgid)
    lab.sender.run_queue()
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued", "none.test": "delivered"})
    assert "validation-failure" in reasons(lab, sent)["bad.test"]


@scenario(ours="mail routed by mailertable is not measured by its own domain's policy but by the next hop's, who has none here; a shared session with mail by MX mixes nothing up")
def mailertable(lab, setup):
    setup.start(lab, mc=["FEATURE(`mailertable')dnl"], mailertable={"routed.test": "esmtp:[mx.both.test]", ".routed.test": "esmtp:mx.both.test"})
    lab.mx_host("mx.both.test", "selfsigned")
    routed, below, direct = lab.shared("mx.both.test", "routed.test", "sub.routed.test", "direct.test")
    for domain in (routed, below):
        lab.policy(domain)
    setup.enforce(lab, direct)
    rcpts = ["u@routed.test", "u@sub.routed.test", "u@direct.test"]
    for order in (rcpts, rcpts[::-1]):
        msgid = tried(lab, *order)
        compare(lab.fate(msgid), {"u@routed.test": "delivered", "u@sub.routed.test": "delivered", "u@direct.test": "queued"})
    assert not lab.web.requests("routed.test"), "the policy of a domain was looked up that is not measured by one"


@scenario(ours="with a smart host that has no policy nothing is held up, not even for a known enforce domain, and no other policy is looked up")
def smart_host(lab, setup):
    setup.start(lab, mc=["define(`SMART_HOST', `[smart.test]')dnl"])
    lab.mx_host("smart.test", "selfsigned")
    bad, fresh = lab.domain("bad.test", "selfsigned"), lab.domain("fresh.test", "selfsigned")
    lab.policies([bad, fresh])
    lab.ours.ctl("refresh", "bad.test")
    msgid = lab.sender.send("u@bad.test", "u@fresh.test")
    lab.log.wait("mailer=relay, .*relay=smart.test.*stat=Sent", 20)
    compare(lab.fate(msgid), {"u@bad.test": "delivered", "u@fresh.test": "delivered"})
    assert {d.mx for d in lab.deliveries()} == {"smart.test"}
    assert lab.ours.query("fresh.test")["why"].startswith("never asked for"), lab.ours.query("fresh.test")
    kept = tags(lab, msgid)
    compare(kept, {rcpt: [] for rcpt in kept})  # the tag is about domains that the headers show
    assert lab.ours.query("smart.test")["verdict"] == "none"


@scenario(ours="recipients of an enforce and of a none domain at one MX host, in any order, also as Bcc: each has its own domain's verdict, and no copy tells of another")
def shared_host(lab, setup):
    setup.start(lab)
    lab.mx_host("mx.bad.test", "selfsigned")
    lab.mx_host("mx.fine.test", server="sink")
    enforce, none, other = lab.shared("mx.bad.test", "enforce.test", "none.test", "other.test")
    fine, unlisted = lab.shared("mx.fine.test", "fine.test", "unlisted.test")
    unlisted.patterns = ["mx.elsewhere.test"]
    setup.enforce(lab, enforce, fine, unlisted)
    want = {"u@enforce.test": "queued", "u@none.test": "delivered", "u@other.test": "delivered", "u@fine.test": "delivered", "u@unlisted.test": "queued"}
    for order in (list(want), list(want)[::-1], ["u@none.test", "u@enforce.test", "u@other.test", "u@unlisted.test", "u@fine.test"]):
        compare(lab.fate(tried(lab, *order)), want)
        shown = tried(lab, *order, to=["u@none.test"])
        compare(lab.fate(shown), want)
        found = tags(lab, shown)
        compare(found, {rcpt: ["none"] for rcpt, state in want.items() if state == "delivered"})
        assert not any("enforce.test" in d.text or "unlisted.test" in d.text for d in lab.deliveries(shown)), "a copy names a Bcc"


@scenario(ours="sendmail -t by a local user, to new domains: the program returns soon, each recipient gets its domain's verdict, Bcc as well", seconds=150)
def local_submission(lab, setup):
    setup.start(lab)
    good, bad, hidden = lab.domain("good.test", server="sink"), lab.domain("bad.test", "selfsigned"), lab.domain("hidden.test", "selfsigned")
    lab.domain("none.test", "selfsigned")
    lab.policies([good, bad, hidden])
    lab.forbid_bad(bad)
    lab.forbid_bad(hidden)
    began = time.monotonic()
    msgid = lab.sender.submit("u@good.test", "u@bad.test", "u@none.test", headers=["Bcc: u@hidden.test"])
    assert time.monotonic() - began < 15, "sendmail -t took %.1f s" % (time.monotonic() - began)
    lab.sender.accepted[msgid].append("u@hidden.test")
    for rcpt in ("u@good.test", "u@none.test"):
        lab.log.wait("to=<?%s.*mailer=esmtp.*stat=Sent" % rcpt, 20)
    for rcpt in ("u@bad.test", "u@hidden.test"):
        lab.log.wait("validation-failure .*for %s" % rcpt[2:], 20)
    compare(lab.fate(msgid), {"u@good.test": "delivered", "u@none.test": "delivered", "u@bad.test": "queued", "u@hidden.test": "queued"})
    assert not any("hidden" in d.text for d in lab.deliveries(msgid)), "a copy names the Bcc"
    lab.policy(lab.domain("slow.test"), delay_s=8)
    slow = lab.sender.submit("u@slow.test", user="carol", sender="carol@sender.test")
    lab.log.wait("to=<?u@slow.test.*mailer=esmtp.*stat=Sent", 40)  # another line tells of MSP and MTA
    compare(lab.fate(slow), {"u@slow.test": "delivered"})


SITE_RULES = ["LOCAL_TLS_SERVER", "R$*\t$: $1 $| $&{server_name}", 'R$* $| mx1.banned.test $*\t$#error $@ 4.7.0 $: "450 site: a banned host"', "R$* $| $*\t$: $1",
              "LOCAL_TLS_RCPT", 'Rstrange@$*\t$#error $@ 4.7.0 $: "450 site: a strange recipient"']


@scenario(ours="a site's own LOCAL_TLS_SERVER and LOCAL_TLS_RCPT rules beside ours: each refuses what it is for, with its own reason, for domains with and without a policy")
def site_rules(lab, setup):
    setup.settings = NO_NUDGE
    setup.start(lab, after=SITE_RULES)
    good, bad, banned, none = lab.domain("good.test"), lab.domain("bad.test", "selfsigned"), lab.domain("banned.test"), lab.domain("none.test")
    setup.enforce(lab, good, bad)
    why = {"u@good.test": "", "u@none.test": "", "u@bad.test": "validation-failure", "u@banned.test": "site: a banned host", "strange@good.test": "site: a strange recipient",
           "strange@none.test": "site: a strange recipient"}
    sent = in_parallel(lambda rcpt: tried(lab, rcpt), why)
    compare({rcpt: lab.fate(msgid)[rcpt] for rcpt, msgid in sent.items()}, {rcpt: "queued" if text else "delivered" for rcpt, text in why.items()})
    found = {item.msgid: item.reason for item in lab.sender.queue()}
    assert all(why[rcpt] in found.get(msgid, "") for rcpt, msgid in sent.items()), found


# --- the administrator's switches ---

def reconfigure(lab, text):
    """New text of mtasts.conf after the lab's own, and SIGHUP; waits until it is taken over."""
    mark = lab.log.mark()
    lab.ours.configure(text)
    lab.ours.daemon.send_signal(signal.SIGHUP)
    lab.log.wait("mtastsd.*configuration read again", 10, mark)


def in_map(lab, key):
    lines = lab.sender_machine.run(["makemap", "-u", "hash", MAP]).stdout.splitlines()
    return dict(line.split("\t", 1) for line in lines).get(key)


def untouched(lab):
    return {name: (os.stat(lab.sender_machine.file(name)).st_mtime_ns, lab.sender_machine.read(name)) for name in ("/etc/mail/sendmail.cf", "/etc/mail/submit.cf")}


@scenario(ours="observe mode: all is delivered, and the log tells what would have been deferred; on and back by SIGHUP, with no change to any .cf and no restart of the MTA")
def observe(lab, setup):
    setup.settings = 'enforcement = "observe"\n' + NO_NUDGE
    setup.start(lab)
    bad, notls, fresh = lab.domain("bad.test", "selfsigned"), lab.domain("notls.test", "notls"), lab.domain("fresh.test", "selfsigned")
    lab.policies([bad, notls])
    lab.policy(fresh, delay_s=20)
    for domain in (bad, notls):
        lab.ours.ctl("refresh", domain.name)
    before, process = untouched(lab), lab.sender.daemon.pid
    compare(states(lab, tried_each(lab, [bad, notls, fresh])), {name: "delivered" for name in ("bad.test", "notls.test", "fresh.test")})
    for text in ("454 mtasts: validation-failure verify=FAIL at mx1.bad.test for bad.test", "454 mtasts: starttls-not-supported by mx1.notls.test for notls.test",
                 "451 mtasts: policy of fresh.test not known yet"):
        lab.log.wait("mtasts=observe would=" + text)
    assert lab.ours.ctl("status")["enforcement"] == "observe"
    reconfigure(lab, 'enforcement = "on"\n' + NO_NUDGE)
    wait.until("the map says so", lambda: in_map(lab, ":ready:") == "yes")
    lab.forbid_bad(bad)
    lab.forbid_bad(notls)
    compare(states(lab, tried_each(lab, [bad, notls])), {"bad.test": "queued", "notls.test": "queued"})
    assert lab.ours.ctl("status")["enforcement"] == "on"
    for domain in (bad, notls):
        lab.allow(domain)
    reconfigure(lab, 'enforcement = "observe"\n' + NO_NUDGE)
    wait.until("the map says so", lambda: in_map(lab, ":ready:") == "obs")
    lab.sender.run_queue()
    assert not lab.sender.queue(), lab.sender.queue()
    assert untouched(lab) == before and lab.sender.daemon.pid == process and lab.sender.daemon.poll() is None


@scenario(ours="a domain disabled by SIGHUP is delivered to whatever host it has, known before or not; enabled again it is enforced; forget makes mtastsd look anew")
def exempt_and_forget(lab, setup):
    setup.settings = NO_NUDGE
    setup.start(lab)
    bad, other, fresh = lab.domain("bad.test", "selfsigned"), lab.domain("other.test", "selfsigned"), lab.domain("fresh.test", "selfsigned")
    setup.enforce(lab, bad, other)
    lab.policy(fresh)
    waiting = tried_each(lab, [bad, other])
    compare(states(lab, waiting), {"bad.test": "queued", "other.test": "queued"})
    lab.allow(bad)
    reconfigure(lab, NO_NUDGE + "".join('domain "%s" { policy = disable }\n' % name for name in ("BAD.test", "fresh.test.")))
    wait.until("pushed", lambda: in_map(lab, ":site:bad.test") == "disable")
    lab.sender.run_queue()
    compare(states(lab, waiting), {"bad.test": "delivered", "other.test": "queued"})
    compare(states(lab, tried_each(lab, [bad, other, fresh])), {"bad.test": "delivered", "other.test": "queued", "fresh.test": "delivered"})
    compare({k: lab.ours.query("bad.test")[k] for k in ("verdict", "override")}, {"verdict": "none", "override": "disable"})
    reconfigure(lab, NO_NUDGE)
    wait.until("pushed", lambda: (in_map(lab, "bad.test") or "").startswith("enforce"))
    lab.forbid_bad(bad)
    lab.forbid_bad(fresh)
    compare(states(lab, tried_each(lab, [bad, other, fresh])), {"bad.test": "queued", "other.test": "queued", "fresh.test": "queued"})
    lab.no_txt(bad)
    for domain in (bad, other):
        compare(lab.ours.ctl("forget", domain.name), {"forgotten": True})
        wait.until("out of the map", lambda: in_map(lab, domain.name) is None)
        assert in_map(lab, "%s:%s" % (domain.name, domain.patterns[0])) is None
    lab.allow(bad)
    compare(states(lab, tried_each(lab, [bad, other])), {"bad.test": "delivered", "other.test": "queued"})
    compare(lab.ours.ctl("forget", "nosuch.test"), {"forgotten": False})


@scenario(ours="the access form: TLS_Rcpt lines in a text fragment, built into the running Sendmail's access map by the administrator's own makemap: a bad host's "
               "mail is deferred, a good one's delivered, the administrator's own entries stay")
def access_fragment(lab, setup):
    fragment = "/var/lib/mtasts/map/access"
    setup.settings = 'access_map { path = "%s" }\nsendmail_map { path = "" }\n' % fragment
    lab.install(os.environ["MTASTS_LAB_TREE"], is_build=False)
    lab.sender_machine.run(["install", "-d", "-o", "mtasts", os.path.dirname(fragment)])
    setup.prepare(lab)
    lab.sender_machine.put("/etc/mail/access.mine", "TLS_Rcpt:mine.test\tTEMP+VERIFY:128\nblocked@sender.test\tREJECT\n")

    def build():
        lab.sender_machine.run(["sh", "-c", "cat /etc/mail/access.mine %s >/etc/mail/access && makemap hash /etc/mail/access </etc/mail/access" % fragment])
    wait.until("the fragment is there", lambda: os.path.exists(lab.sender_machine.file(fragment)))
    build()
    lab.sender.configure(TRUST + ["FEATURE(`access_db')dnl", "FEATURE(`check_cert_altnames')dnl"])
    lab.sender.start()
    good, bad, mine = lab.domain("good.test"), lab.domain("bad.test", "selfsigned"), lab.domain("mine.test", "selfsigned")
    names = ["good.test", "bad.test", "mine.test"]
    compare(states(lab, tried_each(lab, names)), {"good.test": "delivered", "bad.test": "delivered", "mine.test": "queued"})
    setup.enforce(lab, good, bad)
    lab.forbid_bad(mine)
    text = wait.until("both domains are in the fragment", lambda: [t for t in [lab.sender_machine.read(fragment)] if "good.test" in t and "bad.test" in t])[0]
    assert text.splitlines()[-1] == "# end" and "TLS_Rcpt:good.test\tTEMP+VERIFY:128+CN" in text, text
    time.sleep(1.1)  # makemap gives the file a new second: Sendmail looks for nothing less
    build()
    sent = tried_each(lab, names)
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued", "mine.test": "queued"})
    assert lab.log.find("ruleset=tls_rcpt, arg1=<?u@bad.test.*reject=403 4.7.0"), "not by tls_rcpt"
