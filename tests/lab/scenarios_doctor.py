"""mtastsctl doctor on a host with everything installed, and on hosts where something was left out or undone."""

import json
import os
import re
import socket
import threading

import net

from scenario import scenario
from steps import compare, reasons, states, tried, tried_each


def doctor(lab):
    """(exit status, {check: found} of what is not right)."""
    done = lab.sender_machine.run(["/usr/sbin/mtastsctl", "doctor", "--json"], check=False)
    answer = json.loads(done.stdout)
    assert answer["ok"] == (done.returncode == 0), done
    wrong = {check["check"]: check for check in answer["checks"] if not check["ok"]}
    assert all(check["remedy"] for check in wrong.values()), wrong
    return done.returncode, wrong


@scenario(chosen=True, ours="doctor: silent on a host where FEATURE(`mtasts') is in both .mc files and both programs run")
def right(lab, setup):
    setup.start(lab)
    status, wrong = doctor(lab)
    assert (status, wrong) == (0, {}), wrong


@scenario(ours="doctor: a stock sendmail.cf lacks everything, and each missing piece comes with the line to add")
def stock_cf(lab, setup):
    setup.start(lab)
    lab.sender.configure()
    status, wrong = doctor(lab)
    assert status == 78, status
    assert len(wrong) >= 10, wrong
    assert any("FEATURE(`mtasts')" in check["remedy"] for check in wrong.values()), wrong


CF, SUBMIT_CF, MC = "/etc/mail/sendmail.cf", "/etc/mail/submit.cf", "/etc/mail/sendmail.mc"
MAP, CONF, PROGRAM = "/var/lib/mtasts/map/policy.db", "/etc/mtasts/mtasts.conf", "/usr/libexec/sendmail/sendmail"
LATER = 3 * 86400


