#!/usr/bin/env python3
"""Six messages, sent by two Sendmails at once, one with stock FEATURE(`sts'), one with ours; told side by side for people.

Every outcome is computed from the account of the mail (see account.py and lab.forbid), every line is from the real logs.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import isolate  # noqa: E402
import ours  # noqa: E402
import roots  # noqa: E402
import setups  # noqa: E402
from lab import Domain  # noqa: E402

NAMES = {"stock": "stock", "ours": "mtasts"}
SENT = r": to=\S*u@%s\b.*stat=Sent"
FAILED_CHECK = r"ruleset=tls_(rcpt|server), arg1=.*reject="


# --- the world: policies are published; stock is given them by hand, ours has heard of no domain before ---

def policy(lab, setup, domain, patterns=None, **odd):
    lab.policy(domain, mx=patterns, **odd)
    if setup.name == "stock":
        setup.enforce(lab, domain, patterns=patterns)
    else:
        lab.forbid_bad(domain)


def without_policy(lab, setup):
    lab.domain("plain.test")
    return ["u@plain.test"]


def first_message(lab, setup):
    policy(lab, setup, lab.domain("new.test"), delay_s=2)
    return ["u@new.test"]


def self_signed(lab, setup):
    policy(lab, setup, lab.domain("selfsigned.test", "selfsigned"))
    return ["u@selfsigned.test"]


def shared(lab, setup):
    lab.mx_host("mx.shared.test", "selfsigned")
    _bakery, clinic = lab.shared("mx.shared.test", "bakery.test", "clinic.test")
    policy(lab, setup, clinic)
    return ["u@bakery.test", "u@clinic.test"]


def forged_cname(lab, setup):
    lab.domain("attacker.test")
    policy(lab, setup, Domain("forged.test", ["mx1.attacker.test"], ["mx1.forged.test"]))
    lab.dns.update("add forged.test. 1 CNAME attacker.test.")
    return ["u@forged.test"]


def wildcard(lab, setup):
    policy(lab, setup, lab.domain("wild.test", "wildcard"))
    return ["u@wild.test"]


# A message: what the reader is told, how its world is made, what must come out for each recipient (stock, ours), and where to look
# for the most telling lines: patterns of the log, mailq or query for the answers of these commands.
MESSAGES = [
    {"title": "To a domain without a policy (plain.test): delivered at once, nothing waits", "make": without_policy,
     "want": {"stock": ["DELIVERED"], "ours": ["DELIVERED"]},
     "stock": [SENT % "plain.test"], "ours": [SENT % "plain.test"]},
    {"title": "The first message ever to a domain that demands verified TLS (new.test); its policy host takes 2 seconds. mtasts holds "
              "the message at the end of its DATA, discovers the policy, pushes it into Sendmail's map, and lets it go",
     "make": first_message, "want": {"stock": ["DELIVERED"], "ours": ["DELIVERED"]},
     "stock": [SENT % "new.test"],
     "ours": [r"mtastsd.*domain=new.test .*enforce", r"STARTTLS=client, relay=mx1.new.test.*verify=OK", SENT % "new.test"]},
    {"title": "The policy demands verified TLS, the mail host shows a self-signed certificate (selfsigned.test)", "make": self_signed,
     "want": {"stock": ["WAITS"], "ours": ["WAITS"]}, "stock": ["mailq"], "ours": ["mailq", "query selfsigned.test"]},
    {"title": "One message to two domains that share a self-signed mail host: bakery.test has no policy, clinic.test demands verified "
              "TLS. Stock looks at the certificate for the first recipient of a connection only", "make": shared,
     "want": {"stock": ["DELIVERED", "LEAKED"], "ours": ["DELIVERED", "WAITS"]},
     "stock": [r"STARTTLS=client, relay=mx.shared.test.*verify=FAIL", SENT % "clinic.test"],
     "ours": [SENT % "bakery.test", FAILED_CHECK + ".*clinic.test"]},
    {"title": "A forged DNS answer makes forged.test an alias (CNAME) of attacker.test, whose own certificate is valid. "
              "Stock rewrites the recipient before it looks the policy up", "make": forged_cname,
     "want": {"stock": ["LEAKED"], "ours": ["WAITS"]}, "stock": [r"to=.*relay=mx1.attacker.test.*stat=Sent"], "ours": [FAILED_CHECK + ".*forged.test"]},
    {"title": "The mail host's valid certificate is a wildcard, *.wild.test. Stock never accepts one: the mail waits until it bounces",
     "make": wildcard, "want": {"stock": ["WAITS"], "ours": ["DELIVERED"]},
     "stock": [FAILED_CHECK + ".*wild.test"], "ours": [r"STARTTLS=client, relay=mx1.wild.test.*verify=OK", SENT % "wild.test"]},
]


# --- one lab: send, wait, compute, and write down what happened ---

def perform(name, path):
    """Run the whole story with one set-up, inside its namespaces; writes the facts to path."""
    import lab
    made, setup = lab.Lab(), setups.SETUPS[name]()
    setup.start(made)
    facts = []
    for message in MESSAGES:
        rcpts = message["make"](made, setup)
        mark, began = made.log.mark(), time.monotonic()
        msgid = made.sender.send(*rcpts)
        held_s = time.monotonic() - began
        made.sender.wait_tried(msgid)
        follow(made, msgid, rcpts)
        facts.append({"msgid": msgid, "rcpts": rcpts, "held_s": held_s, "lines": evidence(made, message[name], msgid, mark)})
    made.sender.run_queue()  # what waits has a second chance
    fates = made.account()
    for fact in facts:
        fact["outcomes"] = [outcome(made, fates, fact["msgid"], rcpt) for rcpt in fact["rcpts"]]
    states = [fate.state for fate in fates.values()]
    problems = made.problems()
    with open(path, "w") as f:
        json.dump({"messages": facts, "states": states, "problems": problems}, f)
    return 0


def follow(lab, msgid, rcpts):
    """A Sendmail that rewrote the only recipient did so before it accepted: the account follows what the MX host took."""
    taken = [d.rcpt for d in lab.deliveries(msgid)]
    if len(rcpts) == 1 and taken and rcpts[0] not in taken:
        lab.sender.accepted[msgid] = taken


def outcome(lab, fates, msgid, rcpt):
    """DELIVERED, WAITS, BOUNCED, LOST; LEAKED when it arrived at a host that the policy of the recipient's domain forbids."""
    domain = rcpt.split("@")[1]
    final = rcpt if (msgid, rcpt) in fates else next(other for mid, other in fates if mid == msgid)  # rewritten: see follow()
    fate = fates[msgid, final]
    hosts = {host for _since, name, host in lab.forbidden if name == domain}
    if any(d.mx.lower() in hosts for d in fate.delivered):
        return "LEAKED"
    return {"queued": "WAITS"}.get(fate.state, fate.state.upper())


