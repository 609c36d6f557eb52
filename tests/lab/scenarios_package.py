"""Our Debian package on a machine with Sendmail as Debian installs it: a newcomer's session, and the life of the package from install to purge."""

import re
import threading
import time

import wait
from scenario import scenario
from steps import compare, states, tried_each, wait_sent

MC = {"FEATURE(`mtasts')dnl": ("/etc/mail/sendmail.mc", "MAILER_DEFINITIONS"), "FEATURE(`mtasts', `msp')dnl": ("/etc/mail/submit.mc", "FEATURE(`msp'")}


class Session:
    """What an administrator types, told with the seconds that it took."""

    def __init__(self, machine):
        self.machine, self.began = machine, time.monotonic()

    def say(self, text, seconds=None):
        print("%6.1f s  %s%s" % (time.monotonic() - self.began, text, "" if seconds is None else "   (%.1f s)" % seconds))

    def type(self, command, check=True, show=None):
        """Run a shell command; print it, and those lines of its output that match show."""
        began = time.monotonic()
        done = self.machine.run(["bash", "-c", "(%s) 2>&1" % command], check=check, timeout=120)
        self.say("# " + command, time.monotonic() - began)
        for line in done.stdout.splitlines():
            if show and re.search(show, line):
                print("          | " + line)
        return done.stdout

    def add_lines(self, told):
        """Put the lines that the package told us into the .mc files, where it said."""
        lines = re.findall(r"^\s+(FEATURE\(.*dnl)$", told, re.M)
        assert sorted(lines) == sorted(MC), told
        for line in lines:
            path, before = MC[line]
            self.machine.put(path, self.machine.read(path).replace("\n" + before, "\n" + line + "\n" + before, 1))
            assert line in self.machine.read(path)
            self.say("%s: added %s" % (path, line))

    def set(self, old, new):
        path = "/etc/mtasts/mtasts.conf"
        text = self.machine.read(path)
        assert old in text, text
        self.machine.put(path, text.replace(old, new))
        self.say("%s: %s" % (path, new))


def world(lab):
    """A domain that enforces and can be trusted, one that enforces and shows another certificate, one without policy."""
    good, bad, plain = lab.domain("good.test"), lab.domain("bad.test", "selfsigned"), lab.domain("plain.test")
    lab.policies([good, bad])
    return good, bad, plain


@scenario(package="newcomer: from apt install to enforced mail and a passed selftest, with nothing typed but what the package says; every step timed; then a site without daemon, by the timer", seconds=300)
def newcomer(lab, setup):
    machine = lab.sender_machine
    good, bad, plain = world(lab)
    deb = setup.bring(machine)[0]
    how = setup.boot(machine)
    session = Session(machine)
    session.say("a fresh machine with Sendmail; services are started by " + how)
    compare(states(lab, tried_each(lab, [good, bad, plain])), {"good.test": "delivered", "bad.test": "delivered", "plain.test": "delivered"})
    session.say("mail flows, also to bad.test, whose policy is broken by an attacker's certificate")
    told = session.type("apt-get install -y " + deb, show=r"^Setting up mtasts|FEATURE|One line|^Then|^Enforcement|^Proof")
    assert "ready, enforcement observe" in session.type("mtastsctl status", show="ready,")
    session.add_lines(told)
    session.type("make -C /etc/mail", show=r"\*\*\*")
    session.type("service sendmail restart")
    session.type("mtastsctl doctor", show="MISSING|note|to mend")
    sent = tried_each(lab, [good, bad, plain])
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "delivered", "plain.test": "delivered"})
    session.say("observe: all delivered; the log: " + re.sub(r".*?(mtasts=observe)", r"\1", lab.log.wait("mtasts=observe would=.*bad.test", 10)))
    session.set("enforcement = observe", "enforcement = on")
    session.type("service mtastsd reload")
    # a reload does not wait for it, and the map changes at most once a second
    wait.until("the map is enforced", lambda: ":ready:\tyes" in machine.run(["makemap", "-u", "hash", "/var/lib/mtasts/map/policy"]).stdout, 10)
    session.type("mtastsctl doctor", show="MISSING|note|to mend")
    lab.forbid_bad(good)
    lab.forbid_bad(bad)
    sent = tried_each(lab, [good, bad, plain])
    compare(states(lab, sent), {"good.test": "delivered", "bad.test": "queued", "plain.test": "delivered"})
    session.say("enforced: good.test and plain.test delivered, bad.test waits: " + next(q.reason for q in lab.sender.queue() if q.msgid == sent["bad.test"]))
    session.type("mtastsctl selftest", show=".")
    completed = machine.run(["bash", "-c", ". /usr/share/bash-completion/completions/mtastsctl; COMP_WORDS=(mtastsctl query g); COMP_CWORD=2; "
                             "_mtastsctl mtastsctl g query; echo ${COMPREPLY[*]}"]).stdout.strip()
    assert completed == "good.test", completed
    session.say("done, in less than ten minutes")
    assert time.monotonic() - session.began < 600
    if how == "systemd":
        by_timer(lab, machine)