class Plants:
    """Ways to spoil a right host: each applies itself and returns what takes it back."""

    def __init__(self, lab):
        self.lab, self.machine = lab, lab.sender_machine

    def edit(self, name, change):
        """Another text in the place of a file, whose time stays."""
        path, text = self.machine.file(name), self.machine.read(name)
        times = os.stat(path)
        new = change(text)
        assert new != text, name

        def put(content):
            with open(path, "w") as f:
                f.write(content)
            os.utime(path, (times.st_atime, times.st_mtime))
        put(new)
        return lambda: put(text)

    def add(self, line, name=CF):
        return self.edit(name, lambda text: text + line + "\n")

    def swap(self, old, new, name=CF):
        return self.edit(name, lambda text: re.sub(r"(?m)" + old, lambda _match: new, text, count=1))

    def mode(self, name, mode):
        path = self.machine.file(name)
        before = os.stat(path).st_mode & 0o7777
        os.chmod(path, mode)
        return lambda: os.chmod(path, before)

    def later(self, name, seconds=LATER):
        path = self.machine.file(name)
        before = os.stat(path)
        os.utime(path, (before.st_atime, before.st_mtime + seconds))
        return lambda: os.utime(path, (before.st_atime, before.st_mtime))

    def away(self, name, script=None):
        path = self.machine.file(name)
        os.rename(path, path + ".away")
        if script is not None:
            self.machine.put(name, script, 0o755)
        return lambda: os.replace(path + ".away", path)

    def stranger(self, name):
        """Somebody else listens on a socket and hangs up."""
        path = self.machine.file(name)
        os.rename(path, path + ".away")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(8)

        def serve():
            while True:
                client = server.accept()[0]
                client.recv(100)
                client.sendall(b"220 hello\r\n")
                client.close()
        threading.Thread(target=serve, daemon=True).start()
        return lambda: os.replace(path + ".away", path)

    # what is planted, the check that must find it, and a part of what it says; +: a note
    TABLE = (
        ("connections cached", lambda p: p.add("O ConnectionCacheSize=2"), "cache", "=2"),
        ("the same by its letter", lambda p: p.add("Ok2"), "cache", "=2"),
        ("CNAMEs expanded", lambda p: p.add("O DontExpandCnames=False"), "cnames", "False"),
        ("CNAMEs expanded by the submission program", lambda p: p.add("O DontExpandCnames=False", SUBMIT_CF), "submit-cnames", SUBMIT_CF),
        ("no certificate names", lambda p: p.add("O SetCertAltnames=false"), "altnames", "false"),
        ("the map optional", lambda p: p.add("Kmtasts hash -o -T<TMPF> /var/lib/mtasts/map/policy"), "map", "-o"),
        ("another map", lambda p: p.swap("^Kmtasts .*", "Kmtasts hash -T<TMPF> /etc/mail/policy"), "map", "/etc/mail/policy"),
        ("more macro names than Sendmail has room for", lambda p: p.add("\n".join("D{name_%d}x" % i for i in range(30))), "names", "room for 95"),
        ("a macro of the site's with one of our letters", lambda p: p.add("DKx"), "names", "DK"),
        ("a map twice", lambda p: p.add("Kmtasts_cmp arith"), "once", "Kmtasts_cmp"),
        ("a ruleset that goes on", lambda p: p.add("Smtasts_ask\nR$*\t$@ ok"), "once", "mtasts_ask"),
        ("a ruleset lost", lambda p: p.swap("^Smtasts_ask$", "Sother"), "rules", "mtasts_ask"),
        ("a map lost", lambda p: p.swap("^Kmtasts_cmp .*", ""), "helper-maps", "Kmtasts_cmp"),
        ("another version of the feature", lambda p: p.swap("^Kmtasts_feature .*", "Kmtasts_feature null 1"), "version", "version 1 "),
        ("live lookups elsewhere", lambda p: p.swap("^Kmtastsq .*", "Kmtastsq socket -T<TMPF> local:/run/x.sock"), "live", "/run/x.sock"),
        ("filters of the site alone", lambda p: p.add("O InputMailFilters=opendkim"), "milter", "opendkim"),
        ("a port with filters of its own", lambda p: p.add("O DaemonPortOptions=Port=587, Name=MSA, I=opendkim"), "milter", "587"),
        ("the filter elsewhere", lambda p: p.swap("^Xmtasts,.*", "Xmtasts, S=local:/run/x.sock"), "milter", "/run/x.sock"),
        ("little patience with the filter", lambda p: p.swap("^Xmtasts,.*", "Xmtasts, S=local:/run/mtasts/milter.sock, T=E:6s"), "filter-time", "E"),
        ("a macro not sent", lambda p: p.add("O Milter.macros.envrcpt={rcpt_mailer}, {rcpt_addr}"), "macros", "{rcpt_host}"),
        ("STARTTLS switched off", lambda p: p.add("O ClientPortOptions=Family=inet, M=S"), "client-tls", "STARTTLS"),
        ("returned before it is held", lambda p: p.add("O Timeout.queuereturn=10m"), "queue-time", "10m"),
        ("no ETRN", lambda p: p.add("O PrivacyOptions=noetrn"), "+nudge", "noetrn"),
        ("ETRN ruled out", lambda p: p.add("Scheck_etrn\nR$*\t$#error $: \"no\""), "+nudge", "check_etrn"),
        ("the stock feature", lambda p: p.add("Ksts hash -T<TMPF> /etc/mail/sts"), "sts", "Ksts"),
        ("check_compat of the site first", lambda p: p.swap("^Scheck_compat$", "Scheck_compat\nR$*\t$@ ok"), "compat", "$@ ok"),
        ("tls_rcpt of the site first", lambda p: p.swap("^SLocal_tls_rcpt$", "SLocal_tls_rcpt\nR$*\t$@ ok"), "rcpt", "Local_tls_rcpt"),
        ("no server name", lambda p: p.swap("^Stls_clt_features$", "Stls_clt_features\nR$*\t$@ \"\""), "sni", "tls_clt_features"),
        ("an empty CA file", lambda p: p.edit("/etc/ssl/certs/ca-certificates.crt", lambda text: ""), "ca", "no certificate"),
        ("a CA file that the group may write to", lambda p: p.mode("/etc/ssl/certs/ca-certificates.crt", 0o664), "ca", "may write to it"),
        ("no CA directory", lambda p: p.swap("^O CACertPath=.*", "O CACertPath=/absent"), "ca", "/absent"),
        ("a user who cannot read the map", lambda p: p.add("O RunAsUser=nobody"), "run-as", "nobody"),
        (".cf not built", lambda p: p.later(MC, 3600), "built", "sendmail.cf is older"),
        (".cf built, and Sendmail not restarted", lambda p: p.later(CF), "running", "older"),
        ("a map open to others", lambda p: p.mode(MAP, 0o644), "map-file", "644"),
        ("its directory too", lambda p: p.mode(os.path.dirname(MAP), 0o755), "map-dir", "755"),
        ("a directory above it", lambda p: p.mode("/var/lib", 0o777), "map-parents", "/var/lib"),
        ("a directory of the sockets that the group may write to", lambda p: p.mode("/run/mtasts", 0o775), "socket-parents", "/run/mtasts"),
        ("a time of the map that is far ahead", lambda p: p.later(MAP), "clock", "policy map"),
        ("a DNS server that does not answer", lambda p: p.edit(CONF, lambda text: text.replace(net.DNS_ADDRESS, net.NOBODY_ADDRESS)), "resolver", net.NOBODY_ADDRESS),
        ("observing", lambda p: p.add("enforcement = observe", CONF), "+enforcement", "observe"),
        ("a stranger on the socket for live lookups", lambda p: p.stranger("/run/mtasts/socketmap.sock"), "lookup", "not mtastsd"),
        ("a stranger on the filter's socket", lambda p: p.stranger("/run/mtasts/milter.sock"), "filter", "no milter"),
        ("a quarantine that nobody lets messages out of", lambda p: p.add("milter { hold = quarantine }", CONF), "release", "release"),
        ("another sendmail", lambda p: p.away(PROGRAM, "#!/bin/sh\necho postfix\n"), "build", "not of Sendmail"),
        ("a sendmail without the half", lambda p: p.away(PROGRAM, "#!/bin/sh\necho 'Version 8.15.2'\necho ' Compiled with: STARTTLS NAMED_BIND NEWDB MAP_REGEX'\n"), "build", "SOCKETMAP"),
        ("no sendmail.cf", lambda p: p.away(CF), "cf", CF),
        ("no submit.cf", lambda p: p.away(SUBMIT_CF), "submit", SUBMIT_CF),
    )


