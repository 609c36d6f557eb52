"""When something of ours is down, damaged, full or fed with garbage: what mail sees, what we say, and what mends itself (mtastsd(8))."""

import os
import re
import shutil
import signal
import socket
import time

import isolate
import net
import ours
import wait
from scenario import scenario
from setups import MAP
from steps import compare, in_parallel, reasons, states, tags, tried, tried_each, wait_sent

STORE, CONTROL, SOCKETMAP, MILTER = "/var/lib/mtasts/store", "/run/mtasts/control.sock", "/run/mtasts/socketmap.sock", "/run/mtasts/milter.sock"
CONF = "/etc/mtasts/mtasts.conf"
NO_NUDGE = 'nudge { address = "" }\n'  # what waits shall stay until we look


def value(lab, key):
    """What the map has for a key, read by makemap; None: nothing, or no map."""
    lines = lab.sender_machine.run(["makemap", "-u", "hash", MAP], check=False).stdout.splitlines()
    return dict(line.split("\t", 1) for line in lines).get(key)


def wait_ready(lab, seconds=20, want="yes"):
    wait.until("the map is %s" % want, lambda: value(lab, ":ready:") == want, seconds, every=0.1)


def settle_none(lab, *domains):
    """Have mtastsd find out, and push, that these have no policy."""
    in_parallel(lambda domain: lab.ours.ctl("refresh", domain), [domain.name for domain in domains])
    for domain in domains:
        lab.ours.wait_verdict(domain.name, "none")
        wait.until("%s is in the map" % domain, lambda: (value(lab, domain.name) or "").startswith("none"))


def known(lab, setup):
    """good.test and bad.test with an enforce policy, none.test with none, all known and pushed."""
    good, bad, none = lab.domain("good.test", "wildcard"), lab.domain("bad.test", "selfsigned"), lab.domain("none.test", "selfsigned")
    setup.enforce(lab, good, bad)
    settle_none(lab, none)
    return good, bad, none


KNOWN = {"good.test": "delivered", "bad.test": "queued", "none.test": "delivered"}


def kill_daemon(lab):
    lab.ours.stop(lab.ours.daemon, kill=True)


def run_queue_every(lab, interval):
    """The MTA runs its queue by itself from now on."""
    lab.sender.stop()
    lab.sender.start(queue_interval=interval)


# --- mtastsd ---

@scenario(ours="mtastsd dead for seconds: what is known is enforced and delivered as before, what is unknown waits with a text that names mtastsd, "
               "and a queue run makes no connection for it; it comes back: all is checked, and delivered by itself")
def daemon_dead_for_seconds(lab, setup):
    setup.settings = 'milter { wait = "40s" }\n'
    setup.start(lab)
    run_queue_every(lab, "5s")
    known(lab, setup)
    fresh, worse = lab.domain("fresh.test", server="sink"), lab.domain("worse.test", "selfsigned")
    lab.policies([fresh, worse])
    lab.forbid_bad(worse)
    kill_daemon(lab)
    took = {}

    def send(name):
        began = time.monotonic()
        msgid = lab.sender.send("u@" + name)
        took[name] = time.monotonic() - began
        lab.sender.wait_tried(msgid)
        return msgid
    sent = in_parallel(send, list(KNOWN) + ["fresh.test", "worse.test"])
    compare(states(lab, sent), {**KNOWN, "fresh.test": "queued", "worse.test": "queued"})
    assert max(took.values()) < 20, "mail waited at SMTP time for a daemon that is not there: %s" % took
    assert not {"mx1.fresh.test", "mx1.worse.test"} & lab.sinks.used(), "mail was begun"
    connected = lab.sinks.connected(lab.sender.run_queue)
    assert "mx1.bad.test" in connected and not {"mx1.fresh.test", "mx1.worse.test"} & connected, connected
    for name in ("fresh.test", "worse.test"):
        assert lab.log.find("ruleset=.*451 4.4.3 mtasts: policy of %s not known: mtastsd does not answer" % name)
        assert "policy of %s not known: mtastsd does not answer" % name in reasons(lab, sent)[name], reasons(lab, sent)
    lab.ours.mtastsd()
    wait_sent(lab, "u@fresh.test", 30)
    lab.log.wait("validation-failure .*for worse.test", 30)
    compare(states(lab, sent), {**KNOWN, "fresh.test": "delivered", "worse.test": "queued"})


@scenario(ours="mtastsd dead for longer than away_limit: unknown domains are delivered and logged policy=unchecked, known ones enforced as before; "
               "when it returns they are checked first", seconds=150)