def evidence(lab, places, msgid, mark):
    """The real lines: of the log since the message was sent, of mailq, of mtastsctl query."""
    found = []
    for place in places:
        if place == "mailq":
            found.append(["mailq: " + line for line in mailq(lab, lab.sender.qid(msgid))])
        elif place.startswith("query "):
            text = lab.sender_machine.run(["/usr/sbin/mtastsctl", "query", place.split()[1]]).stdout
            verdict, why = (" ".join(paragraph.split()) for paragraph in text.split("\n\n")[:2])
            found.append(["mtastsctl %s: %s" % (place, verdict), why])
        else:
            found.append([short(line) for line in lab.log.find(place, since=mark)[-1:]])
    return found


def short(line):
    """A log line without its process id, and without those of its many parts that tell nothing here."""
    line = re.sub(r"^([\w-]+)\[\d+\]:", r"\1:", line)
    for start, end in ((r": to=\S+,", "relay="), (r"to=.* relay=\S+", "stat="), (r"STARTTLS=.* verify=\w+,", "$"), (r"arg1=\S+,", "reject=")):
        line = re.sub("(%s) .*?(%s)" % (start, end), r"\1 ... \2", line).rstrip()
    return line


def mailq(lab, qid):
    """The reason that mailq prints under a message."""
    lines = lab.sender_machine.run(["/usr/bin/mailq", "-v"]).stdout.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith(qid)), len(lines))
    return [line.strip() for line in lines[start + 1:start + 2]]


# --- telling ---