@scenario(ours="doctor: each of %d planted misconfigurations is found by the check that is for it, and on the right host between them there is none" % (len(Plants.TABLE) + 1))
def planted(lab, setup):
    setup.start(lab)
    lab.forgiven.append("sendmail.cf: line 0: cannot open")
    plants, machine, missed = Plants(lab), lab.sender_machine, []

    def findings():
        done = machine.run(["/usr/sbin/mtastsctl", "doctor", "--json"], check=False)
        assert done.stdout, done
        return {("" if check["ok"] else "!") + check["check"]: check["found"] for check in json.loads(done.stdout)["checks"] if check["found"]}
    right = findings()
    assert not any(name.startswith("!") for name in right), right
    for name, plant, check, text in plants.TABLE:
        revert = plant(plants)
        found = findings()
        key = check[1:] if check[0] == "+" else "!" + check
        if text not in found.get(key, ""):
            missed.append((name, check, text, found))
        revert()
    assert not missed, "\n".join(map(str, missed))
    assert findings() == right
    lab.ours.stop(lab.ours.daemon)
    assert "control.sock" in findings()["!daemon"]


@scenario(ours="Sendmail's CACertFile is missing: mail for enforced domains waits with the reason, other mail flows, and doctor names the file; it is back: all is delivered")
def no_ca_file(lab, setup):
    machine, name = lab.sender_machine, "/etc/mail/authorities.pem"
    machine.put(name, machine.read("/etc/ssl/certs/ca-certificates.crt"))
    setup.start(lab, mc=["define(`confCACERT', `%s')dnl" % name, "define(`confCACERT_PATH', `/etc/ssl/certs')dnl"])
    good = lab.domain("good.test")
    lab.domain("none.test")
    setup.enforce(lab, good)
    os.rename(machine.file(name), machine.file(name + ".away"))
    lab.sender.stop()
    lab.sender.start()
    sent = tried_each(lab, ["good.test", "none.test"])
    compare(states(lab, sent), {"good.test": "queued", "none.test": "delivered"})
    local = tried(lab, "bob@sender.test")
    assert lab.fate(local) == {"bob@sender.test": "delivered"}
    assert "validation-failure" in reasons(lab, sent)["good.test"], reasons(lab, sent)
    status, wrong = doctor(lab)
    assert status == 78 and name in json.dumps(wrong), wrong
    os.rename(machine.file(name + ".away"), machine.file(name))
    lab.sender.stop()
    lab.sender.start()
    lab.sender.run_queue()
    compare(states(lab, sent), {"good.test": "delivered", "none.test": "delivered"})
    assert doctor(lab) == (0, {})
