"""Scenarios: what a scenario file declares, and how one of them is run in a lab of its own."""

import os
import re
import sys
import time
import traceback
from dataclasses import dataclass

import isolate
import roots
import setups

REGISTRY = []
MAP_FAULTS = r"SYSERR|stat=Internal error|panic|signal 11|core dumped"


@dataclass
class Scenario:
    name: str
    function: object
    setup: type
    seconds: int
    only: str
    chosen: bool
    sendmail: str

    @property
    def id(self):
        return "%s.%s.%s" % (self.function.__module__.removeprefix("scenarios_"), self.function.__name__, self.setup.name)


def scenario(seconds=120, only=None, chosen=False, sendmail=None, **sentences):
    """Declare a scenario, once for each setup named: @scenario(stock="what is seen", ours="what is seen") def f(lab, setup).

    The sentence says what is proved and is the scenario's name. seconds: the whole scenario is ended after this time.
    only: the one suite that has what it needs; chosen: one of the few that are run for every suite (tests/lab/run --chosen);
    sendmail: another build than Debian's (roots.SENDMAILS), for Debian 12.
    """
    only = only or (roots.WORLD if sendmail else None)

    def declare(function):
        for name, sentence in sentences.items():
            REGISTRY.append(Scenario(sentence, function, setups.SETUPS[name], seconds, only, chosen or only is not None, sendmail))
        return function
    return declare


def execute(item):
    """Run one scenario in namespaces and a lab of its own; returns 0 when it proved its sentence. Prints what the scenario tells, and why it failed."""
    import lab
    setup = item.setup()

    def inside():
        began = lab.Lab(setup.layers)
        if item.sendmail:
            began.sender.exchange(os.path.join(roots.sendmails(), item.sendmail))
        try:
            item.function(began, setup)
            _afterwards(began, setup)
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            _tell(began)
            return 1
        return 0
    try:
        return isolate.run(inside)
    finally:
        setup.close()


def _afterwards(lab, setup):
    """What holds after every scenario, whatever it was about."""
    bounced = [rcpt for (_msgid, rcpt), fate in lab.account().items() if fate.bounced and not any(re.search(p, rcpt) for p in lab.refused)]
    assert setup.name in ("stock", "plain") or not bounced, "bounced: %s" % bounced
    end = lab.log.mark()
    if lab.ours is not None:
        lab.ours.close()
    problems = lab.problems()
    assert not problems, "\n".join(problems)
    if setup.name in ("mapped", "ours", "package"):
        faults = [line for line in lab.log.find(MAP_FAULTS, until=end) if not any(re.search(p, line) for p in lab.forgiven)]
        assert not faults, "a fault of ours in the log:\n" + "\n".join(faults)
    against = lab.against_policy()
    assert setup.name == "stock" or not against, "delivered against an enforce policy: %s" % against


def _tell(lab):
    """The places where the reason of a failure is found."""
    def show(title, lines, count=40):
        if lines:
            print("--- %s (last %d of %d lines)" % (title, min(count, len(lines)), len(lines)))
            print("\n".join(lines[-count:]))
    try:
        show("sender's mail.log", lab.sender_machine.read("/var/log/mail.log").splitlines())
        show("queue", ["%s %s %s %s" % (q.qid, q.msgid, q.rcpts, q.reason) for q in lab.sender.queue()])
        show("deliveries", ["%s %s at %s (%s) tls=%s sni=%s" % (d.msgid, d.rcpt, d.mx, d.server, d.tls, d.sni) for d in lab.deliveries()])
        for program in ("mtastsd", "mtasts-milter", "mtasts-release") if lab.ours else ():
            show(program, lab.ours.stderr(program).splitlines())
        show("reports", "\n".join(lab.problems()).splitlines())
        keep = os.environ.get("MTASTS_LAB_KEEP")
        if keep:
            _keep(lab, keep)
    except Exception:
        traceback.print_exc(file=sys.stdout)


def _keep(lab, directory):
    """Copy logs and configuration out of the instance, which ends with this process."""
    stamp = os.path.join(directory, "%d-%d" % (time.time(), os.getppid()))
    for machine, names in ((lab.sender_machine, ("/var/log", "/etc/mail", "/var/spool/mqueue", "/etc/mtasts", "/lab")),
                           (lab.world, ("/var/log", "/lab/web", "/lab/dns"))):
        for name in names:
            target = os.path.join(stamp, machine.name)
            os.makedirs(target, exist_ok=True)
            os.system("cp -a --parents '%s' '%s' 2>/dev/null" % (machine.file(name), target))
    print("kept: %s" % stamp)