def by_timer(lab, machine):
    """The units of a site without daemon, as systemd runs them: what waits in the queue becomes known."""
    machine.run(["systemctl", "stop", "mtastsd"])
    late = lab.domain("late.test")
    lab.policies([late])
    sent = tried_each(lab, [late])
    compare(states(lab, sent), {"late.test": "queued"})
    machine.run(["systemctl", "start", "mtasts-refresh.timer"])
    wait.until("the timer has run it", lambda: "enforce" in machine.run(["mtastsctl", "explain", "late.test"], check=False).stdout, 20, every=0.2)
    wait.until("it has ended", lambda: machine.run(["systemctl", "is-active", "mtasts-refresh"], check=False).stdout.strip() == "inactive", 20, every=0.2)
    assert machine.run(["systemctl", "show", "-p", "Result", "--value", "mtasts-refresh"]).stdout.strip() == "success"
    strange = machine.run(["find", "/var/lib/mtasts", "-mindepth", "1", "!", "-user", "mtasts"]).stdout
    assert not strange, strange
    lab.sender.run_queue()
    compare(states(lab, sent), {"late.test": "delivered"})


class Stream:
    """A message to each domain, again and again, until stopped; all of them have to come out as told."""

    def __init__(self, lab, wanted):
        self.lab, self.wanted, self.sent, self._stop = lab, wanted, [], threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self):
        while not self._stop.is_set():
            for name in self.wanted:
                self.sent.append((name, self.lab.sender.send("u@" + name)))
            self._stop.wait(0.3)

    def end(self):
        """Stop, and compare; returns how many were sent."""
        self._stop.set()
        self._thread.join()
        for _name, msgid in self.sent:
            self.lab.sender.wait_tried(msgid, 30)
        fates = self.lab.account()
        wrong = [(name, fates[msgid, "u@" + name].state) for name, msgid in self.sent if fates[msgid, "u@" + name].state != self.wanted[name]]
        assert not wrong, wrong
        return len(self.sent)


@scenario(package="the package is installed, upgraded, removed and purged by sysv-rc's scripts while mail is sent all the time: nothing is lost, nothing leaks, and what "
                  "may still be read stays", seconds=300)
def life(lab, setup):
    machine = lab.sender_machine
    good, bad, plain = world(lab)
    first, second = setup.bring(machine)
    setup.sysv(machine)
    session = Session(machine)
    flows = {"good.test": "delivered", "bad.test": "delivered", "plain.test": "delivered"}
    enforced = {**flows, "bad.test": "queued"}

    def phase(command, wanted, show=None):
        stream = Stream(lab, wanted)
        told = session.type(command, show=show)
        session.say("%d messages meanwhile, all as they must be" % stream.end())
        return told

    told = phase("apt-get install -y " + first, flows)
    assert "observe" in session.type("mtastsctl status")
    session.add_lines(told)
    session.type("make -C /etc/mail && service sendmail restart && mtastsctl doctor")
    session.set("enforcement = observe", "enforcement = on")
    session.type("service mtastsd reload")
    tried_each(lab, [good, plain])
    session.type("mtastsctl refresh bad.test")
    lab.forbid_bad(good)
    lab.forbid_bad(bad)

    told = phase("apt-get install -y " + second, enforced)
    assert "One line" not in told and "finds something" not in told, told
    assert "enforcement on" in session.type("mtastsctl status")

    waits = next(item for item in lab.sender.queue() if item.queue == "mqueue")
    session.type("sendmail '-Qmtasts: policy of bad.test not known yet' -qI" + waits.qid)
    wait.until("it is in quarantine", lambda: any(item.quarantined for item in lab.sender.queue()))

    told = phase("apt-get remove -y mtasts", enforced, show="mtasts is removed|waits|goes on")
    assert "The map stays" in told
    assert not any(item.quarantined for item in lab.sender.queue()), "nobody will let it out any more"
    assert not re.search("mtasts", machine.run(["ps", "-e", "-o", "comm="]).stdout)
    lab.domain("late.test")
    waits = lab.sender.send("u@late.test")
    lab.log.wait("451 4.4.3 mtasts:.*late.test", 20)
    told = phase("dpkg --purge mtasts", enforced, show="is purged")
    assert machine.run(["ls", "/var/lib/mtasts"]).stdout.split() == ["map"] and "rm -r /var/lib/mtasts" in told

    session.say("FEATURE(`mtasts') is taken out of both .mc files")
    for line, (path, _before) in MC.items():
        machine.put(path, machine.read(path).replace(line + "\n", ""))
    session.type("make -C /etc/mail && service sendmail restart && rm -r /var/lib/mtasts")
    for domain in (good, bad):
        lab.allow(domain)
    lab.sender.run_queue()
    wait_sent(lab, "u@late.test", 20)
    compare(lab.fate(waits), {"u@late.test": "delivered"})
    assert not lab.sender.queue(), lab.sender.queue()

    phase("apt-get install -y " + first, flows)
    phase("apt-get purge -y mtasts", flows)
    left = machine.run(["find", "/etc", "/var/lib", "/run", "/usr", "-name", "*mtasts*", "-not", "-path", "/var/lib/dpkg/*", "-not", "-path", "/var/lib/systemd/*"]).stdout
    assert not left, left
