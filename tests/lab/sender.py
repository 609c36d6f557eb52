"""The sending host: Debian's Sendmail in its root, its .cf made by m4 there, its log, its queue, its users."""

import email.utils
import itertools
import os
import re
import shutil
import smtplib
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field

import net
import wait

USERS = ("alice", "bob", "carol")
# What Debian's own sendmail.mc has, without its delays and throttles, and with time-outs for a small world.
HEAD = """divert(-1)dnl
divert(0)dnl
define(`_USE_ETC_MAIL_')dnl
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
VERSIONID(`lab')
OSTYPE(`debian')dnl
"""
MTA_HEAD = HEAD + """DOMAIN(`debian-mta')dnl
undefine(`confHOST_STATUS_DIRECTORY')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Family=inet, Name=MTA-v4, Port=smtp, Addr=127.0.0.1')dnl
define(`confPRIVACY_FLAGS', `needmailhelo,needexpnhelo,needvrfyhelo,restrictqrun,restrictexpand,nobodyreturn,authwarnings')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confTO_IDENT', `0')dnl
define(`confTO_ICONNECT', `5s')dnl
define(`confTO_CONNECT', `5s')dnl
define(`confTO_INITIAL', `10s')dnl
define(`confTO_HELO', `10s')dnl
define(`confTO_STARTTLS', `10s')dnl
define(`confTO_QUIT', `2s')dnl
FEATURE(`use_cw_file')dnl
FEATURE(`local_lmtp', `/usr/libexec/sendmail/mail.local')dnl
"""
MTA_TAIL = "MAILER(`local')dnl\nMAILER(`smtp')dnl\n"
SUBMIT_HEAD = HEAD + "DOMAIN(`debian-msp')dnl\ndefine(`confQUEUE_LA', `1000')dnl\n"
SUBMIT_TAIL = "FEATURE(`msp', `[127.0.0.1]', `25')dnl\n"
TRUST = ["define(`confCACERT', `/etc/ssl/certs/ca-certificates.crt')dnl", "define(`confCACERT_PATH', `/etc/ssl/certs')dnl"]


@dataclass
class Queued:
    """One message of the queue: the recipients that still wait, and why."""
    qid: str
    msgid: str
    rcpts: list
    reason: str
    quarantined: bool
    queue: str
    bounce: bool
    text: str = field(repr=False, default="")