class Teller:
    def __init__(self):
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.width = min(120, max(60, shutil.get_terminal_size((120, 24)).columns)) - 1

    def paint(self, text, code):
        return "\033[%sm%s\033[0m" % (code, text) if self.colour else text

    def heading(self, number, title):
        print("\n" + self.paint(textwrap.fill("%d. %s" % (number, title), self.width, subsequent_indent="   "), "1"))

    def outcome(self, name, fact, want):
        code = {"DELIVERED": "32", "WAITS": "33"}
        said = [self.paint(one, code.get(one, "1;31")) + (" (%s)" % rcpt.split("@")[1] if len(fact["rcpts"]) > 1 else "")
                for one, rcpt in zip(fact["outcomes"], fact["rcpts"])]
        note = "" if fact["outcomes"] == want else "   NOT AS EXPECTED: " + ", ".join(want)
        print("   %-7s %s   accepted in %.1f s%s" % (NAMES[name], ", ".join(said), fact["held_s"], note))
        for line in sum(fact["lines"], []) or ["(nothing in the log)"]:
            print(self.paint(textwrap.fill(line, self.width, initial_indent=" " * 7, subsequent_indent=" " * 9, break_on_hyphens=False), "2"))

    def text(self, text):
        print(textwrap.fill(text, self.width))


def tell(facts):
    """Print the story; returns True when everything came out as it must."""
    teller, right = Teller(), True
    teller.text("Six messages, each sent by two Sendmails at once: one with Sendmail's own FEATURE(`sts') (\"stock\"), one with FEATURE(`mtasts'). "
                "Stock cannot find policies by itself, so it is given them by hand; mtasts has heard of none of these domains before.")
    for n, message in enumerate(MESSAGES):
        teller.heading(n + 1, message["title"])
        for name in NAMES:
            fact = facts[name]["messages"][n]
            teller.outcome(name, fact, message["want"][name])
            right = right and fact["outcomes"] == message["want"][name] and all(fact["lines"])
    print()
    leaks = {name: sum(fact["outcomes"].count("LEAKED") for fact in facts[name]["messages"]) for name in NAMES}
    print("Mail that went where a policy forbids it: stock %d, mtasts %d." % (leaks["stock"], leaks["ours"]))
    for name in NAMES:
        states = facts[name]["states"]
        teller.text("%-7s %d recipients accepted = %d delivered + %d in the queue + %d bounced, by Message-ID at the MX hosts; lost: %d." % (
            NAMES[name] + ":", len(states), *(states.count(state) for state in ("delivered", "queued", "bounced", "lost"))))
        for problem in facts[name]["problems"]:
            print(problem)
            right = False
    teller.text("On your own Sendmail: README, \"Install on your own Sendmail\"; it begins with a week of looking on, where nothing waits, "
                "and \"mtastsctl doctor\" tells whether all is in place.")
    return right


def both(builddir):
    """Run both labs at once, each in a process of its own; {name: facts}."""
    with tempfile.TemporaryDirectory(prefix="mtasts-story-") as directory:
        ours.stage(builddir, os.path.join(directory, "tree"))
        environment = {**os.environ, "MTASTS_LAB_TREE": os.path.join(directory, "tree")}
        running = {name: subprocess.Popen([sys.executable, "-B", os.path.abspath(__file__), "--only", name, os.path.join(directory, name)],
                                          env=environment, stdin=subprocess.DEVNULL) for name in NAMES}
        try:
            for name, process in running.items():
                if process.wait(180) != 0:
                    raise isolate.Lacking("the lab with %s did not come to its end" % NAMES[name], isolate.EX_SOFTWARE)
        finally:
            for process in running.values():
                process.terminate()
                process.wait()
        facts = {}
        for name in NAMES:
            with open(os.path.join(directory, name)) as f:
                facts[name] = json.load(f)
        return facts


def main():
    parser = argparse.ArgumentParser(prog="tests/lab/story.py", description="Six messages, with stock FEATURE(`sts') and with ours.")
    parser.add_argument("--build", metavar="DIR", help="build directory, configured as tests/lab/run says")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)  # one lab, in this process
    chosen = parser.parse_args()
    if chosen.only:
        isolate.end_with_parent()
        return isolate.run(lambda: perform(*chosen.only))
    if not chosen.build:
        parser.error("--build DIR is needed")
    isolate.check_machine()
    roots.ensure()
    return 0 if tell(both(os.path.abspath(chosen.build))) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except isolate.Lacking as lacking:
        print("story: %s" % lacking, file=sys.stderr)
        sys.exit(lacking.status)
    except KeyboardInterrupt:
        sys.exit(130)