def daemon_dead_for_good(lab, setup):
    setup.settings = 'away_limit = "12s"\n' + NO_NUDGE
    setup.start(lab)
    known(lab, setup)
    early, late, never = (lab.domain(name, "selfsigned") for name in ("early.test", "late.test", "other.test"))
    lab.policies([early, late, never])
    kill_daemon(lab)
    sent = tried_each(lab, ["early.test"])
    compare(states(lab, sent), {"early.test": "queued"})
    time.sleep(max(0, int(value(lab, ":alive:")) + 1 - time.time()))
    sent.update(tried_each(lab, list(KNOWN) + ["late.test"]))
    lab.sender.run_queue()
    compare(states(lab, sent), {**KNOWN, "early.test": "delivered", "late.test": "delivered"})
    for name in ("early.test", "late.test"):
        lab.log.wait(r"mtasts=deliver policy=unchecked domain=%s reason=mtastsd-away" % re.escape(name))
    lab.ours.mtastsd()
    lab.forbid_bad(late)
    lab.forbid_bad(never)
    compare(states(lab, tried_each(lab, [late, never])), {"late.test": "queued", "other.test": "queued"})
    alive = int(value(lab, ":alive:"))
    wait.until("the heartbeat is renewed", lambda: int(value(lab, ":alive:")) > alive, 15, every=0.5)


@scenario(ours="away_limit = 0: while mtastsd is dead unknown domains are delivered at once, logged; away_limit = never: they wait until it is back", seconds=150)
def away_limits(lab, setup):
    setup.settings = "away_limit = 0\n" + NO_NUDGE
    setup.start(lab)
    known(lab, setup)
    for name in ("zero.test", "never.test"):
        lab.domain(name)
    assert value(lab, ":alive:") == "0"
    kill_daemon(lab)
    compare(states(lab, tried_each(lab, list(KNOWN) + ["zero.test"])), {**KNOWN, "zero.test": "delivered"})
    lab.log.wait("mtasts=deliver policy=unchecked domain=zero.test reason=mtastsd-away")
    lab.ours.mtastsd('away_limit = "never"\n' + NO_NUDGE)
    wait.until("never is in the map", lambda: value(lab, ":alive:") == "9999999999")
    kill_daemon(lab)
    sent = tried_each(lab, list(KNOWN) + ["never.test"])
    compare(states(lab, sent), {**KNOWN, "never.test": "queued"})
    lab.ours.mtastsd()
    lab.sender.run_queue()
    compare(states(lab, sent), {**KNOWN, "never.test": "delivered"})


@scenario(ours="mtastsd hangs: clients wait no longer than the milter may, known mail flows, unknown mail waits; it goes on: the next queue run delivers",
          seconds=150)
def daemon_hangs(lab, setup):
    setup.start(lab)
    lab.forgiven.append("SYSERR.*socket_map_lookup")
    known(lab, setup)
    lab.domain("fresh.test")
    lab.ours.daemon.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        sent = in_parallel(lambda name: lab.sender.send("u@" + name), list(KNOWN) + ["fresh.test"])
        assert time.monotonic() - began < 30, "the client waited %.1f s" % (time.monotonic() - began)
        for msgid in sent.values():
            lab.sender.wait_tried(msgid, 30)
        compare(states(lab, sent), {**KNOWN, "fresh.test": "queued"})
        local = tried(lab, "bob@sender.test")
        assert lab.fate(local) == {"bob@sender.test": "delivered"}
    finally:
        lab.ours.daemon.send_signal(signal.SIGCONT)
    wait.until("mtastsd answers", lambda: lab.ours.ctl("status", check=False) is not None)
    lab.sender.run_queue()
    compare(states(lab, sent), {**KNOWN, "fresh.test": "delivered"})


@scenario(ours="mtasts-milter killed: all mail is accepted, untagged; inbound and local mail flows, nothing leaks; restarted it tags again")
def milter_killed(lab, setup):
    setup.start(lab)
    known(lab, setup)
    fresh, worse = lab.domain("fresh.test"), lab.domain("worse.test", "selfsigned")
    lab.policies([fresh, worse])
    lab.forbid_bad(worse)
    lab.ours.stop(lab.ours.milter, kill=True)
    sent = tried_each(lab, list(KNOWN) + ["fresh.test", "worse.test"])
    inbound = tried(lab, "bob@sender.test", sender="u@good.test")
    wait_sent(lab, "u@fresh.test")
    lab.log.wait("validation-failure .*for worse.test", 20)
    compare(states(lab, sent), {**KNOWN, "fresh.test": "delivered", "worse.test": "queued"})
    assert lab.fate(inbound) == {"bob@sender.test": "delivered"}
    for name in ("good.test", "fresh.test"):
        assert tags(lab, sent[name]) == {"u@" + name: []}
    lab.ours.mtasts_milter()
    again = wait.until("tagged again", lambda: [m for m in [tried(lab, "u@good.test")] if tags(lab, m)["u@good.test"]], 20, every=0.5)
    assert tags(lab, again[0]) == {"u@good.test": ["enforce"]}