class Log:
    """What programs of the sender's root say to syslog: kept in memory, and in /var/log/mail.log."""

    def __init__(self, machine):
        self.lines, self._changed = [], threading.Condition()
        self._file = open(machine.file("/var/log/mail.log"), "a", buffering=1)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(machine.file("/dev/log"))
        os.chmod(machine.file("/dev/log"), 0o666)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            raw = self._socket.recv(65536).decode("utf-8", "replace").rstrip("\n\0")
            text = re.sub(r"^<\d+>(?:\w{3} [ \d]\d [\d:]{8} )?", "", raw)
            stamp = time.time()
            with self._changed:
                self.lines.append((stamp, text))
                self._changed.notify_all()
            self._file.write("%s.%06d %s\n" % (time.strftime("%H:%M:%S", time.gmtime(stamp)), stamp % 1 * 1e6, text))

    def mark(self):
        """A place in the log, for since=."""
        return len(self.lines)

    def find(self, pattern, since=0, until=None):
        """The lines (text only) that match a regular expression."""
        return [text for _stamp, text in self.lines[since:until] if re.search(pattern, text)]

    def wait(self, pattern, seconds=10, since=0):
        """Wait for a matching line and return it."""
        deadline, seen = time.monotonic() + seconds, since
        with self._changed:
            while True:
                for _stamp, text in self.lines[seen:]:
                    if re.search(pattern, text):
                        return text
                seen = len(self.lines)
                if not self._changed.wait(max(0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise wait.TimedOut("not logged within %g s: %s" % (seconds, pattern))


class Sender:
    """lab.sender: configure(), start(), then send(); run_queue(), queue(), log."""

    def __init__(self, machine, ca_pem):
        self.machine, self.daemon, self._numbers = machine, None, itertools.count(1)
        self.accepted = {}  # Message-ID -> recipients that the MTA took responsibility for
        self.log = Log(machine)
        self._trust(ca_pem)
        machine.put("/etc/resolv.conf", "nameserver %s\noptions timeout:1 attempts:2\n" % net.DNS_ADDRESS)
        machine.put("/etc/hosts", "127.0.0.1 localhost\n10.98.0.1 mail.sender.test mail\n")
        machine.put("/etc/mail/local-host-names", "localhost\nsender.test\nmail.sender.test\n")
        for user in USERS:
            machine.run(["useradd", "-m", "-s", "/bin/sh", user])

    def _trust(self, ca_pem):
        with open(ca_pem) as f:
            pem = f.read()
        with open(self.machine.file("/etc/ssl/certs/ca-certificates.crt"), "a") as bundle:
            bundle.write(pem)
        self.machine.put("/etc/ssl/certs/lab-ca.pem", pem)
        name = self.machine.run(["openssl", "x509", "-noout", "-hash", "-in", "/etc/ssl/certs/lab-ca.pem"]).stdout.strip()
        os.symlink("lab-ca.pem", self.machine.file("/etc/ssl/certs/%s.0" % name))

    def exchange(self, binary):
        """Put another sendmail in the place of Debian's; its owner and mode stay."""
        shutil.copyfile(binary, self.machine.file("/usr/libexec/sendmail/sendmail"))
        os.chmod(self.machine.file("/usr/libexec/sendmail/sendmail"), 0o2755)

    def configure(self, mc=(), after=(), submit=()):
        """Build sendmail.cf and submit.cf: mc lines stand before the MAILER lines, after lines at the end."""
        self._m4("sendmail", MTA_HEAD + "\n".join(mc) + "\n" + MTA_TAIL + "\n".join(after) + "\n")
        self._m4("submit", SUBMIT_HEAD + "\n".join(submit) + "\n" + SUBMIT_TAIL)

    def _m4(self, name, text):
        self.machine.put("/etc/mail/%s.mc" % name, text)
        done = self.machine.run(["m4", "/etc/mail/%s.mc" % name])
        self.machine.put("/etc/mail/%s.cf" % name, done.stdout)
        self.warnings = done.stderr if name == "sendmail" else self.warnings + done.stderr

    def table(self, name, entries):
        """Make /etc/mail/NAME.db (access, mailertable, ...) from a dict by makemap."""
        self.makemap("/etc/mail/" + name, entries)

    def makemap(self, path, entries):
        self.machine.put(path, "".join("%s\t%s\n" % item for item in entries.items()))
        self.machine.run(["makemap", "hash", path], stdin=self.machine.read(path))

    def aliases(self, entries):
        self.machine.put("/etc/mail/aliases", "".join("%s: %s\n" % item for item in {"postmaster": "alice", **entries}.items()))
        self.machine.run(["newaliases"])

    def start(self, queue_interval=None):
        """Start the daemon in the foreground of its own process; with a queue interval it also runs the queue itself."""
        mark = self.log.mark()
        self.daemon = self.machine.popen(["/usr/sbin/sendmail", "-bD"] + (["-q" + queue_interval] if queue_interval else []),
                                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.log.wait(r"started as:|starting daemon|Cannot|SYSERR|NOQUEUE", wait.START_S, mark)
        wait.until("sendmail listens", self._listens, wait.START_S)

    def _listens(self):
        if self.daemon.poll() is not None:
            raise RuntimeError("sendmail ended at once: " + self.daemon.stderr.read())
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", 25)) == 0

    def stop(self):
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(10)
            self.daemon = None

    # --- sending ---

    def new_id(self):
        return "<%d.%d@lab.sender.test>" % (time.time() * 1000, next(self._numbers))

    def message(self, to, msgid, sender, headers=(), body="hello"):
        lines = ["From: " + (sender or "MAILER-DAEMON@sender.test"), "To: " + ", ".join(to), "Subject: lab", "Message-ID: " + msgid,
                 "Date: " + email.utils.formatdate()] + list(headers)
        return "\r\n".join(lines + ["", body, ""])

    def send(self, *rcpts, sender="alice@sender.test", to=None, headers=(), body="hello", msgid=None, becomes=None, timeout=70, port=25):
        """Submit by SMTP; returns the Message-ID. becomes: {rcpt: [final recipients]} for aliases and the like."""
        msgid = msgid or self.new_id()
        text = self.message(to if to is not None else rcpts, msgid, sender, headers, body)
        with smtplib.SMTP("127.0.0.1", port, local_hostname="client.sender.test", timeout=timeout) as smtp:
            refused = smtp.sendmail(sender, list(rcpts), text.encode())
        self._accept(msgid, [r for r in rcpts if r not in refused], becomes)
        return msgid

    def submit(self, *rcpts, sender="alice@sender.test", user="alice", headers=(), body="hello", becomes=None, args=("-t",)):
        """Submit as a local user's program does, by sendmail -t through the MSP; returns the Message-ID."""
        msgid = self.new_id()
        text = self.message(rcpts, msgid, sender, headers, body).replace("\r\n", "\n")
        self.machine.run(["/usr/sbin/sendmail", "-i", "-f", sender] + list(args), user=user, stdin=text)
        self._accept(msgid, rcpts, becomes)
        return msgid

    def _accept(self, msgid, rcpts, becomes):
        final = []
        for rcpt in rcpts:
            final += (becomes or {}).get(rcpt, [rcpt])
        self.accepted.setdefault(msgid, []).extend(final)

    # --- the queue ---

    def run_queue(self, *args, timeout=60):
        """One queue run in the foreground, in one process; args such as "-qRgood.test" select."""
        return self.machine.run(["/usr/sbin/sendmail", "-qf"] + list(args), timeout=timeout)

    def queue(self):
        """What the MTA's and the MSP's queue hold, read from the qf and hf files; queue groups are directories below."""
        found = []
        for name in ("mqueue", "mqueue-client"):
            for directory, _below, entries in os.walk(self.machine.file("/var/spool/" + name)):
                for entry in sorted(entries):
                    if entry[:2] in ("qf", "hf", "Qf"):
                        found.append(self._read_qf(os.path.join(directory, entry), name))
        return [item for item in found if item is not None]

    @staticmethod
    def _read_qf(path, queue):
        try:
            with open(path, errors="replace") as f:
                text = f.read()
            with open(os.path.join(os.path.dirname(path), "df" + os.path.basename(path)[2:]), errors="replace") as f:
                body = f.read()
        except FileNotFoundError:
            return None  # delivered between the listing and the reading
        msgid = re.search(r"^H\?\w*\?Message-ID:\s*(\S+)", text, re.I | re.M)
        rcpts = re.findall(r"^R[^:\n]*:<?([^>\n]*)>?$", text, re.M)
        reason = re.search(r"^M(.*)$", text, re.M)
        return Queued(os.path.basename(path)[2:], msgid.group(1) if msgid else "", rcpts, reason.group(1) if reason else "",
                      os.path.basename(path)[0] == "h", queue, bool(re.search(r"^S(<?>?|MAILER-DAEMON)$", text, re.M)), text + body)

    def qid(self, msgid, seconds=10):
        """The MTA's queue id of a message."""
        line = self.log.wait(r"(sendmail|sm-mta)\[\d+\]: \w+: from=.*msgid=%s" % re.escape(msgid), seconds)
        return re.search(r"\]: (\w+): from=", line).group(1)

    def story(self, msgid):
        """All log lines that carry one of the message's queue ids."""
        ids = {m.group(1) for _stamp, line in list(self.log.lines)
               for m in [re.search(r"\]: (\w{10,}): from=.*msgid=%s" % re.escape(msgid), line)] if m}
        return [line for _stamp, line in list(self.log.lines) if any(qid in line for qid in ids)] if ids else []

    def wait_tried(self, msgid, seconds=20, since=0, times=1):
        """Wait until delivery to each recipient has been tried (times over); returns the to= lines."""
        def tried():
            lines = [line for line in self.story(msgid) if re.search(r"\]: \w+: to=", line) and
                     "mailer=relay" not in line and not line.endswith("stat=queued")]
            qids = {re.search(r"\]: (\w+): to=", line).group(1) for line in lines}
            rcpts = sum(len(re.search(r"to=(.*?), (?:ctladdr|delay)", line).group(1).split(",")) for line in lines)
            return lines if qids and rcpts >= times * len(self.accepted.get(msgid, [1])) else None
        return wait.until("%s tried" % msgid, tried, seconds)

    def mailbox(self, user):
        """Messages that local delivery put into a user's mailbox, as texts."""
        path = self.machine.file("/var/mail/" + user)
        if not os.path.exists(path):
            return []
        with open(path, errors="replace") as f:
            return [part for part in re.split(r"(?m)^From \S+ .*\n", f.read()) if part.strip()]

