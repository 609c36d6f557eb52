"""FEATURE(`mtasts') itself: its rules over a table of cases (sendmail -bt), its m4 text beside other features, and what
mail sees when map or live lookup are damaged or away. The map is made by makemap, the live lookup by the test."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

from scenario import scenario
from sender import SUBMIT_HEAD
from setups import MAP, NEVER, SocketMap

NOW = 1790000000
MAILERTABLE = {"smart.test": "esmtp:[relay.test]", "own.test": "esmtp:own.test", "longer.test": "esmtp:longer.test.relay.test",
               "lan.test": "esmtp:lan.test.lan", "none.test": "esmtp:[known.test]:known.test", "list.test": "esmtp:[good.test]:known.test:[10.98.0.8]", "wait-list.test": "esmtp:known.test,wait.test",
               "literal.test": "relay:[10.98.0.9]", "literal6.test": "relay:[IPv6:2001:db8::1]", "hub.test": "relay:[mailhub]", "self.test": "relay:[localhost.localdomain]",
               "mixed.test": "relay:[10.98.0.9]:good.test:[IPv6:::1]", "escaped.test": "esmtp:b\\097d.test", "user.test": "local:alice"}
# -bt reads no $| of its own
TRANSLATE = "LOCAL_RULESETS\nSTranslate\nR$* $$| $*\t$: $1 $| $2\n"
NAMES = "LOCAL_CONFIG\nC{cert_altnames}mxa.good.test *.wild.test mx.else.test mx.good.test %s\n"
LONG = "d" * 60 + "." + "e" * 60 + "." + "f" * 60 + ".test"
LONG_MX = "mx." + "g" * 60 + ".test"
CUT = LONG + ":" + (LONG_MX + ".evil.test")[:256 - len(LONG) - 1]
ENTRIES = {":ready:": "yes", ":alive:": str(NOW + 7200), "good.test": "enforce %d" % (NOW + 1), "good.test:mxa.good.test": "mx",
           "good.test:mx.good.test": "mxx", "good.test:.wild.test": "mx", "known.test": "none %d" % (NOW + 1),
           "over.test": "enforce %d" % NOW, "stale.test": "none %d" % NOW, "junk.test": "blah 1", "half.test": "enforce",
           "own.test": "enforce %d" % NEVER, "own.test:mxa.good.test": "mx", "lan.test": "enforce %d" % NEVER,
           LONG: "enforce %d" % NEVER, LONG + ":" + LONG_MX: "mx", CUT: "mx"}
ANSWERS = {"enf.test": "OK enforce", "wait.test": "OK wait", "temp.test": "TEMP busy", "perm.test": "PERM malformed",
           "notfound.test": "NOTFOUND ", "odd.test": "OK perhaps", "caps.test": "OK wait"}


SOCKET = "/run/mtasts/socketmap.sock"


def drop(lab, missing=False):
    """The daemon is away: its socket refuses, as a daemon leaves it, or is missing, as before its first start."""
    os.unlink(lab.sender_machine.file(SOCKET))
    if missing:
        lab.forgiven.append("SYSERR.*mtastsq.*No such file")
    else:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(lab.sender_machine.file(SOCKET))


class Mortal(SocketMap):
    """A live lookup that can die: no new connections, the old ones closed, the socket file left behind."""

    def _accept(self):
        self.clients = []
        while True:
            try:
                client = self._socket.accept()[0]
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self._serve, args=(client.makefile("rwb"),), daemon=True).start()

    def die(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for client in self.clients:
            client.shutdown(socket.SHUT_RDWR)


class Garbage(Mortal):
    def _serve(self, stream):
        stream.read(10)
        stream.write(self.garbage)
        stream.flush()
        self.clients[-1].shutdown(socket.SHUT_RDWR)


class Rules:
    """sendmail -bt over the rules: one process for each state of the map."""

    def __init__(self, lab, setup, mc=(), feature="FEATURE(`mtasts', `milter=none')dnl", names=""):
        self.lab, self.setup = lab, setup
        setup.prepare(lab)
        setup.lookup.answers.update(ANSWERS)
        lab.sender.table("mailertable", MAILERTABLE)
        lab.sender.configure([feature, "FEATURE(`mailertable')dnl"] + list(mc), [NAMES % names, TRANSLATE])

    def map(self, **changes):
        entries = {k: v for k, v in {**ENTRIES, **changes}.items() if v is not None}
        self.lab.sender.makemap(MAP, entries)

    def ask(self, cases):
        """cases: (macros, ruleset and address). Returns what each ruleset returned, as one text without spaces in addresses."""
        lines = [".D{time}%d" % NOW, ".DiQ4AB", ".Dhsome.host", ".D{deliveryMode}i", ".D{ntries}1"]  # as in a queue run
        for macros, call in cases:
            lines += [".D%s%s" % item for item in macros.items()] + [call]
        out = self.lab.sender.machine.run(["/usr/sbin/sendmail", "-bt"], stdin="\n".join(lines) + "\n")
        assert not re.search("SYSERR|rewrite:", out.stdout + out.stderr), out.stdout + out.stderr
        results, wanted = [], [call.split(" ")[0].split(",")[-1] for _macros, call in cases]
        for line in out.stdout.splitlines():
            found = re.match(r"(\S+) +returns: ?(.*)", line)
            if found and len(results) < len(wanted) and found.group(1) == wanted[len(results)]:
                results.append(" ".join(found.group(2).split()))
        assert len(results) == len(cases), out.stdout
        return results

    def table(self, ruleset, rows):
        """rows: (address or macros and address, regular expression of the result)."""
        rows = [row if len(row) == 3 else ({},) + row for row in rows]
        results = self.ask([(macros, ruleset + " " + address) for macros, address, _want in rows])
        wrong = ["%s %s %s: want %s, have %s" % (ruleset, macros, address, want, have)
                 for (macros, address, want), have in zip(rows, results) if not re.search(want, have)]
        assert not wrong, "\n".join(wrong)


def refused(code, status, text):
    return r"^\$# error \$@ %s \$: \"%s mtasts: .*%s" % (" . ".join(status.split(".")), code, text)


PASSED = r"^(?!\$#)"
WAITS = refused(451, "4.4.3", "not known yet")
COMPAT = "Translate,check_compat s@sender.test $|"
UNREADABLE, INCOMPLETE = refused(451, "4.3.0", "is not readable"), refused(451, "4.3.0", "is not complete")


@scenario(mapped="rules: an address is measured by its next hop: its own domain, or the smart hosts or mailertable entry in its place, but for literals, single labels, this host and local mailers")
def route(lab, setup):
    rules = Rules(lab, setup)
    rules.map()
    rules.table("mtasts_route", [
        ("u@good.test", r"^good \. test$"), ("<u@GOOD.test>", r"^GOOD \. test$"), ("u@good.test.", r"^good \. test$"),
        ("u@good.test..", r"^(good \. test)?$"), ("u%good.test@sender.test", r"^good \. test$"), ("u%x.test@good.test", r"^good \. test$"),
        ("@a.test:u@good.test", r"^good \. test$"), ("x.test!u@good.test", r"^good \. test$"), ("good.test!u", r"^good \. test$"),
        ('"a@b c"@good.test', r"^good \. test$"), ("u+detail@good.test", r"^good \. test$"), (".u@good.test", r"^good \. test$"),
        ("/u@good.test", r"^good \. test$"), ("|u@good.test", r"^good \. test$"), ("Some Body <u@good.test>", r"^good \. test$"),
        ("u@[10.98.0.9]", "^$"), ("u@[IPv6:2001:db8::1]", "^$"), ("u@single", "^$"),
        ("alice", "^$"), ("alice@sender.test", "^$"), ("alice+x@localhost", "^$"), ("u@smart.test", r"^relay \. test$"), ("u@own.test", r"^own \. test$"),
        ("u@longer.test", r"^longer \. test \. relay \. test$"), ("u@lan.test", r"^lan \. test \. lan$"), (".u@lan.test", r"^lan \. test \. lan$"), ("relay.u@longer.test", r"^longer \. test \. relay \. test$"),
        ("u@[smart.test]", r"^smart \. test$"), ("u@list.test", r"^good \. test : known \. test$"), ("u@wait-list.test", r"^known \. test : wait \. test$"), ("u@mixed.test", r"^good \. test$"),
        ("u@literal.test", "^$"), ("u@literal6.test", "^$"), ("u@hub.test", "^$"), ("u@self.test", "^$"), ("u@user.test", "^$"), ("u@escaped.test", refused(553, "5.1.2", "backslash"))])


@scenario(chosen=True, mapped="rules: check_compat lets pass what is known and defers what is not, by map, clock and live lookup")
def compat(lab, setup):
    rules = Rules(lab, setup)
    rules.map()
    rules.table(COMPAT, [
        ("u@good.test", PASSED), ("u@GOOD.test.", PASSED), ("u@known.test", PASSED), ("u@fresh.test", PASSED),
        ("u@enf.test", refused(451, "4.4.3", "being pushed")), ("u@wait.test", refused(451, "4.4.3", "not known yet")),
        ("u@CAPS.test", PASSED),  # -f: the daemon, not the map, folds case; this one answers none
        ("u@temp.test", refused(451, "4.4.3", "mtastsd does not answer")), ("u@perm.test", refused(451, "4.4.3", "odd answer")),
        ("u@notfound.test", refused(451, "4.4.3", "odd answer")), ("u@odd.test", refused(451, "4.4.3", "odd answer")),
        ("u%wait.test@sender.test", refused(451, "4.4.3", "not known yet")), ("u@smart.test", PASSED), ("alice", PASSED),
        ("u@list.test", PASSED), ("u@none.test", PASSED), ("u@wait-list.test", WAITS), ("u@literal.test", PASSED),
        ("u@over.test", PASSED), ("u@stale.test", PASSED), ("u@junk.test", PASSED), ("u@half.test", PASSED),
        ({"h": ""}, "|/bin/prog u@wait.test", PASSED)])
    asked = [request.split(" ", 1)[1] for request in setup.lookup.requests]
    for key in ("over.test", "stale.test", "junk.test", "half.test"):
        assert key + ",Q4AB" in asked, (key, asked)
    assert ":hop:relay.test,Q4AB" in asked and ":hop:wait.test,Q4AB" in asked, asked
    for key in ("good.test", "known.test", "smart.test"):
        assert key + ",Q4AB" not in asked, (key, asked)


@scenario(mapped="rules: a map that is not ready, damaged or missing defers mail to all that can have a policy, and no other, with a text that names it")
def map_states(lab, setup):
    rules = Rules(lab, setup)
    path = lab.sender_machine.file(MAP + ".db")

    def check(compat_text, rcpt_text):
        rules.table(COMPAT, [("u@" + d, compat_text) for d in ("good.test", "known.test", "fresh.test", "smart.test", "list.test")] +
                    [("u@literal.test", PASSED), ("u@hub.test", PASSED), ("u@self.test", PASSED), ("alice", PASSED), ("u@[10.98.0.9]", PASSED)])
        rules.table("Local_tls_rcpt", [({"{verify}": "NONE"}, "u@" + d, rcpt_text) for d in ("good.test", "known.test", "fresh.test", "smart.test", "list.test")] +
                    [("u@literal.test", PASSED), ("alice", PASSED), ("u@[10.98.0.9]", PASSED)])
    for value in ("not", "yess", None):
        rules.map(**{":ready:": value})
        check(INCOMPLETE, INCOMPLETE)
    rules.lab.sender.makemap(MAP, {})
    check(INCOMPLETE, INCOMPLETE)
    rules.map()
    whole = open(path, "rb").read()
    for damage in (lambda f: f.truncate(4096), lambda f: (f.seek(4096), f.write(bytes(len(whole) - 4096)))):
        with open(path, "r+b") as f:
            damage(f)
        check(INCOMPLETE + "|" + UNREADABLE, INCOMPLETE + "|" + UNREADABLE)
        with open(path, "wb") as f:
            f.write(whole)
    lab.forgiven.append("SYSERR")
    with open(path, "wb") as f:
        f.write(os.urandom(8192))
    check_syserr(rules, UNREADABLE)
    os.truncate(path, 0)
    check_syserr(rules, UNREADABLE)
    os.unlink(path)
    check_syserr(rules, UNREADABLE)


def check_syserr(rules, want):
    """As table(), for states of the map that Sendmail itself complains about."""
    out = rules.lab.sender.machine.run(["/usr/sbin/sendmail", "-bt"], check=False, stdin=".Dhx\n.D{deliveryMode}i\n.D{ntries}1\n%s u@good.test\n%s u@literal.test\n" % (COMPAT, COMPAT))
    found = [" ".join(m.split()) for m in re.findall(r"^check_compat +returns: (.*)", out.stdout, re.M)]
    assert len(found) == 2 and re.search(want, found[0]) and re.search(PASSED, found[1]), out.stdout


@scenario(mapped="rules: while mtastsd is away the heartbeat in the map decides, or the feature's away=")
def away(lab, setup):
    waits, passes = refused(451, "4.4.3", "mtastsd does not answer"), PASSED
    states = [(str(NOW + 1), waits), (str(NOW), passes), ("0", passes), (str(NEVER), waits), (None, waits), ("soon", waits), ("-5", waits)]
    rules = Rules(lab, setup)
    drop(lab)
    for value, want in states:
        rules.map(**{":alive:": value})
        rules.table(COMPAT, [("u@fresh.test", want), ("u@good.test", PASSED), ("u@known.test", PASSED)])
    rules.map(**{":ready:": "obs"})
    rules.table(COMPAT, [("u@fresh.test", PASSED)])
    for argument, want in (("defer", waits), ("deliver", passes)):
        lab.sender.configure(["FEATURE(`mtasts', `milter=none', `away=%s')dnl" % argument, "FEATURE(`mailertable')dnl"], [NAMES % "", TRANSLATE])
        for value in ("0", str(NEVER)):
            rules.map(**{":alive:": value})
            rules.table(COMPAT, [("u@fresh.test", want), ("u@good.test", PASSED)])


def session(verify, name):
    return {"{verify}": verify, "{server_name}": name}


@scenario(chosen=True, mapped="rules: tls_rcpt demands chain, certificate name and MX pattern for an unexpired enforce entry; what check_compat has not seen is asked about")
def rcpt(lab, setup):
    rules = Rules(lab, setup, names=LONG_MX + " " + LONG_MX + ".evil.test")
    rules.map()
    host, mx = refused(454, "4.7.5", "certificate-host-mismatch"), refused(454, "4.7.5", "mx-mismatch")
    rows = [(session("OK", "mxa.good.test"), "u@good.test", PASSED), (session("OK", "MXA.good.test."), "u@GOOD.test.", PASSED),
            (session("OK", "a.wild.test"), "u@good.test", PASSED), (session("OK", "a.b.wild.test"), "u@good.test", host),
            (session("OK", "wild.test"), "u@good.test", host), (session("OK", "mx.else.test"), "u@good.test", mx),
            (session("OK", "mx.good.test"), "u@good.test", mx), (session("OK", "mxb.good.test"), "u@good.test", host),
            (session("OK", ""), "u@good.test", refused(454, "4.7.5", "")), (session("NONE", "mxa.good.test"), "u@good.test", refused(454, "4.7.4", "starttls-not-supported"))]
    rows += [(session(v, "mxa.good.test"), "u@good.test", refused(454, "4.7.5", "validation-failure verify=")) for v in
             ("FAIL", "NO", "NOT", "CLEAR", "SOFTWARE", "PROTOCOL", "TEMP", "CONFIG", "DANE_FAIL", "DANE_TEMP", "DANE_NOTLS", "OKAY", "")]
    rows += [(session("TRUSTED", "mx.any.test"), "u@good.test", PASSED)]
    # of several hosts the connection must meet the policy of one that has one; a smart host that has none passes
    rows += [(session("OK", "mxa.good.test"), "u@list.test", PASSED), (session("OK", "mx.else.test"), "u@list.test", mx), (session("NONE", "mx.known.test"), "u@list.test", refused(454, "4.7.4", "")),
             (session("OK", "mxa.good.test"), "u@mixed.test", PASSED), (session("OK", "mxb.good.test"), "u@mixed.test", host), (session("NONE", "mx.any.test"), "u@none.test", PASSED)]
    rows += [(session("NONE", "mx.any.test"), rcpt, PASSED) for rcpt in
             ("u@known.test", "u@over.test", "u@stale.test", "u@junk.test", "u@fresh.test", "u@smart.test", "u@lan.test", "alice", "u@[10.98.0.9]")]
    rows += [(session("NONE", "mx.any.test"), rcpt, refused(454, "4.7.4", "")) for rcpt in
             ("u@own.test", '"a@b"@good.test', "u+x@good.test", "u%y.test@good.test", ".u@good.test")]
    rows += [(session("OK", LONG_MX), "u@" + LONG, PASSED if len(LONG + LONG_MX) < 254 else mx), (session("OK", LONG_MX + ".evil.test"), "u@" + LONG, mx)]
    assert len(CUT) == 256
    rules.table("tls_rcpt", rows)
    failed = [request.split(" ", 1)[1] for request in setup.lookup.requests if ":failed:" in request]
    assert ":failed:good.test,Q4AB" in failed and ":failed:own.test,Q4AB" in failed, failed
    # what check_compat did not see, and what it did (the same queue id)
    rules.table("tls_rcpt", [("u@wait.test", refused(451, "4.4.3", "not known yet")), ("u@enf.test", refused(451, "4.4.3", "being pushed"))])
    rules.table("tls_rcpt", [({"{mtasts_asked}": "wait.test,Q4AB"}, "u@wait.test", PASSED), ({"{mtasts_asked}": "wait.test,Q4AC"}, "u@wait.test", refused(451, "4.4.3", ""))])
    drop(lab)
    unknown = ("u@over.test", "u@stale.test", "u@junk.test", "u@fresh.test", "u@smart.test", "u@lan.test")
    rules.table("tls_rcpt", [(macros, address, refused(451, "4.4.3", "mtastsd does not answer") if address in unknown else want) for macros, address, want in rows])
    rules.map(**{":ready:": "obs"})
    # Sendmail 8.18 has rules of its own for DANE, after ours
    rules.table("tls_rcpt", [(macros, address, PASSED) for macros, address, _want in rows if not macros["{verify}"].startswith("DANE")])


@scenario(chosen=True, mapped="rules: beside access_db, tls_session_features and compat_check SNI is sent and their entries still count")
def beside(lab, setup):
    lab.sender.table("access", {"TLS_Clt_Features:mx.site.test": "options=SSL_OP_NO_TLSv1_3", "TLS_Srv_Features:c.test": "options=SSL_OP_NO_TLSv1_3",
                                "Compat:s@sender.test<@>u@blocked.test": "ERROR:550 no", "TLS_Rcpt:u@strict.test": "ENCR:256"})
    site = ["FEATURE(`access_db')dnl", "FEATURE(`tls_session_features')dnl", "FEATURE(`compat_check')dnl"]
    rules = Rules(lab, setup)
    rules.map()
    ours = "FEATURE(`mtasts', `milter=none')dnl"
    own = ["LOCAL_TLS_RCPT", "R$*strange$*\t$#error $@ 5.7.0 $: \"550 strange\"", "LOCAL_RULESETS", "Scheck_compat", "R$* $| odd@$*\t$#error $@ 5.7.0 $: \"550 odd\""]
    for mc in ([ours] + site, site + [ours], site[:1] + [ours] + site[1:]):
        lab.sender.configure(mc, own + [NAMES % "", TRANSLATE])
        assert not lab.sender.warnings, lab.sender.warnings
        rules.table("Translate,tls_clt_features", [("mx.site.test $| 10.98.0.9", r"^options=SSL_OP_NO_TLSv1_3 ; servername=hostname$"),
                                                   ("mx.other.test $| 10.98.0.8", "^servername=hostname$")])
        rules.table("Translate,tls_srv_features", [("c.test $| 10.98.0.9", "^options=SSL_OP_NO_TLSv1_3$"), ("d.test $| 10.98.0.8", '^""$')])
        rules.table(COMPAT, [("u@blocked.test", r"\$# error .*550"), ("u@wait.test", refused(451, "4.4.3", "not known yet")), ("u@good.test", PASSED)])
        rules.table("tls_rcpt", [(session("NONE", "mx.x.test"), "u@strict.test", r"encryption too weak"), (session("NONE", "mx.x.test"), "strange@fresh.test", "550 strange"),
                                 (session("NONE", "mx.x.test"), "u@good.test", refused(454, "4.7.4", "")), (session("NONE", "mx.x.test"), "u@fresh.test", "^OK$")])
    lab.sender.configure([ours], own + [NAMES % "", TRANSLATE])
    rules.table(COMPAT, [("odd@fresh.test", "550 odd"), ("odd@wait.test", refused(451, "4.4.3", "")), ("u@good.test", PASSED)])


# What m4 says and writes: lines before MAILER, lines after it, patterns that the .cf must have, the warning (or none).
OURS = "FEATURE(`mtasts')dnl"
OPTIONS = ["^O ConnectionCacheSize=0$", "^O DontExpandCnames=True$", "^O SetCertAltnames=true$", "^O CACertFile=/etc/ssl/certs/ca-certificates.crt$",
           "^O CACertPath=/etc/ssl/certs$", "^O InputMailFilters=mtasts$", "^Xmtasts, S=local:/run/mtasts/milter.sock, T=(?!.*F=)",
           "^Kmtasts hash -T<TMPF> /var/lib/mtasts/map/policy$", "^Kmtastsq socket -f -t -d5 -T<TMPF> local:/run/mtasts/socketmap.sock$"]
RSPAMD = "INPUT_MAIL_FILTER(`rspamd', `S=local:/run/rspamd/milter.sock')dnl"
M4 = [
    ([OURS], OPTIONS, None),
    ([OURS, "FEATURE(`access_db')dnl"], OPTIONS, None), (["FEATURE(`access_db')dnl", OURS], OPTIONS, None),
    (["define(`SMART_HOST', `[smart.test]')dnl", OURS], OPTIONS, None), ([OURS, "FEATURE(`check_cert_altnames')dnl"], OPTIONS, None),
    (["define(`confMCI_CACHE_SIZE', `0')dnl", OURS], OPTIONS, None),
    (["define(`confMCI_CACHE_SIZE', `5')dnl", OURS], OPTIONS, "confMCI_CACHE_SIZE is 5"), ([OURS, "define(`confMCI_CACHE_SIZE', `5')dnl"], OPTIONS, "confMCI_CACHE_SIZE is 5"),
    (["define(`confDONT_EXPAND_CNAMES', `False')dnl", OURS], OPTIONS, "confDONT_EXPAND_CNAMES is False"),
    ([OURS, "define(`confDONT_EXPAND_CNAMES', `False')dnl"], OPTIONS, "confDONT_EXPAND_CNAMES is False"),
    ([OURS, "define(`confDONT_EXPAND_CNAMES', `true')dnl"], ["^O DontExpandCnames=true$"], None),
    (["define(`confCACERT', `/etc/my.pem')dnl", OURS], ["^O CACertFile=/etc/my.pem$", "^O CACertPath=/etc/ssl/certs$"], "confCACERT is set without confCACERT_PATH"),
    ([OURS, "define(`confCACERT_PATH', `/etc/my')dnl"], ["^O CACertFile=/etc/ssl/certs/ca-certificates.crt$", "^O CACertPath=/etc/my$"], "confCACERT_PATH is set without confCACERT"),
    ([OURS, "define(`confCACERT', `/etc/my.pem')dnl", "define(`confCACERT_PATH', `/etc/my')dnl"], ["^O CACertFile=/etc/my.pem$", "^O CACertPath=/etc/my$"], None),
    ([RSPAMD, OURS], ["^O InputMailFilters=rspamd, mtasts$", "^Xmtasts", "^Xrspamd"], None), ([OURS, RSPAMD], ["^O InputMailFilters=mtasts, rspamd$"], None),
    ([OURS, RSPAMD, "define(`confINPUT_MAIL_FILTERS', `rspamd')dnl"], ["^O InputMailFilters=rspamd, mtasts$"], "confINPUT_MAIL_FILTERS lacks mtasts"),
    ([OURS, RSPAMD, "define(`confINPUT_MAIL_FILTERS', `mtasts, rspamd')dnl"], ["^O InputMailFilters=mtasts, rspamd$"], None),
    ([OURS, "define(`confMILTER_MACROS_ENVRCPT', ``{rcpt_addr}'')dnl"], [r"^O Milter.macros.envrcpt=\{rcpt_addr\}, \{rcpt_mailer\}, \{rcpt_host\}$"], "confMILTER_MACROS_ENVRCPT lacks {rcpt_mailer}"),
    (["FEATURE(`sts', `hash -T<TMPF> /etc/mail/sts')dnl", OURS], OPTIONS + ["!SSTS_Check"], "FEATURE(sts) is there too"),
    ([OURS, "FEATURE(`sts', `hash -T<TMPF> /etc/mail/sts')dnl"], OPTIONS + ["!SSTS_Check"], "FEATURE(sts) is there too"),
    ([OURS, "define(`confRUN_AS_USER', `mail')dnl"], OPTIONS, "confRUN_AS_USER is mail"),
    ([OURS, "define(`confHOST_STATUS_DIRECTORY', `/var/lib/sendmail/host_status')dnl"], OPTIONS + ["!^O HostStatusDirectory"], None),
    ([OURS, OURS], OPTIONS, "there twice"), (["FEATURE(`mtasts', `mpa=/x')dnl"], OPTIONS, "unknown argument"), (["FEATURE(`mtasts', `away=perhaps')dnl"], OPTIONS, "away=perhaps"),
    (["FEATURE(`mtasts', `live=inet:5461@127.0.0.1', `map=/x/y', `milter=/z.sock', `away=defer')dnl"],
     ["^Kmtasts hash -T<TMPF> /x/y$", "^Kmtastsq socket -f -t -d5 -T<TMPF> inet:5461@127.0.0.1$", "^Xmtasts, S=local:/z.sock, T="], None),
    (["FEATURE(`mtasts', `milter=none')dnl"], ["!^Xmtasts", "!^O InputMailFilters=.*mtasts"], None),
    (["FEATURE(`mtasts', `milter=S=inet:7@127.0.0.1, F=T, T=R:1m')dnl"], ["^Xmtasts, S=inet:7@127.0.0.1, F=T, T=R:1m$"], None),
    ([OURS, "FEATURE(`compat_check')dnl", "FEATURE(`access_db')dnl"], OPTIONS, "requires FEATURE(`access_db')"),
]


@scenario(mapped="m4: one line sets all options in any order of lines, and a warning names the line that stands against it")
def m4(lab, setup):
    setup.prepare(lab)
    for lines, patterns, warning in M4:
        lab.sender.configure(lines, submit=[])
        cf, said = lab.sender_machine.read("/etc/mail/sendmail.cf"), lab.sender.warnings
        for pattern in patterns:
            found = re.search(pattern.removeprefix("!"), cf, re.M)
            assert bool(found) != pattern.startswith("!"), "%s: %s" % (lines, pattern)
        assert (warning in said) if warning else not said, "%s: want %s, m4 said %s" % (lines, warning, said)
        tried = lab.sender_machine.run(["/usr/sbin/sendmail", "-bt", "-d0.1"], stdin="", check=False)
        assert not re.search(r"sendmail.cf: line|SYSERR|multiple definitions.*(mtasts|tls_clt)", tried.stdout + tried.stderr), "%s: %s" % (lines, tried.stdout)
        assert not re.search(r"_MTASTS_|FEATURE\(|ifdef", "".join(l for l in cf.splitlines(True) if not l.startswith("#"))), lines


@scenario(mapped="m4: in submit.mc only the CNAME option is set; beside nullclient everything still goes to the hub, and by its policy")
def m4_submit(lab, setup):
    setup.prepare(lab)
    lab.sender.configure([], submit=["FEATURE(`mtasts', `msp')dnl"])
    cf = lab.sender_machine.read("/etc/mail/submit.cf")
    assert re.search("^O DontExpandCnames=True$", cf, re.M) and "mtasts" not in cf and not lab.sender.warnings, lab.sender.warnings
    text = SUBMIT_HEAD.replace("DOMAIN(`debian-msp')dnl\n", "") + "FEATURE(`mtasts', `milter=none')dnl\nFEATURE(`nullclient', `hub.test')dnl\n" + TRANSLATE
    lab.sender._m4("sendmail", text)
    assert not lab.sender.warnings, lab.sender.warnings
    out = lab.sender_machine.run(["/usr/sbin/sendmail", "-bt"], stdin=".Dhx\nmtasts_route u@good.test\n").stdout
    assert re.search(r"^mtasts_route +returns: hub \. test *$", out, re.M), out


@scenario(chosen=True, mapped="m4: the example for Debian gives a .cf with all options, without a warning, and Sendmail starts with it")
def m4_example(lab, setup):
    setup.prepare(lab)
    with open(os.path.join(setup.tree, "sendmail/debian.mc")) as f:
        lab.sender._m4("sendmail", f.read() + "define(`confREFUSE_LA', `1000')dnl\n")  # whatever else runs here
    assert not lab.sender.warnings, lab.sender.warnings
    cf = lab.sender_machine.read("/etc/mail/sendmail.cf")
    assert [pattern for pattern in OPTIONS if not re.search(pattern, cf, re.M)] == []
    lab.sender.start()
    lab.domain("fresh.test")
    assert lab.fate(tried(lab, "u@fresh.test", timeout=30)) == {"u@fresh.test": "delivered"}


# --- real mail ---

def tried(lab, *rcpts, **options):
    msgid = lab.sender.send(*rcpts, **options)
    lab.sender.wait_tried(msgid)
    return msgid


def push(lab, setup, **entries):
    setup.entries.update(entries)
    setup._push(lab)


@scenario(mapped="mail: with mtastsd away known mail flows, unknown mail waits, a queue run without a connection, until the heartbeat is over")
def mail_away(lab, setup):
    setup.start(lab)
    good, known, fresh = lab.domain("good.test"), lab.domain("known.test"), lab.domain("fresh.test", server="sink")
    setup.enforce(lab, good)
    push(lab, setup, **{"known.test": "none %d" % NEVER})
    for missing in (False, True):
        push(lab, setup, **{":alive:": str(NEVER)})
        drop(lab, missing)
        mail_away_until(lab, setup, "unsafe: No such file" if missing else "mtasts: policy of fresh.test not known: mtastsd does not answer")


def mail_away_until(lab, setup, reason):
    msgid = tried(lab, "u@good.test", "u@known.test", "u@fresh.test", "alice@sender.test")
    assert lab.fate(msgid) == {"u@good.test": "delivered", "u@known.test": "delivered", "u@fresh.test": "queued", "alice@sender.test": "delivered"}, lab.fate(msgid)
    lab.sender.log.wait("ruleset=.*451 4.4.3 mtasts: policy of fresh.test not known: mtastsd does not answer")
    assert [q for q in lab.sender.queue() if reason in q.reason] == lab.sender.queue() != [], lab.sender.queue()
    connected = lab.sinks.connected(lambda: lab.sender.machine.run(["/usr/sbin/sendmail", "-qf"], check=False))
    assert not connected, "a queue run connected: %s" % connected
    push(lab, setup, **{":alive:": str(int(time.time()) - 1)})
    lab.sender.machine.run(["/usr/sbin/sendmail", "-qf"], check=False)
    lab.sender.log.wait(r"mtasts=deliver policy=unchecked domain=fresh\.test reason=mtastsd-away")
    assert lab.fate(msgid)["u@fresh.test"] == "delivered", lab.fate(msgid)


@scenario(mapped="mail: in observe mode all is delivered, and the log tells what would have been deferred")
def mail_observe(lab, setup):
    setup.start(lab)
    bad, wait_ = lab.domain("bad.test", "selfsigned"), lab.domain("wait.test")
    push(lab, setup, **{":ready:": "obs", "bad.test": "enforce %d" % NEVER, "bad.test:mx1.bad.test": "mx"})
    setup.lookup.answers["wait.test"] = "OK wait"
    msgid = tried(lab, "u@bad.test", "u@wait.test")
    assert set(lab.fate(msgid).values()) == {"delivered"}, lab.fate(msgid)
    lab.sender.log.wait(r"mtasts=observe would=454 mtasts: validation-failure verify=FAIL at \S+ for bad\.test")
    lab.sender.log.wait(r"mtasts=observe would=451 mtasts: policy of wait\.test not known yet")
    qid = lab.sender.qid(msgid)
    setup.lookup.wait_request("mtastsq :failed:bad.test,%s" % qid)
    setup.lookup.wait_request("mtastsq wait.test,%s" % qid)


@scenario(mapped="mail: a failed check is reported with the queue id, and ends in 454 also when nobody hears the report")
def mail_failed(lab, setup):
    setup.start(lab)
    bad = lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, bad)
    first = tried(lab, "u@bad.test")
    setup.lookup.wait_request("mtastsq :failed:bad.test,%s" % lab.sender.qid(first))
    for missing in (False, True):
        drop(lab, missing)
        mark = lab.sender.log.mark()
        msgid = tried(lab, "u@bad.test")
        lab.sender.log.wait(r"ruleset=tls_.*reject=454 4.7.5 .*validation-failure verify=FAIL", since=mark)
        assert lab.fate(first) == lab.fate(msgid) == {"u@bad.test": "queued"}


@scenario(mapped="mail: a live lookup that hangs defers the recipient and bounces nothing", seconds=180)
def mail_hang(lab, setup):
    setup.start(lab)
    lab.domain("hang.test")
    bad = lab.domain("bad.test", "selfsigned")
    setup.enforce(lab, bad)
    lab.forgiven.append("SYSERR.*socket_map_lookup")
    real = setup.lookup.answers.get

    class Slow(dict):
        def get(self, key, default=None):
            if key in ("hang.test", ":failed:bad.test"):
                time.sleep(60)
            return real(key, default)
    setup.lookup.answers = Slow(setup.lookup.answers)
    msgid = tried(lab, "u@hang.test", "u@bad.test", timeout=90)
    assert lab.fate(msgid) == {"u@hang.test": "queued", "u@bad.test": "queued"}, lab.fate(msgid)
    push(lab, setup, **{":alive:": "0"})
    lab.sender.machine.run(["/usr/sbin/sendmail", "-qf"], check=False)
    assert lab.fate(msgid) == {"u@hang.test": "delivered", "u@bad.test": "queued"}, lab.fate(msgid)


@scenario(mapped="mail: a live lookup that closes without an answer, or with an unknown word, bounces nothing")
def mail_garbage(lab, setup):
    setup.start(lab)
    lab.domain("fresh.test")
    lab.forgiven.append("SYSERR.*socket_map_lookup")
    for garbage in (b"", b"4:BLAH,"):
        os.unlink(lab.sender_machine.file(SOCKET))
        lookup = Garbage(lab.sender_machine.file(SOCKET))
        lookup.garbage = garbage
        msgid = tried(lab, "u@fresh.test")
        assert lab.fate(msgid) == {"u@fresh.test": "queued"}, (garbage, lab.fate(msgid))


@scenario(mapped="mail: with the map not ready, missing or damaged LMTP mail and mail to a literal flows, other mail waits, none bounces")
def mail_map_damage(lab, setup):
    address = lab.mx_host("smart.test")
    setup.start(lab, mc=["FEATURE(`mailertable')dnl"], mailertable={"mtable.test": "esmtp:[%s]" % address, "hopped.test": "esmtp:[smart.test]"})
    lab.domain("good.test")
    lab.forgiven.append("SYSERR.*(map|hash)")
    path = lab.sender_machine.file(MAP + ".db")
    waiting = []
    for state in ("not", "zeroed", "empty", "missing"):
        if state == "not":
            push(lab, setup, **{":ready:": "not"})
        elif state == "zeroed":
            push(lab, setup, **{":ready:": "yes"})
            with open(path, "r+b") as f:
                f.seek(4096)
                f.write(bytes(os.path.getsize(path) - 4096))
        elif state == "empty":
            os.truncate(path, 0)
        else:
            os.unlink(path)
        msgid = tried(lab, "u@good.test", "u@hopped.test", "u@mtable.test", "alice@sender.test")
        assert lab.fate(msgid) == {"u@good.test": "queued", "u@hopped.test": "queued", "u@mtable.test": "delivered", "alice@sender.test": "delivered"}, (state, lab.fate(msgid))
        waiting.append(msgid)
    push(lab, setup, **{":ready:": "yes"})
    lab.sender.run_queue()
    assert all(set(lab.fate(msgid).values()) == {"delivered"} for msgid in waiting), [lab.fate(msgid) for msgid in waiting]


@scenario(mapped="mail: a queue runner that lives on (-qp) reaches a restarted mtastsd at its next run", seconds=90)
def mail_persistent_runner(lab, setup):
    setup.start(lab, mc=["define(`confDELIVERY_MODE', `queueonly')dnl"])
    lab.domain("fresh.test")
    os.unlink(lab.sender_machine.file(SOCKET))
    lookup = Mortal(lab.sender_machine.file(SOCKET))
    lookup.answers["fresh.test"] = "OK wait"
    lab.forgiven.append("SYSERR.*socket_map_lookup.*Broken pipe")  # one job: queued, as told by the next lines
    runner = lab.sender_machine.popen(["/usr/sbin/sendmail", "-qp1s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        msgid = lab.sender.send("u@fresh.test")
        lab.sender.log.wait("fresh.test not known yet", 20)
        mark = lab.sender.log.mark()
        lookup.die()
        lab.sender.log.wait("fresh.test not known: mtastsd does not answer", 20, mark)
        os.unlink(lab.sender_machine.file(SOCKET))
        Mortal(lab.sender_machine.file(SOCKET))
        lab.sender.log.wait(r"to=<u@fresh.test>.*stat=Sent", 20, mark)
        assert lab.fate(msgid) == {"u@fresh.test": "delivered"}
    finally:
        runner.send_signal(signal.SIGTERM)
        runner.wait(10)