@scenario(ours="mtasts-milter hangs: local, inbound and outbound mail is accepted after the time-out of 20 s, untagged, and nothing leaks; it goes on: it tags again")
def milter_hangs(lab, setup):
    setup.start(lab)
    known(lab, setup)
    worse = lab.domain("worse.test", "selfsigned")
    lab.policy(worse)
    lab.forbid_bad(worse)
    rcpts, took = {"bob@sender.test": "u@good.test", **{"u@" + name: "alice@sender.test" for name in list(KNOWN) + ["worse.test"]}}, {}

    def send(rcpt):
        began = time.monotonic()
        msgid = tried(lab, rcpt, sender=rcpts[rcpt])
        took[rcpt] = time.monotonic() - began
        return msgid
    lab.ours.milter.send_signal(signal.SIGSTOP)
    try:
        sent = in_parallel(send, list(rcpts))
    finally:
        lab.ours.milter.send_signal(signal.SIGCONT)
    assert 19 < min(took.values()) and max(took.values()) < 40, took
    assert len(lab.log.find(r"Milter \(mtasts\): timeout before data read")) == len(rcpts)
    lab.log.wait("validation-failure .*for worse.test", 30)
    want = {**{"u@" + name: state for name, state in KNOWN.items()}, "u@worse.test": "queued", "bob@sender.test": "delivered"}
    compare({rcpt: lab.fate(sent[rcpt])[rcpt] for rcpt in rcpts}, want)
    compare({rcpt: tags(lab, sent[rcpt])[rcpt] for rcpt in ("u@good.test", "u@none.test")}, {"u@good.test": [], "u@none.test": []})
    compare(tags(lab, tried(lab, "u@good.test")), {"u@good.test": ["enforce"]})


# --- the map ---

def rewrite(path, change):
    """Change a file in place: change(bytes) -> bytes."""
    with open(path, "r+b") as f:
        old = f.read()
        f.seek(0)
        f.write(change(old))
        f.truncate()


def not_ready(lab, path):
    """As a commit leaves it whose writer was killed."""
    at = open(path, "rb").read().rindex(b"yes\x01:ready:")  # the value stands before its key

    def change(old):
        return old[:at] + b"not" + old[at + 3:]
    rewrite(path, change)


MAP_DAMAGES = {
    "missing": lambda lab, path: os.unlink(path),
    "empty": lambda lab, path: os.truncate(path, 0),
    "cut to a page": lambda lab, path: os.truncate(path, 4096),
    "zeroed but for its first page": lambda lab, path: rewrite(path, lambda old: old[:4096] + bytes(len(old) - 4096)),
    "garbage": lambda lab, path: rewrite(path, lambda old: os.urandom(len(old))),
    "text": lambda lab, path: rewrite(path, lambda old: b"not a database\n" * 1000),
    "not ready": not_ready,
    "another database": lambda lab, path: (lab.sender.makemap("/lab/other", {"odd.test": "x"}), rewrite(path, lambda old: open(lab.sender_machine.file("/lab/other.db"), "rb").read())),
}


@scenario(ours="map missing, cut, zeroed, garbage or not ready: mail by MX and to a smart host's name waits, local mail, LMTP and mail to a literal flows, nothing bounces; mtastsd "
               "mends it, and all flows", seconds=180)
def map_damaged(lab, setup):
    setup.settings = NO_NUDGE
    address = lab.mx_host("smart.test")
    setup.start(lab, mc=["FEATURE(`mailertable')dnl"], mailertable={"mtable.test": "esmtp:[%s]" % address, "hopped.test": "esmtp:[smart.test]"})
    lab.forgiven.append("SYSERR.*(map|hash)")
    known(lab, setup)
    path = lab.sender_machine.file(MAP + ".db")
    rcpts = ["u@good.test", "u@bad.test", "u@none.test", "u@hopped.test", "u@mtable.test", "bob@sender.test"]
    for name, damage in MAP_DAMAGES.items():
        damage(lab, path)
        began = time.monotonic()
        msgid = tried(lab, *rcpts)
        assert time.monotonic() - began < 30, "%s: took %.1f s" % (name, time.monotonic() - began)
        compare({name: lab.fate(msgid)}, {name: {r: "delivered" if r in rcpts[4:] else "queued" for r in rcpts}})
        assert not {"mx1.bad.test", "mx1.none.test"} & lab.sinks.used(), name
        lab.ours.daemon.send_signal(signal.SIGHUP)
        wait_ready(lab)
        lab.sender.run_queue()
        compare({name: lab.fate(msgid)}, {name: {r: "queued" if r == "u@bad.test" else "delivered" for r in rcpts}})
        lab.sinks.sessions.clear()
        # bad.test's messages only cost time from here on
    status = lab.ours.ctl("status")
    compare({m["kind"]: (m["state"], m["error"]) for m in status["maps"]}, {"sendmail": ("ready", None)})


