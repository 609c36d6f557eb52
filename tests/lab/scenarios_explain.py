"""mtastsctl explain: the right story, in every state that mail and domains can be in (mtastsctl(8))."""

import os
import subprocess

import ours
import wait
from scenario import scenario
from scenarios_down import NO_NUDGE
from steps import states, tried_each


def told(lab, *args):
    """What it says to people."""
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "explain", *args], check=False, env=ours.SANITIZE)
    assert done.returncode == 0, done
    return " ".join(done.stdout.split())


def has(text, *parts):
    missing = [part for part in parts if part not in text]
    assert not missing, "missing: %s in\n%s" % (missing, text)


@scenario(ours="explain, with mtastsd and without: a failing MX under enforce, a testing policy, none that waits for another reason, a policy that cannot be had, DNS that fails or "
               "is silent: why a message waits, whether for us, until when, and which row of the table decided", seconds=150)
def stories(lab, setup):
    setup.settings = NO_NUDGE + 'domain "off.test" { policy = disable }\n'
    setup.start(lab)
    bad, test = lab.domain("bad.test", "selfsigned"), lab.domain("try.test")
    lab.mx_host("mx1.busy.test", "good", server="sink", rcpt="451 4.2.1 later")
    lab.point("busy.test", "mx1.busy.test")
    gone, held = lab.domain("gone.test"), lab.domain("held.test")
    setup.enforce(lab, bad)
    lab.policy(test, mode="testing")
    lab.policy(gone, status=500)
    lab.policy(held)
    lab.dns.servfail("_mta-sts.held.test")
    sent = tried_each(lab, ["bad.test", "try.test", "busy.test", "gone.test", "held.test"])
    assert states(lab, sent) == {"bad.test": "queued", "try.test": "delivered", "busy.test": "queued", "gone.test": "delivered", "held.test": "queued"}
    wait.until("held.test is undecided", lambda: lab.ours.query("held.test")["wanted"], 20, every=0.2)

    story = lab.ours.ctl("explain", "bad.test")
    look = story["entry"]["look"]
    assert (story["source"], story["entry"]["verdict"], look["row"], look["section"], look["txt"]) == ("daemon", "enforce", "policy fetched", "3.3", "record"), story
    has(told(lab, "bad.test"), "bad.test: enforce Mail goes only to", "first wanted 20", "TXT a record with id " + look["id"], "why the policy that the domain publishes", "policy fetched, valid",
        "row policy fetched, RFC 8461 section 3.3", "map enforce mx mx1.bad.test until 20", "pushed yes")
    has(told(lab, "try.test"), "try.test: testing", "map none until 20")
    has(told(lab, "busy.test"), "busy.test: none", "TXT no record", "row no record: none, RFC 8461 section 3.1")
    has(told(lab, "gone.test"), "policy could not be had", "row fetch failed: none, RFC 8461 section 3.3", "500", "tried again 20")
    has(told(lab, "held.test"), "held.test: undecided", "waits since 20", "TXT DNS did not say: ", "row DNS trouble: held", "map nothing: it asks mtastsd", "dig TXT _mta-sts.held.test")
    has(told(lab, "off.test"), "off.test: none This site's configuration switches policies off for it", "this site disable, for off.test")
    has(told(lab, "never.test"), "never.test: undecided Nothing is known of it.")

    lab.dns.freeze()
    asking = lab.sender_machine.popen(["/usr/sbin/mtastsctl", "refresh", "slow.test"], stdout=subprocess.DEVNULL)
    wait.until("slow.test is looked at", lambda: "discovery began" in lab.ours.query("slow.test")["why"], 5, every=0.1)
    has(told(lab, "slow.test"), "slow.test: undecided Not settled yet: mail waits", "discovery began", "waits since 20", "dig TXT _mta-sts.slow.test")
    lab.dns.thaw()
    asking.wait()

    def rcpt(name, **want):
        message = lab.ours.ctl("explain", lab.sender.qid(sent[name]))
        assert message["gives_up"] > message["queued"] and message["tries"] > 0, message
        found, = message["recipients"]
        assert {key: found[key] for key in want} == want, found
        return found["answer"]
    has(rcpt("bad.test", cause="check failed", ours=True), "the policy of bad.test forbids", "ends at " + story["entry"]["expires"], "Sendmail sends it back at 20")
    has(rcpt("busy.test", cause="other", ours=False), "another reason, not for mtasts", "451 4.2.1 later")
    has(rcpt("held.test", cause="policy not known", ours=True), "DNS does not say whether held.test has a policy", "(hold_max)")
    has(told(lab, lab.sender.qid(sent["busy.test"])), "0 of 1 recipients wait for mtasts")
    qid = lab.sender.qid(sent["held.test"])
    as_user = lab.sender_machine.run(["setpriv", "--reuid", "mtasts", "--regid", "mtasts", "--clear-groups", "/usr/sbin/mtastsctl", "explain", qid], check=False, env=ours.SANITIZE)
    assert as_user.returncode == 0 and "held.test: undecided" in as_user.stdout and "run it as root" in as_user.stderr, as_user
    assert lab.sender_machine.run(["/usr/sbin/mtastsctl", "explain", lab.sender.qid(sent["gone.test"])], check=False).returncode == os.EX_NOINPUT

    lab.ours.stop(lab.ours.daemon)
    without = lab.ours.ctl("explain", "bad.test")
    assert (without["source"], without["entry"]["verdict"], without["entry"]["look"]) == ("store", "enforce", look), without
    has(told(lab, "bad.test"), "mtastsd does not run; this is what its store has.", "pushed not known")
    has(told(lab, qid), "1 of 1 recipients wait for mtasts", "mtastsd does not run", "Start mtastsd")
    strange = lab.sender_machine.run(["find", "/var/lib/mtasts", "-mindepth", "1", "!", "-user", "mtasts"]).stdout
    assert not strange, strange