@scenario(ours="every damage of the map, with mtastsd gone and a smart host that is an address: mail to it and local mail (LMTP) flows as ever")
def map_damaged_smart_host(lab, setup):
    setup.start(lab, mc=["define(`SMART_HOST', `[%s]')dnl" % lab.mx_host("smart.test")])
    lab.forgiven.append("SYSERR.*(map|hash)")
    known(lab, setup)
    lab.forbidden.clear()  # an address is not measured
    kill_daemon(lab)
    assert "Mlocal,\t\tP=/usr/libexec/sendmail/mail.local" in lab.sender_machine.read("/etc/mail/sendmail.cf"), "local mail does not go by LMTP"
    path = lab.sender_machine.file(MAP + ".db")
    shutil.copy2(path, path + ".whole")
    rcpts = ["u@good.test", "u@bad.test", "u@fresh.test", "bob@sender.test"]
    for name, damage in MAP_DAMAGES.items():
        damage(lab, path)
        began = time.monotonic()
        msgid = lab.sender.send(*rcpts)
        wait.until(name, lambda: set(lab.fate(msgid).values()) == {"delivered"}, 30, every=0.1)
        assert time.monotonic() - began < 20, name
        assert not lab.log.find(r"mtasts: policy map"), name
        shutil.copy2(path + ".whole", path)
        lab.sender_machine.run(["chown", "mtasts:root", MAP + ".db"])


@scenario(ours="the map vanishes, then loses its content while nobody asks us anything: mtastsd notices by itself and mends it, the MTA's queue run delivers",
          seconds=200)
def map_mended_unasked(lab, setup):
    setup.start(lab)
    lab.forgiven.append("SYSERR.*(map|hash)")
    run_queue_every(lab, "3s")
    known(lab, setup)
    path = lab.sender_machine.file(MAP + ".db")
    for damage in ("missing", "zeroed but for its first page"):
        mark = lab.log.mark()
        MAP_DAMAGES[damage](lab, path)
        sent = tried_each(lab, list(KNOWN))
        wait_ready(lab, 90)
        for name in ("good.test", "none.test"):
            wait_sent(lab, "u@" + name, 20, mark)
        compare(states(lab, sent), KNOWN)
        assert lab.log.find(r"mtastsd.*map=sendmail .*/policy.db: .*; repairing it|mtastsd.*map=sendmail .*/policy.db.*repairs", mark), damage


@scenario(ours="a map whose group or owner somebody changed: mail by own MX waits, local mail flows, status and log name the command that mends it; "
               "after that command mail flows", seconds=150)
def map_not_ours(lab, setup):
    setup.settings = 'away_limit = "12s"\n' + NO_NUDGE
    setup.start(lab)
    lab.forgiven.append("SYSERR.*(map|hash|unsafe)")
    known(lab, setup)
    machine = lab.sender_machine
    for wrong in ("mtasts:mtasts", "root:root"):
        machine.run(["chown", wrong, MAP + ".db"])
        sent = tried_each(lab, ["good.test"])
        local = tried(lab, "bob@sender.test")
        assert lab.fate(local) == {"bob@sender.test": "delivered"}
        if wrong == "mtasts:mtasts":  # root's Sendmail reads the other one
            compare(states(lab, sent), {"good.test": "queued"})
        lab.ours.daemon.send_signal(signal.SIGHUP)
        told = wait.until("status tells", lambda: lab.ours.ctl("status")["maps"][0]["error"], 20, every=0.2)
        assert lab.log.find("mtastsd.*map=sendmail state=behind.*" + re.escape(told)), "the log does not tell"
        remedy = re.search(r"; (ch[a-z]+ \S+ /\S+)$", told)
        assert remedy, told
        machine.run(remedy.group(1).split())
        wait.until("in step again", lambda: lab.ours.ctl("status")["maps"][0]["state"] == "ready", 70, every=0.5)
        lab.sender.run_queue()
        compare(states(lab, sent), {"good.test": "delivered"})


# --- the store ---

STORE_DAMAGES = {
    "cut in half": lambda path: os.truncate(path, os.path.getsize(path) // 2 // 4096 * 4096),
    "cut to a byte": lambda path: os.truncate(path, 1),
    "empty": lambda path: os.truncate(path, 0),
    "garbage": lambda path: rewrite(path, lambda old: os.urandom(len(old))),
    "garbage after its first pages": lambda path: rewrite(path, lambda old: old[:8192] + os.urandom(len(old) - 8192)),
    "zeroed": lambda path: rewrite(path, lambda old: bytes(len(old))),
    "zeroed after its first pages": lambda path: rewrite(path, lambda old: old[:8192] + bytes(len(old) - 8192)),
    "gone": os.unlink,
    "directory gone": lambda path: shutil.rmtree(os.path.dirname(path)),
}


@scenario(ours="store cut, garbage, zeroed or gone, after an orderly end and after a crash, with TXT records stripped and policy hosts down: nothing is weakened",
          seconds=200)
def store_damaged(lab, setup):
    setup.settings = NO_NUDGE
    setup.start(lab)
    good, bad, none = known(lab, setup)
    for domain in (good, bad):
        lab.no_txt(domain)
    lab.web.stop()
    path = lab.sender_machine.file(STORE + "/data.mdb")
    for n, (name, damage) in enumerate(STORE_DAMAGES.items()):
        lab.ours.stop(lab.ours.daemon, kill=n % 2 == 0)
        mark = lab.log.mark()
        damage(path)
        lab.ours.mtastsd()
        wait_ready(lab)
        compare({name: {d: lab.ours.query(d)["verdict"] for d in ("good.test", "bad.test")}}, {name: {d: "enforce" for d in ("good.test", "bad.test")}})
        sent = tried_each(lab, KNOWN)
        compare({name: states(lab, sent)}, {name: KNOWN})
        for domain in (good, bad):
            assert lab.log.find("mtastsd.*domain=%s imported from the map" % domain, mark), name
        if "gone" not in name and name != "empty":
            assert lab.log.find(r"mtastsd.*store: .*data.mdb.*moved.*data.mdb.damaged", mark), "%s: the log does not tell" % name


@scenario(ours="store and map both lost while mtastsd runs: it goes on, and writes the map anew from what it knows; a restart finds policies again")
def both_lost(lab, setup):
    setup.settings = NO_NUDGE
    setup.start(lab)
    lab.forgiven.append("SYSERR.*(map|hash)")
    known(lab, setup)
    shutil.rmtree(lab.sender_machine.file(STORE))
    os.unlink(lab.sender_machine.file(MAP + ".db"))
    lab.ours.daemon.send_signal(signal.SIGHUP)
    wait_ready(lab)
    compare(states(lab, tried_each(lab, KNOWN)), KNOWN)
    kill_daemon(lab)
    os.unlink(lab.sender_machine.file(MAP + ".db"))
    lab.ours.mtastsd()
    wait_ready(lab)
    compare(states(lab, tried_each(lab, KNOWN)), KNOWN)


@scenario(ours="a store of a newer schema: mtastsd does not start, says so with the remedy and leaves it as it is; what is known is enforced from the map")
def newer_schema(lab, setup):
    setup.start(lab)
    known(lab, setup)
    lab.domain("fresh.test")
    lab.ours.stop(lab.ours.daemon)
    path = lab.sender_machine.file(STORE + "/data.mdb")
    rewrite(path, lambda old: re.sub(rb"(?s)schema2", b"schema7", old))
    before = open(path, "rb").read()
    assert b"schema7" in before, "this store keeps its schema in another way: mend this scenario"
    status, told = refuses_to_start(lab)
    assert status == os.EX_CANTCREAT and re.search(r"data.mdb.*schema 7.*(move it away|newer)", told), (status, told)
    assert open(path, "rb").read() == before, "the newer store was changed"
    compare(states(lab, tried_each(lab, list(KNOWN) + ["fresh.test"])), {**KNOWN, "fresh.test": "queued"})
    os.rename(path, path + ".newer")
    lab.ours.mtastsd()
    lab.sender.run_queue()
    compare(states(lab, tried_each(lab, list(KNOWN) + ["fresh.test"])), {**KNOWN, "fresh.test": "delivered"})


def refuses_to_start(lab, *args, prefix=()):
    """Start mtastsd, by the command prefix, which must end at once; (status, what it said on stderr, one line)."""
    done = lab.sender_machine.run([*prefix, "/usr/sbin/mtastsd", *args], check=False, env=ours.SANITIZE, timeout=20)
    said = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(said) == 1, "want one clear error, have: %s" % said
    return done.returncode, said[0]


# --- the network ---

@scenario(ours="mtastsd's resolver refuses, then is silent: cached policies apply, unknown domains are held, listed, and delivered or checked when it is back",
          seconds=150)
def resolver_down(lab, setup):
    setup.start(lab)
    known(lab, setup)
    conf = lab.sender_machine.read(CONF)
    for round, address in enumerate((net.NOBODY_ADDRESS, net.SILENT_ADDRESS)):
        fresh, worse = lab.domain("fresh%d.test" % round, server="sink"), lab.domain("worse%d.test" % round, "selfsigned")
        lab.policies([fresh, worse])
        lab.forbid_bad(worse)
        lab.ours.stop(lab.ours.daemon)
        lab.sender_machine.put(CONF, 'dns { servers = {"%s"}\n timeout = "1s" }\n' % address)
        lab.ours.mtastsd()
        sent = tried_each(lab, list(KNOWN) + [fresh, worse])
        compare(states(lab, sent), {**KNOWN, fresh.name: "queued", worse.name: "queued"})
        held = wait.until("both are listed as held", lambda: [h for h in [{i["domain"] for i in lab.ours.ctl("held")["held"]}] if len(h) == 2], 15, every=0.3)
        compare({"held": held[0]}, {"held": {fresh.name, worse.name}})
        assert not {domain.mx[0] for domain in (fresh, worse)} & (lab.sinks.used() | lab.sinks.connected(lab.sender.run_queue))
        lab.ours.stop(lab.ours.daemon)
        lab.sender_machine.put(CONF, conf)
        lab.ours.mtastsd()
        wait_sent(lab, "u@" + fresh.name, 60)
        lab.log.wait("validation-failure .*for %s" % worse.name, 20)
        compare(states(lab, sent), {**KNOWN, fresh.name: "delivered", worse.name: "queued"})


@scenario(ours="no DNS at all: outbound mail is accepted and waits, nothing bounces; DNS is back: the next queue runs deliver or check", seconds=150)
def dns_down(lab, setup):
    setup.start(lab, mc=["FEATURE(`accept_unresolvable_domains')dnl"])
    known(lab, setup)
    lab.policy(lab.domain("fresh.test"))
    lab.dns.stop()
    sent = in_parallel(lambda name: lab.sender.send("u@" + name, timeout=120), list(KNOWN) + ["fresh.test"])
    compare(states(lab, sent), {name: "queued" for name in sent})
    lab.dns.start()
    lab.ours.ctl("refresh", "fresh.test")
    lab.sender.run_queue()
    compare(states(lab, sent), {**KNOWN, "fresh.test": "delivered"})


# --- disks ---

class Disk:
    """A directory of ours on a tmpfs of its own, which can be filled."""

    def __init__(self, lab, directory, size, mode):
        self.lab, self.path = lab, lab.sender_machine.file(directory)
        lab.ours.stop(lab.ours.daemon)
        isolate.mount("tmpfs", self.path, "tmpfs", "size=%s,mode=%s" % (size, mode))
        lab.sender_machine.run(["chown", "mtasts:root", directory])
        lab.ours.mtastsd()

    def fill(self):
        """To the last byte."""
        with open(self.path + "/ballast", "wb", buffering=0) as f:
            for size in (65536, 4096, 1):
                try:
                    while f.write(b"x" * size) == size:
                        pass
                except OSError:
                    pass

    def empty(self):
        os.unlink(self.path + "/ballast")


@scenario(ours="the map's disk is full: the old map stays whole and ready, new enforced domains wait, the error is logged and shown by status; "
               "with room again they are delivered by themselves", seconds=200)
def map_disk_full(lab, setup):
    setup.start(lab)
    disk = Disk(lab, os.path.dirname(MAP), "2m", "2750")
    known(lab, setup)
    fresh, worse, plain = lab.domain("fresh.test"), lab.domain("worse.test", "selfsigned"), lab.domain("plain.test")
    lab.policies([fresh, worse])
    lab.forbid_bad(worse)
    disk.fill()
    sent = tried_each(lab, list(KNOWN) + [fresh, worse, plain])
    compare(states(lab, sent), {**KNOWN, "fresh.test": "queued", "worse.test": "queued", "plain.test": "delivered"})
    assert value(lab, ":ready:") == "yes" and value(lab, "bad.test").startswith("enforce")
    status = lab.ours.ctl("status")["maps"][0]
    assert status["state"] == "behind" and re.search("disk is full.*make room", status["error"]), status
    time.sleep(6)  # a second attempt
    assert 1 <= len(lab.log.find("mtastsd.*map=sendmail state=behind.*disk is full")) <= 2, "not logged, or again and again"
    compare({"again": states(lab, tried_each(lab, KNOWN))}, {"again": KNOWN})
    disk.empty()
    wait_sent(lab, "u@fresh.test", 70)
    lab.log.wait("validation-failure .*for worse.test", 70)
    compare(states(lab, sent), {**KNOWN, "fresh.test": "delivered", "worse.test": "queued", "plain.test": "delivered"})


@scenario(ours="the store's disk is full: what is known is enforced and delivered, a domain whose policy cannot be saved is held until there is "
               "room, a new domain without policy is delivered", seconds=200)
def store_disk_full(lab, setup):
    setup.start(lab)
    disk = Disk(lab, STORE, "1m", "700")
    known(lab, setup)
    fresh, worse, plain = lab.domain("fresh.test"), lab.domain("worse.test", "selfsigned"), lab.domain("plain.test")
    lab.policies([fresh, worse])
    lab.forbid_bad(worse)
    disk.fill()
    names = ("n%d.test" % n for n in range(1000))
    for patterns in (300, 30, 1):  # until nothing fits into the pages that LMDB still has
        verdict = "enforce"
        while verdict == "enforce":
            domain = lab.shared("mx1.good.test", next(names))[0]
            lab.policy(domain, mx=["mx%d.%s.test" % (n, "y" * 50) for n in range(patterns)])
            verdict = lab.ours.ctl("refresh", domain.name)["verdict"]
    sent = tried_each(lab, list(KNOWN) + [fresh, worse, plain])
    compare(states(lab, sent), {**KNOWN, "fresh.test": "queued", "worse.test": "queued", "plain.test": "delivered"})
    assert lab.log.find("mtastsd.*store: .*(full|No space).*; (free space|make room)"), "\n".join(lab.log.find("mtastsd.*store:"))
    disk.empty()
    lab.sender.run_queue()
    wait_sent(lab, "u@fresh.test", 20)
    lab.log.wait("validation-failure .*for worse.test", 20)
    compare(states(lab, sent), {**KNOWN, "fresh.test": "delivered", "worse.test": "queued", "plain.test": "delivered"})


# --- bad input ---

def speak(lab, path, data, shut=True, seconds=5):
    """Connect, send, read what comes until the other side closes, or for some seconds; the bytes."""
    got = b""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(seconds)
        s.connect(lab.sender_machine.file(path))
        try:
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
            while True:
                part = s.recv(65536)
                if not part:
                    break
                got += part
        except OSError:
            pass
    return got


GARBAGE = {
    "random": lambda: os.urandom(5000), "zeros": lambda: bytes(5000), "newlines": lambda: b"\n" * 5000, "one long line": lambda: b"x" * 300000,
    "nothing": lambda: b"", "half a netstring": lambda: b"20:mtastsq good", "an endless length": lambda: b"9" * 4000, "a huge length": lambda: b"999999999:mtastsq good.test,",
    "a negative length": lambda: b"-1:x,", "no map": lambda: b"9:good.test,", "another map": lambda: b"15:other good.test,", "odd key": lambda: b"%d:mtastsq %s,," % (258, b"\xff" * 250),
    "half an object": lambda: b'{"cmd":"want","domain":', "deep": lambda: b"[" * 60000 + b"\n", "no object": lambda: b"[1,2]\n7\nnull\n\"x\"\n",
    "odd objects": lambda: b'{}\n{"cmd":7}\n{"cmd":"want"}\n{"cmd":"want","domain":7}\n{"cmd":"await","domains":7,"wait_ms":5}\n{"cmd":"await","domains":["a.test"],"wait_ms":-5}\n'
                           b'{"cmd":"query","domain":"' + b"a." * 400 + b'test"}\n{"cmd":"list","max":-1}\n{"cmd":"refresh"}\n{"cmd":"forget","domain":"\\u0000"}\n{"cmd":"nosuch"}\n',
    "a milter's word": lambda: b"\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\1\xff\xff", "a milter's giant": lambda: b"\xff\xff\xff\xffO" + bytes(4000)}


@scenario(ours="garbage on the control, live lookup and milter sockets costs its sender the connection or one error, and nobody else anything", seconds=150)
def garbage(lab, setup):
    setup.start(lab)
    known(lab, setup)
    sockets = (CONTROL, SOCKETMAP, MILTER)
    answers = in_parallel(lambda job: speak(lab, job[0], GARBAGE[job[1]]()), [(path, name) for path in sockets for name in GARBAGE])
    odd = answers[CONTROL, "odd objects"].decode().splitlines()
    assert len(odd) == 11 and all(re.match(r'\{"error":"[^"]+.*","code":(64|65)\}|\{"(verdicts|entries)', line) for line in odd), odd
    assert odd[0] == odd[1] == '{"error":"unknown \\"cmd\\"; mtasts-control(5) lists them","code":64}', odd
    assert answers[SOCKETMAP, "another map"].endswith(b":PERM no such map; want mtastsq or sts,"), answers[SOCKETMAP, "another map"]
    assert lab.log.find("mtastsd.*socketmap: no request of at most 4096 bytes"), "not logged"
    assert lab.log.find("mtastsd.*control: no request of at most 65536 bytes"), "not logged"
    idle = [socket.socket(socket.AF_UNIX) for _ in range(300)]  # clients that say nothing
    for n, s in enumerate(idle):
        s.connect(lab.sender_machine.file(sockets[n % 3]))
    lab.domain("fresh.test")
    compare(states(lab, tried_each(lab, list(KNOWN) + ["fresh.test"])), {**KNOWN, "fresh.test": "delivered"})
    assert lab.ours.ctl("status")["ready"]
    for s in idle:
        s.close()


BAD_CONFIGURATIONS = {  # text after the lab's own first line: what the error names, and the remedy
    "nosuch = 1\n": r"mtasts.conf:2: .*nosuch.*mtasts.conf\(5\)",
    'hold_max = "soon"\n': r"mtasts.conf:2: hold_max = .soon.: want a duration from 0s to 30d: a number and s, m, h, d or w",
    'enforcement = "maybe"\n': r"mtasts.conf:2: enforcement = .maybe.: want on or observe",
    'domain "[192.0.2.1]" { policy = disable }\n': r"mtasts.conf:2: .*192.0.2.1.*an address literal has no policy domain",
    'nudge { address = "mail.sender.test" }\n': r"mtasts.conf:2: .*mail.sender.test.*want an address and port such as 127.0.0.1:25",
    'https { ca_file = "/etc/ssl/nosuch.pem" }\n': r"mtasts.conf:2: ca_file = ./etc/ssl/nosuch.pem.: No such file.*; name a file of CA certificates",
    'user = "nosuch"\n': r'mtasts.conf:2: .*no user "nosuch"; make it: adduser --system .* nosuch',
    'socketmap { listen = {"inet:192.0.2.1:5461"} }\n': r"mtasts.conf:2: .*192.0.2.1:5461.: want unix:/path or, on loopback, inet:127.0.0.1:PORT",
    'sendmail_map { path = "/var/lib/mtasts/file/policy.db" }\n': r"/var/lib/mtasts/file is no directory; remove what is there"}


@scenario(ours="a configuration that is wrong, missing or closed to us, a missing CA file, a map directory that is none: mtastsd says in one line where, what and what to do, and does "
               "not start; "
               "a running one keeps the old; mail is safe", seconds=150)
def bad_configuration(lab, setup):
    setup.start(lab)
    known(lab, setup)
    machine, right = lab.sender_machine, lab.sender_machine.read(CONF)
    machine.put("/var/lib/mtasts/file", "a file where a directory should be\n")
    for text, want in BAD_CONFIGURATIONS.items():
        machine.put(CONF, right + text)
        if "mtasts.conf:" in want:
            mark = lab.log.mark()
            lab.ours.daemon.send_signal(signal.SIGHUP)
            line = lab.log.wait("mtastsd.*the old configuration stays in force", 10, mark)
            assert re.search(want, line), (text, line)
    assert not lab.log.find("mtastsd.*configuration read again"), "a bad configuration was taken"
    compare({"running": states(lab, tried_each(lab, KNOWN))}, {"running": KNOWN})
    lab.ours.stop(lab.ours.daemon)
    for text, want in BAD_CONFIGURATIONS.items():
        machine.put(CONF, right + text)
        status, told = refuses_to_start(lab)
        assert re.search(want, told), (text, told)
        assert status in (os.EX_CONFIG, os.EX_CANTCREAT, os.EX_NOPERM, os.EX_UNAVAILABLE), (text, status, told)
        if "mtasts.conf:" in want:
            assert refuses_to_start(lab, "-t")[0] == os.EX_CONFIG
    os.unlink(machine.file(CONF))
    status, told = refuses_to_start(lab)
    assert status == os.EX_CONFIG and re.search("mtasts.conf: cannot be read: No such file.*an empty file means", told), told
    machine.put(CONF, right, 0o600)
    as_user = ["setpriv", "--reuid", "mtasts", "--regid", "mtasts", "--clear-groups"]
    status, told = refuses_to_start(lab, prefix=as_user)
    assert status == os.EX_CONFIG and re.search("mtasts.conf: cannot be read: Permission denied; .*ch(own|mod|grp)", told), told
    os.chmod(machine.file(CONF), 0o644)
    compare({"ended": states(lab, tried_each(lab, KNOWN))}, {"ended": KNOWN})
    lab.ours.mtastsd()
    compare({"restarted": states(lab, tried_each(lab, KNOWN))}, {"restarted": KNOWN})


@scenario(ours="a map directory that becomes read-only: the old map stays in force, log and status name the remedy, new enforced domains wait; writable again "
               "they are delivered", seconds=200)
def map_read_only(lab, setup):
    setup.start(lab)
    Disk(lab, os.path.dirname(MAP), "4m", "2750")
    known(lab, setup)
    fresh = lab.domain("fresh.test")
    lab.policy(fresh)
    target = lab.sender_machine.file(os.path.dirname(MAP))
    isolate.mount("tmpfs", target, "tmpfs", flags=0x20 | 1)  # MS_REMOUNT | MS_RDONLY
    sent = tried_each(lab, list(KNOWN) + ["fresh.test"])
    compare(states(lab, sent), {**KNOWN, "fresh.test": "queued"})
    status = lab.ours.ctl("status")["maps"][0]
    assert status["state"] == "behind" and re.search("Read-only file system; ", status["error"]), status
    assert lab.log.find("mtastsd.*map=sendmail state=behind.*Read-only file system; "), "the log does not tell"
    isolate.mount("tmpfs", target, "tmpfs", flags=0x20)
    wait_sent(lab, "u@fresh.test", 70)
    compare(states(lab, sent), {**KNOWN, "fresh.test": "delivered"})
